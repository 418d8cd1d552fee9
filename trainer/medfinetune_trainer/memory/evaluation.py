"""What evaluation takes on one accelerator, by training's figures: the base whole, what was trained beside it, and one forward pass that keeps nothing.

Questions are as long as rows at most. The head runs at their last positions only (`evaluation/harness.py`): as many as the lengths in a batch differ by, which
come sorted, and the letters. Answers that the model writes keep keys and values of every layer for question and answer.
"""

from __future__ import annotations

from medfinetune_api.choices import Scoring
from medfinetune_api.plan import RunPlan

from medfinetune_trainer.memory.activations import FP32
from medfinetune_trainer.memory.choose import limit_of
from medfinetune_trainer.memory.frozen import frozen
from medfinetune_trainer.memory.job import Job
from medfinetune_trainer.memory.shape import ModelShape
from medfinetune_trainer.memory.trained import trained

ANSWER_POSITIONS = 16
"""Positions of a question at which the head runs, at most."""


def evaluation_bytes(plan: RunPlan, shape: ModelShape) -> int:
    """The peak of evaluation in one process, in bytes."""
    job, questions = Job.of(plan, 1.0), plan.evaluation.batch_size
    base = frozen(shape, job)
    weights = base.total(shape.layers) + base.constants + FP32 * trained(shape, plan.tuning).total(shape.layers)
    token = job.compute_bytes * (3 * shape.intermediate + 4 * shape.hidden) + FP32 * shape.hidden
    logits = questions * ANSWER_POSITIONS * shape.vocabulary * (job.compute_bytes + FP32)
    largest = job.compute_bytes * max(linear.weights for linear in shape.linears.values())
    return round(weights + questions * (job.row_tokens * token + job.compute_bytes * cached_values(plan, shape, job.row_tokens)) + logits + largest)


def cached_values(plan: RunPlan, shape: ModelShape, question: int) -> int:
    """Keys and values that one written answer keeps at its end, behind a question of so many tokens; 0 where no task is answered in words."""
    written = max((task.max_new_tokens for task in plan.evaluation.tasks if task.metrics or task.scoring is Scoring.GENERATION), default=0)
    return 2 * shape.layers * shape.key_value_heads * shape.head_size * (question + written) if written else 0


def needs_gang(plan: RunPlan, shape: ModelShape) -> bool:
    """Whether evaluate needs the whole gang: there is one, and the model does not fit one GPU."""
    limit = limit_of(plan)
    return plan.parallelism.world_size > 1 and limit is not None and evaluation_bytes(plan, shape) > limit
