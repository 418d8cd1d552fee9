"""The script that waits for a GPU passes in miniature on the processor, so that it works the first time one is at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "all.sh"


def test_every_check_runs_and_passes_on_the_processor() -> None:
    environment = os.environ | {"DEVICE": "cpu", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.splitlines()[-7:] == [
        f"{check}: passed" for check in ("attention", "bits", "out_of_memory", "study", "optimizers", "memory", "example")
    ]
