"""A loss or gradient that is not a number, by where it came from: rows of the index and the documents in them, by number and source, never by text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medfinetune_api.errors import Diverged

from medfinetune_trainer.optim.parts import Rows
from medfinetune_trainer.optim.ranks import Ranks

SHOWN = 8
"""Most rows, and most documents, that a message names."""

AFTER_UPDATES = "Lower spec.training.learningRate, lengthen warmupSteps or set maxGradNorm, in a new run; complete checkpoints are kept."
BEFORE_ANY_UPDATE = "No update was made yet, so the rate is not the cause: compare the base's weights with the publisher's hashes, then look at these rows."

Passes = Sequence[tuple[range, float]]
"""The rows of a pass, and its loss."""


def diverged(where: str, found: str, passes: Passes, rows: Rows, ranks: Ranks, *, index: str, remedy: str) -> Diverged:
    """The refusal that names the worst of this rank's and all others' `passes`: those whose loss is not finite, else all, the greatest loss first. Collective.

    Args:
        where: `step 12`, or `validation`.
        found: what is not finite.
        passes: that this rank has run and that count.
        rows: that `passes` speak of.
        ranks: the gang.
        index: how a person calls the rows: `epoch 3`.
        remedy: of the refusal.
    """
    told = [each for some in ranks.gather(list(passes)) for each in some]
    broken = [each for each in told if not math.isfinite(each[1])] or told
    worst = [row for span, _ in sorted(broken, key=lambda each: (-each[1] if math.isfinite(each[1]) else -math.inf, each[0].start)) for row in span]
    documents = [document for row in worst[:SHOWN] for document in rows.documents(row)]
    named = _listed([f"{number} ({source})" for number, source in documents])
    return Diverged(where, found=f"{found} in rows {_listed(worst)} of {index}, documents {named}", expected="a finite loss and gradient", remedy=remedy)


def _listed(items: Sequence[object]) -> str:
    """The first few, and how many more."""
    shown = ", ".join(map(str, items[:SHOWN]))
    return shown if len(items) <= SHOWN else f"{shown} and {len(items) - SHOWN} more"
