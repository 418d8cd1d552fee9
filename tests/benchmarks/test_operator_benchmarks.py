"""The operator's benchmarks in miniature, and proof that the witness of operator_chaos sees what it is there to see."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.objects import ATTEMPT_LABEL, RUN_LABEL, STAGE_LABEL, UID_LABEL
from support.manifests import minimal_manifest

from benchmarks.operator_chaos.__main__ import recorded
from benchmarks.operator_chaos.verdict import Verdict, judge, read_history
from benchmarks.operator_setup import RUNS, Rest

ROOT = Path(__file__).parents[2]


def last_line(module: str, *arguments: str) -> tuple[int, str]:
    """Exit code and last line of a benchmark."""
    ended = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert ended.stdout, ended.stderr
    return ended.returncode, ended.stdout.splitlines()[-1]


def test_nothing_is_lost_doubled_or_stuck_when_the_operator_is_killed(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    code, line = last_line("benchmarks.operator_chaos", "--kills", "5", "--runs", "3", "--result", str(result))
    assert re.fullmatch(r"chaos kills=\d+ duplicates=0 lost=0 stuck=0", line)
    assert code == 0
    shown = json.loads(result.read_text())
    assert shown["phases"].keys() <= {"Succeeded", "Failed", "Cancelled"}
    assert shown["kills"] >= 5
    assert shown["attempts"] >= 9  # each run has three stages


def test_every_run_gets_its_job_and_a_new_operator_writes_nothing(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    _, line = last_line("benchmarks.operator_scale", "--runs", "20", "--steady-runs", "5", "--result", str(result))
    assert re.fullmatch(r"scale runs=20 seconds=\S+ rss_mb=\S+ p99_s=\S+ cold_start_s=\S+ needless_writes=0", line)
    assert json.loads(result.read_text())["writes"]["create jobs"] == 20


class Witnessed:
    """A namespace with one run and no operator: whatever happens, the test does it. `verdict` is what the witness makes of it."""

    def __init__(self, rest: Rest, namespace: str, history: Path) -> None:
        self._rest, self._history = rest, history
        self._runs, self._jobs = f"{RUNS}/namespaces/{namespace}/medfinetunes", f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self.run = rest.request("POST", self._runs, minimal_manifest())

    def job(self, stage: str, number: int) -> dict[str, Any]:
        """Create a Job as the operator would."""
        meta = self.run["metadata"]
        labels = {RUN_LABEL: meta["name"], UID_LABEL: meta["uid"], STAGE_LABEL: stage, ATTEMPT_LABEL: str(number)}
        template = {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [{"name": "trainer", "image": "none"}]}}
        body = {"metadata": {"name": f"run-{stage}-a{number}", "labels": labels}, "spec": {"backoffLimit": 0, "template": template}}
        return self._rest.request("POST", self._jobs, body)

    def end_pod(self, job: dict[str, Any], code: int) -> None:
        """Let the Job's pod end as a kubelet would say it, and wait for the Job to take notice."""
        query = {"labelSelector": f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"}
        wait_until("the pod", lambda: bool(self._rest.request("GET", self._pods, **query)["items"]))
        name = self._rest.request("GET", self._pods, **query)["items"][0]["metadata"]["name"]
        state = {"name": "trainer", "image": "none", "imageID": "", "ready": False, "restartCount": 0, "state": {"terminated": {"exitCode": code}}}
        self._rest.request("PATCH", f"{self._pods}/{name}/status", {"status": {"phase": "Failed" if code else "Succeeded", "containerStatuses": [state]}})
        path = f"{self._jobs}/{job['metadata']['name']}"
        wait_until("the Job's end", lambda: "conditions" in self._rest.request("GET", path)["status"])
        wait_until("its last condition", lambda: self._rest.request("GET", path)["status"]["conditions"][-1]["type"] in ("Complete", "Failed"))

    def status(self, **status: Any) -> None:
        """Write the run's status as the operator would."""
        self.run = self._rest.request("PATCH", f"{self._runs}/{self.run['metadata']['name']}/status", {"status": status})

    def verdict(self) -> Verdict:
        """What the witness makes of everything so far."""
        mark = self._rest.request("PATCH", f"{self._runs}/run", {"metadata": {"labels": {"mark": self.run["metadata"]["resourceVersion"]}}})
        jobs = self._rest.request("GET", self._jobs)["items"]
        awaited = {body["metadata"]["resourceVersion"] for body in (mark, *jobs)}
        wait_until("the witness", lambda: awaited <= {change["object"]["metadata"]["resourceVersion"] for change in read_history(self._history)})
        return judge(read_history(self._history))


@pytest.fixture
def witnessed(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Witnessed]:
    history = tmp_path / "history.jsonl"
    with control_plane.namespace() as namespace, recorded(control_plane.kubeconfig, namespace, history):
        yield Witnessed(Rest(control_plane.kubeconfig), namespace, history)


def attempt(job: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An entry of status.attempts."""
    labels = job["metadata"]["labels"]
    known = {"stage": labels[STAGE_LABEL], "number": int(labels[ATTEMPT_LABEL]), "jobUid": job["metadata"]["uid"], "startTime": "2026-01-01T00:00:00Z"}
    return known | fields


def test_the_witness_sees_two_live_jobs_uncounted_ones_and_a_run_that_does_not_end(witnessed: Witnessed) -> None:
    first = witnessed.job("train", 1)
    witnessed.status(phase="Training", attempts=[attempt(first)])
    quiet = witnessed.verdict()
    assert (quiet.duplicates, quiet.lost, quiet.stuck) == ([], [], ["run: Training at the end"])
    second = witnessed.job("train", 2)
    found = witnessed.verdict()
    assert [each.partition(" live at ")[0] for each in found.duplicates] == ["run: run-train-a1 and run-train-a2"]
    assert found.lost == [f"run: no attempt of status ever named the Job {second['metadata']['uid']} of train 2"]


def test_the_witness_sees_failures_that_were_not_charged_and_attempts_that_vanished(witnessed: Witnessed) -> None:
    first = witnessed.job("train", 1)
    witnessed.status(phase="Training", restarts=1, attempts=[attempt(first)])
    witnessed.end_pod(first, 1)
    ended = {"endTime": "2026-01-01T00:01:00Z", "reason": "InternalError"}
    witnessed.status(phase="Failed", attempts=[attempt(first, **ended, charged=False)])
    found = witnessed.verdict()
    assert (found.duplicates, found.stuck) == ([], [])
    assert [each.partition(": {")[0] for each in found.lost] == ["run: ('train', 1) failed with exit codes [1] and was not charged"]
    witnessed.status(phase="Training", restarts=0, attempts=[])
    assert witnessed.verdict().lost[:3] == [
        "run: attempt train 1 vanished from status",
        "run: restarts fell from 1 to 0",
        "run: Failed is final and became Training",
    ]


def test_the_witness_has_nothing_to_say_about_an_honest_run(witnessed: Witnessed) -> None:
    job = witnessed.job("train", 1)
    witnessed.status(phase="Training", attempts=[attempt(job)])
    witnessed.end_pod(job, 0)
    witnessed.status(phase="Succeeded", attempts=[attempt(job, endTime="2026-01-01T00:01:00Z", reason="Succeeded")])
    found = witnessed.verdict()
    assert (found.duplicates, found.lost, found.stuck) == ([], [], [])
