"""By what else than its subject a question is told apart: the year of the examination, and in Korean whether it is one of medical law.

KorMedMCQA has no subject of law, though each of its examinations has a part on it, and the study reports that part by itself. What tells such a question is
that it cites a statute by name, which Korean puts in corner brackets and ends in 법 or 법률: 408 questions of the published files. An ordinance, a notice,
or law as a topic without a name does not count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from medfinetune_api.results_evaluation import Comparison, Score

from medfinetune_trainer.data.records import Record
from medfinetune_trainer.evaluation.answers import Answer
from medfinetune_trainer.evaluation.comparison import compare, corrected
from medfinetune_trainer.evaluation.statistics import score_by

_STATUTE = re.compile("「[^」]*(?:법|법률)」")


def cites_statute(question: str) -> bool:
    """Whether a Korean question names a statute."""
    return _STATUTE.search(question) is not None


def groups_of(record: Record) -> tuple[str, ...]:
    """Labels such as `year=2022` and `law=yes`; none where the file tells nothing."""
    year = (f"year={record.year}",) if record.year else ()
    korean = record.language.lower().split("-")[0] == "ko"
    return (*year, f"law={'yes' if cites_statute(record.question) else 'no'}") if korean else year


def score_by_group(answers: Iterable[tuple[Iterable[str], bool]]) -> Mapping[str, Score]:
    """Scores by label of (labels, right or wrong) pairs; a label that every question bears tells nothing apart, and has none."""
    found = [(tuple(labels), right) for labels, right in answers]
    counts = Counter(label for labels, _ in found for label in labels)
    return score_by((label, right) for labels, right in found for label in labels if counts[label] < len(found))


def compare_by_group(pairs: Sequence[tuple[Answer, Answer]], seed: int) -> Mapping[str, Comparison]:
    """The tuned model against the base by the labels that `score_by_group` scores, p corrected over them; `pairs` are of the same questions."""
    labels = score_by_group((now.groups, True) for _, now in pairs)
    found = {label: [(bool(then.right), bool(now.right)) for then, now in pairs if label in now.groups] for label in labels}
    return corrected({label: compare([then for then, _ in both], [now for _, now in both], seed) for label, both in found.items()})
