"""The contract of medfinetune: what a user writes, what a run is told, what it reports. Imports neither torch nor kopf."""
