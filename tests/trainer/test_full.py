"""Full fine-tuning: the gradients of plain transformers whatever the ranks and the sharding, a whole model that loads as its base, and a run end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from medfinetune_api.choices import Method, Sharding
from medfinetune_api.errors import Diverged
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.files import remove_folder
from medfinetune_trainer.model.adapter import save_trained
from medfinetune_trainer.model.full import Full
from medfinetune_trainer.stages import evaluate, prepare, train
from medfinetune_trainer.stages.prepared import is_delivered
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.gang import gang
from support.manifests import minimal_manifest, plan_for
from support.models import Window, built, relative, run_window, tiny
from support.plain import plain_base, plain_gradients
from support.plans import tuning_plan
from support.stages import EXAMPLE, SOURCES, models_volume
from support.train import losses, small_run, train_gang, train_here
from support.tunings import logits_apart, trained_and_saved

OTHERS = ("vision_tower", "multi_modal_projector")


def windows(rank: int, base: Path) -> list[Window]:
    """One step under each sharding that Full has, activations computed again under the first."""
    return [run_window(rank, base, sharding, torch.float32, sharding is Sharding.FULL, tuning=Full(base)) for sharding in (Sharding.FULL, Sharding.NONE)]


@pytest.mark.parametrize("kind", ["gemma3-multimodal", "llama"])
def test_gradients_are_those_of_plain_transformers(tmp_path: Path, kind: Any) -> None:
    """With tied embeddings and a frozen vision tower, and with embeddings that are not tied."""
    base = tiny(tmp_path / "base", kind)
    model = plain_base(base)
    loss, gradients = plain_gradients(model)
    expected = {name: gradient for name, gradient in gradients.items() if not any(other in name for other in OTHERS)}
    assert len(expected) == sum(not any(other in name for other in OTHERS) for name, _ in model.named_parameters())
    assert (model.lm_head.weight is model.get_input_embeddings().weight) is (kind != "llama")
    for found in (*windows(0, base), *(each for rank in gang(2, windows, base) for each in rank)):
        assert found.loss == pytest.approx(loss, rel=1e-5)
        assert found.gradients.keys() == expected.keys()
        assert max(relative(found.gradients[name], gradient) for name, gradient in expected.items()) < 1e-5
        assert found.digests[0] == found.digests[1]


def in_shards(base: Path, folder: Path) -> Path:
    """The same model as it is published: bf16, in several files with an index, under a licence; and the tied head written a second time, as some do."""
    model = plain_base(base).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="300KB")
    embedding, index = model.get_input_embeddings().weight.detach(), folder / "model.safetensors.index.json"
    save_file({"lm_head.weight": embedding.clone()}, folder / "head.safetensors", metadata={"format": "pt"})
    listed = json.loads(index.read_text())
    index.write_text(json.dumps(listed | {"weight_map": listed["weight_map"] | {"lm_head.weight": "head.safetensors"}}))
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    (folder / "LICENSE").write_text("terms")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    return folder


def test_the_trained_model_has_its_bases_layout_and_loads_with_plain_transformers(tmp_path: Path) -> None:
    base, folder = in_shards(tiny(tmp_path / "tiny", "gemma3-multimodal"), tmp_path / "base"), tmp_path / "model"
    folder.mkdir()
    trained, _ = gang(2, trained_and_saved, base, folder, Full(base), Sharding.FULL)
    files = {file.name for file in base.iterdir()} - {"pytorch_model.bin"}
    assert {file.name for file in folder.iterdir()} == files
    assert len([name for name in files if name.endswith(".safetensors")]) > 2
    for name in sorted(files):
        if not name.endswith(".safetensors"):
            assert (folder / name).read_bytes() == (base / name).read_bytes()
            continue
        before, after = load_file(base / name), load_file(folder / name)
        assert list(safe_open(folder / name, "pt").keys()) == list(safe_open(base / name, "pt").keys())
        assert {key: value.dtype for key, value in after.items()} == dict.fromkeys(before, torch.bfloat16)
        same = {key for key in before if torch.equal(before[key], after[key])}
        assert same == {key for key in before if any(other in key for other in OTHERS)}
    assert transformers.AutoTokenizer.from_pretrained(folder)("심장")["input_ids"]
    loaded = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    assert relative(logits_apart(loaded), trained) < 0.01  # bf16 keeps 8 bits of a weight
    untrained = plain_base(base).eval()
    assert relative(logits_apart(untrained), trained) > 0.1


def test_weights_that_do_not_fit_the_bases_type_are_refused(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base", "llama")
    module = built(base, None, tuning=Full(base))
    module.get_parameter("model.norm.weight").data[3] = torch.inf
    (tmp_path / "model").mkdir()
    with pytest.raises(Diverged, match=r"model\.norm\.weight: found NaN or infinite values as F32"):
        save_trained(Full(base), module, tmp_path / "model", "base")


def test_it_goes_on_from_a_checkpoint_to_the_same_model(tmp_path: Path) -> None:
    """Tied embeddings included; the second half on two ranks."""
    plans = [small_run(tmp_path / name, Sharding.FULL, tuning=tuning_plan(Method.FULL), keep=9) for name in ("whole", "stopped")]
    for plan in plans:
        train_here(plan, tmp_path / "agent")
    whole, stopped = plans
    for folder in (stopped.folder.checkpoints / "step-6", stopped.folder.final):
        remove_folder(folder)
    train_gang(stopped, 2, tmp_path / "gang")
    assert losses(stopped) == pytest.approx(losses(whole), abs=1e-5)
    model, again = (load_file(plan.folder.final / "model.safetensors") for plan in plans)
    assert max(relative(again[name], weight) for name, weight in model.items()) < 1e-4


def test_the_preset_med42_full_runs_from_prepare_to_a_released_model(tmp_path: Path) -> None:
    """It learns what it is shown, the base answers as the base, and each stage that is started again finds its work done."""
    plan = med42_full(tmp_path)
    prepare.run(plan)
    train_here(plan, tmp_path / "agent")
    assert train.run(plan).message == "It is trained already."
    (exam,) = evaluate.run(plan).tasks
    assert exam.base_accuracy is not None
    assert exam.base_accuracy <= 0.5 < 0.9 <= exam.accuracy
    assert (plan.folder.model.exists(), plan.folder.adapter.exists(), plan.folder.final.exists(), is_delivered(plan)) == (True, False, False, True)
    assert train.run(plan).message == "It is trained already."
    assert evaluate.run(plan).tasks == (exam,)
    model = transformers.AutoModelForCausalLM.from_pretrained(plan.folder.model)
    assert type(model).__name__ == "Gemma3ForCausalLM"


def med42_full(root: Path) -> RunPlan:
    """Twelve questions, asked again after training."""
    lines = (EXAMPLE / str(SOURCES[0]["path"])).read_text(encoding="utf-8").splitlines()[:12]
    (root / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    entry = {"format": "MedQA", "language": "en"}
    manifest = minimal_manifest(
        preset="med42-full",
        data={"sources": [{"name": "exam", "path": "train.jsonl", **entry}], "maxLength": 512, "validation": {"fraction": 0.0}},
        training={"epochs": 15, "learningRate": 1e-3, "globalBatchTokens": 1024, "scheduler": {"warmupSteps": 2}, "precision": "FP32"},
        parallelism={"nodes": 1, "gpusPerNode": 0},
        evaluation={"tasks": [{"name": "exam", "path": "train.jsonl", "seen": True, **entry}]},
    )
    return plan_for(manifest, models_volume(), root, root)
