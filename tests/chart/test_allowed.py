"""What an administrator allows and chooses by the chart's values is what the operator heeds: from values through the rendered file to a run's first Job."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason, ConditionType
from medfinetune_operator.resources.job import job
from medfinetune_operator.settings import Settings
from support.built import attempt, run_of
from support.chart import SITES, only
from support.observed import a_run, condition, decide
from support.rights import of_chart

ALLOWED = SITES["everything"]["allowed"]
ASKED: dict[str, dict[str, Any]] = {
    "images": {"pods": {"image": ALLOWED["images"][0]}},
    "priorityClasses": {"scheduling": {"priorityClassName": ALLOWED["priorityClasses"][0]}},
    "runtimeClasses": {"scheduling": {"runtimeClassName": ALLOWED["runtimeClasses"][0]}},
    "tolerations": {"scheduling": {"tolerations": ALLOWED["tolerations"]}},
    "labels": {"pods": {"labels": {ALLOWED["labels"][0]: "any"}}},
    "annotations": {"pods": {"annotations": {ALLOWED["annotations"][0]: "any"}}},
}
GPUS = {"defaults": "nvidia.com/gpu", "amd": "amd.com/gpu", "everything": "nvidia.com/mig-3g.20gb"}


@cache
def rendered(site: str) -> str:
    return str(only(of_chart("ConfigMap", **SITES[site]), "ConfigMap", "medfinetune-operator")["data"]["settings.yaml"])


def settings_of(site: str, folder: Path) -> Settings:
    """As the operator reads them."""
    (folder / "settings.yaml").write_text(rendered(site))
    return Settings.load(folder / "settings.yaml")


def test_every_kind_of_thing_that_can_be_allowed_is_asked_for_here() -> None:
    assert set(ASKED) == set(ALLOWED)


@pytest.mark.parametrize("kind", ASKED)
def test_what_is_allowed_by_values_is_carried_and_nothing_is_by_default(kind: str, tmp_path: Path) -> None:
    run = a_run(**ASKED[kind])
    refused = decide(run, settings=settings_of("defaults", tmp_path))
    assert refused.start is None
    assert condition(refused, ConditionType.ACCEPTED).reason is ConditionReason.NOT_ALLOWED
    assert f"allowed.{kind}" in condition(refused, ConditionType.ACCEPTED).message
    assert decide(run, settings=settings_of("everything", tmp_path)).start is not None


@pytest.mark.parametrize("site", GPUS)
def test_gpus_are_asked_for_by_the_sites_name_of_them(site: str, tmp_path: Path) -> None:
    run = run_of(parallelism={"gpusPerNode": 2})
    pod = job(run, attempt(Stage.TRAIN), settings_of(site, tmp_path))["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {GPUS[site]: 2}
