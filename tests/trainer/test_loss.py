"""The packed loss and its gradients equal those of plain transformers and PEFT on the same documents, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from medfinetune_api.choices import Method
from medfinetune_api.errors import InvalidManifest
from medfinetune_trainer.data.batch import collate
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.loss import packed_loss
from support.models import TEXTS, adapted, batch, documents, relative, save_adapter, tiny
from torch import nn
from torch.nn import functional

LENGTHS = (5, 20, 9)


def oracle(base: Path, adapter: Path, quantised: bool) -> nn.Module:
    """transformers and PEFT as their documentation has them; in training mode, as bitsandbytes in eval mode may repack the base and compute in bf16."""
    config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True) if quantised else None
    kind = getattr(transformers, architecture_of(base).class_name)
    model = kind.from_pretrained(base, quantization_config=config, dtype=torch.float32)
    loaded: nn.Module = peft.PeftModel.from_pretrained(model, adapter, is_trainable=True)
    return loaded.train()


@pytest.mark.parametrize("method", [Method.QLORA, Method.LORA])
@pytest.mark.parametrize("kind", ["gemma3", "gemma3-multimodal", "llama", "qwen2", "qwen3"])
def test_loss_and_gradients_equal_plain_transformers_and_peft_unpacked(tmp_path: Path, kind: Any, method: Method) -> None:
    base = tiny(tmp_path / "base", kind)
    model = adapted(base, method)
    save_adapter(model, tmp_path / "adapter", "base")
    plain = oracle(base, tmp_path / "adapter", method is Method.QLORA)
    found = packed_loss(model, batch(LENGTHS), 2)
    found.loss.backward()
    sums = torch.zeros(3, 2)
    for document in documents(LENGTHS):
        ids, mask = torch.tensor(document.input_ids), torch.tensor(document.loss_mask[1:], dtype=torch.bool)
        logits = plain(input_ids=ids[None]).logits[0, :-1][mask]
        loss = functional.cross_entropy(logits, ids[1:][mask], reduction="sum")
        loss.backward()
        sums[:, document.group] += torch.stack([loss.detach(), (logits.argmax(-1) == ids[1:][mask]).sum(), mask.sum()])
    torch.testing.assert_close(torch.stack([found.group_loss, found.group_correct, found.group_tokens]), sums, rtol=1e-5, atol=0)
    assert found.loss.item() == pytest.approx(float(sums[0].sum()), rel=1e-5)
    assert (int(found.correct), int(found.tokens)) == (int(sums[1].sum()), int(sums[2].sum()))
    expected = {name: parameter.grad for name, parameter in plain.named_parameters() if parameter.requires_grad}
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert gradients.keys() == expected.keys()
    assert max(relative(gradients[name], expected[name]) for name in expected) < 1e-5


def test_no_loss_tokens_still_give_every_parameter_a_zero_gradient(tmp_path: Path) -> None:
    model = adapted(tiny(tmp_path / "base", "gemma3"))
    found = packed_loss(model, batch(LENGTHS).without_loss(), 2)
    found.loss.backward()
    assert (found.loss.item(), int(found.tokens), found.group_loss.tolist()) == (0.0, 0, [0.0, 0.0])
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_the_head_runs_on_loss_tokens_only(tmp_path: Path) -> None:
    model = adapted(tiny(tmp_path / "base", "gemma3-multimodal"))
    shapes: list[tuple[int, ...]] = []
    model.get_base_model().lm_head.register_forward_hook(lambda _, __, logits: shapes.append(tuple(logits.shape[:2])))
    packed = collate(documents(LENGTHS))
    packed_loss(model, packed, 2)
    assert shapes == [(1, packed.loss_tokens)]
    assert packed.loss_tokens < packed.tokens


def test_adapters_are_drawn_by_seed_and_leave_the_random_state(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base", "gemma3")
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = adapted(base, moved=False)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    second = adapted(base, moved=False)
    pairs = list(zip(first.named_parameters(), second.named_parameters(), strict=True))
    assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)
    trained = {name: parameter for (name, parameter), _ in pairs if parameter.requires_grad}
    assert all("lora_" in name and parameter.dtype is torch.float32 for name, parameter in trained.items())
    assert all(bool(parameter.any()) == ("lora_A" in name) for name, parameter in trained.items())


def test_named_targets_are_adapted_alone_and_unknown_ones_refused(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base", "gemma3-multimodal")
    model = adapted(base, target_modules=("v_proj", "q_proj"))
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(names) == 8
    assert all(".language_model.layers." in name and ("q_proj" in name or "v_proj" in name) for name in names)
    with pytest.raises(InvalidManifest, match=r"found query_proj.*q_proj") as refusal:
        adapted(base, target_modules=("q_proj", "query_proj"))
    assert refusal.value.where == "spec.tuning.lora.targetModules"
    for other in ("lm_head", "fc1"):
        with pytest.raises(InvalidManifest, match=other):
            adapted(base, target_modules=(other,))


def test_tiny_tokenizers_keep_both_scripts_and_a_template(tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny(tmp_path / "base", "gemma3"))
    for text in TEXTS[:2]:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]
    expected = "<bos><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
    assert tokenizer.apply_chat_template(messages, tokenize=False) == expected
