"""How parameters move: schedule, optimizer step over a window of rows, validation, and what the ranks tell each other."""
