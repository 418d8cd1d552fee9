"""The CustomResourceDefinitions of Prometheus Operator, out of its Go module: the newest that the module proxy has."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from cluster.programs import go

MODULE, VERSION, SUM = "github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")


def definitions() -> list[Path]:
    """Files of the definitions of KINDS, downloaded first where Go's module cache has them not. Raises AssertionError if it is not the pinned module."""
    with tempfile.TemporaryDirectory() as outside:  # of any module
        command = [go(), "mod", "download", "-json", f"{MODULE}@{VERSION}"]
        done = subprocess.run(command, cwd=outside, env=os.environ | {"GOWORK": "off", "GOFLAGS": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["Sum"] == SUM, f"{MODULE}@{VERSION}: found {found['Sum']}; expected {SUM}"
    return [Path(found["Dir"], "example", "prometheus-operator-crd", f"monitoring.coreos.com_{kind}.yaml") for kind in KINDS]
