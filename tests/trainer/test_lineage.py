"""lineage.json and `verify`: any byte that changes is found and named, a purged or fetched run verifies, and nothing damaged ends in a stack."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import Retained, Stage
from medfinetune_api.errors import OutputConflict
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.verification import verify
from medfinetune_trainer.stages import purge
from medfinetune_trainer.tools.verify import main
from support.told import complete_run

FLIPS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """A run folder with something of everything, none of it retained."""
    return complete_run(tmp_path / "output")


@FLIPS
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_found_and_the_file_named(plan: RunPlan, data: st.DataObject) -> None:
    verdict = verify(plan.folder.root)
    assert (verdict.problems, verdict.unchecked) == ((), ())
    path = data.draw(st.sampled_from(verdict.held))
    file = plan.folder.root / path
    before = file.read_bytes()
    at, bit = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(0, 7))
    file.write_bytes(before[:at] + bytes([before[at] ^ (1 << bit)]) + before[at + 1 :])
    problems = verify(plan.folder.root).problems
    file.write_bytes(before)
    assert {problem.where for problem in problems} == {path}


def hash_or_refusal(root: Path) -> str:
    try:
        return verify(root).lineage_sha256
    except OutputConflict as conflict:
        return conflict.where


@FLIPS
@given(data=st.data())
def test_damage_to_the_lineage_itself_shows_in_its_hash_or_is_refused(plan: RunPlan, data: st.DataObject) -> None:
    before, told = plan.folder.lineage.read_bytes(), hash_or_refusal(plan.folder.root)
    at, more = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(1, 255))
    plan.folder.lineage.write_bytes(before[:at] + bytes([(before[at] + more) % 256]) + before[at + 1 :])
    assert hash_or_refusal(plan.folder.root) != told
    plan.folder.lineage.write_bytes(before)
    assert hash_or_refusal(plan.folder.root) == told


def missing(plan: RunPlan) -> str:
    plan.folder.metrics.unlink()
    return "metrics.jsonl"


def extra(plan: RunPlan) -> str:
    (plan.folder.adapter / "adapter_model.bin").write_bytes(b"a pickle")
    return "adapter/adapter_model.bin"


def a_link(plan: RunPlan) -> str:
    file = plan.folder.adapter / "adapter_model.safetensors"
    file.rename(plan.folder.root.parent / "elsewhere")
    file.symlink_to(plan.folder.root.parent / "elsewhere")
    return "adapter/adapter_model.safetensors"


def a_linked_folder(plan: RunPlan) -> str:
    (plan.folder.adapter / "more").symlink_to(plan.folder.root.parent)
    return "adapter/more"


def another_plan(plan: RunPlan) -> str:
    plan.folder.plan.write_text(plan.model_copy(update={"model": plan.model.model_copy(update={"path": "other"})}).to_json())
    return "plan.json"


@pytest.mark.parametrize("wrong", [missing, extra, a_link, a_linked_folder, another_plan])
def test_what_is_wrong_is_named_in_a_line_and_ends_with_its_code(plan: RunPlan, wrong: Callable[[RunPlan], str], capsys: pytest.CaptureFixture[str]) -> None:
    name = wrong(plan)
    assert main([str(plan.folder.root)]) == Exit.OUTPUT_CONFLICT
    told = capsys.readouterr()
    assert {problem["where"] for problem in json.loads(told.out)["problems"]} == {name}
    assert all(line.startswith(f"{name}: ") for line in told.err.splitlines())


@pytest.mark.parametrize("retain", [(), (Retained.SAMPLES,), (Retained.DATA, Retained.CHECKPOINTS)])
def test_a_run_verifies_before_and_after_its_purge(tmp_path: Path, retain: tuple[Retained, ...]) -> None:
    plan = complete_run(tmp_path, retain)
    assert verify(plan.folder.root).problems == ()
    before = verify(plan.folder.root)
    assert before.still_there
    assert purge.run(plan).stage is Stage.PURGE
    after = verify(plan.folder.root)
    assert (after.problems, after.unchecked, after.still_there, after.held) == ((), (), (), before.held)


def test_what_was_fetched_verifies_and_says_what_it_could_not_check(tmp_path: Path) -> None:
    plan = complete_run(tmp_path / "output", (Retained.SAMPLES,))
    whole, adapter = tmp_path / "all", tmp_path / "adapter-only"
    shutil.copytree(plan.folder.root, whole, ignore=shutil.ignore_patterns("data", "checkpoints", "samples_*"))  # as `fetch --what all`
    assert verify(whole).problems == ()
    assert set(verify(whole).unchecked) == {"evaluation/samples_base_a.jsonl", "evaluation/samples_tuned_a.jsonl"}
    adapter.mkdir()
    shutil.copytree(plan.folder.adapter, adapter / "adapter")
    shutil.copy(plan.folder.lineage, adapter)
    verdict = verify(adapter)
    assert (verdict.problems, set(verdict.held)) == ((), {path for path in verify(whole).held if path.startswith("adapter/")})
    assert {"plan.json", "metrics.jsonl", "evaluation/summary.json"} <= set(verdict.unchecked)
    (adapter / "adapter" / "adapter_config.json").unlink()
    assert [problem.where for problem in verify(adapter).problems] == ["adapter/adapter_config.json"]


def test_a_folder_without_lineage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == Exit.OUTPUT_CONFLICT
    assert "lineage.json: no such file" in capsys.readouterr().err
