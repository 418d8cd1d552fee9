"""Questions with options whose answer the model writes: which letter its words name, compared by the harness's exact match.

For Korean this is the harness's own task (tasks/kormedmcqa, version 3.0): the cascade of KorMedMCQA's appendix B (Kweon et al. 2024, arXiv 2403.01469), of
which the last match of the first pattern that matches counts, and the texts that end an answer; for as many options as a question has. Other languages have a
cascade of the same make, in capitals, because `a` is a word there; yes, no or maybe is the first of these words. An answer that names no choice is wrong.
Where a file has questions with several right answers, all letters count that the model names after its word for answer, or else in its first line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import datasets
from lm_eval.api.filter import Filter
from lm_eval.api.task import ConfigurableTask

from medfinetune_trainer.data.records import Record
from medfinetune_trainer.evaluation.generation import greedy
from medfinetune_trainer.evaluation.groups import groups_of
from medfinetune_trainer.evaluation.harness import VERSION, ExamTask

UNTIL_KOREAN = ("Q:", "</s>", "<|im_end|>", ".", "\n\n")
"""What ends an answer in the harness's KorMedMCQA task."""
_ANSWER = "(?i:answer|respuesta|réponse|antwort|risposta|resposta|答案|答え|정답)"
"""The word for answer, in the languages of published medical examinations."""
_LATIN = "0-9A-Za-z_\u00c0-\u024f"
_BEGIN, _END = rf"(?<![{_LATIN}])", rf"(?![{_LATIN}])"
"""Where a letter stands by itself. Not `\\b`: a particle follows it without a blank in Korean, Japanese and Chinese (`A와`, `Bです`, `是C`)."""
_IS = r"(?:\s+(?i:is|are|es|est|ist|è|é)\b|\s*[是为為はが])?"
_AND = r"(?:\s*[,、，;；&+/]\s*(?:(?:그리고|(?i:and|y|e|et|und))\s+)?|\s*(?:와|과|및|하고|이고|[和与與及と])\s*|\s+(?i:and|y|e|et|und)\s+)"
_OR = r"(?:\s*(?:나|이나|또는|혹은|[或か]|または|もしくは)\s*|\s+(?i:or|o|ou|oder)\s+)"
_DOUBT = re.compile(
    r"\b(?i:not|nor|neither|never|except|wrong|incorrect|false|either|unless|nicht|falsch|pas|faux|incorrecta?|falsa?|sbagliat\w|errad\w)\b|(?i:n't\b)"
    r"|아니|아닌|아닙|틀리|틀린|틀렸|틀림|오답|제외|않|또는|혹은|不|非|错|錯|或|ではな|じゃな|ではあり|誤|間違|除|または"
)
"""What makes letters beside it other than the answer, or one of several guesses."""
_SENTENCE = re.compile(r"(?<![A-Z])[.!?](?=\s|\Z)|[。！？]|\n")


