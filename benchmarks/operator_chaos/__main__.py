"""`python -m benchmarks.operator_chaos --kills 200`: kill the operator 200 times among failing, drained, suspended and half-admitted runs; nothing is lost.

Real are etcd, API server and controllers, the operator process with the rights it ships with, and every SIGKILL; pods are played (no kubelet). Between
operator and API server stands a bad network; the API server itself crashes, and its watches expire. At the end the world becomes kind and every run must end.
The last line says what an independent witness saw; the exit code is 1 unless duplicates, lost attempts and stuck runs are 0.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.operator_chaos.killing import Killing
from benchmarks.operator_chaos.proxy import FaultyProxy
from benchmarks.operator_chaos.recorder import FOLLOWS, PATHS
from benchmarks.operator_chaos.verdict import TERMINAL, Verdict, judge, last_versions, read_history
from benchmarks.operator_chaos.witnessed import WitnessedControlPlane
from benchmarks.operator_chaos.world import World
from benchmarks.operator_setup import (
    ACCOUNT,
    RESULTS,
    ROOT,
    SYSTEM,
    Json,
    Refused,
    Rest,
    claims,
    deploy_rights,
    load,
    machine,
    operator_kubeconfig,
    settings_file,
)

from cluster.processes import Server, free_port  # isort: skip  # found through operator_setup

QUICK: Json = {"backoffSeconds": 0.2, "queueSeconds": 0.3, "resyncSeconds": 10, "stopSeconds": 5, "leaseSeconds": 6}
"""Settings that leave nothing out, and waste no time in which something could go wrong."""
API_SERVER = ("--min-request-timeout=5",)
"""Watches end after 5 to 10 s."""
CONTROLLERS = ("--node-monitor-grace-period=24h", "--node-startup-grace-period=24h")
"""Nodes are played too: nobody renews their Leases."""
OUTAGES, CUTS = 40, 15
"""Kills from one crash of the API server to the next, and from one cut of all connections to the next."""
MORE = 1.3
"""Bound of all kills, in units of those asked for."""
END_SECONDS = 600.0
"""Within which every run must have ended in a kind world: the longest backoff is 360 s."""


def main(arguments: list[str] | None = None) -> int:
    """Run, write the result where it is the whole benchmark, print the line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--runs", type=int, default=20, help="runs that are under way at any time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--result", type=Path, help="JSON file for the result; by default none, but for the whole benchmark benchmarks/results/operator_chaos.json"
    )
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="medfinetune-chaos-") as folder:
        result = chaos(Path(folder), chosen.kills, chosen.runs, chosen.seed)
    file = chosen.result or (RESULTS / "operator_chaos.json" if chosen.kills >= 200 else None)
    if file:
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({part: result[part] for part in ("kills_by_point", "network", "world", "phases", "violations")}, indent=1) + "\n")
    counts = {name: len(result["violations"][name]) for name in ("duplicates", "lost", "stuck")}
    sys.stdout.write(f"chaos kills={result['kills']} {' '.join(f'{name}={count}' for name, count in counts.items())}\n")
    return 1 if any(counts.values()) else 0


