"""What the operator stops, why, and how that ends: written down first, then the Job deleted, and closed only when nothing of it can write."""

from __future__ import annotations

from dataclasses import replace

import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import ConditionStatus, ConditionType, Phase
from medfinetune_api.exits import Exit
from medfinetune_operator.decision import Decision
from medfinetune_operator.observation import Job, Pod, PodPhase, RankStep, Refusal, Report
from medfinetune_operator.run import Run
from support.observed import SETTINGS, a_job, a_pod, a_run, after, attempt, condition, decide, done, failed, later, reached, running

GANG = {"parallelism": {"nodes": 2, "gpusPerNode": 2}}
HALF: tuple[Job | Pod, ...] = (a_job(Stage.TRAIN, pods_wanted=2), a_pod(Stage.TRAIN), a_pod(Stage.TRAIN, index=1, phase=PodPhase.PENDING))


def edited(run: Run, **policy: object) -> Run:
    """The run after its owner has changed runPolicy, which a new generation tells."""
    return a_run(run.status, run.generation + 1, parallelism={"nodes": 2, "gpusPerNode": 2}, runPolicy=policy)


def training(**policy: object) -> Run:
    """A run whose gang of two pods has been at work since NOW."""
    run = reached(Stage.TRAIN, **GANG, runPolicy=policy)
    return after(run, decide(run, *running(Stage.TRAIN, 2)))


def stops(decision: Decision, reason: Reason) -> bool:
    """Written down, and the Job deleted, in this order."""
    return attempt(decision).stopping is reason and [job.name for job in decision.stop] == ["run-train-a1"]


def stopped(run: Run, decision: Decision, now: float = 700) -> Decision:
    """The Job and its pods are gone."""
    return decide(after(run, decision), now=later(now))


def test_stopping_is_written_down_then_done_then_awaited() -> None:
    run, gang = edited(training(), suspend=True), running(Stage.TRAIN, 2)
    decision = decide(run, *gang, now=later(60))
    assert stops(decision, Reason.SUSPENDED)
    assert condition(decision, ConditionType.TRAINED).reason is Reason.STOPPING
    run = after(run, decision)
    assert decide(run, *gang).stop == decision.stop, "asked for again: the deletion may not have gone through"
    going = decide(run, a_job(Stage.TRAIN, deleting=True), *gang[1:], now=later(70))
    assert (going.stop, attempt(going).end_time) == ((), None)
    left = decide(edited(run, cancel=True), *gang[1:], now=later(80), refusal=Refusal(Reason.QUOTA_EXCEEDED))
    assert attempt(left).end_time is None, "the Job is gone, its pods are not"
    assert attempt(decide(run, now=later(90))).end_time == later(90)


def test_a_suspended_run_holds_nothing_is_not_charged_and_goes_on_at_once() -> None:
    run = edited(training(), suspend=True)
    run = after(run, decide(run, *running(Stage.TRAIN, 2), now=later(60)))
    suspended = decide(run, now=later(700))
    ended = attempt(suspended)
    assert (ended.reason, ended.charged, suspended.status.active_seconds) == (Reason.SUSPENDED, False, 60)
    assert (condition(suspended, ConditionType.SUSPENDED).status, suspended.status.phase) == (ConditionStatus.TRUE, Phase.SUSPENDED)
    assert (suspended.start, suspended.again) == (None, None)
    assert decide(after(run, suspended), now=later(9000)).status == suspended.status
    resumed = decide(edited(after(run, suspended), suspend=False), now=later(701))
    assert (attempt(resumed).number, resumed.start) == (2, attempt(resumed))
    assert (condition(resumed, ConditionType.SUSPENDED).reason, resumed.status.phase) == (Reason.RESUMED, Phase.TRAINING)
    assert [note.reason for note in resumed.notes] == [Reason.RESUMED]


def test_a_run_that_begins_suspended_starts_nothing() -> None:
    decision = decide(a_run(runPolicy={"suspend": True}))
    assert (decision.status.phase, decision.status.attempts, decision.make) == (Phase.SUSPENDED, (), ())


def test_a_run_is_suspended_only_once_nothing_of_it_can_write() -> None:
    decision = decide(a_run(runPolicy={"suspend": True}), a_pod(Stage.TRAIN, 5))
    assert (decision.status.phase, condition(decision, ConditionType.PREPARED).reason) == (Phase.PENDING, Reason.STOPPING)


