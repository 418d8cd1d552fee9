"""Accelerators of any size: a forward pass that holds more tokens than the card has room for fails as torch's allocator does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from medfinetune_trainer.data.batch import PackedBatch
from medfinetune_trainer.model.loss import LossSums, packed_loss
from medfinetune_trainer.optim.fitting import PassTooLarge
from medfinetune_trainer.stages import trainee
from support.train import train_rank
from torch import nn

Room = Callable[[bool, int], float]
"""(whether in training mode, passes begun in this mode before) -> tokens that the card has room for."""


@contextmanager
def card(room: Room) -> Iterator[None]:
    """Train on a card of that size within the block; it stands in the place of the loss, where the forward pass begins."""
    begun = {True: 0, False: 0}

    def loss(model: nn.Module, batch: PackedBatch, groups: int) -> LossSums:
        begun[model.training] += 1
        if batch.tokens > room(model.training, begun[model.training] - 1):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return packed_loss(model, batch, groups)

    with patch.object(trainee, "packed_loss", loss):
        yield


def of(tokens: float) -> Room:
    """A card of one size."""
    return lambda training, begun: tokens


def shrinking(passes: int, tokens: float) -> Room:
    """A card that another program takes from after so many training passes."""
    return lambda training, begun: math.inf if not training or begun < passes else tokens


def small_in_validation(tokens: float) -> Room:
    """A card on which only validation does not fit."""
    return lambda training, begun: math.inf if training else tokens


def train_rank_on_card(rank: int, plan_json: str, folder: str, tokens: float) -> Any:
    """The rows of the pass that did not fit, and why: of a rank of `support.gang.gang`."""
    with card(of(tokens)):
        try:
            train_rank(rank, plan_json, folder)
        except PassTooLarge as refusal:
            return refusal.rows, refusal.found
    return None
