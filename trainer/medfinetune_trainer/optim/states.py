"""An optimizer's states: made before the first step, and loaded into the tensors that are there.

Optimizers make a state at its parameter's first gradient, which comes late to a layer that gradual unfreezing holds back: a checkpoint written before then
would lack it, and a run that continues from it would miss it. And torch's and bitsandbytes' own loading moves every state to its parameter's device: states on
the host would come back to the GPU, and paged ones would no longer be paged.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class WithStates(Optimizer):
    """To be mixed in before an optimizer that has `init_state`, as bitsandbytes calls it."""

    def init_state(self, group: dict[str, Any], parameter: nn.Parameter, group_number: int, number: int) -> None:
        """Make the state of the parameter with this number in this group."""
        super().init_state(group, parameter, group_number, number)  # type: ignore[misc]  # of the class that this one is mixed into

    def make_states(self) -> None:
        """Make every state; they are those of no step."""
        for group_number, group in enumerate(self.param_groups):
            for number, parameter in enumerate(group["params"]):
                self.init_state(group, parameter, group_number, number)

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the values that `state_dict` of the same groups returned."""
        numbers = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        parameters = chain.from_iterable(group["params"] for group in self.param_groups)
        for number, parameter in zip(numbers, parameters, strict=True):
            _take(self.state[parameter], state_dict["state"][number])
        for group, loaded in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({name: value for name, value in loaded.items() if name != "params"})


class AdamW(WithStates, torch.optim.AdamW):
    """torch's AdamW, its moments where `home` says."""

    def home(self, parameter: nn.Parameter) -> torch.device:
        """Where the moments of `parameter` lie."""
        return parameter.device

    def init_state(self, group: dict[str, Any], parameter: nn.Parameter, group_number: int, number: int) -> None:
        """Moments of 0, in the parameter's type and sharding."""
        home = self.home(parameter)
        pinned = parameter.is_cuda and home.type == "cpu"
        moments = {name: torch.zeros_like(parameter, device=home, pin_memory=pinned) for name in ("exp_avg", "exp_avg_sq")}
        self.state[parameter] = {"step": torch.tensor(0.0), **moments}


def _take(state: dict[str, Any], loaded: Mapping[str, Any]) -> None:
    for name, value in loaded.items():
        if isinstance(value, Mapping):  # bitsandbytes packs its quantized tensors into one
            _take(state, value)
        elif isinstance(value, Tensor):
            state[name].copy_(value)
        else:
            state[name] = value