def test_what_completes_while_it_is_stopped_is_complete() -> None:
    run = edited(training(), suspend=True)
    run = after(run, decide(run, *running(Stage.TRAIN, 2)))
    decision = decide(run, *done(Stage.TRAIN))
    assert (attempt(decision).reason, condition(decision, ConditionType.TRAINED).status) == (Reason.SUCCEEDED, ConditionStatus.TRUE)
    assert decision.status.phase is Phase.SUSPENDED
    failing = decide(run, a_job(Stage.TRAIN, failed=True, pods_wanted=2), failed(Stage.TRAIN, 137), failed(Stage.TRAIN, Exit.GANG_LOST, index=1))
    assert (attempt(failing).reason, failing.status.restarts) == (Reason.SUSPENDED, 0)


def test_what_was_decided_but_not_seen_is_created_to_be_stopped() -> None:
    """Its creation may be on its way: only what was seen can be stopped, and a second attempt beside it must never be."""
    run = edited(reached(Stage.TRAIN, **GANG), suspend=True)
    assert decide(run).start == attempt(decide(run))
    assert stops(decide(run, a_job(Stage.TRAIN)), Reason.SUSPENDED)
    refused = decide(run, refusal=Refusal(Reason.QUOTA_EXCEEDED))
    assert (attempt(refused).reason, refused.start) == (Reason.SUSPENDED, None), "what is refused is not on its way"
    assert attempt(decide(run, a_job(Stage.TRAIN, owned=False))).reason is Reason.SUSPENDED


@pytest.mark.parametrize("seen", [running(Stage.TRAIN, 2), (a_job(Stage.TRAIN, suspended=True, started=None),), HALF])
def test_cancel_is_terminal(seen: tuple[Job | Pod, ...]) -> None:
    run = edited(training(), cancel=True)
    decision = decide(run, *seen)
    assert stops(decision, Reason.CANCELLED)
    end = stopped(run, decision)
    assert (end.status.phase, end.status.completion_time, attempt(end, 1).reason) == (Phase.CANCELLED, later(700), Reason.CANCELLED)
    assert (condition(end, ConditionType.FAILED).status, condition(end, ConditionType.FAILED).reason) == (ConditionStatus.TRUE, Reason.CANCELLED)
    taken_back = decide(edited(after(run, end)), now=later(800))
    assert taken_back.status.phase is Phase.CANCELLED


def test_a_run_can_be_cancelled_before_anything_ran_and_while_suspended() -> None:
    decision = decide(a_run(runPolicy={"cancel": True}))
    assert (decision.status.phase, decision.status.attempts) == (Phase.CANCELLED, ())
    suspended = a_run(runPolicy={"suspend": True})
    suspended = after(suspended, decide(suspended))
    both = decide(edited(suspended, suspend=True, cancel=True))
    assert (both.status.phase, condition(both, ConditionType.SUSPENDED).status) == (Phase.CANCELLED, ConditionStatus.FALSE)


