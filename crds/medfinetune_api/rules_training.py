"""The cross-field rules of `tuning` and `training`: which parts of a method go together. What a rule is: `ruled.py`; the others: `rules.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from medfinetune_api.choices import Method, Offload, OptimizerType, Packing, Sharding, Toggle
from medfinetune_api.ruled import Rule
from medfinetune_api.rules import unique

if TYPE_CHECKING:
    from medfinetune_api.spec import FineTuneSpec
    from medfinetune_api.spec_training import TrainingSpec
    from medfinetune_api.spec_tuning import LoraSpec

LOW_RANK = (Method.QLORA, Method.LORA)
NEED_GPU = (OptimizerType.ADAMW_8BIT, OptimizerType.PAGED_ADAMW, OptimizerType.PAGED_ADAMW_8BIT)
_LOW_RANK_CEL = "['QLoRA', 'LoRA']"


# tuning


def _only_with(field: str, methods: tuple[Method, ...], default: bool, words: str) -> Rule:
    """`field` is set only where the method is one of `methods`; `default` says whether an absent method is."""
    attribute = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field)
    listed = ", ".join(f"'{method}'" for method in methods)
    absent, present = "!has(self.method) || " if default else "", "" if default else "has(self.method) && "
    return Rule(
        cel=f"!has(self.{field}) || {absent}({present}self.method in [{listed}])",
        holds=lambda tuning: getattr(tuning, attribute) is None or (default if tuning.method is None else tuning.method in methods),
        found=lambda tuning: f"{field} with method {tuning.method or 'QLoRA, the default'}",
        expected=f"{field} only with method {words}",
        remedy=f"Remove {field}, or choose its method.",
        field=f".{field}",
        reason="FieldValueForbidden",
    )


LORA_WITH_METHOD = _only_with("lora", LOW_RANK, True, "QLoRA or LoRA")
PREFIX_WITH_METHOD = _only_with("prefix", (Method.PREFIX_TUNING,), False, "PrefixTuning")
BOTTLENECK_WITH_METHOD = _only_with("bottleneck", (Method.BOTTLENECK,), False, "Bottleneck")
QUANTIZATION_WITH_METHOD = _only_with("quantization", (Method.PREFIX_TUNING, Method.BOTTLENECK), False, "PrefixTuning or Bottleneck: the others imply theirs")
INITIAL_ADAPTER_WITH_METHOD = _only_with(
    "initialAdapter", (*LOW_RANK, Method.PREFIX_TUNING, Method.BOTTLENECK), True, "QLoRA, LoRA, PrefixTuning or Bottleneck: Full has no adapter"
)


def _targets_hold(lora: LoraSpec) -> bool:
    return lora.target_modules is None or "all-linear" not in lora.target_modules or len(lora.target_modules) == 1


ALL_LINEAR_ALONE = Rule(
    cel="!has(self.targetModules) || !('all-linear' in self.targetModules) || self.targetModules.size() == 1",
    holds=_targets_hold,
    expected="all-linear alone, or a list of layer names",
    remedy="Remove the other names, which all-linear includes, or all-linear itself.",
    field=".targetModules",
)

TARGETS_UNIQUE = unique("targetModules", "", lambda lora: lora.target_modules or ())


# training

OFFLOAD_UNIQUE = unique("offload", "", lambda training: training.offload)


def _not_paged(training: TrainingSpec) -> bool:
    kind = training.optimizer.type if training.optimizer else None
    return Offload.OPTIMIZER not in training.offload or kind in (None, OptimizerType.ADAMW)


OFFLOAD_NOT_PAGED = Rule(
    cel="!has(self.offload) || !('Optimizer' in self.offload) || !has(self.optimizer) || !has(self.optimizer.type) || self.optimizer.type == 'AdamW'",
    holds=_not_paged,
    found=lambda training: f"Optimizer with optimizer type {training.optimizer.type}",
    expected="Optimizer only with optimizer type AdamW",
    remedy="Remove Optimizer from offload, or choose AdamW: the paged optimizers leave the GPU by themselves.",
    field=".offload",
    reason="FieldValueForbidden",
)


# method, training, data and gang together


def _spec(field: str, cel: str, holds: Callable[[Any], bool], expected: str, remedy: str) -> Rule:
    return Rule(cel=cel, holds=holds, expected=expected, remedy=remedy, field=field, reason="FieldValueForbidden")


_PREFIX_CEL = "!has(self.tuning) || !has(self.tuning.method) || self.tuning.method != 'PrefixTuning'"


def _method(spec: FineTuneSpec) -> Method | None:
    return spec.tuning.method if spec.tuning else None


PREFIX_UNPACKED = _spec(
    ".data.packing",
    f"{_PREFIX_CEL} || !has(self.data.packing) || self.data.packing == 'None'",
    lambda spec: _method(spec) is not Method.PREFIX_TUNING or spec.data.packing in (None, Packing.NONE),
    "None with method PrefixTuning",
    "Set packing: None, or choose another method: packed documents would see each other through a shared prefix.",
)
PREFIX_HAS_NO_LAYERS = _spec(
    ".training",
    f"{_PREFIX_CEL} || (!has(self.training.gradualUnfreezing) && (!has(self.training.layerDecay) || self.training.layerDecay == 1.0))",
    lambda spec: _method(spec) is not Method.PREFIX_TUNING or (spec.training.gradual_unfreezing is None and spec.training.layer_decay == 1),
    "neither layerDecay nor gradualUnfreezing with method PrefixTuning",
    "Remove them: a prefix is one tensor for all layers.",
)
PREFIX_KEEPS_ACTIVATIONS = _spec(
    ".training.activationCheckpointing",
    f"{_PREFIX_CEL} || !has(self.training.activationCheckpointing) || self.training.activationCheckpointing != 'Enabled'",
    lambda spec: _method(spec) is not Method.PREFIX_TUNING or spec.training.activation_checkpointing is not Toggle.ON,
    "Auto or Disabled with method PrefixTuning",
    "Set it to Auto or Disabled, or choose another method: computing a layer again would leave the prefix out.",
)
MERGE_LOW_RANK = _spec(
    ".output.merge",
    f"!has(self.output.merge) || !self.output.merge || !has(self.tuning) || !has(self.tuning.method) || self.tuning.method in {_LOW_RANK_CEL}",
    lambda spec: not spec.output.merge or _method(spec) is None or _method(spec) in LOW_RANK,
    "merge only with method QLoRA or LoRA",
    "Remove merge: a prefix or a bottleneck is no change of the base's weights, and Full leaves a whole model anyway.",
)
FULL_HAS_NO_ADAPTERS = _spec(
    ".parallelism.sharding",
    "!has(self.tuning) || !has(self.tuning.method) || self.tuning.method != 'Full' || !has(self.parallelism.sharding) || "
    "self.parallelism.sharding != 'AdaptersOnly'",
    lambda spec: _method(spec) is not Method.FULL or spec.parallelism.sharding is not Sharding.ADAPTERS_ONLY,
    "Full, None or Auto with method Full",
    "Choose sharding: Full, which spreads masters, gradients and optimizer states: there are no adapters to shard alone.",
)
OPTIMIZER_NEEDS_GPU = _spec(
    ".training.optimizer.type",
    "!has(self.training.optimizer) || !has(self.training.optimizer.type) || self.training.optimizer.type == 'AdamW' || self.parallelism.gpusPerNode > 0",
    lambda spec: spec.training.optimizer is None or spec.training.optimizer.type not in NEED_GPU or spec.parallelism.gpus_per_node > 0,
    "AdamW where gpusPerNode is 0",
    "Set type: AdamW, or train on GPUs: the 8-bit and paged optimizers are CUDA programs.",
)
OPTIMIZER_UNSHARDED = _spec(
    ".parallelism.sharding",
    "!has(self.training.optimizer) || !has(self.training.optimizer.type) || self.training.optimizer.type == 'AdamW' || !has(self.parallelism.sharding)"
    " || self.parallelism.sharding in ['Auto', 'None']",
    lambda spec: (
        spec.training.optimizer is None or spec.training.optimizer.type not in NEED_GPU or spec.parallelism.sharding in (None, Sharding.AUTO, Sharding.NONE)
    ),
    "None or Auto with an 8-bit or paged optimizer",
    "Set sharding: None, or type: AdamW: these optimizers cannot update shards.",
)
STOPPING_NEEDS_VALIDATION = _spec(
    ".training.earlyStopping",
    "!has(self.training.earlyStopping) || !has(self.data.validation) || !has(self.data.validation.fraction) || self.data.validation.fraction > 0.0",
    lambda spec: spec.training.early_stopping is None or spec.data.validation is None or spec.data.validation.fraction != 0,
    "records to validate on",
    "Hold a fraction out, or remove earlyStopping: without validation nothing says when to stop.",
)
