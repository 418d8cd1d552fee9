"""Malformed manifests: `medfinetune validate` and the real API server refuse each for the same field."""

from __future__ import annotations

import pytest
from cluster.control_plane import ControlPlane
from medfinetune_api import rules, rules_training
from medfinetune_api.manifest import ManifestErrors, parse_manifest
from medfinetune_api.ruled import Rule
from support.malformed import MALFORMED, Malformed
from support.manifests import MINIMAL
from support.server_side import ServerSide


@pytest.fixture(scope="module")
def server(control_plane: ControlPlane) -> ServerSide:
    return ServerSide(control_plane.kubeconfig, "default")


def refused_by_validate(malformed: Malformed) -> set[str]:
    """The fields that the product's own validation names."""
    try:
        parse_manifest(malformed.manifest())
    except ManifestErrors as errors:
        return {problem.where for problem in errors.problems}
    return set()


def test_the_minimal_manifest_passes_both(server: ServerSide) -> None:
    parse_manifest(MINIMAL)
    assert server.create(MINIMAL) == {}


@pytest.mark.parametrize("malformed", MALFORMED, ids=lambda malformed: malformed.name)
def test_both_refuse_it_for_the_same_field(server: ServerSide, malformed: Malformed) -> None:
    assert set(server.create(malformed.manifest())) == {malformed.field}
    assert refused_by_validate(malformed) == {malformed.named_by_validate()}


def test_every_rule_refuses_one_with_its_own_words(server: ServerSide) -> None:
    said = "\n".join(message for malformed in MALFORMED for message in server.create(malformed.manifest()).values())
    declared = {name: rule.validation()["message"] for name, rule in (vars(rules) | vars(rules_training)).items() if isinstance(rule, Rule)}
    assert [name for name, message in declared.items() if message not in said] == []


def test_every_name_and_change_is_its_own() -> None:
    assert len({malformed.name for malformed in MALFORMED}) == len(MALFORMED) >= 100
