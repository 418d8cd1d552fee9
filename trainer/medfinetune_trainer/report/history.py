"""What metrics.jsonl tells, as series that can be drawn. A line that was torn or is none of ours is skipped and counted; nothing in it can stop a report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

Points = list[tuple[float, float]]
STEP = ("loss", "accuracy", "learning_rate", "gradient_norm", "tokens_per_second", "seconds")
KNOWN = ("start", "step", "validation", "memory", "checkpoint")
SHOWN = 600
"""Points of a curve that are drawn at most."""
LARGEST = 1e18
"""Beyond it lies no figure of ours, and NaN is not below it either."""
LONGEST_LINE = 1 << 20
"""Bytes of a line that is read at most: the longest of ours, a validation in 64 languages, has 10,000."""


@dataclass
class Try:
    """One start of training, up to the next."""

    started: datetime
    step: int
    """Steps that were done when it began."""
    figures: Mapping[str, str]
    """World size, micro-batch and device, as it named them."""
    last: datetime
    """Its last sign of life."""
    reached: int
    """The last of its steps that counts: later ones were done again."""


@dataclass
class History:
    """Everything told, in order."""

    steps: dict[str, Points] = field(default_factory=lambda: {name: [] for name in STEP})
    """Figure by step, by name."""
    validations: dict[str, dict[str, Points]] = field(default_factory=dict)
    """Figure by step, by figure's name and language."""
    memory: dict[str, Points] = field(default_factory=dict)
    """Bytes by hours since the first start, the greatest of all ranks at about that time, by name."""
    tries: list[Try] = field(default_factory=list)
    events: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """What else happened, such as memory that ran out: kind and figures."""
    checkpoints: int = 0
    tokens: float = 0.0
    skipped: int = 0
    """Lines that could not be read."""

    @property
    def last_step(self) -> int:
        """The last step that counts; 0 before there was one."""
        return int(self.steps["loss"][-1][0]) if self.steps["loss"] else 0

    def add(self, line: Mapping[str, Any]) -> None:
        """One line. Raises ValueError, TypeError, KeyError or OverflowError where it is none of ours."""
        kind, time = str(line["kind"]), datetime.fromisoformat(line["time"])
        if time.tzinfo is None:
            raise ValueError("a time without its zone")
        if kind == "step":
            self._step(line)
        elif kind == "validation":
            self._validation(line)
        elif kind == "memory" and self.tries:
            self._memory(line, (time - self.tries[0].started).total_seconds() / 3600)
        elif kind == "start":
            self.tries.append(Try(time, int(line["step"]), _named(line), time, int(line["step"])))
        elif kind == "checkpoint":
            self.checkpoints += 1
        if kind not in KNOWN:
            self.events.append((kind, _named(line)))
        if self.tries:
            self.tries[-1].last = max(self.tries[-1].last, time)

    def _step(self, line: Mapping[str, Any]) -> None:
        step = _number(line["step"])
        figures = {name: _number(line[name]) for name in STEP if name in line}
        self.tokens += _number(line.get("tokens", 0))
        for name, figure in figures.items():
            self.steps[name].append((step, figure))
        if self.tries:
            self.tries[-1].reached = int(step)

    def _validation(self, line: Mapping[str, Any]) -> None:
        step = _number(line["step"])
        found = [(str(name), str(language), _number(figure)) for language, figures in line["by_language"].items() for name, figure in figures.items()]
        for name, language, figure in found:
            self.validations.setdefault(name, {}).setdefault(language, []).append((step, figure))

    def _memory(self, line: Mapping[str, Any], hours: float) -> None:
        """Ranks of a node are sampled together: their lines follow each other within a moment."""
        for name, size in {name: _number(size) for name, size in line.items() if name.startswith(("rss", "vram"))}.items():
            points = self.memory.setdefault(name, [])
            if points and line.get("rank", 0) != 0 and hours - points[-1][0] < 1 / 3600:
                points[-1] = (points[-1][0], max(points[-1][1], size))
            else:
                points.append((hours, size))


def read(file: Path) -> History:
    """The history in a metrics.jsonl; an empty one where there is no such file."""
    history = History()
    for text in _lines(file):
        try:
            history.add(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            history.skipped += 1
    return history


def _lines(file: Path) -> Iterator[bytes]:
    if not file.is_file():
        return
    with file.open("rb") as opened:
        while line := opened.readline(LONGEST_LINE):
            if line.strip():
                yield line


def _number(value: Any) -> float:
    """Raises ValueError where it is no number that was measured."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError("no number that was measured")
    return float(value)


def _named(line: Mapping[str, Any]) -> dict[str, str]:
    """What else a line says, where it is a plain figure or word."""
    return {str(name): str(value)[:100] for name, value in line.items() if name not in ("kind", "time") and isinstance(value, int | float | str)}


def thinned(points: Points, most: int = SHOWN) -> Points:
    """At most `most` of the points, the least and the greatest of every stretch among them, so that no peak is lost."""
    if len(points) <= most:
        return points
    stretch = math.ceil(2 * len(points) / most)
    kept: Points = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return kept
