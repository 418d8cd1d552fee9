"""What a recorded history shows: duplicate live Jobs, lost attempts, stuck runs. Pure, and written without the operator's code: it is the other side.

- duplicate: at some moment two Jobs of one run were live. A Job is live while it exists, has neither finished nor been asked to go, or has a pod that has not
  ended.
- lost: a Job whose uid no attempt of the run's status ever named; an attempt that vanished from status while there was room; `restarts` that went down; a
  charged failure that was not charged.
- stuck: a run that is not terminal at the end, or is and still has a live Job.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfinetune_api.exits import EXITS, exit_of
from medfinetune_api.objects import ATTEMPT_LABEL, STAGE_LABEL, UID_LABEL

Json = dict[str, Any]
TERMINAL = ("Succeeded", "Failed", "Quarantined", "Cancelled")
REMEMBERED = 64
"""Attempts that status keeps."""


def read_history(file: Path) -> list[Json]:
    """Every change in the order in which the API server made it."""
    lines = (json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return sorted(lines, key=lambda change: int(change["object"]["metadata"]["resourceVersion"]))


def last_versions(history: Iterable[Json]) -> dict[str, str]:
    """Of every run the resourceVersion that was seen last, by uid."""
    return {change["object"]["metadata"]["uid"]: change["object"]["metadata"]["resourceVersion"] for change in history if change["kind"] == "run"}


@dataclass
class Run:
    """One run as the history tells it."""

    name: str
    body: Json = field(default_factory=dict)
    jobs: dict[str, Json] = field(default_factory=dict)
    """Jobs that exist, by uid."""
    pods: dict[str, Json] = field(default_factory=dict)
    """Pods that exist, by uid."""
    made: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Every Job there ever was: uid -> stage and number."""
    counted: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The same by the attempts of every status there ever was."""
    chargeable: dict[str, str] = field(default_factory=dict)
    """Jobs that must have been charged: uid -> why."""
    disrupted: set[str] = field(default_factory=set)
    """Jobs with a pod that was evicted or drained, by uid."""
    exit_codes: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """Codes other than 0 of the pods there ever were, by uid of Job and pod."""
    ended: dict[tuple[str, int], Json] = field(default_factory=dict)
    """Attempts that have ended, as status last showed them."""

    def live(self) -> list[str]:
        """Names of the Jobs that are live now."""
        working = {job["metadata"]["name"] for job in self.jobs.values() if not (finished(job) or going(job))}
        return sorted(working | {pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] for pod in self.pods.values() if not ended(pod)})


@dataclass
class Verdict:
    """Violations, one line each."""

    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    """By uid."""


def judge(history: Iterable[Json]) -> Verdict:
    """The verdict over a whole history."""
    found = Verdict()
    seen_together: set[tuple[str, ...]] = set()
    for change in history:
        run = _take_in(found.runs, change)
        if run is None:
            continue
        if change["kind"] == "run":
            found.lost += _regressions(run, change)
        if change["kind"] == "pod":
            _note_ending(run, change["object"])
        if change["kind"] == "job" and change["change"] != "DELETED":
            _note_failure(run, change["object"])
        live = tuple(run.live())
        if len(live) > 1 and live not in seen_together:
            seen_together.add(live)
            found.duplicates.append(f"{run.name}: {' and '.join(live)} live at {change['object']['metadata']['resourceVersion']}")
    for run in found.runs.values():
        found.lost += _uncounted(run)
        found.stuck += _unfinished(run)
    return found


def finished(job: Json) -> bool:
    """Whether a Job is complete or has failed."""
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in job["status"]["conditions"])


def going(body: Json) -> bool:
    """Whether an object was asked to go."""
    return "deletionTimestamp" in body["metadata"]


def ended(pod: Json) -> bool:
    """Whether a pod can no longer do anything."""
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _take_in(runs: dict[str, Run], change: Json) -> Run | None:
    body, kind = change["object"], change["kind"]
    meta = body["metadata"]
    uid = meta["uid"] if kind == "run" else meta.get("labels", {}).get(UID_LABEL)
    if uid is None:
        return None
    run = runs.setdefault(uid, Run(meta["name"]))
    if kind == "run":
        run.name = meta["name"]
        return run
    there = run.jobs if kind == "job" else run.pods
    there[meta["uid"]] = body
    if kind == "job":
        run.made[meta["uid"]] = (meta["labels"][STAGE_LABEL], int(meta["labels"][ATTEMPT_LABEL]))
    if change["change"] == "DELETED":
        del there[meta["uid"]]
    return run


def _regressions(run: Run, change: Json) -> Iterator[str]:
    """What went backwards between two states of a run's status; takes the new one in."""
    before, after = run.body.get("status", {}), change["object"]["status"]
    run.body = change["object"]
    attempts = {(each["stage"], each["number"]): each for each in after.get("attempts", ())}
    if len(attempts) < REMEMBERED:
        vanished = [f"{each['stage']} {each['number']}" for each in before.get("attempts", ()) if (each["stage"], each["number"]) not in attempts]
        yield from (f"{run.name}: attempt {which} vanished from status" for which in vanished)
    if after.get("restarts", 0) < before.get("restarts", 0):
        yield f"{run.name}: restarts fell from {before['restarts']} to {after.get('restarts', 0)}"
    if before.get("phase") in TERMINAL and after.get("phase") != before["phase"]:
        yield f"{run.name}: {before['phase']} is final and became {after.get('phase')}"
    run.counted |= {each["jobUid"]: key for key, each in attempts.items() if "jobUid" in each}
    run.ended |= {key: each for key, each in attempts.items() if "endTime" in each}


