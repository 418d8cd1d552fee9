"""The work itself: three stages on data, model, optimizer, evaluation, telemetry and artifacts. Reads a RunPlan and nothing else."""
