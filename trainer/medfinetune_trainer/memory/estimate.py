"""MemoryEstimate: what one rank's accelerator holds at the peak of a training step.

A step has a few moments that can be its peak, and the parts are those of the greatest:
- the end of the forward pass, or of a layer that is computed again: DoRA's whole matrices, a prefix's cache;
- the loss: all that the forward pass keeps, and the logits of the loss tokens;
- the first layer of the backward pass: all that is kept (with activation checkpointing: layer inputs, and one layer computed again), and what its gradient
  takes for a moment;
- the layer after that, where gradients are shared out over ranks: the last layer's are there whole and as a share;
- the update: every gradient, and the optimizer's temporary values.

The sizes are those of tensors. What the allocator rounds up, CUDA's context and its libraries' workspaces take are the head-room's: `gpuMemoryHeadroom`.
"""

from __future__ import annotations

from dataclasses import dataclass

from medfinetune_api.choices import Offload, Sharding
from medfinetune_api.results import MemoryEstimate

from medfinetune_trainer.memory.activations import FP32, Kept, kept, stream_bytes
from medfinetune_trainer.memory.buffers import cache_bytes, cast_bytes, fetched_bytes, fetches, gathered_bytes, gradient_bytes
from medfinetune_trainer.memory.dora import gradient_beside_fetched_bytes, kept_weight_bytes, product_bytes
from medfinetune_trainer.memory.frozen import frozen
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.shape import ModelShape
from medfinetune_trainer.memory.states import state_bytes, update_bytes
from medfinetune_trainer.memory.trained import Trained, trained

LOGITS = 12
"""Bytes of one logit when the backward pass of the loss begins: log-probability, its gradient and the logit's gradient, all fp32 (`model/loss.py`)."""


def estimate(shape: ModelShape, job: Job, setting: Setting, limit: int | None = None) -> MemoryEstimate:
    """The peak of `job` on a base of `shape` under `setting`, in bytes; `limit` is handed on."""
    moments = _Moments(shape, job, setting, trained(shape, job.tuning))
    parts = max(moments.all(), key=lambda moment: sum(moment.values()))
    whole = {name: round(value) for name, value in parts.items()}
    return MemoryEstimate(**whole, total=sum(whole.values()), limit=limit)


