"""`medfinetune diff`, `checklist` and `verify --key` as a person calls them; `run` that is given no key it can use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts import signing
from medfinetune_trainer.artifacts.lineage import Lineage, write
from support.cli import medfinetune
from support.site_keys import site_key
from support.told import complete_run


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    return complete_run(tmp_path / "output")


def test_diff_explains_two_runs_in_a_table_and_ends_well(plan: RunPlan, tmp_path: Path) -> None:
    other = complete_run(tmp_path / "other")
    written = json.loads(other.folder.plan.read_text())
    written["training"]["learningRate"] = 1e-3
    changed = RunPlan.model_validate(written)
    other.folder.plan.write_text(changed.to_json())
    other.folder.summary.write_text(other.folder.summary.read_text().replace(other.sha256, changed.sha256))
    told = medfinetune("diff", plan.folder.root, other.folder.root)
    assert (told.returncode, told.stderr) == (0, "")
    assert "spec.training.learningRate" in told.stdout
    assert "not paired" in told.stdout
    refused = medfinetune("diff", plan.folder.root, tmp_path / "none", "-o", "json")
    assert (refused.returncode, json.loads(refused.stdout)["problems"][0]["where"]) == (Exit.USAGE, str(tmp_path / "none"))


def test_checklist_and_verify_know_the_sites_signature(plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, key = plan.folder.root, site_key(tmp_path)
    without = medfinetune("verify", root, "--key", key.public)
    assert (without.returncode, without.stderr.splitlines()[0].split(":")[0]) == (Exit.OUTPUT_CONFLICT, "lineage.dsse.json")
    assert "\nunsigned: " in without.stderr
    monkeypatch.setenv(signing.KEY, str(key.private))
    write(plan.folder, Lineage.model_validate_json(plan.folder.lineage.read_bytes()), signing.signer())
    assert "the signature holds" in medfinetune("verify", root, "--key", key.public).stdout
    assert "signed, and not checked" in medfinetune("verify", root).stdout
    items = {item["key"]: item for item in json.loads(medfinetune("checklist", root, "--key", key.public, "-o", "json").stdout)["items"]}
    assert (items["signed"]["state"], items["lineage"]["state"], items["clinical"]["state"]) == ("done", "done", "open")
    told = medfinetune("checklist", root, "--markdown")
    assert (told.returncode, told.stdout.startswith("# Before run is used\n\n")) == (0, True)
    assert told.stdout.count("- [ ] OPEN: ") == sum(item["state"] == "open" for item in items.values()) + 1  # without the key nobody has checked it


def test_a_key_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text("{}")
    told = medfinetune(
        "run", manifest, "--models", tmp_path, "--data", tmp_path, "--output", tmp_path / "out", "--signing-key", tmp_path / "no.pem", "-o", "json"
    )
    assert (told.returncode, json.loads(told.stdout)["problems"][0]["where"]) == (Exit.USAGE, "--signing-key")
    assert not (tmp_path / "out").exists()
