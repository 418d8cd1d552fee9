"""Data files to records: one small file a format, and the registry that finds it."""

from medfinetune_trainer.data.formats.registry import load_source, read_source

__all__ = ["load_source", "read_source"]
