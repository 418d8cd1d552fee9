"""Random histories of one run: whatever happens to Jobs, pods, nodes, news and the operator, at most one attempt lives, none is lost, and an end is final.

And whatever happened: once the cluster is kind again, the run ends.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.conditions import ConditionReason, ConditionType
from medfinetune_api.exits import Exit
from medfinetune_operator.conditions import condition, is_terminal
from support.histories import Cluster
from support.misfortunes import Event, Misfortunes

POLICIES: list[dict[str, Any]] = [
    {"maxRestarts": 99},
    {"maxRestarts": 99},
    {"maxRestarts": 99},
    {"suspend": True},
    {"ttlSecondsAfterFinished": 60},
    {"activeDeadlineSeconds": 9000},
]
WHAT = [name for name, weight in Misfortunes.WEIGHTS.items() for _ in range(weight)]
CODES = [
    1,
    Exit.STORAGE_FAILED,
    Exit.INTERRUPTED,
    Exit.OUT_OF_MEMORY,
    Exit.GANG_LOST,
    137,
    139,
    Exit.STORAGE_FAILED,
    Exit.OUT_OF_MEMORY,
    1,
    137,
    Exit.INVALID_DATA,
    Exit.GATE_FAILED,
]
EVENTS = st.builds(Event, st.sampled_from(WHAT), st.integers(0, 7), st.sampled_from(CODES), st.booleans(), st.booleans())
KIND_ROUNDS = 150
DONE = (ConditionReason.SUCCEEDED, ConditionReason.PURGE_FAILED)


@settings(max_examples=100)
@given(
    queued=st.booleans(), policy=st.sampled_from(POLICIES), rounds=st.sampled_from([5, 6, 2, 3, 10, 7, 0]), events=st.lists(EVENTS, min_size=25, max_size=50)
)
def test_whatever_happens_one_attempt_lives_and_the_run_ends(queued: bool, policy: dict[str, Any], rounds: int, events: list[Event]) -> None:
    cluster = Cluster(queued=queued, policy=policy)
    history = Misfortunes(cluster)
    for _ in range(rounds):
        history.round()
    for event in events:
        history.happens(event)
        assert_sound(cluster)
    assert_ends(cluster, history)


def assert_sound(cluster: Cluster) -> None:
    """At most one attempt may write, and status knows every Job that there is. Each stored status the cluster itself holds against all before it."""
    living = cluster.living()
    assert len(living) <= 1, living
    unknown = {(job.stage, job.number) for job in cluster.jobs.values()} - cluster.known()
    assert not unknown or cluster.stored == "{}", unknown


def assert_ends(cluster: Cluster, history: Misfortunes) -> None:
    """The cluster is kind from now on: the run ends and is purged."""
    cluster.edit(suspend=False)
    cluster.refusing = None
    for _ in range(KIND_ROUNDS):
        history.round()
        assert_sound(cluster)
        status = cluster.run.status
        purged = condition(status, ConditionType.PURGED)
        if is_terminal(status) and (not status.attempts or (purged and purged.reason in DONE)):
            return
    raise AssertionError(f"the run does not end: {cluster.stored}")
