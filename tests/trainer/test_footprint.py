"""What a base will take in memory, from headers alone, against what it takes once it is loaded; and the rule that sends evaluate to the gang."""

from __future__ import annotations

from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from medfinetune_api.choices import Quantization
from medfinetune_api.errors import InvalidModel
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.footprint import base_bytes
from medfinetune_trainer.model.load import load_base
from medfinetune_trainer.stages.prepare import choose
from support.manifests import minimal_manifest, plan_for
from support.models import CPU, tiny

KINDS = ["gemma3", "gemma3-multimodal", "llama", "qwen2", "qwen3"]
GIB = 1 << 30


def loaded_bytes(folder: Path, quantization: Quantization, dtype: torch.dtype) -> int:
    """Bytes of parameters and of the constants of their quantization, as they lie in memory."""
    model = load_base(folder, architecture_of(folder), quantization, dtype, CPU)
    states = [module.weight.quant_state for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    tensors = [*model.parameters(), *(state.absmax for state in states), *(state.state2.absmax for state in states)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("quantization", "dtype"), [(Quantization.NF4, torch.bfloat16), (Quantization.NONE, torch.bfloat16), (Quantization.NF4, torch.float32)]
)
def test_headers_tell_what_the_loaded_base_takes(tmp_path_factory: pytest.TempPathFactory, kind: str, quantization: Quantization, dtype: torch.dtype) -> None:
    folder = tiny(tmp_path_factory.getbasetemp() / f"footprint-{kind}", kind)  # type: ignore[arg-type]  # one of Kind's words
    assert base_bytes(folder, quantization, dtype.itemsize) == pytest.approx(loaded_bytes(folder, quantization, dtype), rel=0.002)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b'\x09\0\0\0\0\0\0\0{"a": {}}'])
def test_a_damaged_header_is_refused_by_file(tmp_path: Path, content: bytes) -> None:
    folder = tiny(tmp_path / "base", "llama")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InvalidModel, match=r"model\.safetensors: found a header that cannot be read"):
        base_bytes(folder, Quantization.NF4, 2)


@pytest.mark.parametrize(
    ("nodes", "gpus", "memory", "gang"),
    [(2, 1, "2305Mi", False), (2, 1, "2275Mi", True), (1, 2, "2275Mi", True), (1, 1, "2275Mi", False), (2, 0, "2275Mi", False), (2, 1, None, False)],
)
def test_evaluate_needs_the_gang_where_there_is_one_and_one_gpu_is_too_small(tmp_path: Path, nodes: int, gpus: int, memory: str | None, gang: bool) -> None:
    """The tiny base takes about a megabyte: 9/10 of 2,276 MiB are the 2 GiB that are reserved."""
    base = tiny(tmp_path / "base", "gemma3")
    resources = {"gpuMemory": memory} if memory else {}
    plan = plan_for(minimal_manifest(parallelism={"nodes": nodes, "gpusPerNode": gpus}, resources=resources), tmp_path, tmp_path, tmp_path)
    assert choose(plan, base).evaluate_on_gang is gang
