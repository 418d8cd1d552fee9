"""Reads the logs of a run's pods: those there are, or all that come until the end. One thread a pod; lines stay whole."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from medfinetune_api.errors import Refusal
from medfinetune_api.objects import CONTAINER

from medfinetune_cli.cluster_client import TIMEOUT, Cluster
from medfinetune_cli.cluster_errors import NotFound, Unreachable, api_errors
from medfinetune_cli.log_pods import LogPod, Wanted, pods_of
from medfinetune_cli.output import say
from medfinetune_cli.run_state import RunState
from medfinetune_cli.waiting import wait_of

PAUSE = 2.0
"""Seconds between two looks for new pods."""


@dataclass
class LogReader:
    """The logs of one run. `tail` lines of each pod, or all."""

    cluster: Cluster
    name: str
    wanted: Wanted
    tail: int | None
    _threads: dict[str, threading.Thread] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failure: Refusal | None = None

    def read(self) -> None:
        """Print the logs that there are, pod by pod. Raises NotFound with the reason where there are none."""
        run = RunState.of(self.cluster.run(self.name))
        pods = pods_of(self.cluster, run, self.wanted)
        readable = [pod for pod in pods if pod.started]
        if not readable:
            raise self._nothing(run, pods)
        for pod in readable:
            self._print(pod, prefixed=len(pods) > 1, follow=False)

    def follow(self) -> None:
        """Print what every pod writes until it ends, and what the next ones write, until what was asked for has ended.

        Raises NotFound where it ended without a pod, and the first Refusal of a pod's stream.
        """
        said = ""
        while True:
            run = RunState.of(self.cluster.run(self.name))
            pods = pods_of(self.cluster, run, self.wanted, later=bool(self._threads))
            for pod in pods:
                self._start(pod)
            if self._over(run, pods):
                break
            said = "" if self._reading() else self._say_wait(run, said)
            time.sleep(PAUSE)
        if not self._threads:
            raise self._nothing(run, pods)
        if self._failure:
            raise self._failure

    def _over(self, run: RunState, pods: list[LogPod]) -> bool:
        """A stage that was named ends with its pods, everything with the run."""
        if self._reading():
            return False
        stage_ended = self.wanted.stage is not None and bool(pods) and all(pod.ended for pod in pods)
        return self._failure is not None or run.ended or stage_ended

    def _reading(self) -> bool:
        return any(thread.is_alive() for thread in self._threads.values())

    def _start(self, pod: LogPod) -> None:
        if pod.started and pod.name not in self._threads:
            self._threads[pod.name] = threading.Thread(target=self._keep_printing, args=(pod,), daemon=True)
            self._threads[pod.name].start()

    def _keep_printing(self, pod: LogPod) -> None:
        try:
            self._print(pod, prefixed=self.wanted.rank is None, follow=True)
        except Refusal as refusal:
            self._failure = self._failure or refusal

    def _print(self, pod: LogPod, *, prefixed: bool, follow: bool) -> None:
        """Stream one pod's log, line by line. Raises Unreachable where its node cannot be asked."""
        # A training step may take minutes: while following, silence is no failure.
        timeout = (TIMEOUT[0], None) if follow else TIMEOUT
        options: dict[str, Any] = {"container": CONTAINER, "follow": follow, "_preload_content": False, "_request_timeout": timeout}
        options |= {} if self.tail is None else {"tail_lines": self.tail}
        try:
            with api_errors(self.cluster.server):
                for line in self.cluster.core.read_namespaced_pod_log(pod.name, self.cluster.namespace, **options):
                    self._write(pod, line, prefixed)
        except Unreachable as refusal:
            remedy = "The run goes on without being read. See whether its node is ready (kubectl get nodes), then try again."
            raise Unreachable(f"log of pod {pod.name}", found=refusal.found, expected="an answer of its node", remedy=remedy) from None

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
            found = f"containers that have not started, in {len(pods)} of {len(pods)} pods" + (f"; the run waits for {wait.what}" if wait else "")
        else:
            found = f"no pods yet: the run waits for {wait.what}" if wait else f"no such pods, or none any more: the run is {run.phase}"
        remedy = wait.remedy if wait else f"medfinetune status {self.name} lists the attempts; metrics.jsonl stays on the volume (medfinetune fetch)."
        return NotFound(f"logs of {self.name}", found=found, expected="a pod that has started", remedy=remedy)
