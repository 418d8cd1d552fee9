"""How an attempt ended: the table of endings, over all ranks, and that nothing but the most decisive ending of each rank matters."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.exits import EXITS, FOLLOWING, Exit
from medfinetune_api.status import PodEnding
from medfinetune_operator.observation import Pod, PodPhase
from medfinetune_operator.verdict import HIGHEST_INDEX, LOST, Verdict, fate, judge, with_endings
from support.observed import a_pod, failed

GANG = 2
DRAINED = failed(Stage.TRAIN, Exit.INVALID_DATA, index=1, disrupted=True)
KILLED = failed(Stage.TRAIN, 137, index=1, oom_killed=True)
RUNS_ON_A_LOST_NODE = a_pod(Stage.TRAIN, index=1, disrupted=True)
WELL = a_pod(Stage.TRAIN, index=1, phase=PodPhase.SUCCEEDED, exit_code=0)


def ended(code: int | None, index: int = 0) -> Pod:
    return failed(Stage.TRAIN, code, index=index)


@pytest.mark.parametrize(
    ("pods", "reason", "index"),
    [
        ([ended(Exit.GANG_LOST), DRAINED], Reason.DISRUPTED, 1),
        ([ended(Exit.INVALID_DATA), RUNS_ON_A_LOST_NODE], Reason.DISRUPTED, 1),
        ([ended(Exit.DIVERGED), KILLED], Reason.HOST_OUT_OF_MEMORY, 1),
        ([ended(Exit.INVALID_DATA), ended(Exit.HOST_OUT_OF_MEMORY, 1)], Reason.HOST_OUT_OF_MEMORY, 1),
        ([ended(Exit.INTERNAL_ERROR), ended(Exit.OUT_OF_MEMORY, 1)], Reason.OUT_OF_MEMORY, 1),
        ([ended(139), ended(Exit.STORAGE_FAILED, 1)], Reason.STORAGE_FAILED, 1),
        ([ended(Exit.GANG_LOST), ended(139, 1)], Reason.INTERNAL_ERROR, 1),
        ([ended(Exit.INTERRUPTED), ended(137, 1)], Reason.INTERNAL_ERROR, 1),
        ([ended(Exit.INTERRUPTED), ended(Exit.GANG_LOST, 1)], Reason.GANG_LOST, 1),
        ([ended(Exit.DIVERGED, 1), ended(Exit.INVALID_DATA, 0)], Reason.INVALID_DATA, 0),
        ([ended(Exit.INTERRUPTED), ended(Exit.INTERRUPTED, 1)], Reason.INTERRUPTED, 0),
        ([ended(Exit.INTERRUPTED), WELL], Reason.INTERRUPTED, 0),
        ([ended(None), WELL], Reason.DISRUPTED, 0),
        ([ended(0), WELL], Reason.INTERNAL_ERROR, 0),
        ([ended(Exit.USAGE), ended(Exit.GANG_LOST, 1)], Reason.USAGE, 0),
    ],
)
def test_the_cause_is_found_whichever_pod_died_first(pods: list[Pod], reason: Reason, index: int) -> None:
    verdict = judge((), tuple(pods), GANG)
    assert (verdict.reason, verdict.index, verdict.node) == (reason, index, f"node-{index}")
    assert verdict.exit_code == {str(meaning.reason): code for code, meaning in EXITS.items()}.get(reason)


def test_a_lost_ending_is_charged_and_explains_itself_by_nothing() -> None:
    assert judge((), (), GANG) == judge((), (WELL,), GANG) == LOST
    assert judge((), (ended(Exit.INTERRUPTED),), GANG) == LOST, "somebody asked it to stop, and who did is not known"
    assert fate(LOST.reason).charged


def test_an_ending_outlives_its_pod() -> None:
    stored = with_endings((), [ended(Exit.GANG_LOST), DRAINED])
    assert judge(stored, (), GANG) == Verdict(Reason.DISRUPTED, None, 1, "node-1")


def test_a_live_pod_and_one_that_succeeded_have_no_ending() -> None:
    assert with_endings((), [a_pod(Stage.TRAIN), WELL, a_pod(Stage.TRAIN, phase=PodPhase.PENDING), failed(Stage.TRAIN, 1, index=HIGHEST_INDEX + 1)]) == ()


def test_what_follows_from_an_ending_is_what_the_exit_table_says_and_disruptions_are_free() -> None:
    assert all(fate(Reason(meaning.reason)) == (meaning.retryable, meaning.charged) for meaning in EXITS.values())
    free = {Reason.DISRUPTED, Reason.SCHEDULING_TIMEOUT, Reason.SUSPENDED}
    assert all(fate(reason) == (True, False) for reason in free)
    assert not any(fate(reason).retryable for reason in (Reason.CANCELLED, Reason.DEADLINE_EXCEEDED))


PODS = st.lists(
    st.builds(
        lambda index, code, oom, disrupted: failed(Stage.TRAIN, code, index=index, oom_killed=oom, disrupted=disrupted),
        st.integers(0, 200),
        st.sampled_from([None, 0, 9, 137, *EXITS]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=120,
)


@given(PODS, st.randoms(use_true_random=False))
def test_the_verdict_is_the_same_in_whatever_order_and_portions_endings_are_seen(pods: list[Pod], chance: random.Random) -> None:
    """And what is written down stays within its bound, with the decisive one in it."""
    shuffled = chance.sample(pods, len(pods))
    cut = chance.randint(0, len(pods))
    stored: tuple[PodEnding, ...] = with_endings(with_endings((), shuffled[:cut]), shuffled[cut:])
    assert len(stored) <= 64
    at_once, in_portions = judge((), tuple(pods), 0), judge(stored, (), 0)
    assert (at_once.reason, at_once.index) == (in_portions.reason, in_portions.index)


def test_of_a_large_gang_the_decisive_endings_are_written_down() -> None:
    stored = with_endings((), [*(ended(Exit.GANG_LOST, index) for index in range(99)), failed(Stage.TRAIN, 1, index=99, disrupted=True)])
    assert (len(stored), judge(stored, (), 100).index) == (64, 99)


def test_who_follows_another_never_outranks_a_cause() -> None:
    for code in set(EXITS) - set(FOLLOWING) - {Exit.SUCCEEDED}:
        for following in FOLLOWING:
            assert judge((), (ended(following), ended(code, 1)), GANG).index == 1
