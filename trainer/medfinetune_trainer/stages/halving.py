"""A gang of one node whose pass does not fit begins again from its newest checkpoint, with half the rows in a pass.

Only where the plan leaves the micro-batch to us (Auto). A gang of several nodes ends as OUT_OF_MEMORY, and its executor starts it again: no node may decide
for the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan

from medfinetune_trainer.artifacts.history import History
from medfinetune_trainer.optim.fitting import OUT_OF_MEMORY
from medfinetune_trainer.stages.node import Node
from medfinetune_trainer.stages.outcome import Outcome
from medfinetune_trainer.stages.prepared import MICRO_BATCH
from medfinetune_trainer.telemetry.log import say


def run_halving(plan: RunPlan, node: Node, run: Callable[[Node], Outcome]) -> Outcome:
    """How `run(node)` ended, after as many tries with ever fewer rows as it takes. Raises what `run` does, and StorageFailed."""
    outcome = run(node)
    while (rows := _fewer(plan, node, outcome)) is not None:
        _tell(plan, int(outcome.numbers["micro_batch"]), rows, outcome.rank)
        os.environ[MICRO_BATCH] = str(rows)
        outcome = run(node.afresh())
    return outcome


def _fewer(plan: RunPlan, node: Node, outcome: Outcome) -> int | None:
    """Rows of the next try; None where there is none to be."""
    tried = int(outcome.numbers.get("micro_batch", 0)) if outcome.exit_code == Exit.OUT_OF_MEMORY else 0
    return tried // 2 if tried > 1 and node.nodes == 1 and plan.training.micro_batch == "Auto" else None


def _tell(plan: RunPlan, tried: int, rows: int, rank: int) -> None:
    """In the log, and in metrics.jsonl, whose writer has ended; the next one counts these lines."""
    say("out of memory", rank=rank, micro_batch=tried, next_micro_batch=rows)
    history = History(plan.folder.metrics, sys.maxsize)
    history.write(OUT_OF_MEMORY, micro_batch=tried, next_micro_batch=rows)
    history.close()
