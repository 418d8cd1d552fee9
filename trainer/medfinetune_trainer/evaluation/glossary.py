"""A site's own terms: read from its file, looked for in texts, and counted as kept or lost between base and tuned model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import GlossaryUse

from medfinetune_trainer.data.reading import DataFile, text_lines
from medfinetune_trainer.data.volume import inside
from medfinetune_trainer.evaluation.tokens import KOREAN, WITHOUT_SPACES, folded

LONGEST_TERM = 200
"""Characters; a longer line is a text and no term."""
MOST_TERMS = 100_000
_BEFORE = f"(?<![^\\W{WITHOUT_SPACES}])"
_AFTER = f"(?![^\\W{KOREAN}{WITHOUT_SPACES}])"


@dataclass(frozen=True)
class Glossary:
    """Terms, folded."""

    terms: frozenset[str] = frozenset()

    def found(self, text: str) -> frozenset[str]:
        """The terms that `text` has: as whole words; a Korean one at the beginning of a word, for its particles; one of a script without spaces anywhere."""
        searched = folded(text)
        return frozenset(term for term in self.terms if term in searched and self._words[term].search(searched))

    @cached_property
    def _words(self) -> dict[str, re.Pattern[str]]:
        return _Words()


class _Words(dict[str, re.Pattern[str]]):
    """Compiled when first met: few of many terms are."""

    def __missing__(self, term: str) -> re.Pattern[str]:
        self[term] = re.compile(_edge(term[0], _BEFORE, WITHOUT_SPACES) + re.escape(term) + _edge(term[-1], _AFTER, KOREAN + WITHOUT_SPACES))
        return self[term]


def _edge(character: str, boundary: str, free: str) -> str:
    """What must hold beside the first or last `character` of a term: nothing where its script is one of `free`, or it is no letter."""
    return boundary if re.match(f"[^\\W{free}]", character) else ""


def glossary_of(plan: RunPlan, language: str) -> Glossary | None:
    """The terms of all of the plan's glossaries of this language; None where it has none.

    Raises InvalidData, by file:line, where a file is no text of terms, one a line; blank lines are passed over.
    """
    files = [(number, each) for number, each in enumerate(plan.evaluation.glossaries) if each.language == language]
    terms = (term for number, each in files for term in _terms(Path(plan.mounts.data), each.path, f"spec.evaluation.glossaries[{number}].path"))
    return Glossary(frozenset(terms)) if files else None


def use(glossary: Glossary, references: Sequence[str], tuned: Sequence[str], base: Sequence[str] | None) -> GlossaryUse:
    """How many terms of the references the answers to the same questions have; a term counts once a question."""
    expected = [glossary.found(text) for text in references]
    kept = [here & glossary.found(text) for here, text in zip(expected, tuned, strict=True)]
    before = None if base is None else [here & glossary.found(text) for here, text in zip(expected, base, strict=True)]
    lost = 0 if before is None else _count(then - now for then, now in zip(before, kept, strict=True))
    return GlossaryUse(expected=_count(expected), base=None if before is None else _count(before), tuned=_count(kept), lost=lost)


def _count(found: Iterable[frozenset[str]]) -> int:
    return sum(len(terms) for terms in found)


def _terms(mount: Path, path: str, field: str) -> Iterable[str]:
    file, found = DataFile(inside(mount, path, field), path), 0
    for line, text in text_lines(file):
        term = folded(text)
        if len(term) > LONGEST_TERM or found == MOST_TERMS:
            what = "more than that" if found == MOST_TERMS else f"{len(term)} characters"
            raise file.refuse(line, found=what, expected=f"at most {MOST_TERMS:,} terms of {LONGEST_TERM} characters", remedy="Write one term a line.")
        if term:
            found += 1
            yield term
    if not found:
        raise file.refuse(None, found="no terms", expected="one term a line", remedy="Point the manifest at a file with terms, or remove this glossary.")
