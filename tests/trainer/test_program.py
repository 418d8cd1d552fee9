"""The program around a stage, as a process: one result on stdout, the contract's exit codes, one live run a folder. The stage in it is the test's own."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest
from medfinetune_api.exits import EXITS, Exit
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.stages.holding import LOCK
from medfinetune_trainer.stages.patience import STALL_SECONDS
from support.manifests import minimal_manifest, plan_for
from support.stages import command, plan_file, run_stage


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    return plan_for(minimal_manifest(), tmp_path, tmp_path, tmp_path / "out")


def stage(body: str) -> str:
    """A prelude that puts a stage whose `run` has this body in prepare's place."""
    module = "import os, subprocess, sys, signal, atexit\ndef run(plan):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return f"import types\nmodule = types.ModuleType('stage')\nexec({module!r}, module.__dict__)\nsys.modules['medfinetune_trainer.stages.prepare'] = module"


SUCCEEDS = """
from medfinetune_api.choices import Stage
from medfinetune_api.exits import EXITS, Exit
from medfinetune_api.results import StageResult
return StageResult.of(Stage.PREPARE, Exit.SUCCEEDED, "done")
"""
WAITS = "sys.stderr.write('ready\\n'); sys.stderr.flush(); signal.pause()"


@pytest.mark.parametrize(
    ("text", "where", "found"),
    [
        (None, "plan.json: ", "No such file"),
        ("{", "plan.json: ", "JSON"),
        ('{"version": "v1alpha1"}', "plan.json:identity: ", "Field required"),
        ('{"version": "v2"}', "plan.json:version: ", "v1alpha1"),
    ],
)
def test_a_malformed_plan_is_refused_by_field(tmp_path: Path, text: str | None, where: str, found: str) -> None:
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_text(text)
    ended = run_stage("train", path)
    assert ended.code == ended.result.exit_code == Exit.INVALID_MANIFEST
    assert where in ended.result.message
    assert found in ended.result.message
    assert ended.stderr == ""


def test_the_termination_log_holds_the_result_but_of_a_refusal_only_its_meaning(plan: RunPlan, tmp_path: Path) -> None:
    log = tmp_path / "termination.log"
    for path, code in ((tmp_path / "none", Exit.INVALID_MANIFEST), (plan_file(plan), Exit.SUCCEEDED)):
        done = subprocess.run([*command("purge", path), "--termination-log", str(log)], capture_output=True, text=True, check=False)
        said, logged = json.loads(done.stdout), json.loads(log.read_text())
        assert done.returncode == code
        assert logged == said | ({"message": EXITS[code].meaning} if code else {})
        assert str(tmp_path) not in log.read_text()


def test_wrong_arguments_are_usage(tmp_path: Path) -> None:
    done = subprocess.run(command("prepares", tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == Exit.USAGE
    assert done.stdout == ""


def test_whatever_a_stage_prints_goes_to_stderr_and_the_result_is_last(plan: RunPlan) -> None:
    body = "print('one')\nos.write(1, b'two')\nsubprocess.run(['echo', 'three'])\natexit.register(print, 'four')\n" + SUCCEEDS
    ended = run_stage("prepare", plan, stage(body))
    assert ended.code == Exit.SUCCEEDED
    assert all(word in ended.stderr for word in ("one", "two", "three", "four"))


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (
            "from medfinetune_api.errors import InvalidData\nraise InvalidData('a.csv:3', found='x', expected='y', remedy='Mend it.')",
            Exit.INVALID_DATA,
            "a.csv:3: found x",
        ),
        ("raise MemoryError", Exit.HOST_OUT_OF_MEMORY, "memory"),
        ("import numpy\nnumpy.ones(1 << 50)", Exit.HOST_OUT_OF_MEMORY, "spec.resources.prepare"),
        ("import torch\ntorch.ones(1 << 50)", Exit.HOST_OUT_OF_MEMORY, "the host's memory used up"),
        ("import mmap\nmmap.mmap(-1, 1 << 50)", Exit.HOST_OUT_OF_MEMORY, "the host's memory used up"),
        ("import torch\nraise ValueError from torch.OutOfMemoryError", Exit.OUT_OF_MEMORY, "accelerator"),
        (f"raise OSError({errno.ENOSPC}, 'full')", Exit.STORAGE_FAILED, "No space left"),
        ("raise SystemExit(3)", Exit.INTERNAL_ERROR, "SystemExit in stage prepare"),
    ],
)
def test_failures_end_with_the_code_of_the_contract(plan: RunPlan, body: str, code: Exit, says: str) -> None:
    ended = run_stage("prepare", plan, stage(body))
    assert ended.code == ended.result.exit_code == code
    assert says in ended.result.message