def _note_failure(run: Run, job: Json) -> None:
    """Remember a Job that failed by itself and by a charged cause, while nobody wanted it to stop."""
    uid, policy = job["metadata"]["uid"], run.body.get("spec", {}).get("runPolicy", {})
    failed = any(each["type"] == "Failed" and each["status"] == "True" for each in job["status"]["conditions"])
    if not failed or uid in run.chargeable or going(job) or policy.get("suspend") or policy.get("cancel"):
        return
    attempt = next((each for each in run.body.get("status", {}).get("attempts", ()) if (each["stage"], each["number"]) == run.made[uid]), {})
    codes = sorted(run.exit_codes[uid].values())
    if not {"stopping", "endTime"} & set(attempt) and uid not in run.disrupted and any(EXITS[exit_of(code)].charged for code in codes):
        run.chargeable[uid] = f"exit codes {codes}"


def _note_ending(run: Run, pod: Json) -> None:
    """Remember how a pod ended, for when it is gone."""
    job = pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"]
    if any(each["type"] == "DisruptionTarget" and each["status"] == "True" for each in pod["status"]["conditions"]):
        run.disrupted.add(job)
    if code := _exit_code(pod):
        run.exit_codes[job][pod["metadata"]["uid"]] = code


def _exit_code(pod: Json) -> int | None:
    states = (each.get("state", {}).get("terminated") for each in pod["status"].get("containerStatuses", ()))
    return next((state["exitCode"] for state in states if state), None)


def _uncounted(run: Run) -> Iterator[str]:
    for uid, (stage, number) in run.made.items():
        if uid not in run.counted:
            yield f"{run.name}: no attempt of status ever named the Job {uid} of {stage} {number}"
    for uid, why in run.chargeable.items():
        attempt = run.ended.get(run.made[uid])
        if attempt is None or not (attempt.get("charged") or "stopping" in attempt or attempt["stage"] == "purge"):
            yield f"{run.name}: {run.made[uid]} failed with {why} and was not charged: {attempt}"


def _unfinished(run: Run) -> Iterator[str]:
    phase = run.body.get("status", {}).get("phase")
    if phase not in TERMINAL:
        yield f"{run.name}: {phase} at the end"
    elif run.live():
        yield f"{run.name}: {phase} with live Jobs {run.live()}"
