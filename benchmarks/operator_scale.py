"""`python -m benchmarks.operator_scale --runs 1000`: how fast and how small the operator is, held to one core beside a real control plane on the same machine.

Real are etcd, API server (with its audit log) and controllers, which make the pods; no node runs them. Measured:

- seconds from the last apply, and from the first, until every run's first Job exists, runs being applied as fast as the API server takes them;
- resident memory of the operator: its peak up to the end of the next figure;
- p99 from apply to Job at RATE runs a second, on top of those;
- processor time of the operator until then, which says what its core allows whatever else the machine does;
- a cold start: seconds from the start of a new operator process until it has looked at every run once, and the writes it makes, Lease left out, though there
  is nothing to do (from the audit log). Before and after, the operator must be idle: SETTLED_SECONDS without a write of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from medfinetune_api.objects import RUN_LABEL, STAGE_LABEL
from urllib3.exceptions import HTTPError

from benchmarks.operator_setup import (
    ACCOUNT,
    RESULTS,
    RUNS,
    SYSTEM,
    Json,
    Rest,
    claims,
    deploy_rights,
    load,
    machine,
    operator_environment,
    operator_kubeconfig,
    settings_file,
)

from cluster.control_plane import ControlPlane  # isort: skip  # found through operator_setup
from cluster.processes import Server, free_port, wait_until  # isort: skip
from support.manifests import minimal_manifest  # isort: skip

OPERATOR = f"system:serviceaccount:{SYSTEM}:{ACCOUNT}"
APPLIERS, STEADY_RUNS, RATE = 4, 200, 5.0
SETTLED_SECONDS = 5.0
LIMITS = {"seconds": 20.0, "rss_mb": 250.0, "p99_s": 0.5, "cold_start_s": 10.0, "needless_writes": 0}
"""What the figures must stay below; not one needless write."""


class JobWatch:
    """When the first Job of each run was seen, by a watch of its own."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self._rest, self._path = rest, f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.seen: dict[str, float] = {}
        self._version = rest.request("GET", self._path)["metadata"]["resourceVersion"]
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            with suppress(HTTPError, OSError):
                for event in self._rest.watch(self._path, self._version, seconds=600):
                    meta = event["object"]["metadata"]
                    self._version = meta["resourceVersion"]
                    if event["type"] == "ADDED" and meta["labels"][STAGE_LABEL] == "prepare":
                        self.seen.setdefault(meta["labels"][RUN_LABEL], time.monotonic())


