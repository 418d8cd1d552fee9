"""In which decoder layers the adapter acts (Yoo et al. 2026, Fig. 2): how much it adds to the outputs of the linear layers that it adapts, by task.

The study does not publish its formula. Ours is ||h' - h|| / ||h||, where h is what the base's linear layer gives for a token and h' what it gives with its
adapter: 0 where the adapter does nothing, 1 where it adds as much as there was. The questions are read as they are asked, without an answer, one at a time: no
padding counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from medfinetune_api.results_activation import TaskActivation
from torch import Tensor, nn

from medfinetune_trainer.data.records import Message, Record
from medfinetune_trainer.data.template import Renderer
from medfinetune_trainer.data.tokenise import encode
from medfinetune_trainer.telemetry.heartbeat import beat

QUESTIONS = 32
"""Of a task, the first ones asked: a mean over some thousand tokens."""
_LAYER = re.compile(r"\.layers\.(\d+)\.")


def activation(model: nn.Module, renderer: Renderer, task: str, language: str, records: Sequence[Record]) -> TaskActivation:
    """How strongly the low-rank adapter of `model` acts on the first QUESTIONS of `records`. Every rank of a gang calls it.

    Args:
        model: with its adapter on, in evaluation mode.
        renderer: of the plan's template.
        task, language: what the records are.
        records: questions, as they are asked.
    """
    read = records[:QUESTIONS]
    with torch.no_grad(), _strengths(model) as found:
        for record in read:
            beat("activations")
            ids = encode(renderer.prompt_text([Message("user", record.prompt)], record.where), renderer.tokenizer)
            model(input_ids=torch.tensor([ids], device=_device(model)), use_cache=False, logits_to_keep=1)
    return TaskActivation(task=task, language=language, questions=len(read), layers=tuple(_mean(found[layer]) for layer in range(max(found, default=-1) + 1)))


@contextmanager
def _strengths(model: nn.Module) -> Iterator[Mapping[int, list[Tensor]]]:
    """Collect, by decoder layer, the sum over tokens of each forward pass of each adapted module, and the number of tokens."""
    found: defaultdict[int, list[Tensor]] = defaultdict(list)
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            layer = _LAYER.search(name)
            base = getattr(module, "base_layer", None)
            if layer and isinstance(base, nn.Module):
                for handle in _watch(module, base, found[int(layer.group(1))]):
                    hooks.callback(handle.remove)
        yield found


def _watch(module: nn.Module, base: nn.Module, found: list[Tensor]) -> Sequence[Any]:
    plain: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        plain[:] = [output.detach().float().clone()]

    def compare(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        if plain:
            before = plain.pop()
            shares = (output.float() - before).norm(dim=-1) / before.norm(dim=-1).clamp_min(1e-12)
            found.append(torch.stack((shares.sum(), shares.new_tensor(shares.numel()))))

    return base.register_forward_hook(keep), module.register_forward_hook(compare)


def _mean(strengths: Sequence[Tensor]) -> float:
    """Over all tokens: a question of many counts for more."""
    total = torch.stack(list(strengths)).double().sum(dim=0) if strengths else torch.tensor((0.0, 1.0))
    return float(total[0] / total[1])


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
