"""The whole example on the device, as its reader starts it: prepare, train and evaluate in processes of their own, in BF16 and in FP16 on a GPU.

The screening of its records stays out: it needs no GPU, and packages larger than all others together.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from tiny_base import build

from benchmarks.gpu.budget import SKIPPED, Budget

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "01-minimal"


def example(device: torch.device, budget: Budget) -> dict[str, Any]:
    """By precision: exit code, steps and the highest memory in the run's own series; and whether all ended well, with memory where there is a GPU."""
    precisions = ("BF16", "FP16") if device.type == "cuda" else ("FP32",)
    runs = {precision: SKIPPED if budget.is_spent else _run(device, precision) for precision in precisions}
    return {"runs": runs, "passed": all(run["passed"] for run in runs.values())}


def _run(device: torch.device, precision: str) -> dict[str, Any]:
    manifest = yaml.safe_load((EXAMPLE / "manifest.yaml").read_text(encoding="utf-8"))
    manifest["spec"]["data"] |= {"privacy": {"action": "Disabled"}, "decontamination": {"action": "Disabled"}}
    manifest["spec"]["parallelism"] = {"nodes": 1, "gpusPerNode": int(device.type == "cuda")}
    manifest["spec"]["training"] |= {"precision": precision, "epochs": 4 if device.type == "cuda" else 1}
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        build(out / "models" / "tiny-gemma3", (EXAMPLE / "data" / "medqa" / "train.jsonl").read_text(encoding="utf-8").splitlines(), kind="gemma3")
        (out / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
        volumes = ["--models", out / "models", "--data", EXAMPLE / "data", "--output", out / "results"]
        ended = subprocess.run([sys.executable, "-m", "medfinetune_cli", "run", out / "manifest.yaml", *volumes], check=False)
        lines = [json.loads(line) for file in out.glob("results/*/metrics.jsonl") for line in file.read_text(encoding="utf-8").splitlines()]
    peak, steps = max((line["vram_peak"] for line in lines if line.get("vram_peak")), default=None), sum("loss" in line for line in lines)
    met = ended.returncode == 0 and steps > 0 and (peak is not None or device.type == "cpu")
    return {"exit": ended.returncode, "steps": steps, "peak_vram_bytes": peak, "passed": met}
