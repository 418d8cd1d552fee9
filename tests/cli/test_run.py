"""`medfinetune run`, the whole of it: the minimal example, killed, stopped, continued, finished, and run once more."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from medfinetune_api.layout import RunFolder
from medfinetune_api.results_evaluation import EvaluationSummary
from support.cli import command, gone, medfinetune, wait_until
from support.html_page import Page
from support.manifests import minimal_manifest

MINIMAL = Path(__file__).parents[2] / "examples" / "01-minimal"
EXAMPLE = MINIMAL / "data"
ROWS = 12
"""Records a source; enough for a few packed rows."""


@dataclass(frozen=True)
class Story:
    """One run folder's life."""

    out: Path
    """What the example's own program is given."""
    arguments: tuple[str, ...]
    orphans: list[int]
    """Processes of a killed run that its death did not end."""
    stopped: int
    stopped_said: str
    finished: subprocess.CompletedProcess[str]
    folder: RunFolder


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base, a dozen records of each language, and a manifest of two processes."""
    from tiny_base import build

    place = tmp_path_factory.mktemp("run")
    (place / "data").mkdir()
    for source in ("medqa/train.jsonl", "kormedmcqa/train.csv"):
        lines = (EXAMPLE / source).read_text(encoding="utf-8").splitlines(keepends=True)[: ROWS + 1]
        (place / "data" / Path(source).name).write_text("".join(lines), encoding="utf-8")
    build(place / "models" / "base", (EXAMPLE / "medqa" / "train.jsonl").read_text(encoding="utf-8").splitlines(), vocabulary=512)
    write_manifest(place)
    return place


def write_manifest(place: Path, name: str = "manifest.yaml", **overrides: Any) -> Path:
    sources = [
        {"name": "en", "path": "train.jsonl", "format": "MedQA", "language": "en"},
        {"name": "ko", "path": "train.csv", "format": "KorMedMCQA", "language": "ko"},
    ]
    spec: dict[str, Any] = {
        "data": {"sources": sources, "maxLength": 512, "mixture": {"by": "Language", "ratio": {"en": 5, "ko": 5}}},
        "training": {"epochs": 1, "globalBatchTokens": 1024, "precision": "FP32"},
        "parallelism": {"nodes": 2, "gpusPerNode": 0},
        "checkpoint": {"everySteps": 2, "keep": 1},
        "evaluation": {"tasks": [source | {"limit": 4, "seen": True} for source in sources]},
    }
    path = place / name
    path.write_text(yaml.safe_dump(minimal_manifest(**(spec | overrides))), encoding="utf-8")
    return path


def arguments(place: Path, manifest: str = "manifest.yaml", output: str = "results") -> tuple[str, ...]:
    volumes = ("--models", str(place / "models"), "--data", str(place / "data"), "--output", str(place / output))
    return ("run", str(place / manifest), *volumes)


def start(words: tuple[str, ...], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(command(*words), stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})


def steps(folder: RunFolder) -> int:
    """Training steps that the metrics file holds."""
    return folder.metrics.read_text(encoding="utf-8").count('"loss"') if folder.metrics.exists() else 0


def in_the_middle(run: subprocess.Popen[bytes], folder: RunFolder, log: Path) -> None:
    """Wait until a run has taken a training step more than its folder held, and has a checkpoint."""
    before = steps(folder)
    moved = wait_until(lambda: run.poll() is not None or (steps(folder) > before and any(folder.checkpoints.glob("step-*/manifest.json"))))
    assert moved, "no training step within the bound"
    assert run.poll() is None, log.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The example: killed in the middle of training by one process, stopped in the middle of training by two, run to the end by one."""
    out = tmp_path_factory.mktemp("example")
    build_example(out / "models" / "tiny-gemma3")
    words = ("run", str(MINIMAL / "manifest.yaml"), "--models", str(out / "models"), "--data", str(EXAMPLE), "--output", str(out / "results"))
    validated = json.loads(medfinetune("validate", MINIMAL / "manifest.yaml", "-o", "json").stdout)
    folder = RunFolder(out / "results" / validated["folder"])

    log = out / "log"
    killed = start((*words, "--nodes", "1"), log)
    in_the_middle(killed, folder, log)
    family = [child.pid for child in psutil.Process(killed.pid).children(recursive=True)]
    killed.kill()
    killed.wait()
    orphans = [pid for pid in family if not gone(pid)]

    stopped = start(words, log)
    in_the_middle(stopped, folder, log)
    stopped.terminate()
    code = stopped.wait()
    return Story(out, words, orphans, code, log.read_text(encoding="utf-8"), medfinetune("--output", "json", *words, "--nodes", "1"), folder)


