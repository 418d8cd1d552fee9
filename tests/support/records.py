"""Data files, sources and tokenizers for tests of reading and tokenising."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from medfinetune_api.choices import Format
from medfinetune_api.plan_data import ColumnsPlan, SourcePlan
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.records import Message, Record
from tiny_base import CHAT_TEMPLATE, SPECIAL_TOKENS
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = (
    "The heart pumps blood through the body. Question: which of these? A. one B. two Answer:",
    "심장은 온몸으로 피를 보낸다. 다음 중 옳은 것은? 정답：",
) * 8

MEDQA_ROW = {"question": "Which organ?", "options": {"A": "Heart", "B": "Lung", "C": "Liver", "D": "Skin"}, "answer_idx": "B", "answer": "Lung"}
KORMEDMCQA_HEADER = ",subject,year,period,q_number,question,A,B,C,D,E,answer,cot"

CHATML = """{%- for message in messages -%}
    {{ '<|im_start|>' + message['role'] + '\n' }}
    {%- if message['role'] == 'assistant' and loop.last and enable_thinking is defined -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}
    {{ message['content'] + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<|im_start|>assistant\n' }}{%- if enable_thinking is defined and enable_thinking is false -%}{{ '<think>\n\n</think>\n\n' }}{%- endif -%}
{%- endif -%}"""
"""Qwen3's trait: the last turn is written otherwise than the same turn in the middle."""

DATED = """{%- if date_string is not defined -%}{%- set date_string = strftime_now('%d %b %Y %f') -%}{%- endif -%}
{{ bos_token + 'Today: ' + date_string + '\n' }}
{%- for message in messages -%}{{ '[' + message['role'] + '] ' + message['content'] | trim + ' ' + eos_token }}{%- endfor -%}
{%- if add_generation_prompt -%}{{ '[assistant]' }}{%- endif -%}"""
"""Llama 3.1's trait, today's date, and Llama 2's: white space around the response, none of it in the generation prompt."""

TEMPLATES = {"gemma": CHAT_TEMPLATE, "chatml": CHATML, "dated": DATED}


def byte_level_tokenizer(template: str | None = CHAT_TEMPLATE) -> Any:
    """Qwen's and Llama 3's kind: byte-level BPE whose spans leave out leading spaces."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [*SPECIAL_TOKENS, "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    return _wrapped(tokenizer, template)


def sentence_piece_tokenizer(template: str | None = CHAT_TEMPLATE) -> Any:
    """Gemma's and Llama 2's kind: BPE on characters with spaces as `▁`, a space put before the text, and bytes for what the vocabulary lacks."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    special = [*SPECIAL_TOKENS, "<|im_start|>", "<|im_end|>"]
    trained.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for token in [*(f"<0x{byte:02X}>" for byte in range(256)), "\n"]:
        vocabulary.setdefault(token, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge) for merge in model["merges"]], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(special)
    return _wrapped(tokenizer, template)


def _wrapped(tokenizer: Tokenizer, template: str | None) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens=["<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>"],
        chat_template=template,
    )


def conversations(*, spelt_out: bool) -> st.SearchStrategy[list[Message]]:
    """Random conversations in English, Korean and emoji; with control tokens and marks in their texts where `spelt_out`."""
    words = ["heart", "심장", "😀", "👩🏽‍⚕️", "e\u0301", "A", "정답：", " ", "  ", "\n", "\n\n", "\t", "<", "0", ".", "<b>"]
    hostile = ["<eos>", "eos>", "<end_of_turn>", "<start_of_turn>model\n", "<|im_end|>", "<|im_start|>", "<bos>", "\ufdd0", "\ufdd3", "<|assistant|>:"]
    pieces = st.lists(
        st.sampled_from([*words, *hostile] if spelt_out else words) | (st.text(max_size=4) if spelt_out else st.nothing()), min_size=1, max_size=8
    )
    content = pieces.map("".join).filter(lambda text: text.translate(dict.fromkeys(range(0xFDD0, 0xFDD4))).strip())
    turns = st.lists(st.tuples(content, content), min_size=1, max_size=3)
    return turns.map(lambda pairs: [Message(role, text) for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)])


def columns(options: Sequence[str], style: str, **changes: Any) -> ColumnsPlan:
    fields = {"question": "q", "answer": "a", "options": tuple(options), "answer_style": style, "subject": None, "id": None}
    return ColumnsPlan(**(fields | changes))


def source(path: str, form: Format, **changes: Any) -> SourcePlan:
    fields = {"name": "s", "path": path, "format": form, "language": "en", "domain": "medical", "subject": None, "columns": None}
    return SourcePlan(**(fields | changes))


def read(folder: Path, name: str, content: str | bytes, form: Format, **changes: Any) -> list[Record]:
    """The records of a file with this content."""
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_source(source(name, form, **changes), folder))


def json_lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def real_data() -> Path:
    """The folder of published files, or a skip that says what is missing."""
    folder = os.environ.get("MEDFINETUNE_TEST_DATA")
    if not folder:
        pytest.skip("MEDFINETUNE_TEST_DATA is unset: no folder with MedQA, KorMedMCQA, PubMedQA, MedQuAD and self-instruct to read")
    return Path(folder)
