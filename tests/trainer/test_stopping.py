"""Early stopping counts as transformers does, ends the run on every rank alike, and delivers the best adapter or says that it is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.errors import OutputConflict
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_training import EarlyStoppingPlan
from medfinetune_trainer.artifacts import best
from medfinetune_trainer.optim.early_stopping import EarlyStopping, told
from medfinetune_trainer.telemetry.snapshot import read_snapshots
from safetensors.torch import load_file
from support.disturbed import before_step
from support.train import losses, small_run, train_here, validations
from support.watched import steps_watched
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState

LOSSES = st.lists(st.floats(0, 10, allow_nan=False).map(lambda loss: round(loss, 1)), min_size=1, max_size=30)


@given(losses=LOSSES, patience=st.integers(1, 5), delta=st.sampled_from([0.0, 0.25, 1.0]), restarts=st.integers(1, 7))
def test_it_stops_where_transformers_stops_whatever_the_restarts(losses: list[float], patience: int, delta: float, restarts: int) -> None:
    callback, state, control = EarlyStoppingCallback(patience, delta), TrainerState(), TrainerControl()
    arguments: Any = SimpleNamespace(metric_for_best_model="eval_loss", greater_is_better=False, load_best_model_at_end=True)
    stopping = EarlyStopping(patience, delta)
    for step, loss in enumerate(losses, start=1):
        callback.on_evaluate(arguments, state, control, metrics={"eval_loss": loss})
        if state.best_metric is None or loss < state.best_metric:  # as Trainer does, after its callbacks
            state.best_metric, state.best_global_step = loss, step
        assert stopping.observe(step, loss) == (state.best_global_step == step)
        assert (stopping.best_loss, stopping.best_step) == (state.best_metric, state.best_global_step)
        assert stopping.stopped == control.should_training_stop
        if step % restarts == 0:
            kept, stopping = stopping.state_dict(), EarlyStopping(patience, delta)
            stopping.load_state_dict(kept)
        if stopping.stopped:
            return


@pytest.mark.parametrize("restore", [True, False])
def test_a_run_ends_early_with_the_adapter_of_the_lowest_loss(tmp_path: Path, restore: bool) -> None:
    """A rate far too high: after the first steps the loss only rises."""
    plan = _plan(tmp_path / "run", restore)
    with steps_watched() as moments:
        numbers = train_here(plan, tmp_path / "agent")
    found = [each["all"]["loss"] for each in validations(plan)]
    lowest = found.index(min(found)) + 1
    assert len(found) == numbers["steps"] == lowest + 2 < 6
    assert (numbers["stopped_early"], numbers["best_step"], numbers["best_loss"]) == (1, lowest, min(found))
    delivered, expected = load_file(plan.folder.final / "adapter_model.safetensors"), moments[lowest - 1 if restore else -1].after
    assert all(delivered[name.replace(".default.", ".")].equal(weight) for name, weight in expected.items())
    assert {"final", f"step-{lowest + 2}"} <= {path.name for path in plan.folder.checkpoints.iterdir()} <= {"final", "step-3", f"step-{lowest + 2}"}
    assert [(snapshot.progress, snapshot.seconds_left) for snapshot in read_snapshots(tmp_path / "agent")] == [(1.0, 0.0)]
    assert told(numbers, 6, 2, restores=restore) == (
        f"Stopped early after step {lowest + 2} of 6: validation loss did not fall for 2 validations; the adapter is that of step "
        f"{lowest if restore else lowest + 2}."
    )


def test_one_that_trains_to_its_end_says_whose_adapter_it_is() -> None:
    numbers = {"steps": 6.0, "best_step": 4.0, "best_loss": 1.0, "stopped_early": 0.0}
    assert told(numbers, 6, 3, restores=True) == "Trained 6 steps; the adapter is that of step 4, whose validation loss is the lowest."
    assert told(numbers, 6, 3, restores=False) == told({"steps": 6.0}, 6, None, restores=False) == "Trained 6 steps."


def test_a_run_that_is_killed_again_and_again_delivers_the_same_best(tmp_path: Path) -> None:
    whole, plan = (_plan(tmp_path / name, every_steps=2) for name in ("whole", "killed"))
    train_here(whole, tmp_path / "agent-whole")
    for number in (3, 2):
        with before_step(number, _die), pytest.raises(KeyboardInterrupt):
            train_here(plan, tmp_path / "agent")
    train_here(plan, tmp_path / "agent")
    assert (losses(plan), validations(plan)) == (losses(whole), validations(whole))
    weights = [load_file(each.folder.final / "adapter_model.safetensors") for each in (plan, whole)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[1])


@pytest.mark.parametrize("harm", ["lost", "damaged", "torn manifest"])
def test_a_best_that_is_lost_is_said_and_nothing_else_is_released(tmp_path: Path, harm: str) -> None:
    plan = _plan(tmp_path / "run")
    with before_step(3, lambda: _harm(plan, harm)), pytest.raises(OutputConflict, match="no whole copy of what was trained at the lowest"):
        train_here(plan, tmp_path / "agent")
    assert not plan.folder.final.exists()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["best", "checkpoint", "kill", "kill while writing"]), st.integers(1, 3)), min_size=1, max_size=12))
def test_the_best_that_a_run_remembers_is_always_there(tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int]]) -> None:
    """Whatever the order of improvements, checkpoints and kills; and never more than two are kept."""
    root = tmp_path_factory.mktemp("run")
    folder, now, known = root / "best", [0, 0], (0, 0)  # step and best of this attempt; of the newest checkpoint
    for event, steps in history:
        now[0] += steps
        if event == "checkpoint":
            known = (now[0], now[1])
        elif event == "best":
            _keep(folder, now[0], known[0])
            now[1] = now[0]
            assert len(list(folder.glob("step-*"))) <= 2
        else:
            if event == "kill while writing":
                with pytest.raises(KeyboardInterrupt):
                    _keep(folder, now[0], known[0], killed=True)
            now = list(known)
            best.forget_later(folder, now[0])
    if now[1]:
        best.restore(folder, now[1], root / "final")
        assert (root / "final" / "weights").read_text() == f"of step {now[1]}"


def _plan(root: Path, restore: bool = True, patience: int = 2, **changes: Any) -> RunPlan:
    """Validated after every step."""
    early = EarlyStoppingPlan(patience=patience, minimum_delta=0.0, restore_best=restore)
    return small_run(root, learning_rate=0.3, validate_every_steps=1, early_stopping=early, **changes)


def _keep(folder: Path, step: int, saved: int, killed: bool = False) -> None:
    with best.keeping(folder, step, saved) as trained:
        (trained / "weights").write_text(f"of step {step}")
        if killed:
            _die()


def _die() -> None:
    raise KeyboardInterrupt


def _harm(plan: RunPlan, harm: str) -> None:
    (kept,) = (plan.folder.checkpoints / "best").glob("step-*")
    if harm == "lost":
        shutil.rmtree(kept)
    elif harm == "damaged":
        (kept / "trained" / "adapter_model.safetensors").write_bytes(b"torn")
    else:
        (kept / "manifest.json").write_text("{")
