"""The command line: one file a verb, and the executor that carries a plan through its stages on this machine. Imports the API and nothing of the trainer."""
