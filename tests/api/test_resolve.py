"""resolve(): deterministic, whole, and in one order of precedence: user, preset, default."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import Method, Preset
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.identity import local_identity
from medfinetune_api.manifest import parse_manifest
from medfinetune_api.plan import Identity, Mounts, RunPlan
from medfinetune_api.presets import DEFAULTS, PRESETS, Fragment
from medfinetune_api.resolve import resolve
from support.manifest_strategies import manifests
from support.manifests import minimal_manifest, plan_for

MODELS, DATA, OUTPUT = Path("/m"), Path("/d"), Path("/o")
HERE, THERE = (Mounts(models=f"/{place}/m", data=f"/{place}/d", output=f"/{place}/o") for place in ("here", "there"))
SOMEONE = Identity(name="run", namespace="hospital", uid="0c2e7a3e-5c38-4c7b-9d8e-1f2a3b4c5d6e")


def plan_of(**spec: Any) -> RunPlan:
    return plan_for(minimal_manifest(**spec), MODELS, DATA, OUTPUT)


def leaves(fragment: Fragment, prefix: str = "") -> dict[str, Any]:
    """Dotted field -> value."""
    found: dict[str, Any] = {}
    for key, value in fragment.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def planned(plan: RunPlan) -> dict[str, Any]:
    values = leaves(json.loads(plan.to_json()))
    return values | {"tuning.lora.targetModules": [values["tuning.lora.targetModules"]]}


def shuffled(value: Any, random: Any) -> Any:
    """The same maps with their keys in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], random) for key in random.sample(list(value), len(value))}
    return [shuffled(part, random) for part in value] if isinstance(value, list) else value


@settings(max_examples=80, deadline=None)
@given(manifests(), st.randoms(use_true_random=False))
def test_a_plan_depends_on_what_the_manifest_says_and_on_nothing_else(manifest: dict[str, Any], random: Any) -> None:
    first, again = parse_manifest(manifest), parse_manifest(shuffled(manifest, random))
    plan = resolve(first.spec, local_identity(first), HERE)
    other = resolve(again.spec, local_identity(again), THERE)
    assert (plan.sha256, plan.identity) == (other.sha256, other.identity)
    assert other.model_copy(update={"mounts": HERE}) == plan
    assert RunPlan.model_validate_json(plan.to_json()) == plan
    assert RunPlan.model_validate_json(plan.to_json()).to_json() == plan.to_json()
    assert plan.rows_per_step * plan.data.max_length == plan.training.global_batch_tokens


@settings(max_examples=80, deadline=None)
@given(manifests())
def test_what_the_user_wrote_prevails(manifest: dict[str, Any]) -> None:
    written = leaves({part: manifest["spec"].get(part, {}) for part in ("training", "checkpoint", "parallelism")})
    parsed = parse_manifest(manifest)
    assert written.items() <= planned(resolve(parsed.spec, SOMEONE, HERE)).items()


@pytest.mark.parametrize("preset", [Preset.YOO_2026, Preset.MED42_LORA, Preset.LOW_MEMORY])
def test_a_preset_lies_over_the_defaults(preset: Preset) -> None:
    expected = leaves(DEFAULTS) | leaves(PRESETS[preset].values)
    assert expected.items() <= planned(plan_of(preset=preset.value)).items()


def test_without_a_preset_the_defaults_hold() -> None:
    assert leaves(DEFAULTS).items() <= planned(plan_of()).items()
    assert plan_of(data={"maxLength": 300}).rows_per_step == 8


