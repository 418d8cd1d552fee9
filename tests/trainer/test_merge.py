"""A merged model needs no PEFT and answers as the adapter on its base; it is there whole or not at all, and a run that was killed on the way makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from medfinetune_api.choices import Method
from medfinetune_api.errors import OutputConflict
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.files import new_folder, remove_folder
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.merge import merge
from medfinetune_trainer.stages import evaluate
from medfinetune_trainer.stages.prepared import is_delivered
from safetensors.torch import load_file
from support.evaluation import evaluation_plan, mark_prepared, tiny_base
from support.models import built, low_rank, relative, save_adapter, tiny
from support.plain import plain_adapter, plain_base
from support.tunings import logits_apart
from torch import Tensor


def merged(base: Path, tuning: LowRank, root: Path) -> tuple[Path, Path]:
    """Adapter and merged model of `tuning` on `base`."""
    adapter, model = root / "adapter", root / "model"
    for folder in (adapter, model):
        folder.mkdir(parents=True)
    save_adapter(built(base, None, tuning=tuning), adapter, "models/tiny")
    merge(base, tuning, adapter, model)
    return adapter, model


def loaded(folder: Path) -> Tensor:
    """Logits of the model that plain transformers find in `folder`, computed in fp32."""
    return logits_apart(transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())


@pytest.mark.parametrize("use_dora", [False, True], ids=["LoRA", "DoRA"])
def test_a_merged_model_answers_as_the_adapter_on_its_base(tmp_path: Path, use_dora: bool) -> None:
    """In fp32 to rounding; of a base in bf16 the merged weights are PEFT's own, rounded to bf16 once."""
    base = tiny(tmp_path / "base", "gemma3")
    adapter, model = merged(base, low_rank(Method.LORA, use_dora=use_dora), tmp_path / "fp32")
    torch.testing.assert_close(loaded(model), logits_apart(plain_adapter(base, adapter, Method.LORA).eval()), rtol=1e-4, atol=1e-5)
    half = tmp_path / "half"
    plain_base(base).to(torch.bfloat16).save_pretrained(half)
    adapter, model = merged(half, low_rank(Method.LORA, use_dora=use_dora), tmp_path / "bf16")
    theirs = plain_adapter(half, adapter, Method.LORA).merge_and_unload().state_dict()
    ours, before = load_file(model / "model.safetensors"), load_file(half / "model.safetensors")
    assert {value.dtype for value in ours.values()} == {torch.bfloat16}
    torch.testing.assert_close(ours, {name: theirs[name].to(torch.bfloat16) for name in ours}, rtol=2**-7, atol=1e-6)
    changed = {name for name in ours if not torch.equal(ours[name], before[name])}
    assert changed == {name for name in ours if "_proj" in name}


def test_a_merged_qlora_differs_from_what_was_evaluated_by_the_quantisation_alone(tmp_path: Path) -> None:
    """Measured: merging moves the logits by 0.25 of their norm, as quantising the base alone does (0.28)."""
    base = tiny(tmp_path / "base", "gemma3")
    adapter, model = merged(base, low_rank(Method.QLORA), tmp_path / "merged")
    torch.testing.assert_close(loaded(model), logits_apart(plain_adapter(base, adapter, Method.LORA).eval()), rtol=1e-4, atol=1e-5)
    moved = relative(loaded(model), logits_apart(plain_adapter(base, adapter, Method.QLORA)))
    quantised = relative(logits_apart(plain_base(base).eval()), logits_apart(plain_base(base, Method.QLORA)))
    assert 0 < moved < 3 * quantised


def ready(root: Path, merge: bool) -> RunPlan:
    """A run that is trained and has no question to ask."""
    plan = evaluation_plan(root / "output", tiny_base(root / "models" / "base"), ())
    plan = plan.model_copy(update={"output": plan.output.model_copy(update={"merge": merge})})
    with new_folder(plan.folder.final) as folder:
        save_adapter(built(root / "models" / "base", None, tuning=low_rank()), folder, plan.model.path)
    mark_prepared(plan)
    return plan


def test_evaluate_makes_what_is_missing_of_adapter_and_model(tmp_path: Path) -> None:
    plan = ready(tmp_path, merge=True)
    (adapter, model), weights = plan.delivered, "model.safetensors"
    evaluate.run(plan)
    assert is_delivered(plan)
    first, released = (model / weights).read_bytes(), (adapter / "adapter_model.safetensors").stat().st_mtime_ns
    remove_folder(model)
    left = model.with_name(".model.0123abcd")
    left.mkdir()
    assert not is_delivered(plan)
    evaluate.run(plan)
    assert (model / weights).read_bytes() == first
    assert (adapter / "adapter_model.safetensors").stat().st_mtime_ns == released
    assert not left.exists()
    made = (model / weights).stat().st_mtime_ns
    evaluate.run(plan)
    assert (model / weights).stat().st_mtime_ns == made


def test_a_merge_that_fails_leaves_no_model_and_the_adapter_released(tmp_path: Path) -> None:
    plan = ready(tmp_path, merge=True)
    (plan.folder.final / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(OutputConflict, match="an adapter that cannot be read"):
        evaluate.run(plan)
    assert plan.folder.adapter.exists()
    assert [path.name for path in plan.folder.root.iterdir() if "model" in path.name] == []


def test_nothing_is_merged_that_was_not_asked_for(tmp_path: Path) -> None:
    plan = ready(tmp_path, merge=False)
    evaluate.run(plan)
    assert is_delivered(plan)
    assert not plan.folder.model.exists()
