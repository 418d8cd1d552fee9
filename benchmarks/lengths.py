"""Make `lengths.json`: how long real medical questions and answers are in tokens, as a histogram without a word of them.

    MEDFINETUNE_TEST_DATA=FOLDER python -m benchmarks.lengths

Records: MedQA (4 options, dev and test), KorMedMCQA (four professions; train, valid, test) and MedQuAD, read as a run reads them. Tokenizer: one
byte-level BPE of 32,768 tokens for both languages, trained here on the same records (Yoo et al. 2026 train one SentencePiece tokenizer for theirs; a
published tokenizer would need a download), with Gemma's turn markers around every message.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from medfinetune_api.choices import Format
from medfinetune_api.plan_data import SourcePlan
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.records import Record
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

VOCABULARY = 32_768
MARKERS = ["<bos>", "<start_of_turn>", "<end_of_turn>"]
OUT = Path(__file__).with_name("lengths.json")


def main() -> None:
    """Read the records, train the tokenizer, count, and write."""
    mount = Path(os.environ["MEDFINETUNE_TEST_DATA"])
    records = {source.name: list(read_source(source, mount)) for source in sources()}
    tokenizer = train(text for each in records.values() for text in map(templated, each))
    histogram: Counter[int] = Counter()
    for each in records.values():
        histogram.update(len(encoding.ids) for encoding in tokenizer.encode_batch(list(map(templated, each)), add_special_tokens=False))
    content = {
        "tokenizer": f"byte-level BPE, {tokenizer.get_vocab_size()} tokens, trained on the records; Gemma turn markers",
        "records": {name: len(each) for name, each in records.items()},
        "lengths": {str(length): histogram[length] for length in sorted(histogram)},
    }
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{sum(histogram.values())} records, {len(histogram)} lengths: {OUT}\n")


def sources() -> Iterator[SourcePlan]:
    """Where the records lie in the data folder."""
    for part in ("dev", "test"):
        yield _source(f"medqa-{part}", f"medqa/4_options/{part}.jsonl", Format.MEDQA, "en")
    for profession in ("doctor", "nurse", "pharm", "dentist"):
        for part in ("train", "valid", "test"):
            yield _source(f"kormedmcqa-{profession}-{part}", f"kormedmcqa/{profession}/{part}.csv", Format.KORMEDMCQA, "ko")
    yield _source("medquad", "medquad/medquad.jsonl", Format.QUESTION_ANSWER, "en")


def _source(name: str, path: str, format: Format, language: str) -> SourcePlan:
    return SourcePlan(name=name, path=path, format=format, language=language, domain="medical", subject=None, columns=None)


def templated(record: Record) -> str:
    """The record as Gemma's chat template writes it."""
    turns = ((("model" if message.role == "assistant" else message.role), message.content) for message in record.messages)
    return "<bos>" + "".join(f"<start_of_turn>{role}\n{content}<end_of_turn>\n" for role, content in turns)


def train(texts: Iterator[str]) -> Tokenizer:
    """A byte-level BPE tokenizer of VOCABULARY tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=MARKERS, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


if __name__ == "__main__":
    main()
