"""The examples: each runs whole and does what it says, and what is called unseen was never trained on."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from medfinetune_api.choices import Method
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_cli.planning import planned
from medfinetune_trainer.data.formats.registry import read_source

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=sorted(EXAMPLES.glob("*/manifest.yaml")), ids=lambda path: path.parent.name)
def plan(request: pytest.FixtureRequest) -> RunPlan:
    manifest: Path = request.param
    return planned(manifest, manifest.parent, manifest.parent / "data", manifest.parent)


def test_the_minimal_example_learns_what_it_is_shown(tmp_path: Path) -> None:
    """As `make run` runs it: base built on the spot, two processes, all three stages."""
    run = [sys.executable, str(EXAMPLES / "01-minimal" / "run.py"), str(tmp_path)]
    ended = subprocess.run(run, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "Results: accuracy" in ended.stdout
    (file,) = tmp_path.glob("results/minimal-*/evaluation/summary.json")
    tasks = {task.task: task for task in EvaluationSummary.model_validate_json(file.read_bytes()).tasks}
    for name in ("seen-en", "seen-ko"):
        assert tasks[name].tuned.accuracy >= 0.95
        assert tasks[name].base is not None
        assert tasks[name].base.accuracy < 0.5
    assert (file.parents[1] / "adapter" / "adapter_model.safetensors").exists()


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
