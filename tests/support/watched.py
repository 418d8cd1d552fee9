"""What the optimizer steps of a run in this process do to the trained weights, and what its forward passes send to the host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfinetune_api.choices import Method, Sharding
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.optim.offload import ActivationsOnHost
from peft import PeftModel
from support.models import batch, built, low_rank
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
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


def sent_by(context: saved_tensors_hooks) -> list[tuple[int, ...]]:
    """The shapes that `context` will have copied to the host."""
    sent, pack = [], context.pack_hook

    def note(tensor: Tensor) -> Any:
        packed = pack(tensor)
        if not isinstance(packed, Tensor):
            sent.append(tuple(tensor.shape))
        return packed

    context.pack_hook = note
    return sent


def sent_by_a_rank(_: int, base: Path, sharding: Sharding) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """The shapes that a rank of a gang sends to the host in one pass, and those of the weights as products see them."""
    module, context = built(base, sharding, tuning=low_rank(Method.LORA)).train(), ActivationsOnHost()
    sent = sent_by(context)
    with context:
        loss = packed_loss(module, batch((5, 20, 9)), groups=2).loss
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
    return set(sent), {tuple(parameter.shape[::-1]) for parameter in module.parameters() if parameter.ndim == 2}


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
