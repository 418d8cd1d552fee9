"""The benchmark that kills training runs would see a checkpoint that was lost, and spreads its kills over a life."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

from medfinetune_api.plan import RunPlan
from support.manifests import minimal_manifest, plan_for

from benchmarks.resume_chaos.ledger import Ledger, newest_complete
from benchmarks.resume_chaos.moments import Moment, arrival, drawn

BEGAN, BEFORE = "2026-01-02", "2026-01-01"


def planned(output: Path) -> RunPlan:
    plan = plan_for(minimal_manifest(), output / "models", output / "data", output)
    plan.folder.checkpoints.mkdir(parents=True)
    return plan


def tell(plan: RunPlan, *lines: tuple[str, str, int]) -> None:
    plan.folder.metrics.write_text("".join(json.dumps({"time": time, "kind": kind, "step": step}) + "\n" for time, kind, step in lines))


def seal(plan: RunPlan, step: int) -> None:
    (plan.folder.checkpoints / f"step-{step}").mkdir()
    (plan.folder.checkpoints / f"step-{step}" / "manifest.json").touch()


def test_a_life_that_goes_on_before_a_complete_checkpoint_has_lost_it(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    ledger = Ledger(plan)
    tell(plan, (BEFORE, "start", 0), (BEFORE, "step", 7))
    for step in (3, 6):
        seal(plan, step)
    ledger.killed(newest_complete(plan))
    ledger.lived(BEGAN)
    assert (ledger.lost, ledger.repeated) == ([], [])
    tell(plan, (BEFORE, "start", 0), (BEFORE, "step", 3), (BEGAN, "start", 3))
    ledger.lived(BEGAN)
    assert (ledger.lost, ledger.repeated) == (["step-6"], [4])
    ledger.killed(3)
    tell(plan, (BEGAN, "start", 3))
    ledger.lived(BEGAN)
    assert (ledger.lost, ledger.repeated) == (["step-6"], [4, 0])


def test_kills_are_spread_and_a_moment_comes_when_it_is_seen(tmp_path: Path) -> None:
    assert Counter(drawn(30, random.Random(0))) == {Moment.START: 6, Moment.STEP: 12, Moment.CHECKPOINT: 9, Moment.FINAL: 3}
    plan = planned(tmp_path)
    checkpoints = plan.folder.checkpoints
    (checkpoints / ".final.left").mkdir()
    arrived = arrival(Moment.FINAL, plan, BEGAN, random.Random(0))
    stepped = arrival(Moment.STEP, plan, BEGAN, random.Random(0))
    assert not arrived()
    tell(plan, (BEFORE, "step", 1), (BEGAN, "start", 1))
    assert not arrived()
    assert not arrived()
    assert not stepped()
    (checkpoints / ".final.new").mkdir()
    tell(plan, *((BEGAN, kind, step) for kind, step in (("start", 1), *(("step", step) for step in range(2, 10)))))
    assert any(arrived() for _ in range(1_000_000))
    assert stepped()