class Operator:
    """The operator's process, held to the machine's first core."""

    def __init__(self, folder: Path, kubeconfig: Path, life: int) -> None:
        self._port = free_port()
        settings = settings_file(folder, metricsPort=self._port)
        self.began = time.monotonic()
        command = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), sys.executable, "-m", "medfinetune_operator", "--config", settings]
        self.server = Server(command, folder / f"operator-{life}.log", operator_environment(kubeconfig, f"operator-{life}"))

    def reconciles(self) -> int:
        """Looks at runs so far; 0 while it does not answer."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
            return int(sum(float(value) for value in re.findall(r"^medfinetune_operator_reconciles_total\{.*\} (\S+)$", answer.read().decode(), re.MULTILINE)))
        return 0

    def ready(self) -> bool:
        """Whether it holds the Lease and has listed everything."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5):
            return True
        return False

    def peak_mb(self) -> float:
        """Peak resident memory so far, in MB (10^6 bytes)."""
        status = Path(f"/proc/{self.server.pid}/status").read_text(encoding="ascii")
        return round(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6, 1)

    def cpu_seconds(self) -> float:
        """Processor time so far: what other load on the machine does not change."""
        used = Path(f"/proc/{self.server.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
        return round(sum(map(int, used)) / os.sysconf("SC_CLK_TCK"), 2)

    def stop(self) -> float:
        """End it as a cluster does: SIGTERM, on which it releases the Lease. Seconds until it had ended."""
        asked = time.monotonic()
        os.kill(self.server.pid, signal.SIGTERM)
        wait_until("the operator's end", self.server.ended, evidence=self.server.tail)
        return round(time.monotonic() - asked, 1)


def main() -> int:
    """Measure, write the result, and end with the one line that states it; the exit code is 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steady-runs", type=int, default=STEADY_RUNS, help=f"runs that are applied at {RATE:.0f} a second")
    parser.add_argument("--result", type=Path, help="JSON file for the result; by default none, but for 1000 runs benchmarks/results/operator_scale.json")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medfinetune-scale-") as folder:
        result = measure(Path(folder), chosen.runs, chosen.steady_runs)
    file = chosen.result or (RESULTS / "operator_scale.json" if chosen.runs >= 1000 else None)
    if file:
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(
        json.dumps(
            {name: result[name] for name in ("seconds_from_first_apply", "apply_seconds", "cpu_seconds", "cold_start_cpu_s", "stop_s", "steady", "machine")}
        )
        + "\n"
    )
    sys.stdout.write(f"scale runs={chosen.runs} {' '.join(f'{name}={result[name]}' for name in LIMITS)}\n")
    return 0 if all(result[name] <= limit for name, limit in LIMITS.items()) else 1


def measure(folder: Path, runs: int, steady_runs: int) -> Json:
    """All figures, in one control plane."""
    busy = load()
    with ControlPlane(folder, audit=True) as cluster, cluster.namespace() as namespace:
        deploy_rights(cluster)
        rest = Rest(cluster.kubeconfig)
        claims(rest, namespace)
        kubeconfig, watch = operator_kubeconfig(cluster, folder), JobWatch(rest, namespace)
        operator = Operator(folder, kubeconfig, 1)
        operator.server.wait_for("readiness", operator.ready)
        start = operator.cpu_seconds()
        result = burst(rest, namespace, watch, runs)
        result |= {"cpu_seconds": round(operator.cpu_seconds() - start, 2)}
        writes = Writes(folder / "audit.log")
        writes.settle()
        result |= {"writes": writes.by_kind(), "steady": steady(rest, namespace, watch, steady_runs)}
        result |= {"p99_s": result["steady"]["p99_s"], "rss_mb": operator.peak_mb()}
        writes.settle()
        result |= {"stop_s": operator.stop()}
        result |= cold_start(writes, Operator(folder, kubeconfig, 2), runs + steady_runs)
    return result | {"limits": LIMITS, "machine": machine() | {"load_before": busy}}


def burst(rest: Rest, namespace: str, watch: JobWatch, runs: int) -> Json:
    """Apply all runs at once; seconds to all Jobs."""
    names = [f"run-{number}" for number in range(runs)]
    began = time.monotonic()
    with ThreadPoolExecutor(APPLIERS) as appliers:
        applied = max(appliers.map(lambda name: apply(rest, namespace, name), names))
    wait_until("every first Job", lambda: len(watch.seen) == runs, evidence=lambda: f"{len(watch.seen)} of {runs}")
    last = max(watch.seen.values())
    return {"seconds": round(last - applied, 2), "seconds_from_first_apply": round(last - began, 2), "apply_seconds": round(applied - began, 2)}


def steady(rest: Rest, namespace: str, watch: JobWatch, runs: int) -> Json:
    """Apply RATE runs a second; seconds from each apply to its Job."""
    applied, began = {}, time.monotonic()
    for number in range(runs):
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        name = f"steady-{number}"
        applied[name] = time.monotonic()
        apply(rest, namespace, name)
    wait_until("every Job", lambda: set(applied) <= set(watch.seen))
    waits = sorted(watch.seen[name] - moment for name, moment in applied.items())
    figures = {"p50_s": statistics.median(waits), "p99_s": waits[max(0, round(0.99 * len(waits)) - 1)], "longest_s": waits[-1]}
    return {"runs": runs, "a_second": RATE} | {name: round(value, 3) for name, value in figures.items()}


def cold_start(writes: Writes, operator: Operator, runs: int) -> Json:
    """Start again on what is there; seconds until each run was looked at, and what was written until the operator is idle."""
    before = len(writes)
    operator.server.wait_for("having looked at every run", lambda: operator.reconciles() >= runs)
    seconds, cpu = time.monotonic() - operator.began, operator.cpu_seconds()
    writes.settle()
    needless = writes.by_kind(before)
    operator.stop()
    return {
        "cold_start_s": round(seconds, 2),
        "cold_start_cpu_s": cpu,
        "cold_start_runs": runs,
        "needless_writes": sum(needless.values()),
        "needless": needless,
    }


def apply(rest: Rest, namespace: str, name: str) -> float:
    """Create one run; when that was done."""
    manifest: dict[str, Any] = minimal_manifest()
    manifest["metadata"]["name"] = name
    rest.request("POST", f"{RUNS}/namespaces/{namespace}/medfinetunes", manifest, fieldValidation="Strict")
    return time.monotonic()


class Writes:
    """The operator's writes in the audit log, its Lease left out: read on from where the last look ended."""

    def __init__(self, log: Path) -> None:
        self._log, self._offset = log, 0
        self._kinds: list[str] = []
        self._last = time.monotonic()

    def settle(self) -> None:
        """Return once the operator has written nothing for SETTLED_SECONDS."""
        wait_until("an idle operator", lambda: self._read() > SETTLED_SECONDS)

    def by_kind(self, since: int = 0) -> dict[str, int]:
        """Those after the first `since`, by verb and kind."""
        return dict(sorted(Counter(self._kinds[since:]).items()))

    def __len__(self) -> int:
        return len(self._kinds)

    def _read(self) -> float:
        """Take in what is new; seconds since the last time that something was."""
        with self._log.open("rb") as log:
            log.seek(self._offset)
            *lines, _ = log.read().split(b"\n")
        self._offset += sum(len(line) + 1 for line in lines)
        events = [json.loads(line) for line in lines]
        new = [event for event in events if event["user"]["username"] == OPERATOR and event["objectRef"]["resource"] != "leases"]
        self._kinds += [f"{event['verb']} {event['objectRef']['resource']}" for event in new]
        self._last = time.monotonic() if new else self._last
        return time.monotonic() - self._last


if __name__ == "__main__":
    sys.exit(main())
