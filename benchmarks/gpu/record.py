"""Results of a GPU, kept under its name with what they were measured with."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).resolve().parents[1] / "results" / "gpu"


def record(name: str, results: dict[str, Any]) -> None:
    """Write what there is so far, and again into the folder OUT where it is set: what was measured stays, whatever comes after."""
    report = {
        "device": name,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": {package: version(package) for package in ("torch", "transformers", "peft", "bitsandbytes")},
        "results": results,
    }
    for folder in (FOLDER, *(Path(out) for out in (os.environ.get("OUT"),) if out)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name.lower().replace(' ', '-')}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _driver() -> str | None:
    """Version of the GPU's driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # a description is worth no check
        return None
