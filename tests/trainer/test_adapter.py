"""The adapter leaves in plain PEFT layout: read in a fresh process by PEFT alone, it gives the trained logits."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from medfinetune_api.choices import Method, Sharding
from medfinetune_api.errors import OutputConflict, StorageFailed
from medfinetune_trainer.artifacts.files import new_folder, write_text
from medfinetune_trainer.model.build import build
from safetensors.torch import load_file
from support.gang import gang
from support.models import CPU, adapted, low_rank, read_by_peft, save_adapter, tiny, train_and_save
from torch import Tensor, nn


@pytest.mark.parametrize("method", [Method.QLORA, Method.LORA])
@pytest.mark.parametrize("kind", ["gemma3", "gemma3-multimodal", "qwen2"])
def test_peft_alone_gives_the_trained_logits_in_a_fresh_process(tmp_path: Path, kind: Any, method: Method) -> None:
    base, adapter = tiny(tmp_path / "base", kind, sliding_window=8), tmp_path / "adapter"
    trained = gang(2, train_and_save, base, adapter, Sharding.ADAPTERS_ONLY, method)
    (read,) = gang(1, read_by_peft, base, adapter, method)
    assert torch.equal(trained[0], trained[1])
    torch.testing.assert_close(read, trained[0], rtol=1e-5, atol=1e-5)


def test_the_layout_is_pefts_and_names_no_machine(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base", "gemma3-multimodal")
    adapters = {sharding: tmp_path / sharding.value for sharding in (Sharding.ADAPTERS_ONLY, Sharding.FULL, Sharding.NONE)}
    for sharding, adapter in adapters.items():
        gang(2, train_and_save, base, adapter, sharding, Method.QLORA)
    folder = adapters[Sharding.FULL]
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "models/tiny"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert str(tmp_path) not in json.dumps(config)
    assert len({(adapter / "adapter_config.json").read_bytes() for adapter in adapters.values()}) == 1
    weights = load_file(folder / "adapter_model.safetensors")
    assert len(weights) == 28
    assert all(name.startswith("base_model.model.model.language_model.layers.") for name in weights)
    assert not any("vision" in name or "projector" in name or "lm_head" in name for name in weights)


def test_whoever_serves_the_adapter_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "text", "text")
        with new_folder(tmp_path / "adapter") as folder:
            save_adapter(adapted(tiny(tmp_path / "base", "llama")), folder, "base")
            (folder / "of-its-owner").touch(0o600)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "adapter").iterdir()}
    assert "adapter_model.safetensors" in modes
    assert set(modes.values()) == {0o644} == {(tmp_path / "text").stat().st_mode & 0o777}
    assert (tmp_path / "adapter").stat().st_mode & 0o777 == 0o755


def test_an_adapter_larger_than_a_file_may_be_is_a_storage_failure(tmp_path: Path) -> None:
    model = adapted(tiny(tmp_path / "base", "llama"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, before[1]))
    try:
        with pytest.raises(StorageFailed, match="File too large"), new_folder(tmp_path / "adapter") as folder:
            save_adapter(model, folder, "base")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "adapter").exists()


def test_a_model_is_built_from_a_trained_adapter_of_its_own_shape_only(tmp_path: Path) -> None:
    base, adapter = tiny(tmp_path / "base", "llama"), tmp_path / "adapter"
    saved = adapted(base)
    with new_folder(adapter) as folder:
        save_adapter(saved, folder, "base")

    def read(folder: Path, **lora: Any) -> dict[str, Tensor]:
        return trained(build(base, low_rank(moved=False, **lora), torch.float32, CPU, None, packed=False, trained=folder))

    expected, found = trained(saved), read(adapter)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    for other in ({"rank": 8}, {"alpha": 9.0}, {"target_modules": ("q_proj",)}):
        with pytest.raises(OutputConflict, match=r"an adapter that cannot be read.*of this run's shape"):
            read(adapter, **other)


def trained(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in module.named_parameters() if parameter.requires_grad}
