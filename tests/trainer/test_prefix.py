"""Prefix tuning: in training, each document of a batch answers as it does alone, and as plain PEFT does with padding on the right; ranks do not change it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import ChatTemplate, Method, Quantization, Sharding
from medfinetune_api.errors import InvalidManifest, OutputConflict
from medfinetune_trainer.data.batch import collate
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.model.adapter import save_trained
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.attention import _behind_prefix
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.folder import refuse_misfit
from medfinetune_trainer.model.initial_kinds import PREFIX_KEY
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.prefix import PARAMETER
from peft import PeftModel
from safetensors.torch import load_file, save_file
from support.disturbed import torn_after
from support.gang import gang
from support.models import CPU, assert_equal, built, documents, low_rank, plain_window, relative, tiny
from support.plans import tuning_plan
from support.train import losses, plan_for, small_run, train_gang, train_here
from support.tunings import LENGTHS, answered, logits_apart, packed_logits, prefix, trained_and_saved, windows
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = "adapter_model.safetensors"
CASES = [
    ("gemma3", 3, {"sliding_window": 8}),
    ("gemma3", 20, {"sliding_window": 8}),
    ("gemma3-multimodal", 20, {"sliding_window": 8}),
    ("llama", 5, {}),
    ("qwen2", 5, {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}),
    ("qwen3", 5, {}),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("gemma3"), "gemma3", sliding_window=8)


def plain(base: Path, folder: Path) -> PeftModel:
    """transformers and PEFT alone, in fp32."""
    kind = getattr(transformers, architecture_of(base).class_name)
    model: PeftModel = PeftModel.from_pretrained(kind.from_pretrained(base, dtype=torch.float32), folder).eval()
    return model


def padded() -> tuple[Tensor, Tensor]:
    """The documents as rows, padded on the right: ids and mask, (documents, longest)."""
    rows = [torch.tensor(document.input_ids) for document in documents(LENGTHS)]
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), mask


@pytest.mark.parametrize(("kind", "tokens", "config"), CASES)
def test_packed_alone_and_padded_on_the_right_are_one_in_logits_and_gradient(tmp_path: Path, kind: Any, tokens: int, config: dict[str, Any]) -> None:
    """The prefix is longer and shorter than the sliding window; the oracle is what this adapter's files are to plain PEFT."""
    base, folder, tuning = tiny(tmp_path / kind, kind, initializer_range=0.2, **config), tmp_path / "adapter", prefix(tokens, quantization=Quantization.NONE)
    ours = built(base, None, tuning=tuning).train()
    folder.mkdir()
    save_trained(tuning, ours, folder, "models/tiny")
    oracle, (ids, mask) = plain(base, folder), padded()
    torch.testing.assert_close(packed_logits(ours), logits_apart(oracle), rtol=1e-4, atol=5e-5)
    rows = oracle(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(rows[mask.bool()], logits_apart(oracle), rtol=1e-4, atol=5e-5)
    oracle.get_parameter(PARAMETER).requires_grad_()
    rows, packed = oracle(input_ids=ids, attention_mask=mask).logits, collate(documents(LENGTHS))
    expected = functional.cross_entropy(rows[mask.bool()][packed.loss_positions], packed.targets, reduction="sum")
    sums = packed_loss(ours, packed, groups=2)
    torch.testing.assert_close(sums.loss, expected, rtol=1e-4, atol=5e-5)
    torch.autograd.backward([sums.loss, expected])
    gradients = [model.get_parameter(PARAMETER).grad for model in (ours, oracle)]
    assert gradients[0] is not None
    assert gradients[1] is not None
    assert gradients[1].norm() > 0
    assert relative(gradients[0], gradients[1]) < 1e-5


@pytest.mark.parametrize("kind", ["gemma3", "gemma3-multimodal"])
def test_evaluation_answers_as_training_does_and_switched_off_as_the_base(tmp_path: Path, kind: Any) -> None:
    """On NF4; evaluation pads on the right and gives no mask."""
    base, folder, tuning = tiny(tmp_path / kind, kind, sliding_window=8), tmp_path / "adapter", prefix()
    folder.mkdir()
    trained = trained_and_saved(0, base, folder, tuning, Sharding.NONE)
    model = build(base, tuning, torch.float32, CPU, None, packed=False, trained=folder).eval()
    untuned = build(base, low_rank(moved=False), torch.float32, CPU, None, packed=False).eval()
    ids, mask = padded()
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits[mask.bool()], trained, rtol=1e-5, atol=1e-5)
        with tuning.disabled(model):
            assert torch.equal(model(ids).logits, untuned(ids).logits)
        assert relative(model(ids).logits, untuned(ids).logits) > 0.1


def test_two_ranks_equal_one_process_with_every_sharding_and_micro_batch(base: Path) -> None:
    expected = plain_window(base, tuning=prefix())
    for ranks in zip(*gang(2, windows, base, prefix(), False, 2), strict=True):
        assert_equal(list(ranks), expected)


def test_a_run_saved_by_two_ranks_goes_on_in_one(tmp_path: Path) -> None:
    plan = small_run(tmp_path / "two", tuning=tuning_plan(Method.PREFIX_TUNING, quantization=Quantization.NF4, prefix=prefix().prefix))
    train_gang(plan, 2, tmp_path / "agent")
    other = torn_after(plan, 3, tmp_path / "one")
    assert train_here(other, tmp_path / "agent-one")["resume_step"] == 3
    assert losses(other) == pytest.approx(losses(plan), abs=5e-6)
    expected, found = (load_file(each.folder.final / WEIGHTS) for each in (plan, other))
    assert expected.keys() == {PREFIX_KEY}
    assert relative(found[PREFIX_KEY], expected[PREFIX_KEY]) < 1e-4


def test_the_prefix_and_the_longest_row_must_fit_the_positions_of_the_base(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base", "llama", max_position_embeddings=66)
    renderer = Renderer(load_tokenizer(base), ChatTemplate.TOKENIZER)
    short, long = (plan_for(tmp_path, base, tuning=tuning_plan(Method.PREFIX_TUNING, prefix=prefix(tokens).prefix)) for tokens in (2, 3))
    refuse_misfit(short, base, renderer)
    with pytest.raises(InvalidManifest, match="rows of 64 tokens behind a prefix of 3; expected at most 66"):
        refuse_misfit(long, base, renderer)


def test_it_learns(base: Path) -> None:
    before, after = answered(base, prefix(8, moved=False), learning_rate=5e-2)
    assert before <= 8
    assert after >= 22


def test_an_adapter_of_another_make_is_refused(tmp_path: Path, base: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    model = built(base, None, tuning=prefix())
    save_trained(prefix(), model, folder, "base")
    assert torch.equal(prefix().load(model, folder)[PARAMETER], model.get_parameter(PARAMETER))
    with pytest.raises(OutputConflict):
        prefix(6).load(built(base, None, tuning=prefix(6)), folder)
    save_file({"other": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(OutputConflict):
        prefix().load(model, folder)
    save_trained(low_rank(), built(base, None), folder, "base")
    with pytest.raises(OutputConflict):
        prefix().load(model, folder)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), tokens=st.integers(1, 6))
@settings(deadline=None)
def test_the_kernel_for_gpus_is_given_the_prefix_before_each_document(lengths: list[int], tokens: int) -> None:
    cumulative = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    expected = [index for start, end in pairwise(cumulative.tolist()) for index in (*range(tokens), *range(tokens + start, tokens + end))]
    assert _behind_prefix(cumulative, tokens, sum(lengths)).tolist() == expected
