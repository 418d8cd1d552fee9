"""One item of the pre-deployment checklist."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

CONTAMINATION, PRIVACY, SUMMARY, GATES = "contamination.json", "privacy.json", "evaluation/summary.json", "evaluation/gates.json"
RELEASE, PREPARED, LINEAGE, SIGNATURE, CARD = "release.json", "prepared.json", "lineage.json", "lineage.dsse.json", "README.md beside the weights"


class State(StrEnum):
    """Whether an item is settled."""

    DONE = "done"
    OPEN = "open"
    FAILED = "failed"


@dataclass(frozen=True)
class Item:
    """One question before use."""

    key: str
    """Short name, the same in every run."""
    question: str
    """What must be known."""
    guidance: str
    """Where published guidance asks for it."""
    state: State = State.OPEN
    """Whether it is known."""
    finding: str = ""
    """What is known, with its figure."""
    evidence: tuple[str, ...] = ()
    """Files of the run that say so."""

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        named = {"key": self.key, "question": self.question, "state": self.state.value, "finding": self.finding}
        return named | {"evidence": list(self.evidence), "guidance": self.guidance}
