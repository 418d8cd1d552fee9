"""A run that goes well: what is decided when, what is made before what, and what each stage leaves in status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import WORK, Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import ConditionStatus, ConditionType, Phase
from medfinetune_api.results import TaskResult
from medfinetune_api.status import FineTuneStatus, PreparedFacts
from medfinetune_operator.decision import Decision
from medfinetune_operator.observation import Child, Observation, PodPhase, Report
from medfinetune_operator.reconcile import reconcile
from support.observed import CHILDREN, NOW, SETTINGS, a_job, a_pod, a_run, after, attempt, condition, decide, done, later, reached, running, said

GANG = {"parallelism": {"nodes": 2, "gpusPerNode": 1}}
TEMPLATE = {"output": {"volume": {"claimTemplate": {"storage": "10Gi", "accessModes": ["ReadWriteMany"]}, "persistentVolumeClaim": None}}}
SCORE = TaskResult(task="medqa", language="en", questions=100, accuracy=0.6, low=0.5, high=0.7)


def test_an_attempt_is_in_status_before_its_job_and_its_needs_are_made_before_it() -> None:
    decision = decide(a_run(**TEMPLATE), children=frozenset())
    assert decision.start == attempt(decision)
    assert (decision.start.stage, decision.start.number, decision.start.start_time) == (Stage.PREPARE, 1, NOW)
    assert decision.make == (Child.PLAN, Child.POLICY, Child.CLAIM)
    assert (decision.status.phase, decision.status.stage, decision.status.start_time) == (Phase.PREPARING, Stage.PREPARE, NOW)
    assert decision.status.observed_generation == 1


def test_only_what_is_missing_is_made_and_a_gang_needs_its_service() -> None:
    assert decide(reached(Stage.TRAIN), children=CHILDREN - {Child.SERVICE}).make == (Child.SERVICE,)
    assert decide(reached(Stage.PREPARE), children=CHILDREN - {Child.SERVICE}).make == ()
    assert decide(reached(Stage.EVALUATE), children=CHILDREN - {Child.SERVICE}).make == ()
    live = decide(reached(Stage.TRAIN), *running(Stage.TRAIN), children=CHILDREN - {Child.POLICY})
    assert live.make == (Child.POLICY,)
    assert live.start is None


def test_creating_is_asked_for_until_the_job_is_seen() -> None:
    run = reached(Stage.PREPARE)
    assert decide(run).start == run.status.attempts[0]
    assert decide(run).again is not None
    decision = decide(run, a_job(Stage.PREPARE))
    assert (decision.start, decision.again) == (None, 900.0)
    assert attempt(decision).job_uid == "uid-run-prepare-a1"


def test_a_run_goes_through_its_stages_one_after_the_other() -> None:
    run = reached(Stage.PREPARE)
    for stage, phase in zip(WORK, (Phase.PREPARING, Phase.TRAINING, Phase.EVALUATING), strict=True):
        assert (run.status.phase, run.status.stage, len(run.status.attempts)) == (phase, stage, WORK.index(stage) + 1)
        run = after(run, decide(run, *running(stage)))
        run = after(run, decide(run, *done(stage)))
    ended = [(each.reason, each.exit_code, each.charged) for each in run.status.attempts[:3]]
    assert ended == [(Reason.SUCCEEDED, 0, False)] * 3
    assert (run.status.phase, run.status.completion_time, run.status.restarts) == (Phase.SUCCEEDED, NOW, 0)
    states = {each.type: each.status for each in run.status.conditions}
    assert states.pop(ConditionType.FAILED) is states.pop(ConditionType.PURGED) is ConditionStatus.FALSE
    assert set(states.values()) == {ConditionStatus.TRUE}


def test_stages_leave_what_others_need_to_know() -> None:
    run = reached(Stage.TRAIN)
    assert run.status.prepared == PreparedFacts(micro_batch=8, total_steps=100, evaluate_on_gang=False)
    assert run.status.artifacts is not None
    assert (run.status.artifacts.claim_name, run.status.artifacts.folder, run.status.artifacts.adapter) == ("results", "run-0b5e3b9c", None)
    trained = decide(run, *done(Stage.TRAIN, resume_step=40.0, loss=1.25))
    assert attempt(trained, 1).resume_step == 40
    assert trained.status.progress is not None
    assert (trained.status.progress.step, trained.status.progress.percent, trained.status.progress.loss) == (100, 100, 1.25)
    stopped = decide(run, *done(Stage.TRAIN, steps=60.0, stopped_early=1.0)).status.progress
    assert stopped is not None
    assert (stopped.step, stopped.total_steps, stopped.percent) == (60, 60, 100)
    job, pod = done(Stage.EVALUATE)
    pod = replace(pod, result=said(Stage.EVALUATE).model_copy(update={"tasks": (SCORE,)}))
    evaluated = decide(after(run, trained), job, pod)
    assert evaluated.status.results == (SCORE,)
    assert evaluated.status.artifacts is not None
    assert (evaluated.status.artifacts.adapter, evaluated.status.artifacts.model) == ("adapter", None)


@pytest.mark.parametrize(("spec", "adapter"), [({"tuning": {"method": "Full"}}, None), ({"output": {"merge": True}}, "adapter")], ids=["Full", "merged"])
def test_a_whole_model_is_shown_where_the_run_leaves_one(spec: dict[str, Any], adapter: str | None) -> None:
    trained = reached(Stage.EVALUATE, **spec)
    assert trained.status.artifacts is not None
    assert (trained.status.artifacts.adapter, trained.status.artifacts.model) == (None, None)
    artifacts = decide(trained, *done(Stage.EVALUATE)).status.artifacts
    assert artifacts is not None
    assert (artifacts.adapter, artifacts.model) == (adapter, "model")


@pytest.mark.parametrize(
    ("spec", "facts"),
    [
        ({}, PreparedFacts(micro_batch=1, total_steps=0, evaluate_on_gang=False)),
        ({**GANG, "training": {"microBatch": 4}}, PreparedFacts(micro_batch=4, total_steps=0, evaluate_on_gang=False)),
        ({**GANG, "resources": {"gpuMemory": "24Gi"}}, PreparedFacts(micro_batch=1, total_steps=0, evaluate_on_gang=True)),
    ],
)
def test_a_lost_termination_message_leaves_what_is_safe(spec: dict[str, object], facts: PreparedFacts) -> None:
    run = reached(Stage.PREPARE, **spec)
    another = said(Stage.TRAIN, micro_batch=9.0, total_steps=9.0, evaluate_on_gang=1.0)
    for message in (None, said(Stage.PREPARE), another):
        pod = a_pod(Stage.PREPARE, phase=PodPhase.SUCCEEDED, exit_code=0, result=message)
        assert decide(run, a_job(Stage.PREPARE, complete=True), pod).status.prepared == facts
    assert decide(run, a_job(Stage.PREPARE, complete=True)).status.prepared == facts


def test_a_job_is_not_complete_while_news_of_its_pods_is_on_its_way() -> None:
    decision = decide(reached(Stage.PREPARE), a_job(Stage.PREPARE, complete=True), a_pod(Stage.PREPARE))
    assert attempt(decision).end_time is None
    assert decision.status.prepared is None
    assert decision.again is not None


def test_gpus_are_asked_for_only_once_prepare_has_succeeded() -> None:
    for seen in ((), (a_job(Stage.PREPARE),), running(Stage.PREPARE), (a_job(Stage.PREPARE, failed=True),)):
        assert {each.stage for each in decide(reached(Stage.PREPARE), *seen).status.attempts} == {Stage.PREPARE}


def report(step: int, at: float, **fields: object) -> Report:
    return replace(Report(0, step, 100, later(at)), **fields)


def told(decision: Decision) -> tuple[int, int, object]:
    assert decision.status.progress is not None
    return decision.status.progress.step, decision.status.progress.percent, decision.status.progress.update_time


def test_progress_moves_with_new_steps_only() -> None:
    run, gang = reached(Stage.TRAIN), running(Stage.TRAIN)
    first = decide(run, *gang, reports=(report(30, 5, loss=2.0, tokens_per_second=900.0, seconds_left=70.0, peak_vram_bytes=19864223744, resume_step=20),))
    assert told(first) == (30, 30, NOW), "by the operator's clock: nodes' clocks differ"
    assert first.status.progress is not None
    assert (first.status.progress.gpu_memory_peak, first.status.progress.loss, first.status.progress.seconds_left) == ("18.5Gi", 2.0, 70.0)
    assert attempt(first).resume_step == 20
    assert first.again == SETTINGS.progress_seconds
    run = after(run, first)
    assert decide(run, *gang, reports=(report(30, 50, loss=9.0),)).status == first.status, "the same step is no news"
    assert decide(run, *gang, reports=(report(29, 60),)).status == first.status, "a slower pod's report takes nothing back"
    assert decide(run, *gang).status == first.status
    assert told(decide(run, *gang, now=later(61), reports=(report(31, 60),))) == (31, 31, later(61))


def test_another_attempt_may_begin_before_the_last_step_seen() -> None:
    run = reached(Stage.TRAIN)
    run = after(run, decide(run, *running(Stage.TRAIN), reports=(report(30, 5),)))
    run = after(run, decide(run, a_job(Stage.TRAIN, failed=True), a_pod(Stage.TRAIN, phase=PodPhase.FAILED, exit_code=1)))
    run = after(run, decide(run, now=later(60)))
    assert told(decide(run, *running(Stage.TRAIN, number=2, now=later(70)), now=later(80), reports=(report(21, 79),))) == (21, 21, later(80))


def test_a_step_to_resume_from_lies_before_the_step() -> None:
    assert attempt(decide(reached(Stage.TRAIN), *running(Stage.TRAIN), reports=(report(30, 5, resume_step=31),))).resume_step is None


@given(
    st.builds(
        Report,
        st.integers(-5, 5),
        st.integers(),
        st.integers(),
        st.just(NOW),
        st.none() | st.integers(),
        *[st.none() | st.floats()] * 3,
        st.none() | st.integers(max_value=2**70),
    )
)
def test_no_report_can_break_the_operator(nonsense: Report) -> None:
    decision = decide(reached(Stage.TRAIN), *running(Stage.TRAIN), reports=(nonsense,))
    assert attempt(decision).end_time is None


def test_conditions_keep_the_time_of_their_last_change() -> None:
    run = reached(Stage.PREPARE)
    run = after(run, decide(run, *running(Stage.PREPARE), now=later(30)))
    assert condition(decide(run, *running(Stage.PREPARE), now=later(60)), ConditionType.PREPARED).last_transition_time == NOW
    complete = decide(run, *done(Stage.PREPARE), now=later(90))
    assert condition(complete, ConditionType.PREPARED).last_transition_time == later(90)
    assert condition(complete, ConditionType.ACCEPTED).last_transition_time == NOW


def test_of_a_run_that_is_being_deleted_only_what_lives_is_stopped() -> None:
    """Owner references do the rest; but a finalizer of others may hold the run, and its pods must not train on meanwhile."""
    run = a_run(reached(Stage.TRAIN).status, deleting=True)
    live, over = a_job(Stage.TRAIN), a_job(Stage.PREPARE, complete=True)
    assert reconcile(run, Observation(jobs=(over, live)), NOW, SETTINGS) == Decision(run.status, stop=(live,))
    assert reconcile(run, Observation(jobs=(a_job(Stage.TRAIN, deleting=True), a_job(Stage.TRAIN, 2, owned=False))), NOW, SETTINGS) == Decision(run.status)
    assert reconcile(a_run(deleting=True), Observation(), NOW, SETTINGS) == Decision(FineTuneStatus())


def test_events_are_posted_on_transitions_only() -> None:
    run = reached(Stage.PREPARE)
    assert decide(run, *running(Stage.PREPARE)).notes == ()
    notes = decide(run, *done(Stage.PREPARE)).notes
    assert [(note.reason, note.message.split(":")[0], note.warning) for note in notes] == [(Reason.SUCCEEDED, "run-prepare-a1 ended", False)]
