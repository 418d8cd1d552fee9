"""Programs beside the stages, for a person or the command line: `python -m medfinetune_trainer.tools.NAME`."""
