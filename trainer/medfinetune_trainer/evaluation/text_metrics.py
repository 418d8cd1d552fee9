"""What an answer in the model's own words is worth against its reference: F1, ROUGE-L, BLEU, and how far several answers to one question agree. Each 0 to 1.

ROUGE-L is rouge-score's, BLEU is sacrebleu's. F1 is SQuAD's (Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1), which no library has offline. All of them
compare words, not meaning: "no fever" and "fever" are close.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import Any

from medfinetune_api.choices import TextMetric

from medfinetune_trainer.evaluation.entities import Entities, entity_f1
from medfinetune_trainer.evaluation.tokens import UnicodeTokenizer, tokens

ENGLISH_ARTICLES = frozenset(("a", "an", "the"))
_BLEU_TOKENIZERS = {"en": "13a", "zh": "zh", **dict.fromkeys(("ko", "ja", "th", "lo", "km", "my"), "char")}
"""sacrebleu's, by language; `intl` for all others. Its Korean and Japanese ones need a dictionary that it would download."""


@dataclass(frozen=True)
class TextMeasures:
    """What one task measures its answers by."""

    metrics: tuple[TextMetric, ...]
    language: str
    """BCP 47 tag."""
    entities: Entities = field(default_factory=Entities)

    def measure(self, answer: str, reference: str, draws: Sequence[str] = ()) -> dict[str, float]:
        """Each metric's value by name: of the greedy `answer`, and of `draws` for Consistency. EntityF1 is absent where the reference has no entity."""
        known: dict[TextMetric, Callable[[], float | None]] = {
            TextMetric.F1: lambda: f1(answer, reference, self.language),
            TextMetric.ENTITY_F1: lambda: entity_f1(self.entities.found(answer), self.entities.found(reference)),
            TextMetric.ROUGE_L: lambda: rouge_l(answer, reference),
            TextMetric.BLEU: lambda: bleu(answer, reference, self.language),
            TextMetric.CONSISTENCY: lambda: consistency(draws, self.language),
        }
        values = {str(metric): known[metric]() for metric in self.metrics}
        return {name: value for name, value in values.items() if value is not None}


def f1(answer: str, reference: str, language: str) -> float:
    """Harmonic mean of the shares of words that answer and reference have in common, English articles left out; 1 where neither has a word."""
    found, expected = (Counter(_counted(text, language)) for text in (answer, reference))
    if not found or not expected:
        return float(found == expected)
    return 2 * (found & expected).total() / (found.total() + expected.total())


def rouge_l(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence of words (Lin 2004, ROUGE, section 3.1), by rouge-score with a tokenizer for any script."""
    return float(_rouge_scorer().score(reference, answer)["rougeL"].fmeasure)


def bleu(answer: str, reference: str, language: str) -> float:
    """BLEU of the one answer (Papineni et al. 2002), by sacrebleu, smoothed (`exp`), up to as many words as the answer has: not a corpus's BLEU."""
    return min(1.0, float(_bleu(bleu_tokenizer(language)).sentence_score(answer, [reference]).score) / 100)


def bleu_tokenizer(language: str) -> str:
    """The name of sacrebleu's tokenizer for a BCP 47 `language`."""
    return _BLEU_TOKENIZERS.get(language.lower().split("-")[0], "intl")


def consistency(answers: Sequence[str], language: str) -> float:
    """Mean F1 of every pair of two or more answers to the same question: 1 where all have the same words as often. Raises ZeroDivisionError for fewer."""
    pairs = [f1(one, other, language) for one, other in combinations(answers, 2)]
    return sum(pairs) / len(pairs)


def _counted(text: str, language: str) -> list[str]:
    found = tokens(text)
    return [word for word in found if word not in ENGLISH_ARTICLES] if language.lower().split("-")[0] == "en" else found


@lru_cache(maxsize=1)
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # it ships no types

    return RougeScorer(["rougeL"], tokenizer=UnicodeTokenizer())


@lru_cache(maxsize=4)
def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, effective_order=True)
