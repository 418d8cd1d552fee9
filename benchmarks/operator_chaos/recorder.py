"""`python -m benchmarks.operator_chaos.recorder KUBECONFIG NAMESPACE FILE`: an independent witness of one namespace.

It lists and watches runs, Jobs and pods on its own connections to the API server and writes every change as a line of JSON. The resourceVersion orders all
changes of all kinds, so the file is the exact history, whatever order the three watches brought it in. A gap ends it with an error: there is no relist.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from urllib3.exceptions import HTTPError

from benchmarks.operator_setup import RUNS, Json, Refused, Rest

PATHS = {
    "run": f"{RUNS}/namespaces/{{}}/medfinetunes",
    "job": "/apis/batch/v1/namespaces/{}/jobs",
    "pod": "/api/v1/namespaces/{}/pods",
}
FOLLOWS = "follows "
"""What it says of each kind once nothing of it can be missed any more."""
META = ("name", "uid", "labels", "resourceVersion", "deletionTimestamp")
STATUS = ("phase", "conditions", "containerStatuses", "attempts", "restarts")
CONDITIONS = ("Complete", "Failed", "DisruptionTarget")


class Recorder:
    """Writes the history of a namespace to a file."""

    def __init__(self, rest: Rest, namespace: str, file: Path) -> None:
        self._rest, self._namespace, self._output = rest, namespace, file.open("ab", buffering=0)
        self._lock = threading.Lock()

    def follow(self, kind: str) -> None:
        """Record one kind for ever. Raises RuntimeError where the API server no longer has the changes in between."""
        path = PATHS[kind].format(self._namespace)
        listed = self._rest.request("GET", path)
        version = listed["metadata"]["resourceVersion"]
        for body in listed["items"]:
            self._write("ADDED", kind, body)
        sys.stdout.write(f"{FOLLOWS}{kind}\n")
        sys.stdout.flush()
        while True:
            try:
                for event in self._rest.watch(path, version):
                    if event["type"] == "ERROR":
                        raise RuntimeError(f"the history of {path} has a gap after {version}: {event['object'].get('message')}")
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._write(event["type"], kind, event["object"])
            except (HTTPError, Refused, OSError):
                time.sleep(0.1)  # the API server is away: the next watch begins where this one ended

    def _write(self, change: str, kind: str, body: Json) -> None:
        line = json.dumps({"at": time.time(), "change": change, "kind": kind, "object": slim(kind, body)}, separators=(",", ":"))
        with self._lock:
            self._output.write(line.encode() + b"\n")


def slim(kind: str, body: Json) -> Json:
    """What the verdict reads, in Kubernetes' own form."""
    status = {part: value for part, value in body.get("status", {}).items() if part in STATUS}
    kept: Json = {"metadata": {part: body["metadata"][part] for part in META if part in body["metadata"]}, "status": status}
    status["conditions"] = [each for each in status.get("conditions", ()) if each["type"] in CONDITIONS]
    for attempt in status.get("attempts", ()):
        attempt.pop("endings", None)
    for container in status.get("containerStatuses", ()):
        container.get("state", {}).get("terminated", {}).pop("message", None)
    return kept | ({"spec": {"runPolicy": body["spec"].get("runPolicy", {})}} if kind == "run" else {})


def main() -> None:
    """Record until killed; ends with 1 at a gap."""
    kubeconfig, namespace, file = sys.argv[1:]
    recorder = Recorder(Rest(Path(kubeconfig)), namespace, Path(file))
    with ThreadPoolExecutor(len(PATHS)) as watchers:
        ended, _ = wait([watchers.submit(recorder.follow, kind) for kind in PATHS], return_when=FIRST_COMPLETED)
        traceback.print_exception(next(iter(ended)).exception())
        os._exit(1)  # the other watches would go on


if __name__ == "__main__":
    main()
