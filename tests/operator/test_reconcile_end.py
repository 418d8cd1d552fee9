"""After the end: the purge, the time to live, old Jobs; and a status that was lost, or that would grow without end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import ConditionStatus, ConditionType, Phase
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.exits import Exit
from medfinetune_api.status import Attempt
from medfinetune_operator.decision import Decision
from medfinetune_operator.observation import Child, Claim, Refusal
from medfinetune_operator.run import Run
from support.observed import NOW, a_job, a_run, after, attempt, condition, decide, done, failed, later, reached, running

HOUR = 3600


def ended(**policy: object) -> Run:
    """A run that succeeded at NOW and is purged."""
    run = reached(Stage.PURGE, runPolicy=policy)
    return after(run, decide(run, *done(Stage.PURGE)))


def purged(decision: Decision) -> tuple[ConditionStatus, Reason]:
    found = condition(decision, ConditionType.PURGED)
    return found.status, found.reason


def test_a_run_is_purged_however_it_ended() -> None:
    cancelled = decide(a_run(reached(Stage.TRAIN).status, generation=2, runPolicy={"cancel": True}), refusal=Refusal(Reason.QUOTA_EXCEEDED))
    broken = decide(reached(Stage.TRAIN), a_job(Stage.TRAIN, failed=True), failed(Stage.TRAIN, Exit.INVALID_DATA))
    for run, phase in (
        (after(reached(Stage.TRAIN), cancelled), Phase.CANCELLED),
        (after(reached(Stage.TRAIN), broken), Phase.FAILED),
        (reached(Stage.PURGE), Phase.SUCCEEDED),
    ):
        decision = decide(run)
        assert (decision.start, decision.status.stage, decision.status.phase) == (attempt(decision), Stage.PURGE, phase)
        complete = decide(run, *done(Stage.PURGE))
        assert (purged(complete), complete.status.stage, complete.status.phase) == ((ConditionStatus.TRUE, Reason.SUCCEEDED), None, phase)
        assert decide(after(run, complete), now=later(HOUR)) == replace(complete, notes=())


def test_where_nothing_was_ever_attempted_there_is_nothing_to_purge() -> None:
    assert decide(a_run(runPolicy={"cancel": True})).status.attempts == ()


def test_the_purge_is_tried_three_times_beside_the_restarts() -> None:
    run = reached(Stage.PURGE, runPolicy={"maxRestarts": 0})
    for number, pod in enumerate(
        [failed(Stage.PURGE, 1), failed(Stage.PURGE, 1, 2, disrupted=True), failed(Stage.PURGE, Exit.USAGE, 3), failed(Stage.PURGE, 1, 4)], 1
    ):
        run = after(run, decide(run, now=later(HOUR * number)))
        assert run.status.attempts[-1].number == number
        decision = decide(run, a_job(Stage.PURGE, number, failed=True), pod, now=later(HOUR * number))
        run = after(run, decision)
    assert purged(decision) == (ConditionStatus.FALSE, Reason.PURGE_FAILED)
    assert "run-0b5e3b9c of claim results" in condition(decision, ConditionType.PURGED).message
    assert [note.warning for note in decision.notes if note.reason is Reason.PURGE_FAILED] == [True]
    assert (decide(run, now=later(9 * HOUR)).status, run.status.phase, run.status.restarts) == (run.status, Phase.SUCCEEDED, 0)


def test_the_purge_waits_for_its_own_claim_only_and_makes_none() -> None:
    template = {"output": {"volume": {"claimTemplate": {"storage": "10Gi"}, "persistentVolumeClaim": None}}}
    run = reached(Stage.PURGE, **template)
    assert decide(run, children=frozenset()).make == (Child.PLAN, Child.POLICY)
    failing = after(run, decide(run, a_job(Stage.PURGE, failed=True), failed(Stage.PURGE, 1)))
    lost = decide(failing, claims=(Claim("spec.output.volume", "results", "Lost"),), now=later(HOUR))
    assert (purged(lost)[1], lost.start) == (Reason.CLAIM_LOST, None)
    assert decide(failing, claims=(Claim("spec.model.volume", "models", None),), now=later(HOUR)).start is not None


def test_where_the_output_claim_is_gone_there_is_nothing_to_purge() -> None:
    run, gone = reached(Stage.PURGE), (Claim("spec.output.volume", "results", None),)
    run = after(run, decide(run, a_job(Stage.PURGE, failed=True), failed(Stage.PURGE, 1)))
    decision = decide(run, claims=gone, now=later(HOUR))
    assert (purged(decision), decision.status.stage, decision.start) == ((ConditionStatus.TRUE, Reason.SUCCEEDED), None, None)


def test_a_purge_that_never_gets_a_node_is_given_up() -> None:
    run = reached(Stage.PURGE)
    for number in (1, 2, 3):
        start = 10 * HOUR * number
        run = after(run, decide(run, now=later(start)))
        for moment in (start, start + 900, start + 1000):
            seen = (a_job(Stage.PURGE, number, started=later(start)),) if moment != start + 1000 else ()
            run = after(run, decide(run, *seen, now=later(moment)))
    found = next(each for each in run.status.conditions if each.type is ConditionType.PURGED)
    assert (found.reason, len([each for each in run.status.attempts if each.stage is Stage.PURGE])) == (Reason.PURGE_FAILED, 3)


def test_neither_suspension_nor_cancelling_stops_the_purge() -> None:
    for policy in ({"suspend": True}, {"cancel": True}, {"activeDeadlineSeconds": 1}):
        run = a_run(reached(Stage.PURGE).status, generation=2, runPolicy=policy)
        run = after(run, decide(run, *running(Stage.PURGE)))
        assert decide(run, *running(Stage.PURGE), now=later(HOUR)).stop == ()


def test_a_run_that_cannot_be_read_any_more_ends_stops_and_leaves_its_purge_to_a_person() -> None:
    run = reached(Stage.TRAIN)
    run = after(run, decide(run, *running(Stage.TRAIN)))
    unreadable = replace(run, spec=None, plan=InvalidManifest("spec", found="a field", expected="another", remedy="Apply it again."))
    decision = decide(unreadable, *running(Stage.TRAIN))
    assert (decision.status.phase, [job.name for job in decision.stop]) == (Phase.FAILED, ["run-train-a1"])
    gone = decide(after(unreadable, decision), now=later(60))
    assert (attempt(gone).reason, purged(gone)[1], gone.start) == (Reason.INTERRUPTED, Reason.PURGE_FAILED, None)
    assert decide(replace(reached(Stage.TRAIN), spec=None, plan=unreadable.plan)).start is None, "without a plan nothing is created"


def test_children_go_when_the_time_to_live_is_over_and_never_the_claim() -> None:
    run, jobs = ended(ttlSecondsAfterFinished=600), tuple(done(stage)[0] for stage in Stage)
    early = decide(run, *jobs, now=later(599))
    assert (early.remove_children, early.again) == (False, 1.0)
    assert decide(run, *jobs, now=later(600)).remove_children
    assert decide(run, *jobs, now=later(600), children=frozenset({Child.CLAIM})).remove_children
    assert decide(run, now=later(600)).remove_children, "children without Jobs"
    over = decide(run, now=later(600), children=frozenset({Child.CLAIM}))
    assert (over.remove_children, over.make, over.start, over.status) == (False, (), None, run.status)
    assert not decide(ended(), *jobs, now=later(10**7)).remove_children
    assert not decide(reached(Stage.PURGE, runPolicy={"ttlSecondsAfterFinished": 0}), *running(Stage.PURGE), now=later(HOUR)).remove_children, "purge first"


@pytest.mark.parametrize("stage", list(Stage))
def test_an_end_is_final_whatever_is_seen_afterwards(stage: Stage) -> None:
    run = ended()
    for number in (1, 9):
        for seen in (a_job(stage, number, failed=True), a_job(stage, number), a_job(stage, number, complete=True)):
            decision = decide(run, seen, failed(stage, Exit.GATE_FAILED, number))
            assert (decision.status.phase, decision.status.completion_time, decision.status.stage) == (
                Phase.SUCCEEDED,
                NOW,
                Stage.PURGE if attempt(decision).end_time is None and stage is Stage.PURGE else None,
            )
            assert {each.type: each.status for each in decision.status.conditions} == {each.type: each.status for each in run.status.conditions}
            assert decision.start is None
            assert [job.name for job in decision.stop] == ([seen.name] if seen.live and not (stage is Stage.PURGE and number == 9) else [])


def test_a_stage_that_completes_after_the_end_does_not_undo_it() -> None:
    run = reached(Stage.TRAIN)
    run = after(run, decide(run, a_job(Stage.TRAIN, failed=True), failed(Stage.TRAIN, Exit.DIVERGED)))
    decision = decide(run, *done(Stage.TRAIN, 2))
    assert (condition(decision, ConditionType.TRAINED).status, decision.status.phase) == (ConditionStatus.FALSE, Phase.FAILED)


def test_the_newest_two_finished_jobs_of_each_stage_stay_for_their_logs() -> None:
    run = reached(Stage.TRAIN)
    old = [a_job(Stage.TRAIN, number, failed=True) for number in range(1, 6)]
    attempts = tuple(Attempt(stage=Stage.TRAIN, number=number, start_time=NOW, end_time=NOW, job_uid="u", reason=Reason.DISRUPTED) for number in range(1, 6))
    run = replace(run, status=run.status.model_copy(update={"attempts": (*run.status.attempts[:1], *attempts)}))
    decision = decide(run, done(Stage.PREPARE)[0], *old, replace(old[0], deleting=True, number=6, name="going"), now=later(HOUR))
    assert [job.number for job in decision.stop] == [1, 2, 3]
    assert decide(run, *old[:2], replace(old[2], owned=False), now=later(HOUR)).stop == ()


def test_a_live_job_of_an_attempt_that_has_ended_is_stopped_and_waited_for() -> None:
    run = reached(Stage.TRAIN)
    zombie = a_job(Stage.PREPARE)
    decision = decide(run, zombie)
    assert (decision.stop, decision.start) == ((zombie,), None)


def test_jobs_that_status_does_not_know_are_adopted_and_none_is_started_beside_them() -> None:
    seen = (*done(Stage.PREPARE), a_job(Stage.TRAIN, 2, failed=True), failed(Stage.TRAIN, 1, 2), *running(Stage.TRAIN, number=3))
    decision = decide(a_run(), *seen)
    known = [(each.stage, each.number, each.reason, each.charged, each.job_uid is not None) for each in decision.status.attempts]
    assert known == [
        (Stage.PREPARE, 1, Reason.SUCCEEDED, False, True),
        (Stage.TRAIN, 2, Reason.INTERNAL_ERROR, True, True),
        (Stage.TRAIN, 3, None, False, True),
    ]
    assert (decision.start, decision.stop, decision.status.restarts, decision.status.phase) == (None, (), 1, Phase.TRAINING)
    assert decision.status.prepared is not None
    assert decision.status.prepared.micro_batch == 8


def test_of_two_live_jobs_the_older_is_stopped() -> None:
    first, second = a_job(Stage.TRAIN, 1), a_job(Stage.TRAIN, 2)
    decision = decide(a_run(), *done(Stage.PREPARE), first, second)
    assert decision.stop == (first,)
    assert [each.stopping for each in decision.status.attempts] == [None, Reason.INTERRUPTED, None]


def test_a_foreign_job_is_never_adopted_nor_stopped() -> None:
    decision = decide(a_run(), a_job(Stage.TRAIN, 4, owned=False))
    assert (decision.stop, [each.stage for each in decision.status.attempts]) == ((), [Stage.PREPARE])


def test_attempts_are_bounded_and_their_numbers_go_on() -> None:
    run = reached(Stage.TRAIN, runPolicy={"maxRestarts": 0})
    for number in range(1, 80):
        run = after(run, decide(run, a_job(Stage.TRAIN, number, failed=True), failed(Stage.TRAIN, 1, number, disrupted=True), now=later(HOUR * number)))
        run = after(run, decide(run, now=later(HOUR * number + 1800)))
    numbers = [each.number for each in run.status.attempts if each.stage is Stage.TRAIN]
    assert numbers == list(range(18, 81))
    assert run.status.attempts[0].stage is Stage.PREPARE, "the newest of each stage stays, for its number"
    assert decide(run, done(Stage.PREPARE)[0], now=later(HOUR * 80)).status == run.status, "and its old Job is not taken for a new one"


def test_numbers_end_before_they_no_longer_fit() -> None:
    seen = (*done(Stage.PREPARE), a_job(Stage.TRAIN, 9999, failed=True), failed(Stage.TRAIN, 1, 9999, disrupted=True), a_job(Stage.TRAIN, 10000, failed=True))
    decision = decide(a_run(), *seen)
    assert (decision.status.phase, [each.number for each in decision.status.attempts]) == (Phase.FAILED, [1, 9999, 1])
