"""`medfinetune plan`: what a person and a program are told, from config.json alone and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from medfinetune_api.results import MemoryEstimate
from support.cli import medfinetune
from support.manifests import minimal_manifest

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
}
"""Llama 3 8B's."""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A volume whose base is a config.json and nothing else."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def written(folder: Path, memory: str, **spec: Any) -> Path:
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(minimal_manifest(resources={"gpuMemory": memory}, **spec)), encoding="utf-8")
    return path


def test_a_run_that_fits_is_told_part_by_part(models: Path) -> None:
    ended = medfinetune("plan", written(models, "24Gi"), "--models", models, "-o", "json")
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["exitCode"], found["problems"], ended.stderr) == (0, 0, [], "")
    assert found["parameters"] == 8030261248
    memory = MemoryEstimate.model_validate(found["chosen"]["memory"])
    assert memory.limit is not None
    assert memory.total <= memory.limit
    assert memory.total == sum(value for name, value in memory if name not in ("total", "limit"))
    assert [row["model"] for row in found["projection"]] == ["MedGemma 4B", "Llama 2 7B", "Llama 2 13B", "Llama 3.3 70B"]
    assert [row["publishedGb"] for row in found["ablation"]] == [48, 28, 24, 20]


def test_a_run_that_does_not_fit_ends_67_with_the_same_tables_and_what_would_fit(models: Path) -> None:
    manifest = written(models, "4Gi")
    ended = medfinetune("plan", manifest, "--models", models)
    assert ended.returncode == 67
    for words in ("Memory of one rank at its peak", "What each choice takes", "on other models", "The study's ablation", "Llama 3.3 70B"):
        assert words in ended.stdout
    found = json.loads(medfinetune("plan", manifest, "--models", models, "-o", "json").stdout)
    assert found["reason"] == "DoesNotFit"
    assert {row["field"] for row in found["wouldFit"]} >= {"spec.resources.gpuMemory"}
    assert all(row["fits"] for row in found["wouldFit"])
    assert found["problems"][0]["remedy"] in ended.stderr


def test_a_model_that_is_not_there_is_refused_by_its_field(models: Path) -> None:
    ended = medfinetune("plan", written(models, "24Gi", model={"path": "elsewhere"}), "--models", models)
    assert ended.returncode == 66
    assert "spec.model.path" in ended.stderr
    assert "elsewhere" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_plain_install_is_enough() -> None:
    """Neither torch nor anything else of the extra `trainer` is imported."""
    extra = ("torch", "transformers", "numpy", "datasets", "tokenizers", "safetensors", "psutil", "prometheus_client", "jinja2")
    code = f"import sys, medfinetune_trainer.tools.plan; print([name for name in {extra!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
