"""cancel, suspend and resume on the real API server: one field of runPolicy each, and nothing where nothing is to do."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import Any

from support.cli import SECONDS, command
from support.cluster_cli import SUCCEEDED, ClusterCli


def policy(cli: ClusterCli) -> dict[str, Any]:
    found: dict[str, Any] = cli.get("mft", "ward")["spec"]["runPolicy"]
    return found


def test_suspend_and_resume_set_one_field_and_say_when_there_is_nothing_to_do(cli: ClusterCli) -> None:
    cli.stored("ward", runPolicy={"maxRestarts": 5})
    before = policy(cli)
    for verb, value in (("suspend", True), ("resume", False)):
        assert cli.json(verb, "ward")["changed"] is True
        assert policy(cli) == before | {"suspend": value}
        version = cli.get("mft", "ward")["metadata"]["resourceVersion"]
        assert cli.json(verb, "ward")["changed"] is False
        assert cli.get("mft", "ward")["metadata"]["resourceVersion"] == version


def test_cancel_needs_a_decision_and_is_final(cli: ClusterCli) -> None:
    cli.stored("ward")
    refused = cli.json("cancel", "ward")
    assert (refused["exitCode"], policy(cli)["cancel"]) == (2, False)
    assert cli.json("cancel", "ward", "--yes")["changed"] is True
    assert policy(cli)["cancel"] is True
    assert "final" in cli.json("suspend", "ward")["message"]
    assert policy(cli)["suspend"] is False


def test_cancel_asks_a_person_on_a_terminal(cli: ClusterCli) -> None:
    cli.stored("ward")
    for answer, value in (("n", False), ("y", True)):
        mine, theirs = pty.openpty()
        os.write(mine, f"{answer}\n".encode())
        asked = subprocess.run(command("cancel", "ward"), stdin=theirs, capture_output=True, text=True, env=cli.environment(), timeout=SECONDS, check=False)
        os.close(theirs)
        os.close(mine)
        assert "is final: it cannot be resumed" in asked.stderr
        assert (asked.returncode == 0, policy(cli)["cancel"]) == (value, value)


def test_a_run_that_has_ended_is_left_as_it_is(cli: ClusterCli) -> None:
    cli.stored("ward")
    cli.write_status("ward", SUCCEEDED)
    before = cli.get("mft", "ward")
    for verb in (("suspend",), ("resume",), ("cancel",)):
        assert "has ended (Succeeded)" in cli.run(*verb, "ward").stdout
    assert cli.get("mft", "ward") == before
