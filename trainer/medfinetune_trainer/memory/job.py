"""Job and Setting: what of a plan decides its memory, and what is left to choose. Plain numbers, so that the same formulas are checked on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from medfinetune_api.choices import LossOn, Method, Offload, OptimizerType, Precision, Sharding
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_tuning import TuningPlan

ASSUMED_LOSS_SHARE = 0.1
"""Share of the tokens that carry loss where it has not been measured and loss is on responses: worded answers; where answers are letters it is 1 to 2 %."""


@dataclass(frozen=True)
class Setting:
    """One choice of what may be `Auto`."""

    sharding: Sharding
    """None, AdaptersOnly or Full."""
    checkpointing: bool
    """Whether activations are computed again in the backward pass."""
    micro_batch: int
    """Rows in one forward pass of one rank."""


@dataclass(frozen=True)
class Job:
    """The rest: what is trained, with what, on how many ranks."""

    tuning: TuningPlan
    optimizer: OptimizerType
    offload: tuple[Offload, ...]
    row_tokens: int
    """Tokens of a row, all of them real: packed rows are nearly full, and memory is wanted for the fullest."""
    row_loss_tokens: float
    """Tokens of a row that carry loss."""
    rows_per_step: int
    world_size: int
    compute_bytes: int
    """Of one number of the compute type: 2, or 4 in fp32."""
    cuda: bool
    """Whether CUDA's kernels run: varlen attention, dropout masks of one byte, AdamW over all tensors at once. The CPU's differ in these three."""

    @classmethod
    def of(cls, plan: RunPlan, loss_share: float) -> Job:
        """The job of `plan`, where `loss_share` of the tokens carry loss (0 to 1). Precision Auto is BF16 on CUDA and FP32 on the CPU."""
        training, cuda = plan.training, plan.parallelism.gpus_per_node > 0
        single = training.precision is Precision.FP32 or (training.precision is Precision.AUTO and not cuda)
        return cls(
            tuning=plan.tuning,
            optimizer=training.optimizer.type,
            offload=training.offload,
            row_tokens=plan.data.max_length,
            row_loss_tokens=loss_share * plan.data.max_length,
            rows_per_step=plan.rows_per_step,
            world_size=plan.parallelism.world_size,
            compute_bytes=4 if single else 2,
            cuda=cuda,
        )

    @property
    def trains_base(self) -> bool:
        """Whether the weights of the language model themselves are trained."""
        return self.tuning.method is Method.FULL

    @property
    def rows_per_rank(self) -> int:
        """Rows of a step that one rank runs: more in one pass would leave other ranks without."""
        return ceil(self.rows_per_step / self.world_size)

    def passes(self, micro_batch: int) -> int:
        """Forward passes of one rank in a step."""
        return ceil(ceil(self.rows_per_step / micro_batch) / self.world_size)


class LossShare(NamedTuple):
    """What is known of the share of tokens that carry loss before data is read."""

    least: float
    assumed: float


def known_loss_share(plan: RunPlan) -> LossShare:
    """Certain where loss is on all tokens; else at least none, and by assumption a tenth."""
    return LossShare(1.0, 1.0) if plan.data.loss_on is LossOn.ALL else LossShare(0.0, ASSUMED_LOSS_SHARE)
