"""The examples: their manifests resolve, and what is called unseen was never trained on. That the minimal one learns: `test_run`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from medfinetune_api.choices import Method
from medfinetune_api.plan import RunPlan
from medfinetune_cli.planning import planned
from medfinetune_trainer.data.formats.registry import read_source

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=sorted(EXAMPLES.glob("*/manifest.yaml")), ids=lambda path: path.parent.name)
def plan(request: pytest.FixtureRequest) -> RunPlan:
    manifest: Path = request.param
    return planned(manifest, manifest.parent, manifest.parent / "data", manifest.parent)


METHODS = sorted((EXAMPLES / "02-methods").glob("*.yaml"))


@pytest.mark.parametrize("manifest", METHODS, ids=lambda path: path.stem)
def test_every_method_has_a_manifest_that_resolves_on_the_minimal_example(manifest: Path) -> None:
    plan = planned(manifest, manifest.parent, EXAMPLES / "01-minimal" / "data", manifest.parent)
    assert plan.identity.name == manifest.stem
    assert f"[{manifest.stem}]({manifest.name})" in (manifest.parent / "README.md").read_text(encoding="utf-8")
    for source in (*plan.data.sources, *plan.data.validation.sources, *plan.evaluation.tasks):
        assert Path(plan.mounts.data, source.path).exists()


def test_every_method_and_variant_is_among_the_examples() -> None:
    plans = [planned(manifest, manifest.parent, manifest.parent, manifest.parent) for manifest in METHODS]
    assert {plan.tuning.method for plan in plans} == set(Method)
    assert {name for plan in plans if plan.tuning.lora for name in ("use_rslora", "use_dora") if getattr(plan.tuning.lora, name)} == {"use_rslora", "use_dora"}
    assert any(plan.output.merge for plan in plans)
    assert any(plan.tuning.initial_adapter for plan in plans)


def questions(plan: RunPlan, names: set[str]) -> set[str]:
    sources = (*plan.data.sources, *plan.data.validation.sources, *plan.evaluation.tasks)
    return {record.question for source in sources if source.name in names for record in read_source(source, Path(plan.mounts.data))}


def test_what_is_called_unseen_was_never_trained_on(plan: RunPlan) -> None:
    trained = questions(plan, {source.name for source in plan.data.sources})
    held_out = questions(plan, {source.name for source in plan.data.validation.sources})
    seen = questions(plan, {task.name for task in plan.evaluation.tasks if task.name.startswith("seen-")})
    unseen = questions(plan, {task.name for task in plan.evaluation.tasks if task.name.startswith("unseen-")})
    assert seen == trained
    assert unseen
    assert not unseen & (trained | held_out)
    assert not held_out & trained


def test_no_letter_answers_more_than_its_share(plan: RunPlan) -> None:
    """So that chance is one in four or five, whichever letter a model prefers."""
    for task in plan.evaluation.tasks:
        records = list(read_source(task, Path(plan.mounts.data)))
        letters = Counter(record.answer for record in records)
        assert max(letters.values()) - min(letters.values()) <= 1
        assert all(len(set(record.options)) == len(record.options) for record in records)
