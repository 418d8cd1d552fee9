"""The cache against the truth: whatever order news comes in, whatever is lost, what it holds is never older than what it was told, and a list mends it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.objects import RUN_LABEL
from medfinetune_operator.cache import Cache, key_of
from medfinetune_operator.kinds import Kind

Json = dict[str, Any]
NAMES = st.sampled_from("abc")


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Json]]:
    """What happened to some Jobs, in order: creations, changes and deletions, with the resourceVersions that the API server gives."""
    alive: dict[str, Json] = {}
    news: list[tuple[str, Json]] = []
    for version in range(1, draw(st.integers(1, 25)) + 1):
        name = draw(NAMES)
        gone = name in alive and draw(st.booleans())
        uid = alive[name]["metadata"]["uid"] if name in alive else f"{name}{version}"
        meta = {"namespace": "ns", "name": name, "uid": uid, "resourceVersion": str(version), "labels": {RUN_LABEL: draw(NAMES)}}
        news.append(("DELETED" if gone else "MODIFIED" if name in alive else "ADDED", {"metadata": meta}))
        alive.pop(name) if gone else alive.update({name: {"metadata": meta}})
    return news


def truth(news: list[tuple[str, Json]]) -> dict[str, str]:
    """Version by name of what exists after the news."""
    there: dict[str, str] = {}
    for change, body in news:
        name, version = body["metadata"]["name"], body["metadata"]["resourceVersion"]
        there = {other: at for other, at in there.items() if other != name} | ({} if change == "DELETED" else {name: version})
    return there


def tell(cache: Cache, change: str, body: Json) -> bool:
    return cache.drop(Kind.JOB, body) if change == "DELETED" else cache.put(Kind.JOB, body)


def held(cache: Cache) -> dict[str, str]:
    found = {name: cache.named(Kind.JOB, "ns", name) for name in "abc"}
    return {name: body["metadata"]["resourceVersion"] for name, body in found.items() if body}


def indexed(cache: Cache) -> dict[str, str]:
    """Run by Job, as the index has it."""
    return {body["metadata"]["name"]: run for run in "abc" for body in cache.of_run(Kind.JOB, ("ns", run))}


def labelled(news: list[tuple[str, Json]]) -> dict[str, str]:
    last = {body["metadata"]["name"]: body["metadata"]["labels"][RUN_LABEL] for _, body in news}
    return {name: last[name] for name in truth(news)}


@given(histories().flatmap(lambda news: st.tuples(st.just(news), st.permutations(news))))
def test_news_in_any_order_ends_in_the_same_truth(told: tuple[list[tuple[str, Json]], list[tuple[str, Json]]]) -> None:
    news, shuffled = told
    cache = Cache()
    for change, body in shuffled:
        tell(cache, change, body)
    assert held(cache) == truth(news)
    assert indexed(cache) == labelled(news)


@given(histories(), st.data())
def test_a_list_mends_what_was_lost_and_late_news_breaks_nothing(news: list[tuple[str, Json]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(news)))
    heard = data.draw(st.lists(st.sampled_from(news), max_size=20))
    late = data.draw(st.permutations(news))
    cache = Cache()
    for change, body in heard:
        tell(cache, change, body)
    there, bodies = truth(news[:cut]), {body["metadata"]["resourceVersion"]: body for _, body in news}
    before = held(cache)
    concerned = cache.true_up(Kind.JOB, None, [bodies[version] for version in there.values()], str(cut))
    after = held(cache)
    news_for = {after.get(name, before.get(name)) for name in "abc" if before.get(name) != after.get(name)}
    assert {("ns", bodies[version]["metadata"]["labels"][RUN_LABEL]) for version in news_for if version} <= concerned
    for change, body in late:
        tell(cache, change, body)
    assert held(cache) == truth(news)
    assert indexed(cache) == labelled(news)
    for change, body in news:
        assert not tell(cache, change, body)


def test_a_claim_concerns_the_runs_that_name_it_and_the_one_it_was_made_for() -> None:
    cache, volume = Cache(), {"volume": {"persistentVolumeClaim": {"claimName": "models"}}}
    run = {"metadata": {"namespace": "ns", "name": "user", "uid": "u", "resourceVersion": "1"}, "spec": {"model": volume, "data": None, "output": {}}}
    claim = {"metadata": {"namespace": "ns", "name": "models", "uid": "c", "resourceVersion": "2", "labels": {RUN_LABEL: "maker"}}}
    cache.put(Kind.RUN, run)
    assert cache.concerned(Kind.CLAIM, claim) == {("ns", "user"), ("ns", "maker")}
    cache.drop(Kind.RUN, run)
    assert cache.concerned(Kind.CLAIM, claim) == {("ns", "maker")}


def test_what_nobody_reads_is_not_kept() -> None:
    cache = Cache()
    pod = {"metadata": {"namespace": "ns", "name": "p", "uid": "u", "resourceVersion": "1", "managedFields": [1]}, "spec": {"nodeName": "n", "volumes": [1]}}
    cache.put(Kind.POD, pod)
    kept = cache.named(Kind.POD, *key_of(pod))
    assert kept == {"metadata": {"namespace": "ns", "name": "p", "uid": "u", "resourceVersion": "1"}, "spec": {"nodeName": "n"}}
    assert "managedFields" in pod["metadata"]


def job(name: str, version: int, namespace: str = "ns") -> Json:
    return {"metadata": {"namespace": namespace, "name": name, "uid": name, "resourceVersion": str(version), "labels": {RUN_LABEL: name}}}


def test_a_list_of_one_watched_namespace_says_nothing_of_another() -> None:
    cache = Cache()
    for namespace in ("ward-1", "ward-2"):
        cache.put(Kind.JOB, job("a", 1, namespace))
    assert cache.true_up(Kind.JOB, "ward-1", [], "5") == {("ward-1", "a")}
    assert cache.named(Kind.JOB, "ward-1", "a") is None
    assert cache.named(Kind.JOB, "ward-2", "a")
    assert not cache.put(Kind.JOB, job("b", 3, "ward-1"))
    assert cache.put(Kind.JOB, job("b", 3, "ward-2"))


def test_a_list_takes_away_what_is_as_old_as_itself_and_nothing_newer() -> None:
    cache = Cache()
    for name, version in (("a", 4), ("b", 5), ("c", 6)):
        cache.put(Kind.JOB, job(name, version))
    assert cache.true_up(Kind.JOB, None, [], "5") == {("ns", "a"), ("ns", "b")}
    assert held(cache) == {"c": "6"}
