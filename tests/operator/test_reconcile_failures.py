"""After a failure: what is charged, when and with what the next attempt begins, and what ends the run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import ConditionStatus, ConditionType, Phase
from medfinetune_api.exits import EXITS, Exit
from medfinetune_api.results import TaskResult
from medfinetune_operator.decision import Decision
from medfinetune_operator.observation import Job, Pod
from medfinetune_operator.run import Run
from support.observed import NOW, a_job, a_pod, after, attempt, condition, decide, done, failed, later, reached, running, said

HOUR = 3600


def fails(run: Run, *pods: Pod, stage: Stage = Stage.TRAIN, at: float = 0, **job: object) -> Decision:
    """The newest attempt's Job has failed."""
    number = max(each.number for each in run.status.attempts if each.stage is stage)
    return decide(run, replace(a_job(stage, number, failed=True), **job), *pods, now=later(at))


def again_and_again(run: Run, code: int, times: int, stage: Stage = Stage.TRAIN) -> Decision:
    """The stage fails so many times, each time an hour later."""
    for time in range(times):
        number = max(each.number for each in run.status.attempts if each.stage is stage)
        decision = fails(run, failed(stage, code, number), stage=stage, at=HOUR * time)
        run = after(run, decision)
        run = after(run, decide(run, now=later(HOUR * (time + 1))))
    return decision


@pytest.mark.parametrize("code", [code for code, meaning in EXITS.items() if meaning.retryable])
def test_what_may_succeed_is_tried_again_and_charged_as_the_table_says(code: Exit) -> None:
    decision = fails(reached(Stage.TRAIN), failed(Stage.TRAIN, code), at=100)
    ended = attempt(decision)
    assert (ended.reason, ended.exit_code, ended.index, ended.node, ended.end_time) == (EXITS[code].reason, code, 0, "node-0", later(100))
    assert (ended.charged, decision.status.restarts) == (EXITS[code].charged, int(EXITS[code].charged))
    waiting = condition(decision, ConditionType.TRAINED)
    assert (waiting.reason, EXITS[code].meaning in waiting.message) == (Reason.BACKING_OFF, True)
    assert decision.again is not None
    assert 10 <= decision.again <= 15
    assert attempt(decide(after(reached(Stage.TRAIN), decision), now=later(116))).number == 2


@pytest.mark.parametrize("code", [code for code, meaning in EXITS.items() if not meaning.retryable and code])
def test_what_cannot_succeed_is_final_at_once_with_its_reason_and_remedy(code: Exit) -> None:
    decision = fails(reached(Stage.TRAIN), failed(Stage.TRAIN, code))
    end = condition(decision, ConditionType.FAILED)
    assert (end.status, end.reason) == (ConditionStatus.TRUE, EXITS[code].reason)
    assert len(end.message.split(". ")) >= 3
    assert (decision.status.completion_time, decision.status.restarts) == (NOW, int(EXITS[code].charged))
    assert condition(decision, ConditionType.EVALUATED).reason == EXITS[code].reason
    assert {each.stage for each in decide(after(reached(Stage.TRAIN), decision), now=later(HOUR)).status.attempts[2:]} == {Stage.PURGE}


def test_a_failed_gate_quarantines_and_shows_the_figures() -> None:
    score = TaskResult(task="medqa", language="en", questions=100, accuracy=0.2, low=0.1, high=0.3)
    told = said(Stage.EVALUATE, Exit.GATE_FAILED).model_copy(update={"tasks": (score,)})
    decision = fails(reached(Stage.EVALUATE), failed(Stage.EVALUATE, Exit.GATE_FAILED, result=told), stage=Stage.EVALUATE)
    assert (decision.status.phase, decision.status.results) == (Phase.QUARANTINED, (score,))
    assert [condition(decision, kind).status for kind in (ConditionType.FAILED, ConditionType.QUARANTINED)] == [ConditionStatus.TRUE] * 2
    assert decision.status.artifacts is not None
    assert decision.status.artifacts.adapter is None


@pytest.mark.parametrize("allowed", [0, 3])
def test_charged_failures_are_tried_again_max_restarts_times(allowed: int) -> None:
    run = reached(Stage.TRAIN, runPolicy={"maxRestarts": allowed})
    last = again_and_again(run, Exit.STORAGE_FAILED, allowed + 1)
    end = condition(last, ConditionType.FAILED)
    assert (end.status, end.reason, last.status.restarts) == (ConditionStatus.TRUE, Reason.STORAGE_FAILED, allowed + 1)
    assert f"maxRestarts {allowed}" in end.message
    if allowed:
        assert condition(again_and_again(run, Exit.STORAGE_FAILED, allowed), ConditionType.FAILED).status is ConditionStatus.FALSE


