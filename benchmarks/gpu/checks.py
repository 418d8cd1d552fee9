"""What only a GPU can show, checked in one run: `python -m benchmarks.gpu.checks cuda 540` (or `cpu`, in miniature, so that it works the first time on a GPU).

The number is the seconds after which nothing more begins. Short and most telling checks come first, the longest last:

1. The varlen kernel attends within documents exactly as the loop over documents does, and so do whole models through it (`documents`).
2. The gathered 4-bit base is bit-equal before and after training steps, for each sharding (`bits`).
3. A micro-batch that does not fit is halved within its step (`out_of_memory`).
4. Every kind of AdamW and both offloads: equal updates, states that stay where they are, peak memory (`optimizers`).
5. The whole example runs on the GPU in BF16 and in FP16, and its memory series are there (`example`).
6. The memory plan is within 10 % of measured peaks at Gemma-3-4B and Llama-3-8B shapes (`memory`).
7. The study's four steps on the Gemma-3-4B shape: peak memory and tokens a second, beside TRL (`study`).
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.gpu.bits import bits
from benchmarks.gpu.budget import SKIPPED, Budget
from benchmarks.gpu.documents import attention, documents
from benchmarks.gpu.example import example
from benchmarks.gpu.memory import memory
from benchmarks.gpu.optimizers import optimizers
from benchmarks.gpu.out_of_memory import out_of_memory
from benchmarks.gpu.record import record
from benchmarks.gpu.study import study

SECONDS = 540
Check = Callable[[torch.device], dict[str, Any]]


def checks(budget: Budget) -> dict[str, Check]:
    """All of them by name, in the order in which they run; the long ones look at the budget themselves, too."""
    long = {check.__name__: partial(check, budget=budget) for check in (example, memory, study)}
    return {check.__name__: check for check in (attention, documents, bits, out_of_memory, optimizers)} | long


def run(all_of_them: Mapping[str, Check], device: torch.device, budget: Budget) -> dict[str, dict[str, Any]]:
    """Each check's result, or that it was skipped; a GPU's are recorded after each, a processor's would prove nothing."""
    results: dict[str, dict[str, Any]] = {}
    for name, check in all_of_them.items():
        results[name] = dict(SKIPPED) if budget.is_spent else _attempt(check, device)
        if device.type == "cuda":
            record(torch.cuda.get_device_name(device), results)
        print(f"{name}: {_verdict(results[name])}", flush=True)
    return results


def _attempt(check: Check, device: torch.device) -> dict[str, Any]:
    """A check's result with its seconds, or what broke it: the others go on."""
    started = time.perf_counter()
    try:
        result = check(device)
    except Exception as error:
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"[:500], "passed": False}
        if dist.is_initialized():
            dist.destroy_process_group()
    return result | {"seconds": round(time.perf_counter() - started, 1)}


def _verdict(result: Mapping[str, Any]) -> str:
    if "skipped" in result:
        return f"SKIPPED, {result['skipped']}"
    return f"{'passed' if result['passed'] else 'FAILED'} in {result['seconds']} s"


def main() -> int:
    """Run every check, keep a GPU's results, and print one line a check."""
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda")
    budget = Budget(float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS)
    return 0 if all(result["passed"] for result in run(checks(budget), device, budget).values()) else 1


if __name__ == "__main__":
    sys.exit(main())
