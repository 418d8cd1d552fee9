"""`python -m benchmarks.train_cpu`: how many tokens a second packed QLoRA trains on a processor, beside TRL on the same model, data, batch and threads.

Six layers of Gemma 3 (hidden 256, vocabulary 32,768, random weights), NF4 with LoRA of rank 16 on every linear layer, rows of 2,048 tokens of MedQA and
KorMedMCQA, one row a step, every thread of the machine. Steps of TRL and of ours alternate in one process, so that a busy machine slows both; each figure is a
median. Both sides compute at their fastest settings, found first: TRL on a base loaded in fp32 or bf16, with 16-bit autocast on or off and activation
checkpointing on or off, ours in fp32 or bf16 (`training.precision`). TRL's loss is computed in chunks (its default); TRL as it comes is measured too.
Neither side's first step counts.

Then ours with one part taken away at a time, against ours whole: the head on loss tokens only, attention by document, NF4 (against a base that is not
quantised, which has nothing to dequantise), the precision found fastest (against the other).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from medfinetune_api.choices import Quantization
from transformers.utils import logging

from benchmarks.operator_setup import load, machine
from benchmarks.train_cpu.ours import Ours, all_logits, ours, with_dense_attention
from benchmarks.train_cpu.peer import alternate
from benchmarks.train_cpu.workload import Rows, Workload

RESULT = Path(__file__).parents[1] / "results" / "train_cpu.json"
SETTINGS = [
    {"dtype": dtype, "bf16": bf16, "gradient_checkpointing": checkpointing}
    for dtype, bf16, checkpointing in itertools.product(("float32", "bfloat16"), (False, True), (False, True))
]
PRECISIONS = {"FP32": torch.float32, "BF16": torch.bfloat16}


def main() -> None:
    """Measure, write the result, and end with the one line that states it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6, help="counted steps of each side in each comparison")
    parser.add_argument("--documents", type=int, default=400, help="records of each source")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/train_cpu.json")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(os.cpu_count() or 1)
    busy = load()
    with tempfile.TemporaryDirectory(prefix="medfinetune-train-cpu-") as folder:
        figures = measured(Workload.build(Path(folder), arguments.documents), arguments.steps, Path(folder))
    versions = {name: version(name) for name in ("torch", "transformers", "peft", "trl", "bitsandbytes")}
    content = {**figures, "steps": arguments.steps, "threads": torch.get_num_threads(), "load_before": busy, "machine": machine(), "versions": versions}
    if arguments.keep:
        RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(content, indent=1) + "\n")
    ratios = " ".join(f"{name}={figures[name]['ratio']:.2f}" for name in ("ratio", "ratio_all", "ratio_defaults"))
    sys.stdout.write(f"train_cpu {ratios}\n")


def measured(workload: Workload, steps: int, folder: Path) -> dict[str, Any]:
    """Every figure."""
    response, everything = workload.rows(all_tokens=False), workload.rows(all_tokens=True)
    search = {json.dumps(settings): statistics.median(alternate(workload.base, response, settings, 2, None, folder)[0]) for settings in SETTINGS}
    fastest = json.loads(max(search, key=lambda name: search[name]))
    own_search = {name: _tokens_per_second(ours(workload.base, Rows(response), dtype=dtype), 2) for name, dtype in PRECISIONS.items()}
    own_fastest = max(own_search, key=lambda name: own_search[name])
    dtype = PRECISIONS[own_fastest]
    mine, mine_all = ours(workload.base, Rows(response), dtype), ours(workload.base, Rows(everything), dtype)
    return {
        "trl_search": search,
        "trl_fastest": fastest,
        "ours_search": own_search,
        "ours_fastest": own_fastest,
        "ratio": _compared(workload, response, fastest, mine, steps, folder),
        "ratio_all": _compared(workload, everything, fastest, mine_all, steps, folder),
        "ratio_defaults": _compared(workload, response, {}, mine, steps, folder),
        "gained": gained(workload, Rows(response), mine, dtype, steps),
        "gained_all_tokens": {"loss-token head": _ratio(mine_all, ours(workload.base, Rows(everything), dtype, loss=all_logits), steps)},
        "loss_token_share": sum(sum(each.loss_mask) for row in response for each in row) / sum(len(each.input_ids) for row in response for each in row),
    }


def gained(workload: Workload, rows: Rows, whole: Ours, dtype: torch.dtype, steps: int) -> dict[str, float]:
    """How much faster the whole step is than the step without each part, alternated."""
    (other,) = {*PRECISIONS.values()} - {dtype}
    without: dict[str, Callable[[], Ours]] = {
        "loss-token head": lambda: ours(workload.base, rows, dtype, loss=all_logits),
        "attention by document": lambda: with_dense_attention(workload.base, rows, dtype),
        "NF4 (below 1: what dequantising costs)": lambda: ours(workload.base, rows, dtype, quantization=Quantization.NONE),
        "precision (against the other)": lambda: ours(workload.base, rows, other),
    }
    return {name: _ratio(whole, make(), steps) for name, make in without.items()}


def _tokens_per_second(one: Ours, steps: int) -> float:
    return statistics.median([one.step() for _ in range(steps + 1)][1:])


def _ratio(one: Ours, other: Ours, steps: int) -> float:
    pairs = [(one.step(), other.step()) for _ in range(steps + 1)][1:]
    return statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)


def _compared(workload: Workload, rows: Any, settings: dict[str, Any], mine: Ours, steps: int, folder: Path) -> dict[str, float]:
    theirs, own = (statistics.median(each) for each in alternate(workload.base, rows, settings, steps, mine.step, folder))
    return {"ratio": own / theirs, "ours_tokens_per_second": own, "trl_tokens_per_second": theirs}


if __name__ == "__main__":
    main()
