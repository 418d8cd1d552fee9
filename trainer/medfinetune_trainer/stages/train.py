"""Train: every node runs its ranks (`agent`), and they train (`train_loop`) from the newest complete checkpoint.

Node 0 first reads data and base whole and compares their hashes with prepare's, about a second a GB; its peers wait at the rendezvous meanwhile.
"""

from __future__ import annotations

import os
from dataclasses import replace

from medfinetune_api.choices import Stage
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult

from medfinetune_trainer.optim.early_stopping import told
from medfinetune_trainer.stages.agent import run_gang
from medfinetune_trainer.stages.halving import run_halving
from medfinetune_trainer.stages.node import Node
from medfinetune_trainer.stages.outcome import Outcome
from medfinetune_trainer.stages.prepared import micro_batch, require_base, require_data, require_initial_as_prepared, require_prepared


def run(plan: RunPlan) -> StageResult:
    """Train what is missing. The result carries the first real failure of this node's ranks, or their numbers.

    Raises:
        OutputConflict: prepare is not complete, was for another plan, or its data is damaged. InvalidModel: the base is not the one that prepare saw.
        Interrupted: stopped in good order. GangLost: a rank was killed, or nodes did not arrive. Stalled: no rank made progress.
        InvalidManifest: GPUs are missing, or MEDFINETUNE_MICRO_BATCH is no number of rows.
    """
    if plan.folder.final.exists() or plan.folder.released(plan.tuning.method).exists():
        return StageResult.of(Stage.TRAIN, Exit.SUCCEEDED, "It is trained already.")
    prepared = require_prepared(plan)
    micro_batch(prepared)
    node = Node.of(os.environ, plan.parallelism.processes_per_node)
    node.require_devices(plan.parallelism)
    if node.rank == 0:
        require_data(plan)
        require_base(plan, prepared)
        require_initial_as_prepared(plan, prepared)
    outcome = run_halving(plan, node, lambda each: run_gang(plan, Stage.TRAIN, each))
    trained = outcome if outcome.exit_code else replace(outcome, message=_told(plan, prepared.total_steps, outcome))
    return trained.result(Stage.TRAIN)


def _told(plan: RunPlan, total_steps: int, outcome: Outcome) -> str:
    early = plan.training.early_stopping
    return told(outcome.numbers, total_steps, early.patience if early else None, restores=early is not None and early.restore_best)
