"""`python -m benchmarks.prepare`: from data files to packed rows on disk, beside TRL's own preparation of the same records with the same tokenizer.

MedQuAD, MedQA (4 options, dev) and KorMedMCQA (nurse, train): tokenised with a chat template, mixed (all records, shuffled) and packed to 2,048 tokens, best
fit decreasing on both sides. Ours is the stage prepare whole, with all that it checks, counts, hashes and writes. TRL's reads the files by the same reader
into prompts and completions, and is SFTTrainer's preparation with packing; what the trainer takes to be made on a single record is subtracted. Both run in
processes of their own, in turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medfinetune_api.choices import Format
from medfinetune_api.plan_data import SourcePlan

RESULT = Path(__file__).parent / "results" / "prepare.json"
MAX_LENGTH, VOCABULARY = 2048, 32_768
SOURCES = (
    SourcePlan(name="medquad", path="medquad/medquad.jsonl", format=Format.QUESTION_ANSWER, language="en", domain="medical"),
    SourcePlan(name="medqa", path="medqa/4_options/dev.jsonl", format=Format.MEDQA, language="en", domain="medical"),
    SourcePlan(name="kormedmcqa", path="kormedmcqa/nurse/train.csv", format=Format.KORMEDMCQA, language="ko", domain="medical"),
)


def main() -> None:
    """Measure both sides in turns, write the result, and end with the one line that states it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/prepare.json")
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, folder = arguments.child
        sys.stdout.write(json.dumps({"ours": ours, "trl": trl}[side](Path(folder))) + "\n")
        return
    content = measured(arguments.rounds)
    if arguments.keep:
        RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{json.dumps(content, indent=1)}\nprepare ratio={content['ratio']:.2f}\n")


def measured(rounds: int) -> dict[str, Any]:
    """The medians of both sides, and what they made."""
    from benchmarks.operator_setup import load, machine
    from benchmarks.train_cpu.workload import data_folder

    data_folder()
    busy = load()
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    with tempfile.TemporaryDirectory(prefix="medfinetune-prepare-") as folder:
        _base(Path(folder))
        for _ in range(rounds):
            for side, done in runs.items():
                done.append(_child(side, folder))
    seconds = {side: statistics.median(run["seconds"] for run in done) for side, done in runs.items()}
    made = {side: {name: value for name, value in done[0].items() if name != "seconds"} for side, done in runs.items()}
    versions = {name: version(name) for name in ("trl", "datasets", "tokenizers", "transformers")}
    about = {"load_before": busy, "machine": machine(), "versions": versions}
    return {
        "ratio": seconds["trl"] / seconds["ours"],
        "seconds": seconds,
        "runs": {side: [run["seconds"] for run in done] for side, done in runs.items()},
        "made": made,
    } | about


def _child(side: str, folder: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="medfinetune-prepare-cache-") as cache:
        environment = os.environ | {"HF_DATASETS_CACHE": cache, "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "benchmarks.prepare", "--child", side, folder]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _base(folder: Path) -> None:
    """A tiny base, whose tokenizer is trained on the records."""
    from medfinetune_trainer.data.formats import read_source
    from tiny_base import build

    mount = Path(os.environ["MEDFINETUNE_TEST_DATA"])
    texts = (message.content for source in SOURCES for record in read_source(source, mount) for message in record.messages)
    build(folder / "base", texts, "gemma3", VOCABULARY, num_hidden_layers=1, layer_types=["full_attention"])


def ours(folder: Path) -> dict[str, Any]:
    """The stage, in this process, on an empty output volume."""
    from medfinetune_api.identity import local_identity
    from medfinetune_api.manifest import parse_manifest
    from medfinetune_api.plan import Mounts
    from medfinetune_api.resolve import resolve
    from medfinetune_trainer.stages import prepare

    with tempfile.TemporaryDirectory(prefix="medfinetune-prepare-output-") as output:
        manifest = parse_manifest(_manifest())
        mounts = Mounts(models=str(folder), data=os.environ["MEDFINETUNE_TEST_DATA"], output=output)
        plan = resolve(manifest.spec, local_identity(manifest), mounts)
        started = time.perf_counter()
        result = prepare.run(plan)
        seconds = time.perf_counter() - started
    numbers = result.numbers
    return {"seconds": seconds, "documents": numbers["train_documents"], "efficiency": numbers["packing_efficiency"]}


def _manifest() -> Mapping[str, Any]:
    claim = {"persistentVolumeClaim": {"claimName": "volume"}}
    sources = [{"name": each.name, "path": each.path, "format": each.format.value, "language": each.language} for each in SOURCES]
    unscreened = {"privacy": {"action": "Disabled"}, "decontamination": {"action": "Disabled"}}  # TRL's preparation looks for neither
    data = {"volume": claim, "sources": sources, "validation": {"fraction": 0}, "maxLength": MAX_LENGTH, "overlong": "Truncate", **unscreened}
    spec = {"model": {"path": "base", "volume": claim}, "data": data, "training": {"epochs": 1}, "parallelism": {"gpusPerNode": 0}, "output": {"volume": claim}}
    return {"apiVersion": "medfinetune.io/v1alpha1", "kind": "MedFineTune", "metadata": {"name": "prepare"}, "spec": spec}


def trl(folder: Path) -> dict[str, Any]:
    """SFTTrainer's preparation, from files in memory-mapped Arrow to packed rows."""
    from medfinetune_trainer.data.template import load_tokenizer
    from transformers import AutoModelForCausalLM

    tokenizer, model = load_tokenizer(folder / "base"), AutoModelForCausalLM.from_pretrained(folder / "base")
    _trainer(model, tokenizer, _records().select(range(1)), folder)  # imports and caches, once
    one = _seconds(lambda: _trainer(model, tokenizer, _records().select(range(1)), folder))
    records = _seconds(_records)
    started = time.perf_counter()
    trainer = _trainer(model, tokenizer, _records().shuffle(seed=0), folder)
    seconds = time.perf_counter() - started - max(0.0, one - records)
    lengths = [len(each) for each in trainer.train_dataset["input_ids"]]
    return {"seconds": seconds, "documents": len(_records()), "efficiency": sum(lengths) / (len(lengths) * MAX_LENGTH)}


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _records() -> Any:
    """The records as conversations of prompt and completion, written to Arrow by `datasets`."""
    from datasets import Dataset
    from medfinetune_trainer.data.formats import read_source

    mount = Path(os.environ["MEDFINETUNE_TEST_DATA"])
    turns = [[{"role": each.role, "content": each.content} for each in record.messages] for source in SOURCES for record in read_source(source, mount)]
    return Dataset.from_list([{"prompt": messages[:-1], "completion": messages[-1:]} for messages in turns])


def _trainer(model: Any, tokenizer: Any, records: Any, folder: Path) -> Any:
    from trl import SFTConfig, SFTTrainer

    settings = SFTConfig(output_dir=str(folder / "trl"), packing=True, max_length=MAX_LENGTH, use_cpu=True, report_to=[], disable_tqdm=True, bf16=False)
    return SFTTrainer(model, settings, train_dataset=records, processing_class=tokenizer)


if __name__ == "__main__":
    main()
