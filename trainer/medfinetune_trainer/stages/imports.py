"""The import of a stage's module, with the collector off: its libraries make a million objects, and none of them is garbage.

What it saves: docs/decisions/training.md.
"""

from __future__ import annotations

import gc
from importlib import import_module
from types import ModuleType


def stage_module(name: str) -> ModuleType:
    """The module `name` of this package. Raises what its import raises."""
    gc.disable()
    try:
        return import_module(f"medfinetune_trainer.stages.{name}")
    finally:
        gc.enable()
