"""One attempt writes: what is left of an older one stops at its next write, and has changed nothing."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.errors import InvalidManifest, OutputConflict
from medfinetune_api.exits import Exit
from medfinetune_trainer.artifacts import checkpoint
from medfinetune_trainer.artifacts.fence import ATTEMPT, FENCE, check, fenced
from medfinetune_trainer.artifacts.files import new_folder, rename_folder, write_text
from medfinetune_trainer.artifacts.history import History, read
from support.train import Agent, agents, small_run

POSITION = checkpoint.Position(plan_sha256="a" * 64, step=1)


@contextmanager
def attempt(root: Path, stage: Stage, number: int) -> Iterator[None]:
    """This process as that attempt, whatever it was before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ATTEMPT, str(number))
        with fenced(root, stage):
            yield


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


ATTEMPTS = [(Stage.PREPARE, 1), (Stage.PREPARE, 12), (Stage.TRAIN, 1), (Stage.TRAIN, 2), (Stage.EVALUATE, 1), (Stage.PURGE, 1)]


@pytest.mark.parametrize(("older", "newer"), itertools.combinations(ATTEMPTS, 2))
def test_the_newer_attempt_has_the_folder_in_whatever_order_they_come(tmp_path: Path, older: tuple[Stage, int], newer: tuple[Stage, int]) -> None:
    for first, second in ((older, newer), (newer, older)):
        with attempt(tmp_path, *first):
            check()
            with attempt(tmp_path, *second), pytest.raises(OutputConflict) if second is older else contextlib.nullcontext():
                check()
            with pytest.raises(OutputConflict, match=f"attempt {newer[1]} of {newer[0]} at work") if first is older else contextlib.nullcontext():
                check()
        (tmp_path / FENCE).unlink()


def test_the_same_attempt_may_start_again_and_takes_back_what_an_older_one_wrote_over(tmp_path: Path) -> None:
    for number in (2, 2):
        with attempt(tmp_path, Stage.TRAIN, number):
            check()
    (tmp_path / FENCE).write_text('{"stage": "train", "attempt": 1}')
    with attempt(tmp_path, Stage.TRAIN, 2):
        check()
        mine = (tmp_path / FENCE).read_text()
        assert "2" in mine
        check()
    assert contents(tmp_path) == {FENCE: mine.encode()}


def test_without_a_number_nothing_is_fenced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ATTEMPT, raising=False)
    with attempt(tmp_path, Stage.PURGE, 9):
        check()
    with fenced(tmp_path, Stage.PREPARE) as numbered:
        assert not numbered
        check()


@pytest.mark.parametrize("number", ["", "0", "-1", "two", "1.5"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setenv(ATTEMPT, number)
    with pytest.raises(InvalidManifest, match=ATTEMPT), fenced(tmp_path, Stage.TRAIN):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": "bake", "attempt": 1}', '{"stage": "train"}'])
def test_a_damaged_fence_lets_no_one_pass(tmp_path: Path, text: str) -> None:
    (tmp_path / FENCE).write_text(text)
    with attempt(tmp_path, Stage.TRAIN, 1), pytest.raises(OutputConflict, match="a fence that cannot be read"):
        check()


def write_file(root: Path) -> None:
    write_text(root / "summary.json", "new")


def write_folder(root: Path) -> None:
    with new_folder(root / "final") as folder:
        supersede(root)
        (folder / "weights").write_bytes(b"new")


def write_checkpoint(root: Path) -> None:
    unfinished = checkpoint.begin(root / "step-1")
    supersede(root)
    try:
        checkpoint.complete(unfinished, root / "step-1", POSITION)
    finally:
        checkpoint.discard(unfinished)


def rename(root: Path) -> None:
    rename_folder(root / "final", root / "adapter")


def append(root: Path) -> None:
    history = History(root / "metrics.jsonl", 5)
    supersede(root)
    try:
        history.write("step", step=2)
    finally:
        history.close()


def supersede(root: Path) -> None:
    with attempt(root, Stage.TRAIN, 2):
        check()


@pytest.mark.parametrize(("write", "late"), [(write_file, False), (rename, False), (write_folder, True), (write_checkpoint, True), (append, True)])
def test_no_writer_passes_a_newer_attempt_and_none_leaves_a_trace(tmp_path: Path, write: Callable[[Path], None], late: bool) -> None:
    """The newer attempt comes before a short write, and in the middle of a long one."""
    for folder in ("final", "step-1"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weights").write_bytes(b"old")
    write_text(tmp_path / "metrics.jsonl", '{"step": 1}\n')
    with attempt(tmp_path, Stage.TRAIN, 1):
        check()
        if not late:
            supersede(tmp_path)
        before = {name: content for name, content in contents(tmp_path).items() if name != FENCE}
        with pytest.raises(OutputConflict, match="attempt 2 of train at work"):
            write(tmp_path)
    assert {name: content for name, content in contents(tmp_path).items() if name != FENCE} == before


def looking(fifo: Path) -> Callable[[], int | None]:
    """The writing end of `fifo`, once somebody waits at the other."""

    def opened() -> int | None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    return opened


def test_a_running_ghost_stops_before_its_next_line_and_has_changed_nothing(tmp_path: Path) -> None:
    """Its fence becomes a pipe for a moment: so it is caught while it looks, and what it finds is the newer attempt."""
    plan = small_run(tmp_path / "run", documents=500)
    [ghost] = agents(plan, 1, tmp_path / "logs", **{ATTEMPT: "1"})
    ghost.until(lambda: sum(1 for _ in read(plan.folder.metrics)) > 5, "steps")
    root, fifo = plan.folder.root, tmp_path / "pipe"
    os.mkfifo(fifo)
    fifo.replace(root / FENCE)
    held: list[int] = []
    ghost.until(lambda: held.extend(end for end in [looking(root / FENCE)()] if end is not None) or held, "a look at the fence")
    (root / FENCE).unlink()
    supersede(root)
    before = contents(root)
    os.write(held[0], before[FENCE])
    os.close(held[0])
    ended(ghost, Exit.OUTPUT_CONFLICT, "attempt 2 of train at work; expected none newer than attempt 1 of train")
    assert finished(contents(root)) == finished(before)


def test_a_ghost_that_starts_late_ends_at_once_and_the_newer_attempt_goes_on(tmp_path: Path) -> None:
    plan = small_run(tmp_path / "run")
    supersede(plan.folder.root)
    before = contents(plan.folder.root)
    [ghost] = agents(plan, 1, tmp_path / "logs", **{ATTEMPT: "1"})
    ended(ghost, Exit.OUTPUT_CONFLICT, "attempt 2 of train")
    assert contents(plan.folder.root) == before
    for number in ("2", "3"):
        [newer] = agents(plan, 1, tmp_path / "logs", **{ATTEMPT: number})
        ended(newer, Exit.SUCCEEDED, "rained")
    assert '"attempt": 3' in (plan.folder.root / FENCE).read_text()


def finished(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without what has no name yet: a checkpoint is written while training goes on, in a folder that nobody else looks into."""
    return {name: content for name, content in files.items() if not name.startswith("checkpoints/.step-")}


def ended(agent: Agent, code: Exit, says: str) -> None:
    found, result = agent.end()
    assert (found, says in result["message"]) == (code, True), (result, agent.log.read_text())
