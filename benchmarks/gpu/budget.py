"""The seconds that a run on a borrowed GPU may take: what is left when they are spent is recorded as skipped, and what was measured stays."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

SKIPPED = {"skipped": "the time was spent", "passed": False}
"""The result of what was not begun."""


@dataclass(frozen=True)
class Budget:
    """Asked before each check, and within the long ones before each case."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may begin."""
        return time.monotonic() - self.began >= self.seconds
