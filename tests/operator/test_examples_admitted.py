"""Every example's manifest is what a real API server takes: a server-side dry run, strict about fields."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cluster.control_plane import ControlPlane
from support.api import RUNS, Api

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = sorted(path for path in EXAMPLES.glob("*/*.yaml") if "kind: MedFineTune" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_it_is_admitted(control_plane: ControlPlane, path: Path) -> None:
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    made = Api(control_plane).send("POST", f"{RUNS}/namespaces/default/medfinetunes?dryRun=All&fieldValidation=Strict", manifest)
    assert made["metadata"]["name"] == manifest["metadata"]["name"]
    assert made["spec"].keys() >= manifest["spec"].keys()
