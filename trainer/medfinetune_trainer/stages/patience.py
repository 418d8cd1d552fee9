"""How long something may stand still before it is ended, as both watches have it: over ranks (`watchdog`), and of a stage over itself (`self_watch`)."""

from __future__ import annotations

import os

from medfinetune_api.errors import InvalidManifest

STALL_SECONDS = "MEDFINETUNE_STALL_SECONDS"
DEFAULT_SECONDS = 1800.0
LONGEST_REST = 10.0
"""Seconds between two looks, at most."""
REMEDY = "See whether its volume, its device and its node answer; then start the stage again: it continues."


def stall_seconds() -> float:
    """MEDFINETUNE_STALL_SECONDS: how long nothing may move; 1800 where it is unset. Raises InvalidManifest."""
    text = os.environ.get(STALL_SECONDS, str(DEFAULT_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidManifest(STALL_SECONDS, found=text[:20], expected="a number of seconds above 0", remedy="Let the executor set it, or unset it.")
    return seconds