def test_restarts_are_counted_over_all_stages() -> None:
    run = reached(Stage.PREPARE, runPolicy={"maxRestarts": 1})
    run = after(run, again_and_again(run, 1, 1, Stage.PREPARE))
    run = after(run, decide(run, now=later(HOUR)))
    run = after(run, decide(run, *done(Stage.PREPARE, 2), now=later(HOUR)))
    assert fails(run, failed(Stage.TRAIN, 1), at=HOUR).status.phase is Phase.FAILED


def test_disruptions_are_never_charged() -> None:
    run = reached(Stage.TRAIN, runPolicy={"maxRestarts": 0})
    for number in range(1, 8):
        run = after(run, fails(run, failed(Stage.TRAIN, 1, number, disrupted=True), at=HOUR * number))
        run = after(run, decide(run, now=later(HOUR * (number + 1))))
    assert (run.status.restarts, len(run.status.attempts), run.status.phase) == (0, 9, Phase.TRAINING)


@pytest.mark.parametrize(("job", "reason", "charged"), [({}, Reason.EVIDENCE_LOST, True), ({"suspended": True}, Reason.DISRUPTED, False)])
def test_a_failed_job_without_pods_is_charged_unless_kueue_took_them(job: dict[str, object], reason: Reason, charged: bool) -> None:
    ended = attempt(fails(reached(Stage.TRAIN), **job))
    assert (ended.reason, ended.exit_code, ended.charged) == (reason, None, charged)


def test_a_job_that_is_gone_is_judged_by_what_was_written_down() -> None:
    run = reached(Stage.TRAIN)
    seen = after(run, decide(run, a_job(Stage.TRAIN, pods_wanted=2), a_pod(Stage.TRAIN), failed(Stage.TRAIN, Exit.DIVERGED, index=1)))
    assert [(each.index, each.reason, each.exit_code) for each in seen.status.attempts[-1].endings] == [(1, Reason.DIVERGED, 69)]
    decision = decide(seen)
    assert (attempt(decision, 1).reason, attempt(decision, 1).index, attempt(decision, 1).endings) == (Reason.DIVERGED, 1, ())
    known = after(run, decide(run, a_job(Stage.TRAIN)))
    assert attempt(decide(known)).reason is Reason.EVIDENCE_LOST
    assert attempt(decide(known, a_job(Stage.TRAIN, owned=False))).reason is Reason.EVIDENCE_LOST, "a foreign Job is no evidence"
    assert attempt(decide(known, a_pod(Stage.TRAIN))).end_time is None, "its pod may still write"


def test_an_attempt_is_judged_only_when_its_job_has_failed_and_its_pods_have_ended() -> None:
    run, dead = reached(Stage.TRAIN), failed(Stage.TRAIN, 1)
    for seen in ([a_job(Stage.TRAIN, pods_wanted=2), dead], [a_job(Stage.TRAIN, pods_wanted=2, failed=True), dead, a_pod(Stage.TRAIN, index=1)]):
        assert attempt(decide(run, *seen)).end_time is None


def micro_batches(decision: Decision) -> list[int | None]:
    return [each.micro_batch for each in decision.status.attempts if each.stage is Stage.TRAIN]


def test_cuda_out_of_memory_halves_the_micro_batch_until_there_is_no_half() -> None:
    run = reached(Stage.TRAIN, runPolicy={"maxRestarts": 99})
    for number, code in enumerate([Exit.OUT_OF_MEMORY, Exit.STORAGE_FAILED, Exit.OUT_OF_MEMORY, Exit.HOST_OUT_OF_MEMORY, Exit.OUT_OF_MEMORY], 1):
        run = after(run, fails(run, failed(Stage.TRAIN, code, number), at=HOUR * number))
        decision = decide(run, now=later(HOUR * (number + 1)))
        run = after(run, decision)
    assert micro_batches(decision) == [None, 4, 4, 2, 2, 1]
    assert condition(fails(run, failed(Stage.TRAIN, Exit.OUT_OF_MEMORY, 6)), ConditionType.FAILED).reason is Reason.OUT_OF_MEMORY


