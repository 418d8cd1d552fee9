"""English words in answers of another language (errors that Yoo et al. 2026 found in Korean answers, section on errors): which count, and how often they occur.

A word of English is one of two or more letters a to z. It does not count where question or reference have it, where it is a unit, all capitals (MRI, COPD),
has a digit (HbA1c), or belongs to a term of the site's glossary: names of drugs that a site writes in Latin letters belong there. In a language that is itself
written in Latin letters English words cannot be told without a dictionary: nothing is measured there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from medfinetune_api.results_evaluation import CodeMixing

from medfinetune_trainer.evaluation.entities import UNITS
from medfinetune_trainer.evaluation.glossary import Glossary
from medfinetune_trainer.evaluation.tokens import folded

_LATIN = re.compile(r"[A-Za-z0-9]+(?:['’-][A-Za-z0-9]+)*")  # the apostrophe that people type
_OTHER = re.compile(r"(?:(?![A-Za-z])[^\W\d_])+")
_WORD = re.compile(r"[a-z]{2,}(?:['’-][a-z]+)*")


def code_mixing(answers: Sequence[str], allowed: Sequence[str], glossary: Glossary) -> CodeMixing:
    """How much English is in `answers`; `allowed[i]` is the text, question and reference, whose words answer i may have."""
    listed = frozenset(word for term in glossary.terms for word in _latin(term))
    counts = [words(answer, frozenset(_latin(text)) | listed) for answer, text in zip(answers, allowed, strict=True)]
    spoken = [(english, all_words) for english, all_words in counts if all_words]
    mixed, total = sum(english > 0 for english, _ in spoken), sum(all_words for _, all_words in spoken)
    return CodeMixing(n=len(spoken), answers=mixed / max(1, len(spoken)), words=sum(english for english, _ in spoken) / max(1, total))


def words(text: str, allowed: frozenset[str]) -> tuple[int, int]:
    """English words of `text` that are not among the `allowed` ones (folded), and all its words: runs of letters of one script."""
    composed = unicodedata.normalize("NFKC", text)
    latin = [word for word in _LATIN.findall(composed) if not word.isdigit()]
    english = [word for word in latin if not word.isupper() and _WORD.fullmatch(folded(word)) and folded(word) not in allowed and folded(word) not in UNITS]
    return len(english), len(latin) + len(_OTHER.findall(composed))


def in_latin_letters(texts: Iterable[str]) -> bool:
    """Whether most letters of `texts` are Latin."""
    letters = [character for text in texts for character in text if character.isalpha()]
    return 2 * sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters) > len(letters)


def _latin(text: str) -> list[str]:
    return _LATIN.findall(folded(text))