def test_the_studies_are_quoted_rightly() -> None:
    """Yoo et al. 2026, phase 2; Med42, arXiv 2404.14779."""
    yoo, med42 = plan_of(preset="yoo-2026"), plan_of(preset="med42-lora")
    assert (yoo.tuning.lora.rank, yoo.tuning.lora.alpha, yoo.training.learning_rate, yoo.training.epochs, yoo.data.max_length) == (16, 64, 2e-4, 3, 2048)
    assert (med42.tuning.lora.rank, med42.tuning.lora.alpha, med42.training.learning_rate, med42.training.epochs) == (8, 16, 1e-4, 8)
    optimizer, scheduler = med42.training.optimizer, med42.training.scheduler
    assert (optimizer.beta1, optimizer.beta2, optimizer.weight_decay, optimizer.max_grad_norm) == (0.9, 0.95, 0.1, 1.0)
    full = plan_of(preset="med42-full")
    assert (full.tuning.method, full.tuning.lora, full.tuning.quantization, full.training.learning_rate) == ("Full", None, "None", 5e-5)
    assert (scheduler.warmup_steps, scheduler.minimum_ratio, med42.data.max_length, med42.data.chat_template) == (100, 0.1, 4096, "Med42")


@pytest.mark.parametrize("preset", list(Preset))
def test_every_preset_is_a_valid_part_of_a_manifest(preset: Preset) -> None:
    parse_manifest(minimal_manifest(**copy.deepcopy(dict(PRESETS[preset].values))))


CONFLICTS: dict[str, tuple[dict[str, Any], str]] = {
    "batch not in whole rows": ({"preset": "yoo-2026", "data": {"maxLength": 3000}}, "spec.training.globalBatchTokens (with preset yoo-2026): found 16384"),
    "FP16 without a GPU": ({"preset": "yoo-2026", "parallelism": {"gpusPerNode": 0}}, "spec.training.precision (with preset yoo-2026): found 'FP16'"),
    "batch smaller than the default row": ({"training": {"globalBatchTokens": 1024}}, "spec.training.globalBatchTokens (with defaults): found 1024"),
    "Full with a preset's adapter": (
        {"preset": "yoo-2026", "tuning": {"method": "Full"}},
        "spec.tuning.lora (with preset yoo-2026): found lora with method Full",
    ),
}


@pytest.mark.parametrize(("spec", "message"), CONFLICTS.values(), ids=CONFLICTS.keys())
def test_what_only_shows_with_the_preset_is_refused_too(spec: dict[str, Any], message: str) -> None:
    parse_manifest(minimal_manifest(**spec))
    with pytest.raises(InvalidManifest) as caught:
        plan_of(**spec)
    assert message in str(caught.value)


@pytest.mark.parametrize("method", list(Method))
def test_a_plan_holds_its_methods_shape_and_no_other(method: Method) -> None:
    tuning = plan_of(tuning={"method": method}).tuning
    shapes = {Method.QLORA: "lora", Method.LORA: "lora", Method.PREFIX_TUNING: "prefix", Method.BOTTLENECK: "bottleneck"}
    assert [name for name in ("lora", "prefix", "bottleneck") if getattr(tuning, name)] == ([shapes[method]] if method in shapes else [])
    assert (tuning.quantization == "None") == (method in (Method.LORA, Method.FULL))
    assert plan_of(tuning={"method": method}).data.packing == ("None" if method is Method.PREFIX_TUNING else "BestFit")


def test_validation_sources_take_the_place_of_a_fraction() -> None:
    held_out = {"name": "held", "path": "held.csv", "format": "KorMedMCQA", "language": "ko"}
    plan = plan_of(data={"validation": {"sources": [held_out]}})
    assert (plan.data.validation.fraction, plan.data.validation.stratify_by, plan.data.validation.sources[0].path) == (0, (), "held.csv")
    assert plan_of().data.validation.fraction == 0.1


def test_another_spec_or_name_is_another_run() -> None:
    folders = {plan_for(minimal_manifest(training={"seed": seed}), MODELS, DATA, OUTPUT, name=name).folder.root for seed in (0, 1) for name in ("a", "b")}
    assert len(folders) == 4
    assert plan_of(training={"seed": 0}).identity == plan_of().identity