def test_the_deadline_counts_all_attempts_but_no_waiting() -> None:
    run = training(activeDeadlineSeconds=1000)
    run = after(run, decide(run, a_job(Stage.TRAIN, failed=True), failed(Stage.TRAIN, 1), failed(Stage.TRAIN, 1, index=1), now=later(600)))
    assert run.status.active_seconds == 600
    run = after(run, decide(run, now=later(5000)))
    again = running(Stage.TRAIN, 2, later(5000), number=2)
    run = after(run, decide(run, *again, now=later(5000)))
    assert decide(run, *again, now=later(5399)).again == 1.0
    decision = decide(run, *again, now=later(5400))
    assert attempt(decision).stopping is Reason.DEADLINE_EXCEEDED
    end = stopped(run, decision, 5500)
    assert (end.status.phase, condition(end, ConditionType.FAILED).reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert end.status.active_seconds == 1000


def test_no_attempt_begins_after_the_deadline() -> None:
    run = training(activeDeadlineSeconds=500)
    late = decide(run, a_job(Stage.TRAIN, failed=True), failed(Stage.TRAIN, 1), failed(Stage.TRAIN, 1, index=1), now=later(500))
    assert condition(late, ConditionType.FAILED).reason is Reason.DEADLINE_EXCEEDED


def test_half_a_gang_gives_its_gpus_back_and_queues_again() -> None:
    run = reached(Stage.TRAIN, **GANG)
    run = after(run, decide(run, *HALF))
    assert decide(run, *HALF, now=later(899)).stop == ()
    decision = decide(run, *HALF, now=later(900))
    assert stops(decision, Reason.SCHEDULING_TIMEOUT)
    queued = stopped(run, decision, 1000)
    assert (attempt(queued).charged, queued.status.delays, queued.status.restarts, queued.start) == (False, 1, 0, None)
    assert 30 <= (queued.again or 0) <= 45
    run = after(run, queued)
    assert 90 <= (decide(run, now=later(1000), older_waiting=2).again or 0) <= 135, "older runs first"
    run = after(run, decide(run, now=later(2000)))
    assert attempt(decide(run, *running(Stage.TRAIN, 2, later(2000), number=2), now=later(2010))).running_time == later(2010)
    assert decide(run, *running(Stage.TRAIN, 2, later(2000), number=2), now=later(2010)).status.delays == 0


def test_a_pod_that_begins_to_run_too_late_changes_nothing() -> None:
    run = reached(Stage.TRAIN, **GANG)
    run = after(run, decide(run, *HALF, now=later(900)))
    run = after(run, decide(run, a_job(Stage.TRAIN, pods_wanted=2, deleting=True), *running(Stage.TRAIN, 2)[1:], now=later(910)))
    assert run.status.attempts[-1].running_time is None
    assert decide(run, now=later(1600)).status.active_seconds == 0


def test_delays_grow() -> None:
    run = reached(Stage.TRAIN, **GANG)
    waits = []
    for number in (1, 2, 3):
        start = 10000 * number
        seen = (a_job(Stage.TRAIN, number, pods_wanted=2, started=later(start)),)
        run = after(run, decide(run, now=later(start)))
        run = after(run, decide(run, *seen, now=later(start + 900)))
        run = after(run, decide(run, now=later(start + 1000)))
        waits.append(decide(run, now=later(start + 1000)).again or 0)
    assert [1 <= wait / base <= 1.5 for wait, base in zip(waits, [30, 60, 120], strict=True)] == [True] * 3


@pytest.mark.parametrize(
    "seen",
    [
        running(Stage.TRAIN, 2),
        (a_job(Stage.TRAIN, pods_wanted=2), a_pod(Stage.TRAIN), a_pod(Stage.TRAIN, index=1, phase=PodPhase.SUCCEEDED)),
        (a_job(Stage.TRAIN, pods_wanted=2, suspended=True), a_pod(Stage.TRAIN)),
        (a_job(Stage.TRAIN, pods_wanted=2, started=None),),
        (a_job(Stage.TRAIN, pods_wanted=2, started=later(5000)), a_pod(Stage.TRAIN)),
    ],
)
def test_no_scheduling_timeout_while_kueue_holds_the_job_or_once_all_have_run(seen: tuple[Job | Pod, ...]) -> None:
    run = reached(Stage.TRAIN, **GANG)
    run = after(run, decide(run, *seen))
    assert decide(run, *seen, now=later(5000)).stop == ()


def test_a_gang_that_ran_once_is_not_timed_out_for_a_pod_that_vanishes() -> None:
    assert decide(training(), *running(Stage.TRAIN, 2)[:2], now=later(5000)).stop == ()


def test_a_pod_that_another_replaces_counts_only_once_that_runs() -> None:
    run = reached(Stage.TRAIN, **GANG)
    replaced = (*HALF, failed(Stage.TRAIN, Exit.INTERRUPTED, index=1, name="before"))
    assert attempt(decide(run, *replaced)).running_time is None


def test_a_pod_in_anothers_place_that_never_starts_gives_the_gangs_gpus_back() -> None:
    run = training()
    replaced = (*running(Stage.TRAIN, 2)[:2], a_pod(Stage.TRAIN, index=1, phase=PodPhase.PENDING, trouble=Reason.UNSCHEDULABLE))
    decision = decide(run, *replaced, now=later(2000))
    assert (condition(decision, ConditionType.TRAINED).reason, decision.stop, decision.status.active_seconds) == (Reason.UNSCHEDULABLE, (), 2000)
    run = after(run, decision)
    assert decide(run, *replaced, now=later(2899)).stop == ()
    assert stops(decide(run, *replaced, now=later(2900)), Reason.SCHEDULING_TIMEOUT)
    again = after(run, decide(run, *running(Stage.TRAIN, 2), now=later(2500)))
    assert decide(again, *running(Stage.TRAIN, 2), now=later(9000)).stop == ()


def report(step: int, at: float, behind: int = 0) -> Report:
    ranks = tuple(RankStep(rank, step - behind * (rank == 3), later(at)) for rank in range(4))
    return Report(0, step, 100, later(at), ranks=ranks)


def test_a_stall_is_stopped_charged_and_names_the_slow_rank() -> None:
    run, gang = training(), running(Stage.TRAIN, 2)
    run = after(run, decide(run, *gang, now=later(60), reports=(report(40, -9999),)))
    assert decide(run, *gang, now=later(1859), reports=(report(40, 60),)).stop == ()
    decision = decide(run, *gang, now=later(1860), reports=(report(40, 60, behind=1),))
    assert stops(decision, Reason.STALLED)
    words = ("rank 3", "node node-1", "at step 39", "step 40", "1800 s")
    for message in (decision.notes[0].message, condition(decision, ConditionType.TRAINED).message):
        assert [word for word in words if word not in message] == []
    end = stopped(run, decision, 2500)
    ended = attempt(end)
    assert (ended.reason, ended.charged, ended.index, ended.node, end.status.restarts) == (Reason.STALLED, True, 1, "node-1", 1)
    assert end.status.active_seconds == 1860


def test_a_stall_needs_evidence() -> None:
    run, gang = training(), running(Stage.TRAIN, 2)
    told = after(run, decide(run, *gang, now=later(60), reports=(report(40, 60),)))
    assert decide(told, *gang, now=later(9000)).stop == (), "no report is no evidence"
    assert decide(told, *gang, now=later(9000), reports=(report(41, 8999),)).stop == (), "a new step"
    assert decide(told, *gang, now=later(9000), reports=(replace(report(41, 60), total_steps=-1),)).stop == (), "nonsense"
    evaluating = reached(Stage.EVALUATE, **GANG)
    evaluating = after(evaluating, decide(evaluating, *running(Stage.EVALUATE)))
    assert decide(evaluating, *running(Stage.EVALUATE), now=later(9000), reports=(report(100, 60),)).stop == ()


def test_the_stall_clock_starts_when_all_ranks_run() -> None:
    run = training()
    run = after(run, decide(run, *running(Stage.TRAIN, 2), now=later(60), reports=(report(40, 60),)))
    lost = (a_job(Stage.TRAIN, failed=True), failed(Stage.TRAIN, 1), failed(Stage.TRAIN, 1, index=1))
    run = after(run, decide(run, *lost, now=later(100)))
    run = after(run, decide(run, now=later(5000)))
    again = running(Stage.TRAIN, 2, later(5000), number=2)
    run = after(run, decide(run, *again, now=later(6000), reports=(report(40, 6000),)))
    assert decide(run, *again, now=later(7799), reports=(report(40, 6000),)).stop == ()
    assert decide(run, *again, now=later(7800), reports=(report(40, 6000),)).stop != ()


def test_a_reason_to_stop_is_not_exchanged_for_another() -> None:
    run = edited(training(), suspend=True)
    run = after(run, decide(run, *running(Stage.TRAIN, 2)))
    cancelled = decide(edited(run, suspend=True, cancel=True), *running(Stage.TRAIN, 2))
    assert attempt(cancelled).stopping is Reason.SUSPENDED
    assert stopped(edited(run, suspend=True, cancel=True), cancelled).status.phase is Phase.CANCELLED


def test_training_is_looked_at_as_often_as_progress_is_asked_for() -> None:
    assert decide(training(), *running(Stage.TRAIN, 2)).again == SETTINGS.progress_seconds
    run = reached(Stage.EVALUATE)
    assert decide(after(run, decide(run, *running(Stage.EVALUATE))), *running(Stage.EVALUATE)).again is None
