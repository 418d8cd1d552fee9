"""A run that a gate stopped, as a person meets it: `medfinetune run` ends with 71, `medfinetune release` refuses or records, `verify` holds."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from medfinetune_api.choices import Retained
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_gates import Release
from medfinetune_trainer.artifacts.verification import verify
from support.cli import medfinetune
from support.told import filled_run, manifest_of

GATES = [{"name": "most", "task": "exam", "subject": "law", "minimum": 0.9}, {"name": "any", "language": "en", "minimum": 0.1}]


def stopped(output: Path) -> RunPlan:
    """A run all but judged, its weights where a gate has put them."""
    plan = filled_run(output, gates=GATES)
    plan.folder.adapter.rename(plan.folder.quarantine)
    manifest = manifest_of((), gates=GATES)
    (output / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return plan


def test_a_run_that_a_gate_stops_ends_with_71_and_is_released_by_a_decision_alone(tmp_path: Path) -> None:
    output = tmp_path / "volume"
    plan = stopped(output)
    folders = ("--models", output, "--data", output, "--output", output)
    told = medfinetune("run", output / "manifest.yaml", *folders, OMP_NUM_THREADS="1")
    assert (told.returncode, told.stdout) == (Exit.GATE_FAILED, "")
    assert "evaluate ended with GateFailed (exit code 71)" in told.stderr
    assert "Quarantined: 1 of 2 gates failed (most). Accuracy of exam, law: " in told.stderr
    assert "What was trained lies in its quarantine/" in told.stderr
    assert not any(pattern.exists() for pattern in (plan.folder.data, plan.folder.checkpoints, plan.folder.adapter))
    assert verify(plan.folder.root).problems == ()

    refused = medfinetune("release", plan.folder.root, "--reason", "  ")
    assert (refused.returncode, refused.stdout) == (Exit.INVALID_MANIFEST, "")
    assert refused.stderr.startswith("release reason: found none; expected one line of 1 to 1000 printable characters.")

    reason = "Reviewed by the board: --law is not asked on this ward"
    released = medfinetune("-o", "json", "release", plan.folder.root, "--reason", reason, "--by", "Dr. Kim")
    answer = json.loads(released.stdout)
    assert (released.returncode, answer["release"]["by"], answer["release"]["reason"]) == (0, "Dr. Kim", reason)
    record = Release.read(plan.folder.release)
    assert record
    assert record.gates == ("most",)
    assert verify(plan.folder.root).problems == ()
    again = medfinetune("release", plan.folder.root, "--reason", reason)
    assert again.returncode == Exit.OUTPUT_CONFLICT
    assert "found a run that Dr. Kim released on " in again.stderr


def test_what_no_gate_stopped_is_not_released(tmp_path: Path) -> None:
    plan = filled_run(tmp_path, retain=tuple(Retained))
    told = medfinetune("release", plan.folder.root, "--reason", "Because")
    assert told.returncode == Exit.OUTPUT_CONFLICT
    assert "found a run that is not quarantined; expected what a gate has stopped, in quarantine/" in told.stderr