def chaos(folder: Path, kills: int, runs: int, seed: int) -> Json:
    """The whole experiment, its files in `folder`; everything that is worth knowing of it."""
    began, busy = time.monotonic(), load()
    with (
        WitnessedControlPlane(folder, api_server_flags=API_SERVER, controller_manager_flags=CONTROLLERS) as cluster,
        cluster.namespace() as namespace,
        FaultyProxy(cluster.url, cluster.credentials.certificate, folder, free_port(), seed) as proxy,
        recorded(cluster.witness, namespace, folder / "history.jsonl") as recorder,
    ):
        deploy_rights(cluster)
        rest = Rest(cluster.kubeconfig)
        claims(rest, namespace)
        world = World(rest, namespace, runs, seed)
        killing = Killing(
            folder, operator_kubeconfig(cluster, folder, proxy.url, proxy.certificate), settings_file(folder, **QUICK), seed, lambda: forget_lease(rest)
        )
        world.open()
        outages = fire(cluster, proxy, killing, kills)
        proxy.faulty = False
        world.be_kind()
        operator = killing.start()
        verdict = aftermath(rest, namespace, world, recorder, folder / "history.jsonl", operator)
        world.close()
        operator.kill()
    return {
        "kills": sum(killing.ends.values()),
        "kills_by_point": dict(sorted(killing.ends.items())),
        "points_without_a_kill": killing.untouched(),
        "network": dict(sorted(proxy.counts.items())) | {"api server crashed": outages},
        "world": dict(sorted(world.told.items())),
        "phases": dict(Counter(run.body["status"].get("phase", "none") for run in verdict.runs.values())),
        "attempts": sum(len(run.made) for run in verdict.runs.values()),
        "attempts_that_had_to_be_charged": sum(len(run.chargeable) for run in verdict.runs.values()),
        "violations": {"duplicates": verdict.duplicates, "lost": verdict.lost, "stuck": verdict.stuck},
        "seconds": round(time.monotonic() - began),
        "machine": machine() | {"load_before": busy},
    }


def fire(cluster: WitnessedControlPlane, proxy: FaultyProxy, killing: Killing, kills: int) -> int:
    """Kill and kill again, then on until every kind of write had its kills; says how often the API server was crashed meanwhile."""
    proxy.faulty, outages = True, 0
    for number in range(1, round(kills * MORE) + 1):
        if number > kills and not killing.untouched():
            break
        killing.live_and_die()
        if number % CUTS == CUTS // 2:
            killing.start()
            time.sleep(2)
            proxy.cut()
            time.sleep(2)
            killing.last_breath()
        if number % OUTAGES == OUTAGES // 2:
            outages += 1
            outage(cluster, killing)
    return outages


def forget_lease(rest: Rest) -> None:
    """Delete the operator's Lease, as a person may."""
    with suppress(Refused):
        rest.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{ACCOUNT}")


def outage(cluster: WitnessedControlPlane, killing: Killing) -> None:
    """The API server crashes under an operator at work, and comes back."""
    killing.start()
    time.sleep(2)
    cluster.stop_api_server()
    time.sleep(2)
    cluster.start_api_server()
    time.sleep(2)
    killing.last_breath()


@contextmanager
def recorded(kubeconfig: Path, namespace: str, history: Path) -> Iterator[Server]:
    """The witness, at work while the block runs."""
    command = [sys.executable, "-m", "benchmarks.operator_chaos.recorder", kubeconfig, namespace, history]
    recorder = Server(command, history.with_suffix(".log"), os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        recorder.wait_for("following every kind", lambda: recorder.log.read_text().count(FOLLOWS) == len(PATHS))
        yield recorder
    finally:
        recorder.kill()


def aftermath(rest: Rest, namespace: str, world: World, recorder: Server, history: Path, operator: Server) -> Verdict:
    """Wait until every run has ended, or for END_SECONDS, then until the witness has seen all that is there; its verdict."""
    end = time.monotonic() + END_SECONDS
    while time.monotonic() < end and not all(over(run) for run in world.runs()):
        assert not operator.ended(), f"the operator ended by itself\n{operator.tail()}"
        time.sleep(0.5)
    time.sleep(3)  # what should not happen after the end gets its chance
    versions = {run["metadata"]["uid"]: run["metadata"]["resourceVersion"] for run in world.runs()}

    recorder.wait_for("having seen the last change", lambda: last_versions(read_history(history)) == versions)
    return judge(read_history(history))


def over(run: Json) -> bool:
    """Whether a run is terminal and nothing of it lives on."""
    status = run.get("status", {})
    return status.get("phase") in TERMINAL and all("endTime" in attempt for attempt in status.get("attempts", ()))


if __name__ == "__main__":
    sys.exit(main())
