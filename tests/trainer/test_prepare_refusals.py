"""What prepare refuses of data and base, before a GPU is asked for: by field or file, without record text, and leaving nothing but the plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from medfinetune_api.errors import InvalidData, InvalidManifest, InvalidModel, Refusal
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_data import SourcePlan, ValidationPlan
from medfinetune_api.plan_training import EarlyStoppingPlan, GradualUnfreezingPlan
from medfinetune_trainer.data.template import load_tokenizer
from medfinetune_trainer.model.fingerprint import weights_sha256
from medfinetune_trainer.stages import prepare
from medfinetune_trainer.stages.schedules import idle, refuse_longer_than
from safetensors.torch import load_file, save_file
from support.stages import EXAMPLE, SOURCES, example_plan, leaves_nothing, models_volume, run_stage


def refused(plan: RunPlan, kind: type[Refusal], says: str) -> None:
    with pytest.raises(kind, match=says):
        prepare.run(plan)
    assert leaves_nothing(plan)


def test_bad_data_is_refused_without_its_text_and_leaves_nothing_but_the_plan(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(EXAMPLE, data)
    rows = (data / "medqa" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    question = json.loads(rows[6])
    rows[6] = json.dumps(question | {"answer_idx": "Z"})
    (data / "medqa" / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    plan = example_plan(tmp_path / "out", data=data)
    ended = run_stage("prepare", plan)
    assert ended.code == Exit.INVALID_DATA
    assert "medqa/train.jsonl:7" in ended.result.message
    assert "Traceback" not in ended.stderr
    assert question["question"][:30] not in ended.stderr + ended.result.message
    assert leaves_nothing(plan)


def test_samples_over_max_length_are_refused_by_source_and_count(tmp_path: Path) -> None:
    refused(example_plan(tmp_path, maxLength=64), InvalidData, r"source 'medqa': found \d+ of 48 samples over maxLength.*at most 64 tokens")


def test_a_validation_source_that_is_missing_is_refused_by_its_own_field(tmp_path: Path) -> None:
    plan = example_plan(tmp_path)
    gone = plan.data.sources[0].model_copy(update={"name": "held", "path": "gone.jsonl"})
    validation = ValidationPlan(fraction=0, stratify_by=(), sources=(gone,))
    plan = plan.model_copy(update={"data": plan.data.model_copy(update={"validation": validation})})
    refused(plan, InvalidData, r"^spec\.data\.validation\.sources\[name=held\]\.path: found no 'gone.jsonl'")


def test_validation_sources_that_hold_every_training_sample_are_refused(tmp_path: Path) -> None:
    held = [source | {"name": f"held-{source['name']}"} for source in SOURCES]
    plan = example_plan(tmp_path)
    sources = tuple(
        SourcePlan(name=source["name"], path=source["path"], format=source["format"], language="en", domain="medical", subject=None, columns=None)
        for source in held
    )
    validation = ValidationPlan(fraction=0, stratify_by=(), sources=sources)
    plan = plan.model_copy(update={"data": plan.data.model_copy(update={"validation": validation})})
    refused(plan, InvalidData, "every one of 96 samples held out")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda base: (base / "config.json").unlink(), "config.json"),
        (lambda base: (base / "model.safetensors").rename(base / "pytorch_model.bin"), "pickled weights"),
        (lambda base: (base / "chat_template.jinja").unlink(), "no chat template"),
        (lambda base: (base / "tokenizer.json").write_text("{"), "tokenizer"),
        (lambda base: (base / "config.json").write_text("[" * 100_000), "config.json: found a file that does not parse"),
        (lambda base: changed_config(base, hidden_size=10**12), "hidden_size 1000000000000; expected a whole number from 1 to"),
        (lambda base: (base / "chat_template.jinja").write_text("{% for i in range(10**9) %}{% endfor %}"), "changes or refuses user and assistant"),
        (lambda base: not_a_number(base / "model.safetensors"), "found NaN or infinite values in .*norm.*, read as F32"),
    ],
)
def test_a_base_that_cannot_be_used_is_refused(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    shutil.copytree(models_volume() / "base", tmp_path / "models" / "base")
    spoil(tmp_path / "models" / "base")
    refused(example_plan(tmp_path / "out", models=tmp_path / "models"), InvalidModel, says)


def changed_config(base: Path, **fields: int) -> None:
    file = base / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def not_a_number(file: Path) -> None:
    """Make one value of a norm infinite."""
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("norm.weight"))
    weights[name][-1] = float("inf")
    save_file(weights, file, metadata={"format": "pt"})


def test_a_target_module_that_the_base_does_not_have_is_refused_before_a_gpu_is_asked_for(tmp_path: Path) -> None:
    plan = example_plan(tmp_path)
    lora = plan.tuning.lora
    assert lora is not None
    named = plan.tuning.model_copy(update={"lora": lora.model_copy(update={"target_modules": ("q_proj", "embed_tokens")})})
    refused(plan.model_copy(update={"tuning": named}), InvalidManifest, r"spec\.tuning\.lora\.targetModules: found embed_tokens, which base does not have")


def copied_base(tmp_path: Path) -> Path:
    return Path(shutil.copytree(models_volume() / "base", tmp_path / "models" / "base"))


def test_a_tokenizer_with_more_tokens_than_the_base_is_refused_with_both_numbers(tmp_path: Path) -> None:
    base = copied_base(tmp_path)
    tokens = len(load_tokenizer(base))
    changed_config(base, vocab_size=tokens)
    prepare.run(example_plan(tmp_path / "fits", models=tmp_path / "models"))
    changed_config(base, vocab_size=tokens - 1)
    refused(example_plan(tmp_path / "out", models=tmp_path / "models"), InvalidModel, f"vocab_size {tokens - 1}; expected at least {tokens}")


def test_a_control_token_that_the_template_never_writes_may_lie_beyond_the_vocabulary(tmp_path: Path) -> None:
    base = copied_base(tmp_path)
    tokenizer = load_tokenizer(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<audio_soft_token>"]})
    tokenizer.save_pretrained(base)
    prepare.run(example_plan(tmp_path / "out", models=tmp_path / "models"))


def test_rows_longer_than_the_base_has_positions_are_refused(tmp_path: Path) -> None:
    changed_config(copied_base(tmp_path), max_position_embeddings=511)
    refused(
        example_plan(tmp_path / "out", models=tmp_path / "models"), InvalidManifest, r"spec\.data\.maxLength: found rows of 512 tokens; expected at most 511"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_of_the_model_may_be_a_link_within_the_volume_but_not_out_of_it(tmp_path: Path, name: str) -> None:
    file = copied_base(tmp_path) / name
    blob = tmp_path / "models" / "blobs" / "0a1b"
    blob.parent.mkdir()
    file.rename(blob)
    file.symlink_to(Path("..", "blobs", "0a1b"))
    prepare.run(example_plan(tmp_path / "cached", models=tmp_path / "models"))
    outside = blob.rename(tmp_path / name)
    file.unlink()
    file.symlink_to(outside)
    plan = example_plan(tmp_path / "out", models=tmp_path / "models")
    refused(plan, InvalidModel, f"{name}: found a file outside the models volume")


def test_an_index_cannot_name_a_shard_out_of_the_volume(tmp_path: Path) -> None:
    index = copied_base(tmp_path) / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../../outside.safetensors"}}))
    refused(example_plan(tmp_path / "out", models=tmp_path / "models"), InvalidModel, "outside.safetensors: found a file outside the models volume")


@pytest.mark.parametrize("path", ["medqa/none.jsonl", "spoilt.jsonl"])
def test_an_evaluation_file_that_cannot_be_asked_is_refused_before_training(tmp_path: Path, path: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(EXAMPLE, data)
    rows = (data / "medqa" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (data / "spoilt.jsonl").write_text("\n".join([*rows, json.dumps(json.loads(rows[0]) | {"answer_idx": "Z"})]), encoding="utf-8")
    task = {"name": "asked", "path": path, "format": "MedQA", "language": "en"}
    plan = example_plan(tmp_path / "out", data=data, tasks=[task])
    refused(plan, InvalidData, f"{path}:{len(rows) + 1}" if path == "spoilt.jsonl" else path)


def test_weights_must_have_the_hash_that_the_manifest_states(tmp_path: Path) -> None:
    plan = example_plan(tmp_path)
    plan = plan.model_copy(update={"model": plan.model.model_copy(update={"sha256": "0" * 64})})
    refused(plan, InvalidModel, f"spec.model.sha256: .*{weights_sha256(models_volume() / 'base')}")


def test_schedules_longer_than_the_run_are_refused_and_early_stopping_that_cannot_end_it_is_told(tmp_path: Path) -> None:
    plan = example_plan(tmp_path)

    def changed(**training: Any) -> RunPlan:
        return plan.model_copy(update={"training": plan.training.model_copy(update=training)})

    def stopping(patience: int) -> RunPlan:
        return changed(early_stopping=EarlyStoppingPlan(patience=patience, minimum_delta=0.0, restore_best=True))

    refused(
        changed(scheduler=plan.training.scheduler.model_copy(update={"warmup_steps": 1_000_000})), InvalidManifest, r"^spec\.training\.scheduler\.warmupSteps"
    )
    done = prepare.run(stopping(plan.training.epochs - 1))
    assert "Early stopping cannot end this run" in done.message
    assert (idle(plan, 5), idle(stopping(plan.training.epochs - 2), 5)) == ("", "")
    total = int(done.numbers["total_steps"])
    for steps in (total - 1, total):
        warm = changed(scheduler=plan.training.scheduler.model_copy(update={"warmup_steps": steps}))
        slow = changed(gradual_unfreezing=GradualUnfreezingPlan(layers=1, every_steps=steps))
        for field, each in (("scheduler.warmupSteps", warm), ("gradualUnfreezing.everySteps", slow)):
            says = rf"spec\.training\.{field}: found {total} steps in a run of {total}, .* expected at most {total - 1}"
            with nullcontext() if steps < total else pytest.raises(InvalidManifest, match=says):
                refuse_longer_than(each, total)
