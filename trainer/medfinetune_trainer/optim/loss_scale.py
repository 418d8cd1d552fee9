"""Dynamic loss scale for FP16 (Micikevicius et al. 2018, section 3.2): gradients too small for FP16 are lifted, an overflow skips the step and halves the
scale.

torch's GradScaler looks for overflows on each rank alone, and ranks with different shards would disagree on whether to step. Here the global gradient norm
decides, which is the same on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INITIAL, SMALLEST, GROWTH_STEPS = 2.0**16, 1.0, 2000


@dataclass
class LossScale:
    """The scale and its age. Where `dynamic` is false it stays 1 and an overflow is a divergence."""

    dynamic: bool
    scale: float = 1.0
    clean_steps: int = 0

    @classmethod
    def fresh(cls, dynamic: bool) -> LossScale:
        """The scale of a run that begins."""
        return cls(dynamic, INITIAL if dynamic else 1.0)

    @property
    def may_back_off(self) -> bool:
        """True while an overflow can be answered by a smaller scale."""
        return self.dynamic and self.scale > SMALLEST

    def overflowed(self) -> None:
        """Halve the scale: the step was skipped."""
        self.scale, self.clean_steps = max(SMALLEST, self.scale / 2), 0

    def stepped(self) -> None:
        """Count a step; after GROWTH_STEPS without overflow the scale doubles."""
        self.clean_steps += 1
        if self.dynamic and self.clean_steps == GROWTH_STEPS:
            self.scale, self.clean_steps = self.scale * 2, 0

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps of it."""
        return {"scale": self.scale, "clean_steps": self.clean_steps}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on where `state_dict` was taken; a scale that is not dynamic stays 1."""
        if self.dynamic:
            self.scale, self.clean_steps = state["scale"], int(state["clean_steps"])
