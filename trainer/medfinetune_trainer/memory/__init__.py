"""What a run takes on one accelerator, computed from config.json before one is asked for. Imports no torch."""
