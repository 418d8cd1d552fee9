"""Text to tokens, with loss on the tokens of the responses exactly.

A conversation is tokenised whole, as a serving engine tokenises it, and a token carries loss if it overlaps a response: its content or the end-of-turn token
after it. The first token never does; nothing predicts it. Only where a record spells out a control token is the text cut, and that piece encoded as plain text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from datasets import Dataset, Features, List, Value
from medfinetune_api.choices import LossOn
from medfinetune_api.errors import InvalidModel

from medfinetune_trainer.data.records import Message, messages_of
from medfinetune_trainer.data.template import LITERAL_END, LITERAL_START, Rendered, Renderer

_PIECES = re.compile(f"{LITERAL_START}(.*?){LITERAL_END}", re.DOTALL)

KEPT = ("source", "language", "domain", "subject", "where")
"""Columns of a record that its tokenised document keeps; `where` names it in messages."""


class Encoded(NamedTuple):
    """Token ids of a text and the characters [start, end) each covers, counted without marks."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class Tokenised(NamedTuple):
    """One document: `loss_mask` is 1 where the token itself is to be predicted with loss."""

    input_ids: list[int]
    loss_mask: list[int]


def tokenise(messages: Sequence[Message], renderer: Renderer, loss_on: LossOn, where: str = "record") -> Tokenised:
    """Tokenise one conversation. Raises InvalidData at `where` as `Renderer.render`."""
    return tokenise_batch([messages], renderer, loss_on, [where])[0]


def tokenise_batch(conversations: Sequence[Sequence[Message]], renderer: Renderer, loss_on: LossOn, wheres: Sequence[str]) -> list[Tokenised]:
    """Tokenise conversations, each named by its entry of `wheres`; the result of each is independent of the others. Raises InvalidData."""
    rendered = [renderer.render(messages, where) for messages, where in zip(conversations, wheres, strict=True)]
    encoded = encode_batch([one.text for one in rendered], renderer.tokenizer)
    return [Tokenised(tokens.ids, _loss_mask(tokens.offsets, one, loss_on)) for tokens, one in zip(encoded, rendered, strict=True)]


def tokenise_dataset(records: Dataset, renderer: Renderer, loss_on: LossOn, target: Path) -> Dataset:
    """Map records (`formats.load_source`) to documents in the Arrow file `target`, in order.

    Columns: `input_ids` list<int32>, `loss_mask` list<int8>, and KEPT. Raises InvalidData by the record's `file:line`; StorageFailed is for the caller to tell.
    """

    def documents(rows: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        conversations = [messages_of(turns) for turns in rows["messages"]]
        done = tokenise_batch(conversations, renderer, loss_on, rows["where"])
        return {"input_ids": [one.input_ids for one in done], "loss_mask": [one.loss_mask for one in done]} | {name: rows[name] for name in KEPT}

    target.parent.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()  # a stage's stderr is its log
    return records.map(
        documents,
        batched=True,
        batch_size=500,
        remove_columns=records.column_names,
        features=document_features(),
        cache_file_name=str(target),
        load_from_cache_file=False,
        new_fingerprint=target.stem,  # else datasets pickles and hashes the tokenizer
    )


def document_features() -> Features:
    """Arrow types of a tokenised document."""
    return Features({"input_ids": List(Value("int32")), "loss_mask": List(Value("int8")), **{name: Value("string") for name in KEPT}})


def encode(text: str, tokenizer: Any) -> list[int]:
    """Token ids of a text rendered by `Renderer`: its own control tokens as tokens, marked ones as plain text; no token is added."""
    return encode_batch([text], tokenizer)[0].ids


def encode_batch(texts: Sequence[str], tokenizer: Any) -> list[Encoded]:
    """Token ids and character spans of rendered texts; no token is added. Raises InvalidModel if the tokenizer makes a control token from plain text."""
    cut = {index: _encode_cut(text, tokenizer) for index, text in enumerate(texts) if LITERAL_START in text}
    whole = iter(_encode_whole([text for index, text in enumerate(texts) if index not in cut], tokenizer))
    return [cut[index] if index in cut else next(whole) for index in range(len(texts))]


def _encode_whole(texts: list[str], tokenizer: Any) -> list[Encoded]:
    if not texts:
        return []
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, split_special_tokens=False)
    return [Encoded(ids, offsets) for ids, offsets in zip(batch["input_ids"], batch["offset_mapping"], strict=True)]


def _encode_cut(text: str, tokenizer: Any) -> Encoded:
    """Encode piece by piece: every second piece is a control token that the record spells out, and lies within one message."""
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    start = 0
    for number, piece in enumerate(_PIECES.split(text)):
        encoded = _encode_literal(piece, tokenizer) if number % 2 else _encode_inner(piece, tokenizer) if number else _encode_whole([piece], tokenizer)[0]
        ids += encoded.ids
        offsets += [(start + first, start + last) for first, last in encoded.offsets]
        start += len(piece)
    return Encoded(ids, offsets)


def _encode_inner(piece: str, tokenizer: Any) -> Encoded:
    """Encode after a line feed, taken out again, so that a SentencePiece tokenizer does not put its leading space before the piece."""
    line_feed = _encode_whole(["\n"], tokenizer)[0].ids
    encoded = _encode_whole(["\n" + piece], tokenizer)[0]
    if encoded.ids[: len(line_feed)] != line_feed:
        return _encode_whole([piece], tokenizer)[0]
    return Encoded(encoded.ids[len(line_feed) :], [(start - 1, end - 1) for start, end in encoded.offsets[len(line_feed) :]])


def _encode_literal(piece: str, tokenizer: Any) -> Encoded:
    """Encode by the pipeline without its added tokens; each token counts as covering the piece."""
    line_feed = _pipeline_ids("\n", tokenizer)
    ids = _pipeline_ids("\n" + piece, tokenizer)
    ids = ids[len(line_feed) :] if ids[: len(line_feed)] == line_feed else _pipeline_ids(piece, tokenizer)
    if tokenizer.convert_tokens_to_ids(piece) in ids:
        raise InvalidModel(
            "tokenizer.json", found=f"a model that makes {piece!r} of plain text", expected="special tokens apart from it", remedy="Use another tokenizer."
        )
    return Encoded(ids, [(0, len(piece))] * len(ids))


def _pipeline_ids(text: str, tokenizer: Any) -> list[int]:
    backend = tokenizer.backend_tokenizer
    normalised = backend.normalizer.normalize_str(text) if backend.normalizer else text
    words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalised)] if backend.pre_tokenizer else [normalised]
    return [token.id for word in words for token in backend.model.tokenize(word)]


def _loss_mask(offsets: Sequence[tuple[int, int]], rendered: Rendered, loss_on: LossOn) -> list[int]:
    """1 for each token that overlaps a response (or for all); 0 for the first.

    Byte-level tokenizers may leave the space before a word out of its span: a token is taken to begin where the one before ended, if it does not begin earlier.
    """
    if loss_on is LossOn.ALL:
        return [0] + [1] * (len(offsets) - 1)
    mask = [0] * len(offsets)
    for first, last in rendered.responses:
        begin = bisect_right(offsets, first, key=itemgetter(1))
        end = bisect_left(range(len(offsets)), last, lo=begin, key=lambda index: min(offsets[index][0], offsets[index - 1][1]))
        mask[begin:end] = [1] * (end - begin)
    mask[:1] = [0]
    return mask
