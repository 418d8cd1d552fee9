"""A difference in words: how much, with its interval, whether that is more than noise, and what could have been seen."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from medfinetune_api.results_evaluation import Change, Comparison, Score

from medfinetune_trainer.report.elements import el
from medfinetune_trainer.report.words import gained

HEAD = ("change, points", "p (Holm)", "that is", "smallest shown")
KEY = (
    "The change is in percentage points, with its 95 % interval by paired bootstrap. p is of McNemar's exact test on the questions whose answer changed, of "
    "means by that bootstrap, corrected by Holm's method over the rows compared; above 0.05 a change is within noise, whatever its size. The smallest change "
    "shown is what this many questions would find beyond noise in 4 of 5 runs: of less, within noise says nothing."
)


def difference(comparison: Comparison | None) -> tuple[str, str, str, str]:
    """The cells under HEAD; dashes where nothing was compared."""
    if comparison is None:
        return "–", "–", "–", "–"
    return change(comparison), p_value(comparison.p_holm), comparison.verdict, f"{100 * comparison.smallest:.1f}"


def cell(comparison: Comparison | None, base: Score | None, tuned: Score) -> Element:
    """All of it in one cell of the page, a line each."""
    first, p, verdict, smallest = change_or_gain(comparison, base, tuned)
    if comparison is None:
        return el("span", first)
    return el("span", first, el("span", f"{verdict}, p {p}", class_="under"), el("span", f"smallest shown {smallest}", class_="under"))


def change(comparison: Comparison) -> str:
    """How much, in points, with its interval."""
    return f"{100 * comparison.difference:+.1f} [{100 * comparison.low:+.1f}, {100 * comparison.high:+.1f}]"


def change_or_gain(comparison: Comparison | None, base: Score | None, tuned: Score) -> tuple[str, str, str, str]:
    """As `difference`; of what was scored and not compared, such as by an earlier version, the bare change."""
    return difference(comparison) if comparison else (gained(base, tuned), *difference(None)[1:])


def p_value(p: float) -> str:
    """A p value as one writes it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def flag(row: Change) -> str:
    """What a change says, by mark and in words: read without colour."""
    if row.forgotten:
        return f"▼ forgotten, {row.comparison.verdict}"
    if not row.comparison.beyond_noise:
        return f"= {row.comparison.verdict}"
    return f"▲ gained, {row.comparison.verdict}" if row.comparison.difference > 0 else f"▽ lost, {row.comparison.verdict}"
