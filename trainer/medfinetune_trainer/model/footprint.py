"""How much memory a loaded base takes, from the headers of its safetensors files alone: no weight is read, no GPU asked.

QLoRA (Dettmers et al. 2023, arXiv 2305.14314, section 3): a weight of a quantised layer takes 4 bits, and the constants of double quantization 0.127 bits more:
8 for a block of 64 weights, and 32 for 256 such blocks. Quantised are the matrices of the language model's layers; all else (embedding, head, norms, other
modalities) and a base that is not quantised is kept in the compute type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

from medfinetune_api.choices import Precision, Quantization
from medfinetune_api.errors import InvalidModel
from medfinetune_api.plan import RunPlan
from safetensors import SafetensorError, safe_open

from medfinetune_trainer.model.architectures import Architecture, architecture_of

NF4_BYTES = 4 / 8 + 1 / 64 + 4 / (64 * 256)
"""Bytes of one NF4 weight with its share of the constants."""
RESERVED_SHARE, RESERVED_BYTES = 0.1, 2 << 30
"""What one GPU must leave beside the base: a tenth for buffers while it is quantised, as transformers' own device map leaves (`adjust_max_memory` of its 4-bit
quantizer), and 2 GiB for CUDA's context, the adapter and the forward pass of a batch of questions, an assumption that no GPU has confirmed."""


def fits_one_gpu(plan: RunPlan, folder: Path) -> bool:
    """Whether the base in `folder`, as the plan loads it, leaves `spec.resources.gpuMemory` its reserve; true where the manifest does not say how much it is.

    Raises InvalidModel where the header of a weights file cannot be read.
    """
    memory = plan.parallelism.gpu_memory
    if memory is None or plan.parallelism.gpus_per_node == 0:
        return True
    compute_bytes = 4 if plan.training.precision is Precision.FP32 else 2
    return base_bytes(folder, plan.tuning.quantization, compute_bytes) <= memory * (1 - RESERVED_SHARE) - RESERVED_BYTES


def base_bytes(folder: Path, quantization: Quantization, compute_bytes: int) -> int:
    """Bytes of the base's parameters once it is loaded.

    Args:
        folder: model folder in Hugging Face layout.
        quantization: NF4 for the linear layers, or None.
        compute_bytes: of one number of the compute type, 2 or 4.

    Raises:
        InvalidModel: a file's header cannot be read.
    """
    architecture = architecture_of(folder)
    sizes = (
        prod(shape) * (NF4_BYTES if quantization is Quantization.NF4 and _is_quantised(name, shape, architecture) else compute_bytes)
        for file in sorted(folder.glob("*.safetensors"))
        for name, shape in _tensors(file)
    )
    return round(sum(sizes))


def _is_quantised(name: str, shape: Sequence[int], architecture: Architecture) -> bool:
    """Module names, not paths: published files name the same module by several paths."""
    modules = name.split(".")
    return len(shape) == 2 and "layers" in modules and not any(skipped.rsplit(".", 1)[-1] in modules for skipped in architecture.never_adapted)


def _tensors(file: Path) -> Iterator[tuple[str, Sequence[int]]]:
    """Name and shape of every tensor in a file."""
    try:
        with safe_open(file, framework="numpy") as opened:
            yield from ((name, opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as error:
        found = f"a header that cannot be read ({type(error).__name__})"
        raise InvalidModel(str(file), found=found, expected="a safetensors file", remedy="Copy the file again.") from error
