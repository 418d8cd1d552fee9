"""Mixture: which records of each source an epoch trains on, so that groups of sources stand in the ratio that the manifest asks for.

A group is a language, a source or a domain. Downsampling keeps the group that is scarcest against its share whole and drops from the others;
repeating keeps every record and repeats those of groups that fall short. Draws come from numpy's PCG64, seeded by the run's seed and the group's
name, over the group's records in order of source name: they depend neither on the order in which sources are listed nor on the other groups' records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from medfinetune_api.choices import MixBy, MixFill, MixUnit
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.plan_data import MixturePlan
from numpy.typing import NDArray

from medfinetune_trainer.data.apportion import apportion, draw

Indices = NDArray[np.int64]
FIELD = "spec.data.mixture.ratio"
MAX_PASSES = 1000
"""How often an epoch may repeat a group: beyond, the ratio is a slip of the pen, and memory would run out before training began."""
MAX_GROWTH = 100
"""How many times the data there is an epoch may hold."""


@dataclass(frozen=True)
class Pool:
    """The records of one source that may be trained on: `lengths` (N,) in tokens."""

    name: str
    language: str
    domain: str
    lengths: NDArray[np.int32]

    def group(self, by: MixBy) -> str:
        """The name under which a ratio counts this source."""
        return {MixBy.LANGUAGE: self.language, MixBy.SOURCE: self.name, MixBy.DOMAIN: self.domain}[by]


def mix(pools: Sequence[Pool], mixture: MixturePlan | None, seed: int) -> list[Indices]:
    """For each pool, the indices of its records in an epoch, ascending; repeated records appear as often as they are trained on.

    With `Samples` each group is within one sample of its share; with `Tokens` within half its longest sample of the tokens asked for.

    Raises:
        InvalidManifest: the ratio names a group that no source has, leaves one out, gives one nothing to train on, or repeats beyond the bounds above.
    """
    if mixture is None:
        return [np.arange(len(pool.lengths)) for pool in pools]
    members = _members(pools, mixture)
    weights = {name: _weights(pools, indices, mixture.unit) for name, indices in members.items()}
    available = {name: int(weight.sum()) for name, weight in weights.items()}
    targets = _targets(available, mixture)
    _refuse_repetition(available, targets)
    chosen: list[Indices] = [np.empty(0, dtype=np.int64)] * len(pools)
    for name, indices in members.items():
        drawn = _draw(weights[name], targets[name], np.random.default_rng([seed, *name.encode()]))
        if not drawn.size:
            _refuse(
                name, "a share too small for a single record", "a ratio that leaves every named group at least one record", "Raise it, or remove the group."
            )
        starts = np.cumsum([0, *(len(pools[i].lengths) for i in indices)])
        for i, start, end in zip(indices, starts[:-1], starts[1:], strict=True):
            chosen[i] = drawn[(start <= drawn) & (drawn < end)] - start
    return chosen


def _members(pools: Sequence[Pool], mixture: MixturePlan) -> dict[str, list[int]]:
    """Group name -> positions of its pools, in order of source name. Raises InvalidManifest unless ratio and sources name the same groups."""
    members: dict[str, list[int]] = {name: [] for name in sorted(mixture.ratio)}
    kind = mixture.by.value.lower()
    for i in sorted(range(len(pools)), key=lambda i: pools[i].name):
        name = pools[i].group(mixture.by)
        if name not in members:
            _refuse(name, f"no share for a {kind} that source {pools[i].name} has", f"a share for every {kind}", "Add it to the ratio, or remove the source.")
        members[name].append(i)
    present = sorted(name for name, indices in members.items() if indices)
    for name, indices in members.items():
        if not indices:
            _refuse(name, f"a {kind} that no source has", f"one of {', '.join(present)}", "Correct the name, or add a source that has it.")
        if not any(pools[i].lengths.size for i in indices):
            _refuse(
                name, f"a {kind} without a record left to train on", "at least one record", "Look at what the over-long policy and the validation split took."
            )
    return members


def _targets(available: dict[str, int], mixture: MixturePlan) -> dict[str, float]:
    """How many samples, or tokens, each group is to have: in the ratio, as many as downsampling can keep or as few as repeating needs."""
    total = sum(mixture.ratio.values())
    shares = {name: mixture.ratio[name] / total for name in available}
    scales = [available[name] / share for name, share in shares.items()]
    down = mixture.fill is MixFill.DOWNSAMPLE
    scale = min(scales) if down else max(scales)
    if mixture.unit is MixUnit.TOKENS:
        return {name: share * scale for name, share in shares.items()}
    samples = int(np.floor(scale + 1e-6) if down else np.ceil(scale - 1e-6))
    return dict(zip(shares, apportion(samples, list(shares.values())).tolist(), strict=True))


def _refuse_repetition(available: dict[str, int], targets: dict[str, float]) -> None:
    passes = {name: targets[name] / available[name] for name in targets}
    growth = sum(targets.values()) / sum(available.values())
    name = max(passes, key=passes.__getitem__)
    if passes[name] > MAX_PASSES or growth > MAX_GROWTH:
        found = f"a share that repeats it {passes[name]:,.0f} times in an epoch, which grows {growth:,.0f} times as large as the data"
        expected = f"at most {MAX_PASSES:,} passes over a group, and {MAX_GROWTH} times the data"
        _refuse(name, found, expected, "Bring the shares closer to the data there is, or set fill: Downsample.")


def _weights(pools: Sequence[Pool], indices: Sequence[int], unit: MixUnit) -> Indices:
    lengths = np.concatenate([pools[i].lengths for i in indices]).astype(np.int64)
    return lengths if unit is MixUnit.TOKENS else np.ones_like(lengths)


def _draw(weights: Indices, target: float, random: np.random.Generator) -> Indices:
    """Positions whose weights sum as near to `target` as whole passes over all records and a random part of one more can come; ascending."""
    passes, rest = divmod(target + 1e-6, weights.sum())
    return np.sort(np.concatenate([np.tile(np.arange(len(weights)), int(passes)), draw(weights, rest, random)]))


def _refuse(name: str, found: str, expected: str, remedy: str) -> NoReturn:
    raise InvalidManifest(f"{FIELD}.{name}", found=found, expected=expected, remedy=remedy)
