"""Figures in words: the one way in which a page, a card and a terminal write them."""

from __future__ import annotations

from medfinetune_api.results_evaluation import Mean, Score

GIB = 1 << 30
NOT_FOR_CLINICAL_DECISIONS = (
    "Not for clinical decisions. This is no medical device, and nothing said here makes the model fit for use with patients: that takes a clinical "
    "evaluation of its own."
)
LIMITS = (
    "Accuracy is the share of multiple-choice questions whose right letter was the likeliest, asked once and without examples. It says nothing about "
    "free text, harmful advice, consistency, or how an answer was reached.",
    "An interval holds the error of drawing these n questions (Wilson, 95 %). It does not hold that of another training seed, another wording, or "
    "other questions than an examination's.",
    "A change within noise shows neither a gain nor that nothing was lost: the smallest change shown says what these questions could have found. At fewer "
    "than 30 questions an interval says little.",
    "A task that was trained on measures memory. It is in no language's figure.",
    "A question that the training records hold in other words or in another language may not have been found: what was compared, and how, is said under "
    "Contamination.",
)
"""What the figures do not show; on every page and every card."""
FEW = 30
"""Questions below which an accuracy is marked."""


def percent(share: float) -> str:
    """A share, 0 to 1, in per cent with one decimal."""
    return f"{100 * share:.1f} %"


def scored(score: Score | Mean | None) -> str:
    """An accuracy or a mean with its interval, in per cent; a dash where there is none."""
    if score is None:
        return "–"
    return f"{100 * (score.accuracy if isinstance(score, Score) else score.mean):.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def gained(base: Score | None, tuned: Score) -> str:
    """What tuning changed, in percentage points; a dash without a baseline."""
    return f"{100 * (tuned.accuracy - base.accuracy):+.1f}" if base else "–"


def bytes_of(size: float) -> str:
    """Bytes in GiB, or in MiB below one."""
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / (1 << 20):.1f} MiB"


def duration(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def figure(value: float) -> str:
    """A number to four digits, without noise."""
    return f"{value:,.0f}" if abs(value) >= 10000 or value == int(value) else f"{value:.4g}"