def test_what_training_halved_itself_is_not_tried_again() -> None:
    """It ends for want of memory at one row only, where no attempt helps; a gang of several nodes ends at the first."""
    run = reached(Stage.TRAIN)
    alone = fails(run, failed(Stage.TRAIN, Exit.OUT_OF_MEMORY, result=said(Stage.TRAIN, 76, micro_batch=1.0)))
    assert condition(alone, ConditionType.FAILED).reason is Reason.OUT_OF_MEMORY
    several = after(run, fails(run, failed(Stage.TRAIN, Exit.OUT_OF_MEMORY, result=said(Stage.TRAIN, 76, micro_batch=6.0))))
    assert micro_batches(decide(several, now=later(HOUR))) == [6, 3]


@pytest.mark.parametrize(("planned", "next_one"), [("Auto", 1), (6, 3)])
def test_a_micro_batch_that_is_not_known_is_halved_to_one(planned: object, next_one: int) -> None:
    run = reached(Stage.PREPARE, training={"microBatch": planned})
    run = after(run, decide(run, a_job(Stage.PREPARE, complete=True)))
    run = after(run, fails(run, failed(Stage.TRAIN, Exit.OUT_OF_MEMORY)))
    assert micro_batches(decide(run, now=later(HOUR))) == [None, next_one]


def test_out_of_memory_in_evaluate_is_tried_again_as_it_was() -> None:
    run = reached(Stage.EVALUATE)
    run = after(run, fails(run, failed(Stage.EVALUATE, Exit.OUT_OF_MEMORY), stage=Stage.EVALUATE))
    assert attempt(decide(run, now=later(HOUR))).micro_batch is None


def test_backoff_doubles_up_to_six_minutes_and_differs_between_runs() -> None:
    run, waits = reached(Stage.TRAIN, runPolicy={"maxRestarts": 99}), []
    for number in range(1, 9):
        decision = fails(run, failed(Stage.TRAIN, 1, number), at=HOUR * number)
        waits.append(decision.again)
        run = after(run, decision)
        assert decide(run, now=later(HOUR * number + (decision.again or 0) - 0.001)).start is None
        run = after(run, decide(run, now=later(HOUR * (number + 1))))
    assert [1 <= (wait or 0) / base <= 1.5 for wait, base in zip(waits, [10, 20, 40, 80, 160, 320, 360, 360], strict=True)] == [True] * 8
    elsewhere = replace(reached(Stage.TRAIN), identity=run.identity.model_copy(update={"uid": run.identity.uid.replace("0", "1")}))
    assert fails(elsewhere, failed(Stage.TRAIN, 1), at=HOUR).again != waits[0]


def test_an_uncharged_ending_backs_off_too() -> None:
    run = reached(Stage.TRAIN)
    waits = []
    for number in (1, 2):
        decision = fails(run, failed(Stage.TRAIN, 1, number, disrupted=True), at=HOUR * number)
        waits.append(decision.again or 0)
        run = after(after(run, decision), decide(after(run, decision), now=later(HOUR * (number + 1))))
    assert 10 <= waits[0] <= 15 < 20 <= waits[1] <= 30


def test_seconds_at_work_are_counted_from_when_all_pods_run() -> None:
    run = reached(Stage.TRAIN)
    gang: tuple[Job | Pod, ...] = (a_job(Stage.TRAIN, pods_wanted=2), a_pod(Stage.TRAIN))
    run = after(run, decide(run, *gang, now=later(50)))
    assert run.status.attempts[-1].running_time is None
    run = after(run, decide(run, *gang, a_pod(Stage.TRAIN, index=1), now=later(100)))
    assert run.status.attempts[-1].running_time == later(100)
    assert fails(run, failed(Stage.TRAIN, 1), at=160, pods_wanted=2).status.active_seconds == 60


def test_what_kueue_takes_away_counts_until_then_and_begins_anew() -> None:
    run = reached(Stage.TRAIN)
    run = after(run, decide(run, *running(Stage.TRAIN), now=later(0)))
    run = after(run, decide(run, a_job(Stage.TRAIN, suspended=True, started=None), now=later(60)))
    assert (run.status.active_seconds, run.status.attempts[-1].running_time) == (60, None)
    readmitted = a_job(Stage.TRAIN, started=later(1000))
    run = after(run, decide(run, readmitted, a_pod(Stage.TRAIN), now=later(1000)))
    assert run.status.attempts[-1].running_time == later(1000)


def test_a_readmission_that_was_not_seen_begins_anew_too() -> None:
    run = reached(Stage.TRAIN)
    run = after(run, decide(run, *running(Stage.TRAIN)))
    pending = decide(run, a_job(Stage.TRAIN, started=later(500)), now=later(510))
    assert attempt(pending).running_time is None