def build_example(folder: Path) -> None:
    """The example's base, by its own program."""
    spec = importlib.util.spec_from_file_location("run_example", MINIMAL / "run.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.build_base(folder)


def test_a_killed_run_leaves_no_process(story: Story) -> None:
    assert story.orphans == []


def test_a_stopped_run_ends_interrupted_and_says_how_to_go_on(story: Story) -> None:
    assert story.stopped == 75, story.stopped_said
    assert "prepare: complete from an earlier run" in story.stopped_said
    assert story.stopped_said.count("stopping in good order") == 1
    assert "train: continues from its newest complete checkpoint" in story.stopped_said
    assert "The same command continues this run" in story.stopped_said


def test_the_run_finishes_where_it_was_stopped(story: Story) -> None:
    result = json.loads(story.finished.stdout)
    assert story.finished.returncode == 0, story.finished.stderr
    assert [(stage["stage"], stage["skipped"], stage["exitCode"]) for stage in result["stages"]] == [
        ("prepare", True, 0),
        ("train", False, 0),
        ("evaluate", False, 0),
        ("purge", False, 0),
    ]
    assert [task["questions"] for task in result["evaluation"]["tasks"]] == [48, 48, 24, 24]
    assert {"adapter/", "evaluation/summary.json", "metrics.jsonl", "plan.json", "prepared.json"} <= result["files"].keys()
    assert result["folder"] == str(story.folder.root)
    assert not {"data/", "checkpoints/"} & result["files"].keys()
    assert not list(story.folder.evaluation.glob("samples_*"))


def test_it_went_on_with_other_nodes_as_the_same_run(story: Story) -> None:
    attempts = [json.loads(line) for line in (story.folder.root / "attempts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [attempt["processes"] for attempt in attempts if attempt["stage"] == "train"] == [1, 2, 1]


def test_it_has_learnt_what_it_was_shown(story: Story) -> None:
    tasks = {task.task: task for task in EvaluationSummary.model_validate_json(story.folder.summary.read_bytes()).tasks}
    for name in ("seen-en", "seen-ko"):
        assert tasks[name].tuned.accuracy >= 0.95
        assert tasks[name].base is not None
        assert tasks[name].base.accuracy < 0.5


def test_the_run_tells_what_it_did(story: Story) -> None:
    """Of a run that was killed, stopped, continued and purged."""
    folder = story.folder
    found = Page(folder.report.read_text(encoding="utf-8"))
    summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    for task in summary["tasks"]:
        assert f"{100 * task['tuned']['accuracy']:.1f} [{100 * task['tuned']['low']:.1f}, {100 * task['tuned']['high']:.1f}]" in found.by_tag["td"]
    assert "Complete" in found.by_tag["p"]
    assert [cell for cell in found.by_tag["td"] if "begun again" in cell]
    assert "Not for clinical decisions" in (folder.adapter / "README.md").read_text(encoding="utf-8")
    assert len(list(folder.tensorboard.iterdir())) >= 2
    verified = medfinetune("verify", folder.root, "-o", "json")
    verdict = json.loads(verified.stdout)
    assert (verified.returncode, verdict["problems"], verdict["notChecked"], verdict["notYetPurged"]) == (0, [], [], [])


def test_the_examples_program_shows_the_finished_run_and_says_what_it_is_worth(story: Story) -> None:
    ended = subprocess.run([sys.executable, str(MINIMAL / "run.py"), str(story.out)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Results: accuracy" in ended.stdout
    assert "stays at chance" in ended.stdout


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob("*") if file.is_file() and file.name[0] != "."}


def test_a_finished_run_is_shown_and_not_done_again(story: Story) -> None:
    before = contents(story.folder.root)
    again = medfinetune(*story.arguments)
    assert again.returncode == 0
    assert contents(story.folder.root) == before
    assert again.stderr.count("complete from an earlier run") == 4
    for phrase in ("Results: accuracy", "Mixture: one epoch", "Packing: ", "adapter/"):
        assert phrase in again.stdout


def test_marks_that_were_damaged_are_made_anew(story: Story) -> None:
    marks = (story.folder.prepared, story.folder.summary)
    before = [mark.read_bytes() for mark in marks]
    for mark, damaged in zip(marks, ("", "{"), strict=True):
        mark.write_text(damaged, encoding="utf-8")
    again = medfinetune("-o", "json", *story.arguments)
    assert again.returncode == 0, again.stderr
    assert [stage["skipped"] for stage in json.loads(again.stdout)["stages"]] == [False, True, False, False]
    assert [mark.read_bytes() for mark in marks] == before
    story.folder.prepared.write_text("", encoding="utf-8")
    again = medfinetune("-o", "json", *story.arguments)
    assert [stage["skipped"] for stage in json.loads(again.stdout)["stages"]] == [False, True, False, False]
    verified = medfinetune("verify", story.folder.root)
    assert (again.returncode, verified.returncode) == (0, 0), verified.stdout + verified.stderr


def test_two_runs_of_one_folder_exclude_each_other(story: Story) -> None:
    import fcntl

    with (story.folder.root / ".run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = medfinetune("--output", "json", *story.arguments)
    assert ended.returncode == 68
    assert "another `medfinetune run`" in json.loads(ended.stdout)["problems"][0]["found"]


@pytest.mark.parametrize(
    ("overrides", "code", "where"),
    [
        ({"data": {"sources": [{"name": "en", "path": "none.jsonl", "format": "MedQA", "language": "en"}], "maxLength": 512}}, 65, "none.jsonl"),
        ({"data": {"sources": [{"name": "en", "path": "link.jsonl", "format": "MedQA", "language": "en"}], "maxLength": 512}}, 65, "link.jsonl"),
        ({"model": {"path": "none"}}, 66, "none"),
    ],
)
def test_a_stages_refusal_passes_through(workplace: Path, overrides: dict[str, Any], code: int, where: str) -> None:
    link = workplace / "data" / "link.jsonl"
    if not link.is_symlink():
        link.symlink_to(EXAMPLE / "medqa" / "train.jsonl")
    write_manifest(workplace, "refused.yaml", **overrides)
    ended = medfinetune("-o", "json", *arguments(workplace, "refused.yaml", "refused"))
    result = json.loads(ended.stdout)
    assert (ended.returncode, result["exitCode"]) == (code, code), ended.stderr
    assert where in result["message"]
    assert "Traceback" not in ended.stderr


def test_gpus_that_the_machine_does_not_have_are_refused_before_anything_is_made(workplace: Path) -> None:
    write_manifest(workplace, "gpus.yaml", parallelism={"nodes": 1, "gpusPerNode": 3})
    ended = medfinetune("-o", "json", *arguments(workplace, "gpus.yaml", "gpus"), CUDA_VISIBLE_DEVICES="")
    assert ended.returncode == 64, ended.stderr
    assert json.loads(ended.stdout)["problems"][0]["where"] == "spec.parallelism.gpusPerNode"
    assert not (workplace / "gpus").exists()
