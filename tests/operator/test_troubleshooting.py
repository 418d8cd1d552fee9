"""docs/troubleshooting.md has every reason that may ask something of a person."""

from __future__ import annotations

import re
from pathlib import Path

from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_operator.sentences import REMEDIES, TROUBLES
from medfinetune_operator.verdict import fate

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def listed(part: str) -> set[str]:
    """The reasons in the first column of the tables below a heading."""
    section = PAGE.split(f"## {part}\n", 1)[1].split("\n## ", 1)[0]
    return {name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}


def test_every_reason_with_a_remedy_is_listed_and_every_listed_one_exists() -> None:
    found = listed("It waits") | listed("An attempt ended") | listed("The run failed")
    assert found <= set(Reason)
    assert found >= {*REMEDIES, *TROUBLES}
    assert listed("It waits") >= TROUBLES


def test_what_is_charged_is_what_the_operator_charges() -> None:
    section = PAGE.split("## An attempt ended\n", 1)[1].split("\n## ", 1)[0]
    said = re.findall(r"^\| `(\w+)` \| (yes|no) \|", section, re.MULTILINE)
    assert said
    assert {name: fate(Reason(name)).charged for name, _ in said} == {name: charged == "yes" for name, charged in said}
    assert all(fate(Reason(name)).retryable for name, _ in said)
