"""What the operator counts of a run's status: each end once, whatever answers of the API server get lost, and none that another operator counted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason
from medfinetune_api.status import Attempt, FineTuneStatus
from medfinetune_operator.metrics import Counters
from medfinetune_operator.news import News
from medfinetune_operator.run import Run, read_run
from support.manifests import minimal_manifest

UIDS = [f"00000000-0000-0000-0000-{number:012d}" for number in (1, 2)]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ended(count: int) -> FineTuneStatus:
    attempts = [
        Attempt(stage=Stage.TRAIN, number=number, start_time=NOW, end_time=NOW, reason=ConditionReason.INTERNAL_ERROR) for number in range(1, count + 1)
    ]
    return FineTuneStatus(attempts=tuple(attempts))


def stored(status: FineTuneStatus, uid: str) -> Run:
    """The run as it is read again once `status` is stored."""
    body: dict[str, Any] = minimal_manifest() | {"status": status.model_dump(mode="json", by_alias=True, exclude_none=True)}
    body["metadata"] |= {"namespace": "home", "uid": uid, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "1"}
    return read_run(body, None)


def counted(counters: Counters) -> float:
    return counters.registry.get_sample_value("medfinetune_operator_attempts_total", {"stage": "train", "reason": "InternalError"}) or 0


@given(before=st.integers(0, 3), writes=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=5))
def test_each_end_is_counted_once_though_answers_are_lost(before: int, writes: list[tuple[int, bool]]) -> None:
    counters = Counters()
    news, now = News(counters), before
    for more, answered in writes:
        run = stored(ended(now), UIDS[0])
        news.tell(run, run.status)
        now += more
        if answered:
            news.tell(run, ended(now))
    run = stored(ended(now), UIDS[0])
    news.tell(run, run.status)
    assert counted(counters) == (now - before if writes else 0)


def test_another_run_of_the_name_is_counted_anew() -> None:
    counters = Counters()
    news = News(counters)
    for uid in UIDS:
        run = stored(ended(0), uid)
        news.tell(run, run.status)
        news.tell(run, ended(2))
    assert counted(counters) == 4
