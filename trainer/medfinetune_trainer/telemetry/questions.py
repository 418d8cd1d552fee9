"""How many questions have been asked, in one small file that whoever serves the stage reads; replaced whole after every forward pass."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_FILE = "questions.json"


@dataclass
class QuestionCount:
    """Counts questions; `planned` are those of all variants that this attempt asks."""

    folder: Path
    planned: int
    asked: int = 0

    def add(self, questions: int) -> None:
        """So many more have been answered."""
        self.asked += questions
        temporary = self.folder / f"{_FILE}.partial"
        temporary.write_text(json.dumps({"questions": min(self.asked, self.planned), "questionsPlanned": self.planned}), encoding="utf-8")
        temporary.replace(self.folder / _FILE)


def read_questions(folder: Path) -> dict[str, int]:
    """`questions` and `questionsPlanned`; empty until the first forward pass."""
    try:
        found: dict[str, int] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found
