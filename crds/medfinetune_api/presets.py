"""Named defaults: the settings of the published studies, as manifest fragments that lie under what the user wrote.

Precedence: the user's field, then the preset's, then DEFAULTS. A preset never names ratios, paths or languages: those belong to the manifest.
Where a study does not publish a value, the preset leaves it to DEFAULTS or says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medfinetune_api.choices import Method, Preset

Fragment = Mapping[str, Any]
"""Part of a spec, in the manifest's own spelling."""

DEFAULT_ROWS = 8
"""Rows of a batch where neither manifest nor preset sets globalBatchTokens."""
DEFAULT_FRACTION = 0.1
DEFAULT_STRATA = ("Language", "Subject")

DEFAULTS: Fragment = {
    "data": {"maxLength": 2048, "packing": "BestFit", "lossOn": "Response", "chatTemplate": "Tokenizer"},
    "tuning": {"method": "QLoRA"},
    "training": {
        "epochs": 3,
        "learningRate": 2e-4,
        "scheduler": {"type": "Cosine", "warmupSteps": 0, "minimumRatio": 0},
        "optimizer": {"type": "AdamW", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weightDecay": 0, "maxGradNorm": 1},
        "precision": "Auto",
        "microBatch": "Auto",
        "activationCheckpointing": "Auto",
    },
    "parallelism": {"sharding": "Auto"},
}

_PLAIN: Fragment = {"useRslora": False, "useDora": False, "loraplusLrRatio": 1}
_LORA: Fragment = {"lora": {"rank": 16, "alpha": 64, "dropout": 0.05, "targetModules": ["all-linear"], **_PLAIN}}
METHOD_DEFAULTS: Mapping[Method, Fragment] = {
    Method.QLORA: {"tuning": _LORA},
    Method.LORA: {"tuning": _LORA},
    Method.FULL: {},
    Method.PREFIX_TUNING: {"tuning": {"quantization": "NF4", "prefix": {"numVirtualTokens": 20}}, "data": {"packing": "None"}},
    Method.BOTTLENECK: {"tuning": {"quantization": "NF4", "bottleneck": {"size": 64, "placement": "Sequential", "scale": 1, "dropout": 0}}},
}
"""What lies between preset and DEFAULTS once the method is known."""

_MED42: Fragment = {
    "data": {"maxLength": 4096, "packing": "BestFit", "lossOn": "Response", "chatTemplate": "Med42"},
    "training": {
        "scheduler": {"type": "Cosine", "warmupSteps": 100, "minimumRatio": 0.1},
        "optimizer": {"type": "AdamW", "beta1": 0.9, "beta2": 0.95, "weightDecay": 0.1, "maxGradNorm": 1},
    },
}


def merged(over: Fragment, under: Fragment) -> dict[str, Any]:
    """`over` with what only `under` has, map by map; lists and scalars are taken whole from `over`."""
    both = {key: merged(value, under[key]) for key, value in over.items() if isinstance(value, Mapping) and isinstance(under.get(key), Mapping)}
    return {**under, **over, **both}


@dataclass(frozen=True)
class PresetDefinition:
    """One preset: where its values are published, what must hold for it to make sense, and the values."""

    source: str
    prerequisites: str
    values: Fragment


PRESETS: dict[Preset, PresetDefinition] = {
    Preset.YOO_2026: PresetDefinition(
        source="Yoo et al., CMC 2026, 87(3):20, phases 1 and 2 and Tables 5 and 6. The batch is not published: 8 rows.",
        prerequisites=(
            "GPUs (16-bit mixed precision is FP16). Balanced data is the mixture, which the manifest names: {by: Language, ratio: {en: 5, ko: 5}}. "
            "The published 8.4 M adapter parameters hold for attention layers only; the preset adapts every linear layer."
        ),
        values={
            "data": {"maxLength": 2048, "packing": "BestFit"},
            "tuning": {"method": "QLoRA", "lora": {"rank": 16, "alpha": 64, "targetModules": ["all-linear"]}},
            "training": {"epochs": 3, "learningRate": 2e-4, "scheduler": {"type": "Cosine"}, "globalBatchTokens": 16384, "precision": "FP16"},
            "parallelism": {"sharding": "AdaptersOnly"},
        },
    ),
    Preset.MED42_LORA: PresetDefinition(
        source="Christophe et al., Med42, arXiv 2404.14779, sections on training. The dropout and the batch are not published: 0.05, 16 rows.",
        prerequisites="A base whose tokenizer may take Med42's three-role template, and memory for it in 16 bits.",
        values=merged(
            {
                "tuning": {"method": "LoRA", "lora": {"rank": 8, "alpha": 16, "targetModules": ["all-linear"]}},
                "training": {"epochs": 8, "learningRate": 1e-4, "globalBatchTokens": 65536},
            },
            _MED42,
        ),
    ),
    Preset.MED42_FULL: PresetDefinition(
        source="Christophe et al., Med42, arXiv 2404.14779, sections on training. The batch is not published: 16 rows.",
        prerequisites="A base whose tokenizer may take Med42's three-role template, and 16 bytes of GPU memory a weight, which sharding Full spreads.",
        values=merged({"tuning": {"method": "Full"}, "training": {"epochs": 3, "learningRate": 5e-5, "globalBatchTokens": 65536}}, _MED42),
    ),
    Preset.LOW_MEMORY: PresetDefinition(
        source="Yoo et al., CMC 2026, 87(3):20, phase 2 (full sharding, batch size adjusted to what fits), with activations computed again.",
        prerequisites="None; slower than keeping activations. Sharding saves memory only with two ranks or more.",
        values={
            "data": {"maxLength": 1024, "packing": "BestFit"},
            "tuning": {"method": "QLoRA", "lora": {"rank": 16, "alpha": 64, "targetModules": ["all-linear"]}},
            "training": {"globalBatchTokens": 8192, "microBatch": 1, "activationCheckpointing": "Enabled"},
            "parallelism": {"sharding": "Full"},
        },
    ),
}