class LetterTask(ExamTask):
    """As ExamTask, answered in the model's own words.

    Args:
        name, records, prompt: as ExamTask.
        language: BCP 47 tag; it chooses the cascade.
        max_new_tokens: most of an answer.
    """

    def __init__(self, name: str, records: Sequence[Record], prompt: str, language: str, max_new_tokens: int) -> None:
        self._records = records
        korean, several = language.lower().split("-")[0] == "ko", any(record.also_right for record in records)
        reading = {"function": ChoiceFilter, "korean": korean, "several": several}
        config = {
            "task": name,
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "prompt",
            "doc_to_target": "expected",
            "num_fewshot": 0,
            "generation_kwargs": greedy(max_new_tokens, UNTIL_KOREAN if korean and not several else ()),
            "filter_list": [{"name": "extract_answer", "filter": [reading, {"function": "take_first"}]}],
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": f"{VERSION}-generation", "prompt": prompt},
        }
        ConfigurableTask.__init__(self, config=config)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Take the records instead; the harness calls this from its constructor."""
        self.dataset = {"test": datasets.Dataset.from_list([_row(record) for record in self._records])}


class ChoiceFilter(Filter):  # type: ignore[misc]  # lm-eval ships no types
    """Reads the choice from every answer: `B`, of several `A, C`, nothing where none is named."""

    def __init__(self, korean: bool, several: bool) -> None:
        self._korean, self._several = korean, several

    def apply(self, resps: Any, docs: Any) -> list[list[str]]:
        """The choices of each question's answers, with the question's own choices."""
        return [[self._read(answer, tuple(doc["choices"])) for answer in answers] for answers, doc in zip(resps, docs, strict=True)]

    def _read(self, answer: str, choices: tuple[str, ...]) -> str:
        if self._several:
            return ", ".join(all_choices(answer, choices))
        return one_choice(answer, choices, korean=self._korean)


def one_choice(answer: str, choices: tuple[str, ...], *, korean: bool) -> str:
    """The choice that `answer` names: one of `choices`, or nothing."""
    if any(len(choice) > 1 for choice in choices):
        words = re.findall(rf"\b(?:{'|'.join(map(re.escape, choices))})\b", answer, re.IGNORECASE)
        return str(words[0]).lower() if words else ""
    letter = f"[{''.join(choices)}]"
    if not korean and re.search(rf"{_BEGIN}{letter}{_END}{_OR}{letter}{_END}", answer):
        return ""
    for pattern in _cascade("".join(choices), korean):
        found = pattern.findall(answer)
        if found:
            return str(found[-1]).upper()
    return ""


def all_choices(answer: str, choices: tuple[str, ...]) -> list[str]:
    """The letters that `answer` names, in order, each once; none where the sentence has more of them than its one list, or doubts or denies any."""
    _, *said = re.split(rf"{_ANSWER}(?i:s|en)?{_END}", answer)
    label = rf"{_BEGIN}[{''.join(choices)}]{_END}"
    lines = re.sub(rf"\n\s*[-*•]?\s*(?={label}(?:[.):：]|\s*(?:\n|\Z)))", ", ", (said[-1] if said else answer).strip(" \t\r\n*:：-•"))
    told = _SENTENCE.split(lines)[0]
    letter = rf"(?:(?i:option)\s+)?[(\[*]*{label}[)\]*]*번?"
    named = re.findall(rf"{_BEGIN}(?!A\s+(?!(?:and|y|e|et|und|is|are|es|est|ist|son|sont|sind)\b)[a-z])([{''.join(choices)}]){_END}", told)
    lists, labelled = re.findall(rf"{letter}(?:{_AND}{letter})*", told), re.findall(rf"{_BEGIN}([{''.join(choices)}])[.):：]", told)
    if _DOUBT.search(told) or not (len(lists) == 1 or labelled == named):
        return []
    return [choice for choice in choices if choice in named]


@lru_cache
def _cascade(letters: str, korean: bool) -> tuple[re.Pattern[str], ...]:
    """Patterns with one group, the letter, the surest first."""
    letter = f"([{letters}])"
    if korean:
        patterns = (rf"정답[:\s]*{letter}", rf"정답은\s*{letter}\s*입니다", rf"\b{letter}\.", rf"\b{letter}\b")
        return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
    called = rf"{_ANSWER}{_IS}\W{{0,4}}{letter}{_END}(?!\s*(?:ではな|じゃな|ではあり|不))"
    alone = rf"\A\W*{letter}(?=\W*\Z|[.):,]|\W*\n)"
    return tuple(map(re.compile, (called, alone, rf"(?:\(|{_BEGIN}){letter}[.)]", rf"{_BEGIN}(?!A\s+[a-z]){letter}{_END}")))


def _row(record: Record) -> dict[str, Any]:
    """The harness's document of a question."""
    named = {name: getattr(record, name) for name in ("where", "id", "subject", "prompt", "answer")}
    expected = ", ".join(record.choices[index] for index in sorted(record.right))
    return named | {"choices": list(record.choices), "groups": list(groups_of(record)), "expected": expected}
