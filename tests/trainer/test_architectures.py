"""A base that cannot be used is refused by name before any weight is read; every kind of base on the list is accepted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from medfinetune_api.errors import InvalidModel
from medfinetune_trainer.model.architectures import ARCHITECTURES, architecture_of

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
GEMMA = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]}


def folder_of(path: Path, config: Any, weights: str = "model.safetensors") -> Path:
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / weights).touch()
    return path


@pytest.mark.parametrize("model_type", ARCHITECTURES)
@pytest.mark.parametrize("weights", ["model.safetensors", "model.safetensors.index.json"])
def test_every_listed_architecture_is_accepted(tmp_path: Path, model_type: str, weights: str) -> None:
    known = ARCHITECTURES[model_type]
    config = {"model_type": model_type, "architectures": [known.class_name]}
    assert architecture_of(folder_of(tmp_path, config, weights)) is known


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM"),
        ({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"model_type": "gemma3", "architectures": ["Gemma3ForCausalLM"]}, "model_type gemma3"),
        ({"model_type": "llama"}, "no architecture"),
        ({"model_type": "llama", "architectures": 5}, "no architecture"),
        ({"architectures": ["LlamaForCausalLM"]}, "no model_type"),
        ([], "no model_type"),
        (LLAMA | {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}, "auto_map"),
        (LLAMA | {"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config"),
        (LLAMA | {"attention_dropout": 0.1}, "attention_dropout"),
        (GEMMA | {"text_config": {"attn_logit_softcapping": 50.0}}, "attn_logit_softcapping"),
        (GEMMA | {"text_config": {"use_bidirectional_attention": True}}, "use_bidirectional_attention"),
    ],
)
def test_other_configs_are_refused_by_name(tmp_path: Path, config: Any, named: str) -> None:
    with pytest.raises(InvalidModel, match=named) as refusal:
        architecture_of(folder_of(tmp_path, config))
    assert refusal.value.where.endswith("config.json")


@pytest.mark.parametrize("text", ["", "{", "\xff"])
def test_a_damaged_config_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InvalidModel, match="does not parse"):
        architecture_of(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="no such file"):
        architecture_of(tmp_path / "absent")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidModel, match=f"pickled weights.*{name}"):
        architecture_of(folder_of(tmp_path, LLAMA, name))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="no weights"):
        architecture_of(folder_of(tmp_path, LLAMA, "README.md"))


def test_reading_an_architecture_imports_no_torch() -> None:
    program = "import sys, medfinetune_trainer.model.architectures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
