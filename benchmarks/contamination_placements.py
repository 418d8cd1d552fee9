"""Where in a longer text a test question is found: the step `placements` of `benchmarks.contamination`, also alone by `--child placements all`.

Of MedQA's and KorMedMCQA's test questions the share that is found in one turn of several, after an instruction, in the system's turn, and amid an answer, as it
is and with a tenth of its words changed; and how many are flagged where only texts of other origin are trained on, one by one and twenty joined into one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.contamination import data, exams, pairs_of, reworded

PLACED = 300
"""Questions of each language that are put into other text."""


def placements(_: str) -> dict[str, Any]:
    """By language and placement."""
    return {language: dict(_placements(language)) for language in ("en", "ko")}


def _placements(language: str) -> Iterator[tuple[str, Any]]:
    questions, drawn = random.Random(0).sample(exams(language, "test"), PLACED), random.Random(1)
    yield "questions", PLACED
    for level in (0.0, 0.1):
        texts = [each.prompt.replace(each.question, reworded(each.question, level, drawn)) for each in questions]
        for name, turns in _placed(texts).items():
            yield f"{name}_changed_{level}", _share(pairs_of(questions, [_chat(language, each) for each in turns]))
    stems = [_chat(language, [("user", each.question), ("assistant", "A")]) for each in questions]
    yield "stem_alone", _share(pairs_of(questions, stems))
    unrelated = _unrelated(language)
    for joined in (1, 20):
        parts = ["\n\n".join(unrelated[at : at + joined]) for at in range(0, len(unrelated), joined)]
        flagged = {question for question, _ in pairs_of(questions, [_chat(language, [("user", "Go on."), ("assistant", part)]) for part in parts])}
        yield f"flagged_by_{len(unrelated)}_unrelated_joined_by_{joined}", len(flagged)


def _placed(texts: Sequence[str]) -> dict[str, list[list[tuple[str, str]]]]:
    """Placement -> for each text the turns that hold it."""
    others = [texts[(at + 7) % len(texts)] for at in range(len(texts))]
    instruction = " ".join(f"word{number}" for number in range(80))
    return {
        "first_of_two": [[("user", one), ("assistant", "A"), ("user", other), ("assistant", "B")] for one, other in zip(texts, others, strict=True)],
        "second_of_three": [
            [("user", other), ("assistant", "A"), ("user", one), ("assistant", "B"), ("user", other), ("assistant", "C")]
            for one, other in zip(texts, others, strict=True)
        ],
        "after_80_words": [[("user", f"{instruction}\n{text}"), ("assistant", "A")] for text in texts],
        "system": [[("system", text), ("user", "Go on."), ("assistant", "A")] for text in texts],
        "amid_an_answer": [[("user", "Go on."), ("assistant", f"{instruction}\n{text}\n{instruction}")] for text in texts],
    }


def _chat(language: str, turns: Sequence[tuple[str, str]]) -> Any:
    from medfinetune_trainer.data.records import Message, Record

    return Record("chat:1", "1", "chat", language, "", "", tuple(Message(role, text) for role, text in turns))


def _share(pairs: set[tuple[int, int]]) -> float:
    return round(sum((k, k) in pairs for k in range(PLACED)) / PLACED, 4)


def _unrelated(language: str) -> list[str]:
    """Texts of other origin: in English MedQuAD's and PubMedQA's. In Korean there are only examinations of earlier years, which share some questions."""
    if language == "ko":
        return [each.messages[0].content for each in exams("ko", "train")]
    quad = [json.loads(line) for line in (data() / "medquad/medquad.jsonl").read_text(encoding="utf-8").splitlines()]
    articles = json.loads((data() / "pubmedqa/ori_pqal.json").read_text(encoding="utf-8")).values()
    found = [f"{each['question']}\n{each['answer']}" for each in quad] + [" ".join([each["QUESTION"], *each["CONTEXTS"]]) for each in articles]
    return random.Random(2).sample(found, 2000)
