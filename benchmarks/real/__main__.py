"""`python -m benchmarks.real`: MedQA and KorMedMCQA through prepare, train on two processes, and evaluate; `benchmarks/results/real.*` keep the results.

The data are the user's own copies: MEDFINETUNE_TEST_DATA names a folder with `medqa/4_options/{dev,test}.jsonl` and
`kormedmcqa/{doctor,nurse,pharm,dentist}/{train,test}.csv`. The base is built on the spot with random weights, its tokenizer trained on the training
questions, so what is measured is the product and not the model: on questions it has not seen, a random base is at chance before and after.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.real import report

HERE = Path(__file__).resolve().parent
MANIFEST, EXAMPLES, OUT = HERE / "manifest.yaml", HERE.parents[1] / "examples", Path("out") / "real"

VOCABULARY = 8192
SHAPE = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "head_dim": 48,
    "query_pre_attn_scalar": 48,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}
"""Small enough for both test sets, whole, within minutes on two cores."""


def main() -> None:
    """Run everything anew (an earlier run's results under out/real are removed), write the report, and end with the table."""
    data = data_folder()
    shutil.rmtree(OUT, ignore_errors=True)
    build_base(data, OUT / "models" / "small-gemma3")
    started = time.time()
    outcome = run(data)
    seconds = stage_seconds(Path(outcome["folder"]), started)
    sys.stdout.write(report.write(outcome, seconds, SHAPE | {"vocabulary": VOCABULARY}))


def data_folder() -> Path:
    """The folder of real data; ends the program with a message where it is not named, or where files of the manifest are missing."""
    name = os.environ.get("MEDFINETUNE_TEST_DATA", "")
    if not name:
        sys.exit("MEDFINETUNE_TEST_DATA is not set: it must name a folder with medqa/ and kormedmcqa/ (see the top of benchmarks/real/__main__.py).")
    missing = [path for path in files() if not (Path(name) / path).is_file()]
    if missing:
        sys.exit(f"MEDFINETUNE_TEST_DATA={name} lacks {', '.join(missing)}: copy them there, or name another folder.")
    return Path(name)


def files() -> list[str]:
    """Paths that the manifest names, below the data folder."""
    spec = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["spec"]
    return [entry["path"] for entry in spec["data"]["sources"] + spec["evaluation"]["tasks"]]


def build_base(data: Path, folder: Path) -> None:
    """A random Gemma 3 of SHAPE, its tokenizer trained on the training questions alone."""
    sys.path.insert(0, str(EXAMPLES))
    from tiny_base import build

    build(folder, training_texts(data), kind="gemma3", vocabulary=VOCABULARY, **SHAPE)


def training_texts(data: Path) -> Iterator[str]:
    """Lines of the training files."""
    spec = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["spec"]
    for source in spec["data"]["sources"]:
        yield from (data / source["path"]).read_text(encoding="utf-8").splitlines()


def run(data: Path) -> dict[str, Any]:
    """`medfinetune run` on the manifest: its report as JSON; progress goes to this program's stderr. Ends the program with its exit code where it fails."""
    volumes = ["--models", str(OUT / "models"), "--data", str(data), "--output", str(OUT / "results")]
    command = [sys.executable, "-m", "medfinetune_cli", "--output", "json", "run", str(MANIFEST), *volumes]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        sys.stdout.write(process.stdout)
        sys.exit(process.returncode)
    outcome: dict[str, Any] = json.loads(process.stdout)
    return outcome


def stage_seconds(folder: Path, started: float) -> dict[str, float]:
    """Wall time of each stage, processes' start included, by what it leaves last."""
    marks = {"prepare": "prepared.json", "train": "adapter/adapter_model.safetensors", "evaluate": "evaluation/summary.json"}
    seconds, before = {}, started
    for stage, mark in marks.items():
        ended = (folder / mark).stat().st_mtime
        seconds[stage], before = round(ended - before, 1), ended
    return seconds | {"total": round(before - started, 1)}


if __name__ == "__main__":
    main()
