"""Go modules that tests read files of, pinned by version and checksum: other projects' CustomResourceDefinitions come in them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from cluster.programs import go


def module(path: str, version: str, checksum: str) -> Path:
    """The folder of a Go module, downloaded first where Go's cache has it not. Raises AssertionError where its checksum (`h1:...`, as in go.sum) is another."""
    with tempfile.TemporaryDirectory() as outside:  # of any module
        command = [go(), "mod", "download", "-json", f"{path}@{version}"]
        done = subprocess.run(command, cwd=outside, env=os.environ | {"GOWORK": "off", "GOFLAGS": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["Sum"] == checksum, f"{path}@{version}: found {found['Sum']}; expected {checksum}"
    return Path(found["Dir"])
