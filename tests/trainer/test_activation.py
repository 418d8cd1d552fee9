"""In which layers an adapter acts: what it adds to a layer's output, against the same computed from its matrices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from medfinetune_api.choices import ChatTemplate, Method
from medfinetune_trainer.data.records import Message, Record
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.data.tokenise import encode
from medfinetune_trainer.evaluation.activation import QUESTIONS, activation
from medfinetune_trainer.model.build import build
from support.models import CPU, low_rank, tiny

TEXTS = ("Which vessel carries blood to the lungs?", "심장은 어디에 있는가?")
RECORDS = [Record(f"a:{n}", str(n), "s", "en", "", "", (Message("user", text), Message("assistant", "A"))) for n, text in enumerate(TEXTS)]


@pytest.mark.parametrize("method", [Method.LORA, Method.QLORA])
def test_a_layers_share_is_what_its_matrices_add(tmp_path: Path, method: Method) -> None:
    base = tiny(tmp_path / "llama", "llama")
    tuning = low_rank(method, target_modules=("q_proj",))
    model = build(base, tuning, torch.float32, CPU, None, packed=False).eval()
    renderer = Renderer(load_tokenizer(base), ChatTemplate.TOKENIZER)

    found = activation(model, renderer, "exam", "en", RECORDS)

    # Over the tokens, not over the questions: they are of different lengths.
    decoder = model.get_base_model().model
    layer, shares = decoder.layers[0], []
    query = layer.self_attn.q_proj
    with torch.no_grad():
        for record in RECORDS:
            ids = encode(renderer.prompt_text([Message("user", record.prompt)]), renderer.tokenizer)
            states = layer.input_layernorm(decoder.embed_tokens(torch.tensor([ids])))
            added = query.scaling["default"] * query.lora_B["default"](query.lora_A["default"](states))
            shares.append((added.norm(dim=-1) / query.base_layer(states).norm(dim=-1)).flatten())
    assert found.layers[0] == pytest.approx(float(torch.cat(shares).mean()), rel=1e-4)
    assert len(found.layers) == len(decoder.layers)
    assert min(found.layers) > 0
    assert (found.questions, activation(model, renderer, "exam", "en", RECORDS * QUESTIONS).questions) == (len(RECORDS), QUESTIONS)
    with tuning.disabled(model):
        assert set(activation(model, renderer, "exam", "en", RECORDS[:1]).layers) == {0.0}
