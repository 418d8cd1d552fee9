"""What the optimizer steps of a run in this process do to the trained weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from peft import PeftModel
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Moment:
    """One step: the trained weights by name before and after it."""

    before: Weights
    after: Weights

    def moved(self, part: str) -> bool:
        """Whether all B matrices of LoRA whose name holds `part` changed, or no weight of that name did; AssertionError in between.

        A's gradient is zero until B has moved.
        """
        changed = {name: not self.before[name].equal(self.after[name]) for name in self.before if part in name}
        outputs = {moved for name, moved in changed.items() if ".lora_B." in name}
        assert outputs == {True} or not any(changed.values())
        return outputs == {True}


@contextmanager
def steps_watched() -> Iterator[list[Moment]]:
    """Every step, in order, of the first PEFT model that runs within the block."""
    moments: list[Moment] = []
    models: list[nn.Module] = []
    weights: dict[str, Tensor] = {}

    def find(module: nn.Module, _arguments: Any) -> None:
        if isinstance(module, PeftModel) and not models:
            models.append(module)
            weights.update(_trained(module))

    def note(*_: Any) -> None:
        moments.append(Moment(dict(weights), _trained(models[0])))
        weights.update(moments[-1].after)

    handles = [register_module_forward_pre_hook(find), register_optimizer_step_post_hook(note)]
    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
