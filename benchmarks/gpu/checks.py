"""What only a GPU can show, checked in one run: `python -m benchmarks.gpu.checks cuda` (or `cpu`, in miniature, so that it works the first time on a GPU).

1. The varlen kernel attends within documents exactly as the loop over documents does.
2. The gathered 4-bit base is bit-equal before and after training steps, for each sharding.
3. A micro-batch that does not fit is halved within its step (`out_of_memory`).
4. The study's four steps on the Gemma-3-4B shape: peak memory and tokens a second, beside TRL (`study`).
5. Every kind of AdamW and both offloads: equal updates, states that stay where they are, peak memory (`optimizers`).
6. The memory plan is within 10 % of measured peaks at Gemma-3-4B and Llama-3-8B shapes (`memory`).
7. The whole example runs on the GPU in BF16 and in FP16, and its memory series are there.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from medfinetune_api.choices import Quantization, Sharding
from medfinetune_api.plan_tuning import LoraPlan
from medfinetune_trainer.data.batch import PackedDocument, collate
from medfinetune_trainer.model.adapter import base_digest
from medfinetune_trainer.model.attention import packed_attention
from medfinetune_trainer.model.build import build as build_model
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.sharding import clip_grad_norm, trainable
from tiny_base import build

from benchmarks.gpu.memory import memory
from benchmarks.gpu.optimizers import optimizers
from benchmarks.gpu.out_of_memory import out_of_memory
from benchmarks.gpu.study import study

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "01-minimal"
LENGTHS = (700, 3, 129, 1, 1215)


def attention(device: torch.device) -> dict[str, Any]:
    """Largest difference between the kernel in 16 bits and the document loop in fp32, with and without a window shorter than the documents."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, sum(LENGTHS), 64, generator=generator).to(device) for heads in (8, 4, 4))
    bounds = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], dtype=torch.int32, device=device)
    module = torch.nn.Identity()

    def run(dtype: torch.dtype, window: int | None) -> torch.Tensor:
        states = (tensor.to(dtype) for tensor in (query, key, value))
        output, _ = packed_attention(module, *states, None, sliding_window=window, cu_seqlens=bounds, max_seqlen=max(LENGTHS))
        return output.float()

    differences = {str(window): float((run(torch.bfloat16, window) - run(torch.float32, window)).abs().max()) for window in (None, 128)}
    return {"max_difference_by_window": differences, "passed": max(differences.values()) < 0.05}


def bits(device: torch.device) -> dict[str, Any]:
    """Digest of the gathered base before and after three optimizer steps, by sharding."""
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
    with tempfile.TemporaryDirectory() as name:
        base = build(Path(name) / "base", ["The heart pumps blood.", "심장은 피를 보낸다."] * 50, kind="gemma3")
        digests = {sharding.value: _trained_digests(base, sharding, device) for sharding in (Sharding.ADAPTERS_ONLY, Sharding.FULL, Sharding.NONE)}
    dist.destroy_process_group()
    equal = {name: before == after for name, (before, after) in digests.items()}
    return {"bit_equal": equal, "passed": all(equal.values())}


def _trained_digests(base: Path, sharding: Sharding, device: torch.device) -> tuple[str, str]:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    lora = LoraPlan(rank=8, alpha=16, dropout=0.05, target_modules="all-linear", use_rslora=False, use_dora=False, loraplus_lr_ratio=1)
    module = build_model(base, LowRank(lora, Quantization.NF4, seed=0), dtype, device, sharding, packed=True).train()
    batch = collate([PackedDocument(list(range(5, 5 + length)), [1] * length, 0) for length in (40, 90)]).to(device)
    optimizer, before = torch.optim.AdamW(trainable(module), lr=1e-3), base_digest(module)
    for _ in range(3):
        packed_loss(module, batch, groups=1).loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
        clip_grad_norm(module, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return before, base_digest(module)


def example(device: torch.device) -> dict[str, Any]:
    """Exit code and memory series of the whole example, by precision."""
    precisions = ("BF16", "FP16") if device.type == "cuda" else ("FP32",)
    runs = {precision: _run_example(device, precision) for precision in precisions}
    return {"runs": runs, "passed": all(run["exit"] == 0 and (device.type == "cpu" or run["peak_vram_bytes"]) for run in runs.values())}


def _run_example(device: torch.device, precision: str) -> dict[str, Any]:
    manifest = yaml.safe_load((EXAMPLE / "manifest.yaml").read_text(encoding="utf-8"))
    manifest["spec"]["parallelism"] = {"nodes": 1, "gpusPerNode": int(device.type == "cuda")}
    manifest["spec"]["training"] |= {"precision": precision, "epochs": 4}
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        build(out / "models" / "tiny-gemma3", (EXAMPLE / "data" / "medqa" / "train.jsonl").read_text(encoding="utf-8").splitlines(), kind="gemma3")
        (out / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
        volumes = ["--models", out / "models", "--data", EXAMPLE / "data", "--output", out / "results"]
        ended = subprocess.run([sys.executable, "-m", "medfinetune_cli", "run", out / "manifest.yaml", *volumes], check=False)
        lines = [json.loads(line) for file in out.glob("results/*/metrics.jsonl") for line in file.read_text(encoding="utf-8").splitlines()]
    peaks = [line["vram_peak"] for line in lines if line.get("vram_peak")]
    return {"exit": ended.returncode, "steps": sum("loss" in line for line in lines), "peak_vram_bytes": max(peaks, default=None)}


def record(name: str, results: dict[str, Any]) -> None:
    """Keep the results of a GPU under its name; a processor's would prove nothing here."""
    versions = {package: version(package) for package in ("torch", "transformers", "peft", "bitsandbytes")}
    report = {
        "device": name,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": versions,
        "results": results,
    }
    folder = ROOT / "benchmarks" / "results" / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name.lower().replace(' ', '-')}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _attempt(check: Callable[[torch.device], dict[str, Any]], device: torch.device) -> dict[str, Any]:
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


def _driver() -> str | None:
    """Version of the GPU's driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # a description is worth no check
        return None


def main() -> int:
    """Run every check, keep a GPU's results, and print one line a check."""
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda")
    checks: tuple[Callable[[torch.device], dict[str, Any]], ...] = (attention, bits, out_of_memory, study, optimizers, memory, example)
    results: dict[str, dict[str, Any]] = {}
    for check in checks:
        results[check.__name__] = _attempt(check, device)
        if device.type == "cuda":
            record(torch.cuda.get_device_name(device), results)  # after each: what was measured stays, whatever comes after
    for check, result in results.items():
        print(f"{check}: {'passed' if result['passed'] else 'FAILED'}")
    return 0 if all(result["passed"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
