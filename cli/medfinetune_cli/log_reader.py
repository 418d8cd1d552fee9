"""Reads the logs of a run's pods: those there are, or all that come until the end. One thread a pod; lines stay whole."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.errors import Refusal
from medfinetune_api.objects import ATTEMPT_LABEL, CONTAINER, INDEX_LABEL, STAGE_LABEL, UID_LABEL

from medfinetune_cli.cluster_client import TIMEOUT, Cluster, Object
from medfinetune_cli.cluster_errors import NotFound, api_errors
from medfinetune_cli.output import say
from medfinetune_cli.run_state import RunState
from medfinetune_cli.waiting import wait_of

PAUSE = 2.0
"""Seconds between two looks for new pods."""


@dataclass(frozen=True)
class Wanted:
    """Which pods; None means any."""

    stage: Stage | None = None
    attempt: int | None = None
    rank: int | None = None

    @property
    def pinned(self) -> bool:
        """Whether it names a stage, so that following ends with it."""
        return self.stage is not None


@dataclass(frozen=True)
class LogPod:
    """One pod with what its labels say."""

    name: str
    stage: Stage
    attempt: int
    rank: int
    created: str
    started: bool
    """Whether its container runs or has run: there is a log."""
    ended: bool

    @classmethod
    def of(cls, pod: Object) -> LogPod:
        """From its JSON, which has the operator's labels."""
        meta, labels = pod["metadata"], pod["metadata"]["labels"]
        states = [one.get("state", {}) for one in pod.get("status", {}).get("containerStatuses") or () if one["name"] == CONTAINER]
        started = any(state.keys() & {"running", "terminated"} for state in states)
        ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        attempt, rank = int(labels[ATTEMPT_LABEL]), int(labels.get(INDEX_LABEL, "0"))
        return cls(meta["name"], Stage(labels[STAGE_LABEL]), attempt, rank, meta["creationTimestamp"], started, ended)

    @property
    def label(self) -> str:
        """What its lines begin with."""
        return f"{self.stage}-a{self.attempt} rank {self.rank}"


@dataclass
class LogReader:
    """The logs of one run. `tail` lines of each pod, or all."""

    cluster: Cluster
    name: str
    wanted: Wanted
    tail: int | None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failure: Refusal | None = None

    def read(self) -> None:
        """Print the logs that there are, pod by pod. Raises NotFound with the reason where there are none."""
        run = RunState.of(self.cluster.run(self.name))
        pods = self._newest(run)
        readable = [pod for pod in pods if pod.started]
        if not readable:
            raise self._nothing(run, pods)
        for pod in readable:
            self._print(pod, prefixed=len(pods) > 1, follow=False)

    def follow(self) -> None:
        """Print what every pod writes until it ends, and what the next ones write, until what was asked for has ended."""
        threads: dict[str, threading.Thread] = {}
        said = ""
        while True:
            run = RunState.of(self.cluster.run(self.name))
            for pod in self._newest(run) if not threads else self._pods(run):
                if pod.started and pod.name not in threads:
                    threads[pod.name] = self._start(pod)
            if self._over(run, threads):
                break
            said = self._say_wait(run, said) if not any(thread.is_alive() for thread in threads.values()) else ""
            time.sleep(PAUSE)
        if not threads:
            raise self._nothing(run, self._pods(run))
        if self._failure:
            raise self._failure

    def _pods(self, run: RunState) -> list[LogPod]:
        """The pods that are wanted, oldest attempt first."""
        pods = [LogPod.of(pod) for pod in self.cluster.pods(f"{UID_LABEL}={run.identity.uid},{STAGE_LABEL},{ATTEMPT_LABEL}")]
        chosen = [pod for pod in pods if self._is_wanted(pod)]
        return sorted(chosen, key=lambda pod: (pod.created, pod.stage, pod.attempt, pod.rank))

    def _is_wanted(self, pod: LogPod) -> bool:
        asked = ((self.wanted.stage, pod.stage), (self.wanted.attempt, pod.attempt), (self.wanted.rank, pod.rank))
        return all(wanted is None or wanted == found for wanted, found in asked)

    def _newest(self, run: RunState) -> list[LogPod]:
        """The pods of the newest attempt among those wanted, as the status has it; the purge only where it is asked for by name."""
        skipped = None if self.wanted.stage is Stage.PURGE else Stage.PURGE
        known = [one for one in run.status.attempts if one.stage is not skipped and self.wanted.stage in (None, one.stage)]
        pods = [pod for pod in self._pods(run) if pod.stage is not skipped]
        if self.wanted.attempt is not None or not (known or pods):
            return pods
        newest = (known[-1].stage, known[-1].number) if known else (pods[-1].stage, pods[-1].attempt)
        return sorted((pod for pod in pods if (pod.stage, pod.attempt) == newest), key=lambda pod: pod.rank)

    def _over(self, run: RunState, threads: dict[str, threading.Thread]) -> bool:
        if any(thread.is_alive() for thread in threads.values()):
            return False
        if self._failure or run.ended:
            return True
        pods = self._pods(run)
        return self.wanted.pinned and bool(pods) and all(pod.ended for pod in pods) and all(pod.name in threads for pod in pods if pod.started)

    def _start(self, pod: LogPod) -> threading.Thread:
        thread = threading.Thread(target=self._keep_printing, args=(pod,), daemon=True)
        thread.start()
        return thread

    def _keep_printing(self, pod: LogPod) -> None:
        try:
            self._print(pod, prefixed=self.wanted.rank is None, follow=True)
        except Refusal as refusal:
            self._failure = self._failure or refusal

    def _print(self, pod: LogPod, *, prefixed: bool, follow: bool) -> None:
        """Stream one pod's log, line by line. Raises Unreachable where its node cannot be asked."""
        options: dict[str, Any] = {"container": CONTAINER, "follow": follow, "_preload_content": False}
        options |= {"tail_lines": self.tail} if self.tail is not None else {}
        # A training step may take minutes: while following, silence is no failure.
        options["_request_timeout"] = (TIMEOUT[0], None) if follow else TIMEOUT
        with api_errors(self.cluster.server):
            answer = self.cluster.core.read_namespaced_pod_log(pod.name, self.cluster.namespace, **options)
            for line in answer:
                self._write(pod, line, prefixed)

    def _write(self, pod: LogPod, line: bytes, prefixed: bool) -> None:
        text = line.decode("utf-8", "replace")
        with self._lock:
            sys.stdout.write((f"[{pod.label}] " if prefixed else "") + text + ("" if text.endswith("\n") else "\n"))
            sys.stdout.flush()

    def _say_wait(self, run: RunState, said: str) -> str:
        wait = wait_of(run)
        words = f"waiting for {wait.what}" if wait else "waiting for the next pods"
        if words != said:
            say(words)
        return words

    def _nothing(self, run: RunState, pods: list[LogPod]) -> NotFound:
        wait = wait_of(run)
        if pods:
            found = f"{len(pods)} pods whose containers have not started" + (f"; waiting for {wait.what}" if wait else "")
        else:
            found = "no pods" + (f" yet: the run waits for {wait.what}" if wait else f": the run is {run.phase}, its pods are gone or have other numbers")
        remedy = wait.remedy if wait else f"medfinetune status {self.name} lists the attempts; metrics.jsonl on the volume stays (medfinetune fetch)."
        return NotFound(f"logs of {self.name}", found=found, expected="a pod that has started", remedy=remedy)
