"""Build a tiny random base model on the spot, with a tokenizer trained on the texts it will read.

The folder that comes out has a published model's layout (config.json with a real model type, safetensors, tokenizer with a chat template,
generation config), so that whatever reads it takes the same path as with the real model. Its weights are random: it answers at chance until
trained, and stays at chance on questions it has not seen. The initializer's range is 0.02: with it two layers learn 64 letter answers to 100 %;
with 0.125 they stop at 73 %.

    python examples/tiny_base.py OUT TEXTFILE...
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

Kind = Literal["gemma3", "gemma3-multimodal", "llama", "qwen2", "qwen3"]

SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>")

CHAT_TEMPLATE = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first = messages[0]['content'] + '\n\n' -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set first = '' -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif -%}
    {{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' + (first if loop.first else '') }}
    {{- message['content'] | trim + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
"""


def build(folder: Path, texts: Iterable[str], kind: Kind = "gemma3", vocabulary: int = 1024, seed: int = 0, **config_overrides: Any) -> Path:
    """Write a tiny random base of `kind` to `folder` and return it.

    Args:
        folder: made where it is missing; files of the same names are replaced.
        texts: what the byte-level BPE tokenizer is trained on.
        kind: architecture; `gemma3-multimodal` has MedGemma's layout with a vision tower of one layer.
        vocabulary: most tokens, 512 or more; fewer where the texts do not hold as many merges.
        seed: of the weights.
        config_overrides: fields of the text model's config, such as `sliding_window=8`.
    """
    import torch

    tokenizer = _tokenizer(texts, vocabulary)
    torch.manual_seed(seed)
    model = _model(kind, len(tokenizer), config_overrides)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", SPECIAL_TOKENS.index("<bos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=32768,
    )


def _model(kind: Kind, vocabulary: int, overrides: Mapping[str, Any]) -> Any:
    import transformers

    if kind == "gemma3-multimodal":
        return transformers.Gemma3ForConditionalGeneration(_multimodal_config(vocabulary, overrides))
    if kind == "gemma3":
        return transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**_gemma3_fields(vocabulary, overrides)))
    name = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[kind]
    config = getattr(transformers, f"{name}Config")(**_fields(vocabulary, overrides))
    return getattr(transformers, f"{name}ForCausalLM")(config)


def _fields(vocabulary: int, overrides: Mapping[str, Any]) -> dict[str, Any]:
    small = {
        "vocab_size": vocabulary,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 32768,
        "initializer_range": 0.02,
        "pad_token_id": SPECIAL_TOKENS.index("<pad>"),
        "eos_token_id": SPECIAL_TOKENS.index("<eos>"),
        "bos_token_id": SPECIAL_TOKENS.index("<bos>"),
    }
    return small | dict(overrides)


def _gemma3_fields(vocabulary: int, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """One sliding and one full layer, as in the published pattern of five to one."""
    gemma = {"sliding_window": 1024, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 32}
    return _fields(vocabulary, gemma | dict(overrides))


def _multimodal_config(vocabulary: int, overrides: Mapping[str, Any]) -> Any:
    import transformers

    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    return transformers.Gemma3Config(
        text_config=_gemma3_fields(vocabulary, overrides) | {"model_type": "gemma3_text"},
        vision_config=vision | {"model_type": "siglip_vision_model", "vision_use_head": False},
        mm_tokens_per_image=4,
        boi_token_index=SPECIAL_TOKENS.index("<start_of_image>"),
        eoi_token_index=SPECIAL_TOKENS.index("<end_of_image>"),
        image_token_index=SPECIAL_TOKENS.index("<image_soft_token>"),
    )


def main() -> None:
    """Build from text files on the command line."""
    parser = argparse.ArgumentParser(description="Build a tiny random base model with a tokenizer trained on text files.")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXTFILE", help="UTF-8 text the tokenizer is trained on, line by line")
    parser.add_argument("--kind", choices=get_args(Kind), default="gemma3")
    parser.add_argument("--vocabulary", type=int, default=1024, help="most tokens of the vocabulary (default 1024)")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default 0)")
    arguments = parser.parse_args()
    lines = (line for path in arguments.texts for line in path.read_text(encoding="utf-8").splitlines())
    print(build(arguments.out, lines, arguments.kind, arguments.vocabulary, arguments.seed))


if __name__ == "__main__":
    main()
