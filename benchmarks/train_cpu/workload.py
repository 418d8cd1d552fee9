"""What both sides train on: one base, one set of tokenised documents, one batch of a full row."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from medfinetune_api.choices import ChatTemplate, Format, LossOn
from medfinetune_api.plan_data import SourcePlan
from medfinetune_trainer.data.batch import PackedBatch, PackedDocument, collate
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.packing import pack
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.data.tokenise import tokenise
from tiny_base import build

MAX_LENGTH = 2048
VOCABULARY = 32_768
MODEL = {
    "num_hidden_layers": 6,
    "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
SOURCES = (
    SourcePlan(name="medqa", path="medqa/4_options/dev.jsonl", format=Format.MEDQA, language="en", domain="medical"),
    SourcePlan(name="kormedmcqa", path="kormedmcqa/nurse/train.csv", format=Format.KORMEDMCQA, language="ko", domain="medical"),
)


def data_folder() -> Path:
    """The real data. Ends the program where MEDFINETUNE_TEST_DATA names none."""
    folder = os.environ.get("MEDFINETUNE_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        sys.exit("MEDFINETUNE_TEST_DATA names no folder: set it to one with medqa/ and kormedmcqa/ (docs/development.md)")
    return Path(folder)


@dataclass(frozen=True)
class Workload:
    """Documents of the data, and the base that is tuned on them."""

    base: Path
    documents: list[PackedDocument]

    @classmethod
    def build(cls, folder: Path, documents: int) -> Workload:
        """Six layers of Gemma 3 with random weights and a vocabulary of 32,768, and the first `documents` records of each source, tokenised as a run does."""
        mount = data_folder()
        records = [record for source in SOURCES for record, _ in zip(read_source(source, mount), range(documents), strict=False)]
        texts = [message.content for record in records for message in record.messages]
        base = build(folder / "base", texts, "gemma3", VOCABULARY, vocab_size=VOCABULARY, **MODEL)
        renderer = Renderer(load_tokenizer(base), ChatTemplate.TOKENIZER)
        done = (tokenise(record.messages, renderer, LossOn.RESPONSE) for record in records)
        return cls(base, [PackedDocument(each.input_ids, each.loss_mask, 0) for each in done if len(each.input_ids) <= MAX_LENGTH])

    def rows(self, all_tokens: bool) -> list[list[PackedDocument]]:
        """The documents in full rows; `all_tokens` gives every token but the first of each document loss."""
        row_of = pack(np.array([len(each.input_ids) for each in self.documents], dtype=np.int32), MAX_LENGTH)
        rows: list[list[PackedDocument]] = [[] for _ in range(int(row_of.max()) + 1)]
        for document, row in zip(self.documents, row_of, strict=True):
            mask = [0] + [1] * (len(document.input_ids) - 1) if all_tokens else document.loss_mask
            rows[row].append(PackedDocument(document.input_ids, mask, 0))
        return [row for row in rows if sum(len(each.input_ids) for each in row) >= 0.98 * MAX_LENGTH]


@dataclass(frozen=True)
class Rows:
    """Packed rows as a step reads them, over and over."""

    packed: list[list[PackedDocument]]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.packed)

    def batch(self, rows: range) -> PackedBatch:
        """The rows as one micro-batch."""
        return collate([document for row in rows for document in self.packed[row % len(self.packed)]])

    def documents(self, row: int) -> list[tuple[int, str]]:
        """Who they are matters only where a loss is not finite."""
        return [(row, "document")]