def test_a_defect_shows_its_stack_without_a_word_of_the_record(plan: RunPlan) -> None:
    body = "try:\n    {}['patient Kim']\nexcept KeyError as error:\n    raise ValueError('patient Lee') from error"
    ended = run_stage("prepare", plan, stage(body))
    assert ended.code == Exit.INTERNAL_ERROR
    assert ended.result.message == "ValueError in stage prepare; its log holds the stack."
    assert [line for line in ended.stderr.splitlines() if line.endswith("Error")] == ["KeyError", "ValueError"]
    assert "in run" in ended.stderr
    assert "patient" not in ended.stderr + ended.result.message


def test_a_stage_is_offline_and_its_cache_goes_with_it(plan: RunPlan) -> None:
    root = plan.folder.root
    body = "home = os.environ['HF_HOME']\nos.makedirs(home)\nassert os.environ['HF_HUB_OFFLINE'] == os.environ['HF_DATASETS_OFFLINE'] == '1'\n"
    ended = run_stage("prepare", plan, stage(body + "assert home.startswith(str(plan.folder.root))\n" + SUCCEEDS))
    assert ended.code == Exit.SUCCEEDED, ended.stderr
    assert [path.name for path in root.iterdir()] == [LOCK]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_an_interruption(plan: RunPlan, number: signal.Signals) -> None:
    with subprocess.Popen(command("prepare", plan_file(plan), stage(WAITS)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(number)
        stdout, _ = process.communicate()
    assert process.returncode == json.loads(stdout)["exitCode"] == Exit.INTERRUPTED


def test_one_live_run_a_folder_and_other_nodes_beside_it(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(command("prepare", plan_file(plan), stage(WAITS)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        second = run_stage("prepare", plan, stage(SUCCEEDS))
        monkeypatch.setenv("PET_NODE_RANK", "1")
        other_node = run_stage("prepare", plan, stage(SUCCEEDS))
        process.kill()
    monkeypatch.delenv("PET_NODE_RANK")
    assert second.code == Exit.OUTPUT_CONFLICT
    assert "another live run" in second.result.message
    assert other_node.code == Exit.SUCCEEDED
    assert run_stage("prepare", plan, stage(SUCCEEDS)).code == Exit.SUCCEEDED, "a killed run's lock must not outlive it"


def test_a_folder_of_another_plan_is_left_alone(plan: RunPlan) -> None:
    owner = plan.model_copy(update={"training": plan.training.model_copy(update={"seed": 7})})
    plan.folder.root.mkdir(parents=True)
    plan.folder.plan.write_text(owner.to_json())
    ended = run_stage("prepare", plan, stage(SUCCEEDS))
    assert ended.code == Exit.OUTPUT_CONFLICT
    assert owner.sha256[:12] in ended.result.message
    assert plan.folder.plan.read_text() == owner.to_json()


def test_a_torn_plan_in_the_folder_is_called_damaged(plan: RunPlan) -> None:
    plan.folder.root.mkdir(parents=True)
    plan.folder.plan.write_text("{")
    ended = run_stage("prepare", plan, stage(SUCCEEDS))
    assert ended.code == Exit.OUTPUT_CONFLICT
    assert "The file is damaged: restore it, or remove this run's folder" in ended.result.message


def test_a_stage_that_stands_still_ends_as_stalled_and_says_where(plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "records")
    monkeypatch.setenv(STALL_SECONDS, "1")
    ended = run_stage("prepare", plan, stage(f"open({str(tmp_path / 'records')!r})"))
    assert ended.code == ended.result.exit_code == Exit.STALLED
    assert "prepare: found no progress for 1 s at program.py:" in ended.result.message


@pytest.mark.parametrize("body", ["while time.monotonic() < until: sum(range(1000))", "while time.monotonic() < until: beat(); time.sleep(0.02)"])
def test_a_stage_that_computes_or_moves_is_left_alone(plan: RunPlan, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STALL_SECONDS, "1")
    moves = f"import time\nfrom medfinetune_trainer.telemetry.heartbeat import beat\nuntil = time.monotonic() + 3\n{body}\n"
    assert run_stage("prepare", plan, stage(moves + SUCCEEDS)).code == Exit.SUCCEEDED