@dataclass(frozen=True)
class _Moments:
    shape: ModelShape
    job: Job
    setting: Setting
    trained: Trained

    def all(self) -> list[dict[str, float]]:
        """Each, where it is one."""
        sharded = [] if self.setting.sharding is Sharding.NONE else [self.scattered()]
        return [self.forward(), self.loss(), self.backward(), *sharded, self.update()]

    def forward(self) -> dict[str, float]:
        """At the end of the last decoder layer's forward pass, or where it is computed again with the gradient of its output."""
        gradient = stream_bytes(self.job, self.setting.sharding) * self._tokens * self.shape.hidden if self.setting.checkpointing else 0
        product, cache = product_bytes(self.shape, self.job, self.setting), cache_bytes(self.shape, self.job, self.setting)
        return self._in_a_pass() | {"activations": self._in_a_layer, "logits": 0.0, "buffers": product + cache + gradient + self._standing}

    def loss(self) -> dict[str, float]:
        """When the gradient of the logits is made."""
        tokens = self.job.row_loss_tokens * self.setting.micro_batch
        logits = tokens * (LOGITS * self.shape.vocabulary + self.job.compute_bytes * self.shape.hidden)
        return self._in_a_pass() | {"activations": self._kept(), "logits": logits, "buffers": self._standing}

    def backward(self) -> dict[str, float]:
        """In the last decoder layer, which is the first of the backward pass."""
        of_dora = gradient_beside_fetched_bytes(self.shape, self.job, self.setting)
        buffers = max(gradient_bytes(self.shape, self.job, self.setting), of_dora) + self._standing
        return self._in_a_pass() | {"activations": self._in_a_layer, "logits": 0.0, "buffers": buffers}

    def scattered(self) -> dict[str, float]:
        """In the layer after that, where gradients are shared out: the buffer of the last layer's is whole until the next layer's, and this rank has its share.

        Where a step has one pass alone, nothing is accumulated, and gradients are at their most in the first layer: this rank's share of all.
        """
        one, layer = (self._in_a_layer if self._again else self._tokens * self._per_token.layer), FP32 * sum(self.trained.layer)
        buffers = gradient_bytes(self.shape, self.job, self.setting) + self._standing + layer
        if self._accumulated:
            gradients = self._accumulated - layer + layer / self._shards
            activations = self._in_a_layer - (0 if self._again else one)
        else:
            gradients, activations = FP32 * self._trained / self._shards, one
        return self._in_a_pass() | {"gradients": gradients, "activations": activations, "logits": 0.0, "buffers": buffers}

    def update(self) -> dict[str, float]:
        """When parameters are updated."""
        tensors = self.trained.tensors(self.shape.layers)
        temporary = update_bytes(tensors, self.job, self.setting.sharding) / self._shards
        gradients = FP32 * self._trained / self._shards
        return self._always() | {"gradients": gradients, "activations": 0.0, "logits": 0.0, "buffers": temporary + self._buckets}

    def _in_a_pass(self) -> dict[str, float]:
        """Where the base is sharded, its largest group (embedding, norm and head) is gathered through the whole pass."""
        always = self._always()
        gathered = frozen(self.shape, self.job).ends if self.setting.sharding is Sharding.FULL else 0
        return always | {"base": always["base"] + gathered, "gradients": self._accumulated}

    def _always(self) -> dict[str, float]:
        held = frozen(self.shape, self.job)
        base = held.total(self.shape.layers)
        return {
            "base": base / self.job.world_size if self.setting.sharding is Sharding.FULL else base,
            "quantization": held.constants,
            "trained": FP32 * self._trained / self._shards,
            "optimizer": state_bytes(self.trained.tensors(self.shape.layers), self.job) / self._shards,
        }

    def _kept(self) -> float:
        """Of the whole forward pass, on the accelerator."""
        one, layers = self._per_token, self.shape.layers
        if Offload.ACTIVATIONS in self.job.offload:
            return self._tokens * one.layer_input
        if self.setting.checkpointing:
            return self._tokens * (layers * one.layer_input + one.last_norm + one.angles)
        return self._tokens * (layers * one.layer - one.unkept + one.last_norm + one.angles)

    @property
    def _in_a_layer(self) -> float:
        """In the last decoder layer: what is kept, and where that is not all, one layer's; or what one operator has fetched from the host."""
        if fetches(self.job, self.setting):
            return fetched_bytes(self.shape, self.job, self.setting)
        return self._kept() + (self._tokens * self._per_token.layer if self._again else 0)

    @property
    def _again(self) -> bool:
        return self.setting.checkpointing or Offload.ACTIVATIONS in self.job.offload

    @property
    def _per_token(self) -> Kept:
        return kept(self.shape, self.job, self.setting.sharding)

    @property
    def _standing(self) -> float:
        """Copies that stand through the whole pass."""
        copies = cast_bytes(self.shape, self.job, self.setting, self.trained) + kept_weight_bytes(self.shape, self.job, self.setting)
        return gathered_bytes(self.shape, self.job, self.setting, self.trained) + copies + self._buckets

    @property
    def _trained(self) -> int:
        return self.trained.total(self.shape.layers)

    @property
    def _shards(self) -> int:
        """Ranks that share what is trained."""
        return 1 if self.setting.sharding is Sharding.NONE else self.job.world_size

    @property
    def _tokens(self) -> int:
        return self.job.row_tokens * self.setting.micro_batch

    @property
    def _accumulated(self) -> float:
        """Gradients of the passes before; `fully_shard` adds them up whole, and shares them out after the last."""
        return FP32 * self._trained if self.job.passes(self.setting.micro_batch) > 1 else 0

    @property
    def _buckets(self) -> float:
        """DDP's copies of the gradients."""
        return FP32 * self._trained if self.setting.sharding is Sharding.NONE and self.job.world_size > 1 else 0
