"""`medfinetune report` and `verify` as a person calls them, and the page that a failed run leaves."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult
from medfinetune_cli.executor import StageRun
from medfinetune_cli.output import Format
from medfinetune_cli.run_report import report
from medfinetune_cli.trainer_tool import ToolFailed, ask_tool
from support.cli import medfinetune
from support.html_page import Page
from support.told import complete_run, filled_run


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    return complete_run(tmp_path / "output")


def test_report_makes_the_page_of_a_folder_and_names_it(plan: RunPlan, tmp_path: Path) -> None:
    fetched = tmp_path / "fetched"
    shutil.copytree(plan.folder.root, fetched, ignore=shutil.ignore_patterns("data", "checkpoints", "samples_*"))
    told = medfinetune("report", fetched)
    assert (told.returncode, told.stderr) == (0, "")
    assert "run: Complete" in told.stdout
    assert "58.8 [47.8, 68.9]" in told.stdout
    assert re.search(r"exam +│ en +│ all +│ Accuracy +│ 80 +│ \+30\.0 \[\+\d+\.\d, \+\d+\.\d\] +│ 0\.\d{3} +│ +\d+\.\d +│ (within|beyond) noise", told.stdout)
    assert str(fetched / "report.html") in told.stdout
    assert "Complete" in Page((fetched / "report.html").read_text(encoding="utf-8")).text
    figures = json.loads(medfinetune("report", fetched, "-o", "json").stdout)
    assert figures["evaluation"] == json.loads(plan.folder.summary.read_text(encoding="utf-8"))


def test_report_says_on_the_terminal_what_could_not_be_read(plan: RunPlan) -> None:
    plan.folder.summary.write_bytes(plan.folder.summary.read_bytes()[:50])
    told = medfinetune("report", plan.folder.root)
    assert (told.returncode, told.stderr) == (0, "warning: damaged, or of another plan, and left out: summary.json\n")


def test_verify_names_a_changed_file_in_a_line_and_ends_with_68(plan: RunPlan) -> None:
    whole = medfinetune("verify", plan.folder.root)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout.startswith("verified  ")
    plan.folder.metrics.write_text("{}\n")
    told = medfinetune("verify", plan.folder.root)
    assert (told.returncode, told.stdout) == (Exit.OUTPUT_CONFLICT, "")
    assert told.stderr.splitlines()[0].startswith("metrics.jsonl: SHA-256 ")


@pytest.mark.parametrize("verb", ["report", "verify"])
def test_a_folder_that_is_not_there_is_refused_in_a_sentence(verb: str, tmp_path: Path) -> None:
    told = medfinetune("-o", "json", verb, tmp_path / "none")
    assert told.returncode == Exit.USAGE
    assert json.loads(told.stdout)["problems"][0]["found"] == "nothing"


def test_a_failed_run_has_a_page_that_says_how_it_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = filled_run(tmp_path)
    failed = StageResult.of(Stage.TRAIN, Exit.DIVERGED, "step 4: found a loss that is no number.")
    report(plan, [StageRun(failed, skipped=False)], Format.JSON)
    told = capsys.readouterr()
    assert f"report: {plan.folder.report}" in told.err
    assert json.loads(told.out)["files"]["report.html"]
    text = Page(plan.folder.report.read_text(encoding="utf-8")).text
    assert "Failed in train: Diverged" in text
    assert "step 4: found a loss that is no number." in text


def test_a_page_that_cannot_be_made_changes_nothing_of_how_a_run_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = filled_run(tmp_path)
    plan.folder.plan.write_text("{")
    failed = StageResult.of(Stage.TRAIN, Exit.DIVERGED, "step 4: found a loss that is no number.")
    report(plan, [StageRun(failed, skipped=False)], Format.JSON)
    told = capsys.readouterr()
    assert "report: none could be made" in told.err
    assert json.loads(told.out)["exitCode"] == Exit.DIVERGED


def test_a_tool_that_does_not_answer_is_a_failure_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="exit code 1 and no answer"):
        ask_tool("none", tmp_path)
