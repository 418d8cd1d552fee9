"""`medfinetune status` over statuses that the real API server admits: what a person sees, what a program gets, and how following one ends."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from medfinetune_api.conditions import ConditionReason, ConditionStatus, ConditionType
from medfinetune_cli.fetch import What
from medfinetune_cli.fetched import NothingToFetch, wanted_paths
from medfinetune_cli.run_state import RunState
from support.cli import SECONDS, command
from support.cluster_cli import SHA, SUCCEEDED, THEN, TRAINING, ClusterCli, condition, failed


def test_all_runs_are_one_table(cli: ClusterCli) -> None:
    assert "No runs in namespace" in cli.run("status").stderr
    for name, status in (("one", TRAINING), ("two", SUCCEEDED)):
        cli.stored(name)
        cli.write_status(name, status)
    cli.stored("three")
    rows = {line.split()[0]: line for line in cli.run("status").stdout.splitlines()}
    assert rows.keys() == {"run", "one", "two", "three"}
    assert rows["one"].split()[:7] == ["one", "Training", "train", "75", "of", "300", "1.2500"]
    assert "it has not looked at this run yet" in rows["three"]
    listed = {run["name"]: (run["ended"], run["exitCode"]) for run in cli.json("status")["runs"]}
    assert listed == {"one": (False, None), "two": (True, 0), "three": (False, None)}


def test_one_run_is_shown_with_its_attempts_and_progress(cli: ClusterCli) -> None:
    cli.stored("ward")
    cli.write_status("ward", TRAINING)
    shown = cli.run("status", "ward").stdout
    assert "step 75 of 300  25%  1h1m left  loss 1.2500  5,120 tokens/s" in shown
    attempts = [line.split() for line in shown.split("Attempts")[1].splitlines()[2:5]]
    assert [(row[0], row[1]) for row in attempts] == [("prepare", "1"), ("train", "1"), ("train", "2")]
    assert attempts[1][-5:] == ["OutOfMemory", "yes", "gpu-7", "76", "0"]
    assert attempts[2][-5:] == ["at", "work", "no", "50", "2"]


def test_results_stand_with_their_n_and_interval_and_artifacts_with_their_place(cli: ClusterCli) -> None:
    cli.stored("ward")
    cli.write_status("ward", SUCCEEDED)
    shown = cli.run("status", "ward").stdout
    (row,) = [line.split() for line in shown.splitlines() if line.startswith("kormedmcqa")]
    assert row == ["kormedmcqa", "ko", "878", "31.0", "52.0", "[48.7,", "55.3]", "+21.0,", "beyond", "noise"]
    assert "claim results, folder ward-01234567" in shown
    assert "ward-01234567/adapter" in shown
    told = cli.json("status", "ward")
    assert told["status"] == cli.get("mft", "ward")["status"]
    assert (told["ended"], told["exitCode"], told["reason"]) == (True, 0, "Succeeded")


def test_what_may_be_used_is_shown_and_fetched_and_nothing_else(cli: ClusterCli) -> None:
    """Of method Full there is a model and no adapter; a merged adapter leaves both."""
    cli.stored("ward")
    place = {"claimName": "results", "folder": "ward-01234567", "planSha256": SHA}
    for usable in ({}, {"model": "model"}, {"adapter": "adapter", "model": "model"}):
        cli.write_status("ward", SUCCEEDED | {"artifacts": place | usable})
        shown, run = cli.run("status", "ward").stdout, RunState.of(cli.get("mft", "ward"))
        assert ("none that may be used" in shown) is (not usable)
        for what in (What.ADAPTER, What.MODEL):
            if what in usable:
                assert f"ward-01234567/{what}" in shown
                proof = ("plan.json", "attempts.jsonl", "lineage.json", "lineage.dsse.json")
                assert wanted_paths(run, what) == (what, *proof, "contamination.json", "privacy.json", "evaluation/gates.json", "release.json")
            else:
                with pytest.raises(NothingToFetch, match="Fetch --what model" if usable else "Wait until"):
                    wanted_paths(run, what)


WAITS = [
    (ConditionReason.CLAIM_MISSING, "kubectl get pvc"),
    (ConditionReason.NOT_ALLOWED, "operator's settings"),
    (ConditionReason.QUOTA_EXCEEDED, "kubectl describe quota"),
    (ConditionReason.NODE_LOST, "out-of-service taint"),
]


def test_what_a_run_waits_for_is_said_with_its_remedy(cli: ClusterCli) -> None:
    cli.stored("ward")
    for reason, remedy in WAITS:
        waiting = condition(ConditionType.PREPARED, ConditionStatus.FALSE, reason, f"It waits: {reason}.")
        cli.write_status("ward", {"phase": "Pending", "stage": "prepare", "conditions": [waiting]})
        told = cli.json("status", "ward")["waitsFor"]
        assert told["what"] == f"It waits: {reason}."
        assert remedy in told["remedy"]
    shown = " ".join(cli.run("status", "ward").stdout.split())
    assert f"waits for It waits: {ConditionReason.NODE_LOST}. do Ask an administrator" in shown


ENDINGS = [
    (failed(ConditionReason.INVALID_DATA, reason="InvalidData", exitCode=65), 65),
    (failed(ConditionReason.DEADLINE_EXCEEDED, reason="Interrupted", exitCode=75), 75),
    (failed(ConditionReason.STALLED, reason="Stalled"), 77),
    (failed(ConditionReason.EVIDENCE_LOST, reason="EvidenceLost"), 1),
    (failed(ConditionReason.CANCELLED), 75),
    (failed(ConditionReason.CANCELLED, reason="OutOfMemory", exitCode=76), 75),
]


def test_following_an_ended_run_ends_with_the_code_of_what_decided(cli: ClusterCli) -> None:
    for number, (status, code) in enumerate(ENDINGS):
        cli.stored(f"run-{number}")
        cli.write_status(f"run-{number}", status)
        assert cli.run("status", f"run-{number}", "--watch").returncode == code


def test_following_goes_on_through_an_outage_until_the_end(cli: ClusterCli) -> None:
    cli.stored("ward")
    with started(cli, "status", "ward", "--watch") as process:
        lines = iter(process.stderr or ())
        assert "waits for the operator" in next(lines)
        cli.write_status("ward", TRAINING)
        assert "train attempt 2  step 75 of 300" in next(lines)
        cli.plane.stop_api_server()
        try:
            assert "the run goes on without it" in next(lines)
        finally:
            cli.plane.start_api_server()
        cli.write_status("ward", SUCCEEDED)
        assert next(lines).split() == ["ward", "Succeeded"]
        stdout = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 0
    assert "kormedmcqa" in stdout


def test_on_a_terminal_the_display_is_redrawn_until_the_end(cli: ClusterCli) -> None:
    cli.stored("ward")
    cli.write_status("ward", TRAINING)
    mine, theirs = pty.openpty()
    environment = cli.environment() | {"TERM": "xterm"}
    process = subprocess.Popen(command("status", "ward", "--watch"), stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True)
    os.close(theirs)
    try:
        seen = read_until(mine, "step 75 of 300")
        cli.write_status("ward", SUCCEEDED)
        seen += read_until(mine, "kormedmcqa")
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        os.close(mine)
    assert "\x1b[1A" in seen  # the cursor goes up: drawn over, not below


def test_a_status_of_another_version_is_said_to_be_one(cli: ClusterCli) -> None:
    code = (
        "import sys; from medfinetune_cli.run_state import RunState\n"
        "meta = {'name': 'ward', 'namespace': 'n', 'uid': '01234567-0000-4000-8000-000000000000', 'creationTimestamp': '2026-03-01T08:00:00Z'}\n"
        "try: RunState.of({'metadata': meta, 'status': {'phase': 'Dreaming', 'future': 1}})\n"
        "except Exception as refusal: print(refusal.reason, refusal)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("Unexpected status of ward: found fields of another version: phase, future")


def test_a_run_that_was_released_ends_well_and_says_by_whom_and_when(cli: ClusterCli) -> None:
    cli.stored("ward")
    stopped = failed(ConditionReason.GATE_FAILED, exitCode=71, reason="GateFailed") | {"phase": "Quarantined"}
    cli.write_status("ward", stopped)
    assert cli.run("status", "ward", "--watch").returncode == 71
    by = "Released against its gates by dr-kim; folder ward-01234567 of claim results holds the record."
    true, false = (ConditionType.RELEASED, ConditionType.SUCCEEDED), (ConditionType.QUARANTINED, ConditionType.FAILED)
    conditions = [condition(each, ConditionStatus.TRUE, ConditionReason.RELEASED, by) for each in true]
    conditions += [condition(each, ConditionStatus.FALSE, ConditionReason.RELEASED, by) for each in false]
    cli.write_status("ward", stopped | {"phase": "Released", "conditions": conditions})
    shown, told = cli.run("status", "ward", "--watch"), cli.json("status", "ward")
    assert shown.returncode == 0
    assert any(line.startswith("01 Mar 2026") and line.endswith(by) for line in shown.stdout.splitlines())
    assert (told["ended"], told["exitCode"], told["reason"], told["released"]) == (True, 0, "Released", {"time": THEN.replace("Z", "+00:00"), "message": by})


@pytest.mark.parametrize("arguments", [("status", "--watch")])
def test_following_needs_the_name_of_a_run(cli: ClusterCli, arguments: tuple[str, ...]) -> None:
    refused = cli.json(*arguments)
    assert (refused["exitCode"], refused["problems"][0]["where"]) == (2, "--watch")


@contextmanager
def started(cli: ClusterCli, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = cli.start(*arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(terminal: int, text: str) -> str:
    """What the terminal shows, up to `text`; AssertionError where it does not come."""
    seen, end = "", time.monotonic() + SECONDS
    while text not in seen:
        assert time.monotonic() < end, f"waited for {text!r}; the terminal shows:\n{seen}"
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    return seen
