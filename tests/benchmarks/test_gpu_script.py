"""The script that waits for a GPU passes in miniature on the processor, with the packages of a plain PyTorch image and the wheels that travel with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.checks import checks, run

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu" / "all.sh"
WHEELS = ROOT / "benchmarks" / "gpu" / "wheels.txt"
IMAGE = ["accelerate", "jinja2", "nvidia-ml-py", "pandas", "peft", "prometheus-client", "protobuf", "pyarrow", "requests", "rich"]
IMAGE += ["sacrebleu", "scikit-learn", "torch", "transformers", "xxhash"]
"""What a plain PyTorch image for fine-tuning holds, with all that these need."""
ONLY = """
import sys
from importlib.machinery import PathFinder

class Only(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {absent!r} else super().find_spec(name, path, target)

sys.meta_path[:] = [Only if finder is PathFinder else finder for finder in sys.meta_path]
"""
NAMES = ("attention", "documents", "bits", "out_of_memory", "optimizers", "example", "memory", "study")


def test_every_check_runs_and_passes_on_the_processor(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ONLY.format(absent=_absent()), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"DEVICE": "cpu", "BUDGET": "3600", "PATH": path, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert re.findall(r"^(\w+): passed in", ended.stdout, re.MULTILINE) == list(NAMES)


def test_once_the_time_is_spent_the_rest_is_skipped_and_does_not_pass(capsys: pytest.CaptureFixture[str]) -> None:
    results = run(checks(Budget(0)), torch.device("cpu"), Budget(0))
    assert tuple(results) == NAMES
    assert all("skipped" in result and not result["passed"] for result in results.values())
    assert capsys.readouterr().out.count("SKIPPED") == len(NAMES)


def _absent() -> set[str]:
    """Top-level modules of every distribution that neither the image nor the wheels bring; the product itself is there."""
    there = {"medfinetune", *(canonicalize_name(Requirement(line.partition("#")[0]).name) for line in _wheels())}
    waiting = IMAGE.copy()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in there:
            there.add(name)
            needs = map(Requirement, distribution(name).requires or ())
            waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return {module for module, owners in packages_distributions().items() if there.isdisjoint(map(canonicalize_name, owners))}


def _wheels() -> list[str]:
    return [line for line in WHEELS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
