"""TensorBoard's events, read back by TensorBoard itself: they equal metrics.jsonl, also after a kill and a resume, and name no machine."""

from __future__ import annotations

import os
import platform
import signal
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.history import History, read
from medfinetune_trainer.telemetry.tensorboard import scalars
from support.disturbed import before_step
from support.train import small_run, train_here
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Series = dict[str, list[tuple[int, float]]]


def told_by_tensorboard(plan: RunPlan) -> Series:
    """Step and figure of every event by its tag, memory apart."""
    board = EventAccumulator(str(plan.folder.tensorboard), size_guidance={"scalars": 0}, purge_orphaned_data=True)
    board.Reload()
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in board.Tags()["scalars"] if not tag.startswith("memory")}


def told_by_metrics(plan: RunPlan) -> Series:
    """The same of metrics.jsonl, in TensorBoard's single precision."""
    told: Series = defaultdict(list)
    for line in read(plan.folder.metrics):
        for tag, figure in scalars(line) if "step" in line else ():
            told[tag].append((line["step"], float(np.float32(figure))))
    return dict(told)


def killed_before_step(plan: RunPlan, number: int, folder: Path) -> None:
    """Train in a child of this process, which SIGKILL ends before its `number`-th update."""
    child = os.fork()
    if child == 0:
        with before_step(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            train_here(plan, folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_events_equal_metrics_also_after_a_kill_in_the_middle_and_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork has no other thread of its parent
    try:
        plan = small_run(tmp_path / "run", every_steps=2)
        killed_before_step(plan, 4, tmp_path / "agent")
        train_here(plan, tmp_path / "agent")
    finally:
        torch.set_num_threads(threads)
    told = told_by_tensorboard(plan)
    assert told == told_by_metrics(plan)
    assert [step for step, _ in told["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert {"train/learning_rate", "train/gradient_norm", "train/tokens_per_second", "validation_loss/en", "validation_loss/ko"} <= told.keys()
    files = sorted(file.name for file in plan.folder.tensorboard.iterdir())
    assert files == ["events.out.tfevents.000001", "events.out.tfevents.000002"]
    assert not any(platform.node().encode() in (plan.folder.tensorboard / file).read_bytes() for file in files)


def test_memory_is_an_event_of_each_rank_at_the_step_it_was_measured_at(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.jsonl", 0, tmp_path / "board")
    history.write("step", step=3, loss=1.5)
    for rank in (0, 1):
        history.write("memory", rank=rank, rss=1 << 30, vram_peak=1 << 31)
    watched = EventAccumulator(str(tmp_path / "board"))  # while it is written
    watched.Reload()
    history.close()
    for rank in (0, 1):
        [event] = watched.Scalars(f"memory_vram_peak/rank_{rank}")
        assert (event.step, event.value) == (3, 1 << 31)


def test_steps_that_are_taken_again_show_once_though_they_were_on_disk(tmp_path: Path) -> None:
    for resumed, loss in ((0, 1.0), (2, 2.0)):
        history = History(tmp_path / "metrics.jsonl", resumed, tmp_path / "board")
        for step in range(resumed + 1, 5):
            history.write("step", step=step, loss=loss)
        history.close()
    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    assert [(event.step, event.value) for event in board.Scalars("train/loss")] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]
