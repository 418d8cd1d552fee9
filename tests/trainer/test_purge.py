"""The purge as a program: what goes and what stays, whoever kills it, whatever links stand in its way; a purged run is still a complete one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from medfinetune_api.choices import Retained, Stage
from medfinetune_api.exits import Exit
from medfinetune_api.plan import OutputPlan, RunPlan
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_trainer.artifacts.fence import ATTEMPT, FENCE
from medfinetune_trainer.artifacts.lineage import lineage_of, write
from medfinetune_trainer.stages import evaluate, prepare, train
from medfinetune_trainer.stages.holding import LOCK
from medfinetune_trainer.stages.prepared import require_prepared
from medfinetune_trainer.stages.purge import run
from support.evaluation import evaluation_plan, mark_prepared, tiny_base
from support.stages import run_stage

STAYS = {
    "plan.json",
    "prepared.json",
    "metrics.jsonl",
    "adapter/adapter_model.safetensors",
    "adapter/manifest.json",
    "evaluation/results_base.json",
    "evaluation/results_tuned.json",
    "evaluation/summary.json",
    LOCK,
    ".run.lock",
    FENCE,
}
WORKING = {
    Retained.DATA: {"data/manifest.json", "data/train/data.arrow", "data/epochs/epoch-0.arrow"},
    Retained.SAMPLES: {"evaluation/samples_base_a.jsonl", "evaluation/samples_tuned_b.jsonl"},
    Retained.CHECKPOINTS: {"checkpoints/step-2/manifest.json", "checkpoints/step-2/__0_0.distcp", "checkpoints/final/adapter_model.safetensors"},
}
UNFINISHED = {
    ".cache-train-0-a2/datasets/a",
    ".data.0a1b2c3d/train/data.arrow",
    ".plan.json.0a1b2c3d",
    ".fence.0a1b2c3d",
    "evaluation/.samples_base_a.jsonl.0a1b2c3d",
    "checkpoints/.step-4.0a1b2c3d/__0_0.distcp",
}
SUBSETS = [subset for size in range(4) for subset in itertools.combinations(Retained, size)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("models") / "base")


def filled(output: Path, base: Path, retain: Sequence[Retained] = ()) -> RunPlan:
    """A run folder with something of everything."""
    plan = evaluation_plan(output, base, ()).model_copy(update={"output": OutputPlan(retain=tuple(retain), merge=False)})
    for name in STAYS.union(UNFINISHED, *WORKING.values()):
        file = plan.folder.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    plan.folder.plan.write_text(plan.to_json())
    return plan


def files(plan: RunPlan) -> set[str]:
    return {str(path.relative_to(plan.folder.root)) for path in plan.folder.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("retain", SUBSETS, ids=lambda subset: "+".join(subset) or "nothing")
def test_what_is_not_retained_goes_and_all_else_stays(tmp_path: Path, base: Path, retain: Sequence[Retained]) -> None:
    plan = filled(tmp_path, base, retain)
    for removed in (True, False):
        result = run(plan)
        assert (result.exit_code, result.numbers["removed"] > 0) == (Exit.SUCCEEDED, removed)
        left = {name for name in files(plan) if not any(part.startswith(".") for part in Path(name).parts[:-1])}
        kept = {name for kind in retain for name in WORKING[kind]}
        assert left == STAYS | kept
        assert not any((plan.folder.root / name).exists() for name in UNFINISHED)


KILLED = """
import os, shutil
removed = []
unlink = os.unlink
def dying(*arguments, **options):
    if len(removed) == {count}: os.kill(os.getpid(), 9)
    removed.append(1)
    unlink(*arguments, **options)
os.unlink = dying
"""


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_killed_half_way_it_removes_the_rest_when_started_again(tmp_path: Path, base: Path, count: int) -> None:
    plan = filled(tmp_path, base)
    with pytest.raises(AssertionError, match="stdout must hold the result"):
        run_stage("purge", plan, KILLED.format(count=count))
    assert files(plan) > STAYS
    ended = run_stage("purge", plan)
    assert (ended.code, files(plan)) == (Exit.SUCCEEDED, STAYS), ended.result


def test_a_link_is_removed_and_not_followed_and_one_in_place_of_a_folder_is_refused(tmp_path: Path, base: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "samples_mine.jsonl").write_text("not the run's")
    plan = filled(tmp_path / "output", base)
    (plan.folder.data / "link").symlink_to(elsewhere)
    (plan.folder.root / ".cache-link").symlink_to(elsewhere)
    assert run_stage("purge", plan).code == Exit.SUCCEEDED
    (plan.folder.data).symlink_to(elsewhere)
    assert run_stage("purge", plan).code == Exit.SUCCEEDED
    assert files(plan) == STAYS
    plan.folder.evaluation.rename(plan.folder.root / "moved")
    plan.folder.evaluation.symlink_to(elsewhere)
    ended = run_stage("purge", plan)
    assert (ended.code, "a symbolic link" in ended.result.message) == (Exit.OUTPUT_CONFLICT, True)
    assert (elsewhere / "samples_mine.jsonl").exists()


def test_a_run_that_never_began_is_purged_and_its_ghosts_find_the_number(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ATTEMPT, "1")
    plan = evaluation_plan(tmp_path / "output", base, ())
    assert run_stage("purge", plan).code == Exit.SUCCEEDED
    assert files(plan) == {FENCE}
    ghost = run_stage("prepare", plan)
    assert (ghost.code, "attempt 1 of purge at work" in ghost.result.message) == (Exit.OUTPUT_CONFLICT, True)
    assert files(plan) == {FENCE}


def test_the_folder_of_another_plan_is_not_purged(tmp_path: Path, base: Path) -> None:
    plan = filled(tmp_path, base)
    other = plan.model_copy(update={"output": OutputPlan(retain=(Retained.DATA,), merge=False)})
    before = files(plan)
    assert run_stage("purge", other).code == Exit.OUTPUT_CONFLICT
    assert files(plan) == before


def test_every_stage_sees_a_purged_run_as_complete(tmp_path: Path, base: Path) -> None:
    plan = filled(tmp_path, base)
    mark_prepared(plan)
    plan.folder.summary.write_text(EvaluationSummary(plan_sha256=plan.sha256, tasks=(), base_by_language={}, tuned_by_language={}).to_json())
    write(plan.folder, lineage_of(plan, require_prepared(plan)))
    run(plan)
    before = files(plan)
    for stage in (prepare, train, evaluate):
        result = stage.run(plan)
        assert (result.stage, result.exit_code) == (Stage(stage.__name__.rsplit(".", 1)[-1]), Exit.SUCCEEDED)
    assert files(plan) == before
