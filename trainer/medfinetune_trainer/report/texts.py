"""What answers in the model's own words are worth: every measurement of every task, base against tuned, with English words and a site's terms."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from medfinetune_api.results_evaluation import CodeMixing, EvaluationSummary, GlossaryUse, Mean, TextScores

from medfinetune_trainer.report import differences
from medfinetune_trainer.report.elements import Child, el, name, table
from medfinetune_trainer.report.words import FEW, percent, scored

KEY = (
    "Mean over n answers, 0 to 100, with its bootstrap 95 % interval. F1, RougeL and Bleu compare an answer's words with its reference's, EntityF1 quantities "
    "with their units and the site's terms, Consistency the words of several answers to one question. None of them knows meaning: an answer that a clinician "
    f"would accept may score low, and one that denies what the reference says may score high. * marks fewer than {FEW} answers."
)


def texts(summary: EvaluationSummary) -> list[Element | None]:
    """What the section on results has of them; nothing where no task asks for text."""
    if not summary.texts:
        return []
    rows = [row for task in summary.texts for row in _measured(task)]
    words = [_words(task) for task in summary.texts if task.tuned_code_mixing or task.glossary]
    return [
        el("p", KEY),
        table(("task", "language", "measured by", "n", "base", "tuned", *differences.HEAD), rows, "Answers in the model's own words", numbers_from=3),
        table(_WORDS, words, "Words of these answers", numbers_from=2) if words else None,
        el("p", _WORDS_KEY) if words else None,
    ]


_WORDS = ("task", "language", "answers with English words, base", "tuned", "terms expected", "kept by the base", "by the tuned", "lost")
_WORDS_KEY = (
    "English words are those that neither question nor reference has; units, abbreviations in capitals and terms of the site's glossary do not count. Terms "
    "are counted where the reference has them; lost are those that the base said and the tuned model does not."
)


def _measured(task: TextScores) -> list[Sequence[Child]]:
    label = el("span", name(task.task), ", trained on" if task.seen else "", el("span", f" (version {task.version})", class_="soft"))
    return [(label if not number else "", task.language, metric, *compared(task, metric, mean)) for number, (metric, mean) in enumerate(task.tuned.items())]


def compared(task: TextScores, metric: str, tuned: Mean) -> tuple[str, ...]:
    """n, base, tuned, and what `differences.HEAD` names."""
    n = f"{tuned.n:,}{'*' if tuned.n < FEW else ''}"
    return n, scored(task.base.get(metric)), scored(tuned), *differences.difference(task.comparisons.get(metric))


def _words(task: TextScores) -> Sequence[Child]:
    mixing = (_mixing(task.base_code_mixing), _mixing(task.tuned_code_mixing))
    return (name(task.task), task.language, *mixing, *_terms(task.glossary))


def _mixing(found: CodeMixing | None) -> str:
    return f"{percent(found.answers)} of {found.n:,}" if found else "–"


def _terms(use: GlossaryUse | None) -> tuple[str, ...]:
    return tuple("–" if count is None else f"{count:,}" for count in ((use.expected, use.base, use.tuned, use.lost) if use else (None,) * 4))
