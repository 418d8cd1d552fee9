"""resolve(): the one place where defaults, presets and paths are decided.

User's fields lie over the preset's, these over DEFAULTS. The result is checked by the manifest's own models and rules again, so that a combination which
only shows with the preset is refused like one the user wrote, and then becomes a RunPlan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from medfinetune_api.choices import Method, Quantization
from medfinetune_api.fields import Path, dotted
from medfinetune_api.manifest import ManifestErrors
from medfinetune_api.plan import Identity, Mounts, RunPlan
from medfinetune_api.presets import DEFAULT_FRACTION, DEFAULT_ROWS, DEFAULT_STRATA, DEFAULTS, METHOD_DEFAULTS, PRESETS, merged
from medfinetune_api.problems import problems_of
from medfinetune_api.spec import FineTuneSpec


def resolve(spec: FineTuneSpec, identity: Identity, mounts: Mounts) -> RunPlan:
    """Decide everything a run is told. Deterministic: equal arguments give equal plans, byte for byte.

    Args:
        spec: a valid spec.
        identity: whose run it is.
        mounts: where this executor sees the volumes; no part of the plan's hash.

    Raises:
        ManifestErrors: the spec and its preset cannot go together.
    """
    chosen = _chosen(spec)
    method = Method(chosen.get("tuning", {}).get("method", DEFAULTS["tuning"]["method"]))
    complete = _complete(merged(merged(chosen, METHOD_DEFAULTS[method]), DEFAULTS))
    _check(spec, complete)
    return RunPlan.model_validate_json(json.dumps(_plan(complete, identity, mounts)), strict=True)


def _chosen(spec: FineTuneSpec) -> dict[str, Any]:
    written = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return merged(written, PRESETS[spec.preset].values) if spec.preset else written


def _complete(spec: dict[str, Any]) -> dict[str, Any]:
    """Defaults that depend on other fields."""
    data, training = spec["data"], spec["training"]
    held_out = data.get("validation", {})
    if "sources" not in held_out:
        held_out = {"fraction": DEFAULT_FRACTION, "stratifyBy": list(DEFAULT_STRATA), **held_out}
    batch = {"globalBatchTokens": DEFAULT_ROWS * data["maxLength"], **training}
    return {**spec, "data": {**data, "validation": held_out}, "training": batch}


def _check(spec: FineTuneSpec, complete: Mapping[str, Any]) -> None:
    """Hold the completed spec against the manifest's own rules."""

    def locate(path: Path) -> str:
        return dotted(path) + (f" (with preset {spec.preset})" if spec.preset else " (with defaults)")

    try:
        FineTuneSpec.model_validate_json(json.dumps(complete), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ManifestErrors(tuple(problems_of(error, FineTuneSpec, locate, above=("spec",)))) from None


def _plan(spec: Mapping[str, Any], identity: Identity, mounts: Mounts) -> dict[str, Any]:
    data, held_out = spec["data"], spec["data"]["validation"]
    return {
        "identity": identity.model_dump(by_alias=True),
        "mounts": mounts.model_dump(by_alias=True),
        "model": _without(spec["model"], "volume"),
        "data": {
            **_without(data, "volume"),
            "validation": {"fraction": 0, "stratifyBy": [], "sources": [], **held_out},
            "mixture": _mixture(data.get("mixture")),
        },
        "tuning": _tuning(spec["tuning"]),
        "training": spec["training"],
        "parallelism": {**spec["parallelism"], **_gpu(spec["resources"])},
        "checkpoint": spec["checkpoint"],
        "evaluation": spec["evaluation"],
        "output": {"retain": sorted(set(spec["output"]["retain"])), "merge": spec["output"]["merge"]},
    }


def _tuning(tuning: Mapping[str, Any]) -> dict[str, Any]:
    """With the quantization that the method implies, and `all-linear` as the one word that it is."""
    implied = Quantization.NF4 if tuning["method"] == Method.QLORA else Quantization.NONE
    lora = tuning.get("lora")
    if lora and lora["targetModules"] == ["all-linear"]:
        lora = {**lora, "targetModules": "all-linear"}
    return {"quantization": implied, **tuning, "lora": lora}


def _gpu(resources: Mapping[str, Any]) -> dict[str, Any]:
    return {"gpuMemory": _bytes(resources.get("gpuMemory")), "gpuMemoryHeadroom": resources["gpuMemoryHeadroom"]}


def _bytes(quantity: str | None) -> int | None:
    """A memory quantity such as 24Gi in bytes."""
    if quantity is None:
        return None
    power = 1 + ("Ki", "Mi", "Gi", "Ti").index(quantity[-2:]) if quantity.endswith("i") else 0
    return int(quantity.rstrip("KMGTi")) << 10 * power


def _mixture(mixture: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Names in order, so that the hash does not depend on the order they were written in."""
    return {**mixture, "ratio": dict(sorted(mixture["ratio"].items()))} if mixture else None


def _without(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}
