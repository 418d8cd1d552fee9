"""A model whose 16-bit weights are larger than the memory that a process may take is loaded, layer by layer: in 4 bits by one, in 16 bits by two that share it.

The limit is RLIMIT_DATA, which the kernel enforces on private writable memory: heap, anonymous maps, and private maps of files that may be written to. It is
what the process has after it has built a tiny model, and an allowance.
"""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
from medfinetune_api.choices import Method, Sharding
from medfinetune_trainer.model.adapter import base_digest
from safetensors.torch import load_file, save_file
from support.gang import gang
from support.models import built, low_rank, tiny

LAYERS = 8
MIB = 1 << 20


@pytest.fixture(scope="module")
def tall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of 64 MiB in bf16: one random layer, LAYERS times."""
    wide = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64}
    folder = tiny(tmp_path_factory.mktemp("tall"), "llama", num_hidden_layers=1, **wide)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": LAYERS}))
    weights = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        for layer in range(LAYERS):
            weights[name.replace(".layers.0.", f".layers.{layer}.")] = weight.bfloat16()
    save_file({name: weight.clone() for name, weight in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def data_bytes() -> int:
    """Private writable memory of this process, as RLIMIT_DATA counts it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def digest_under_a_limit(_: int, small: Path, tall: Path, method: Method, sharding: Sharding, allowance: int | None) -> str:
    """The base's digest, of a model that was built with `allowance` bytes more than the process had."""
    tuning = low_rank(method, moved=False)
    built(small, sharding, torch.bfloat16, tuning=tuning)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if allowance is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + allowance, before[1]))
    module = built(tall, sharding, torch.bfloat16, tuning=tuning)
    resource.setrlimit(resource.RLIMIT_DATA, before)
    return base_digest(module)


@pytest.mark.parametrize(
    ("world_size", "method", "sharding", "allowance"), [(1, Method.QLORA, Sharding.NONE, 48 * MIB), (2, Method.LORA, Sharding.FULL, 56 * MIB)]
)
def test_a_model_larger_than_the_memory_is_loaded(tmp_path: Path, tall: Path, world_size: int, method: Method, sharding: Sharding, allowance: int) -> None:
    assert (tall / "model.safetensors").stat().st_size > 64 * MIB > allowance
    small = tiny(tmp_path / "small", "llama")
    limited = gang(world_size, digest_under_a_limit, small, tall, method, sharding, allowance)
    assert limited == gang(1, digest_under_a_limit, small, tall, method, Sharding.NONE, None) * world_size
