"""Line charts as inline SVG: axes with units, a legend, and series that differ by dash and mark as well as by colour."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from medfinetune_trainer.report.elements import el, name
from medfinetune_trainer.report.history import Points, thinned
from medfinetune_trainer.report.words import figure

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 708, 28, 222
"""The drawing area, in the units of the view box."""
ROOM = 14
"""On either side, for the longest figure beside an axis and half of the last one below it."""
MARKS = 12
"""Marks on a line at most: they tell lines apart, and hide none."""
STYLES = 6
"""Marks, dashes and colours. The seventh series has the first's mark and colour with another dash: 36 differ without colour."""
TIGHT = 1e-6
"""Share of the greatest value below which a difference is none."""
_SHAPES = ("circle", "M-4 -4H4V4H-4Z", "M0 -5L5 4H-5Z", "M0 -5L5 0L0 5L-5 0Z", "M-5 -4H5L0 5Z", "M-4 -4L4 4M-4 4L4 -4")


@dataclass(frozen=True)
class Line:
    """One series; as a level it is a single value across the whole chart, such as a limit."""

    label: str
    points: Points
    level: bool = False


@dataclass(frozen=True)
class Axes:
    """From data to the view box."""

    x: tuple[float, float]
    y: tuple[float, float]
    whole: bool = False
    """Whether x is counted, such as steps."""

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies."""
        return LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (RIGHT - LEFT), BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (BOTTOM - TOP)


def chart(title: str, across: str, up: str, lines: Sequence[Line], from_zero: bool = False) -> Element | None:
    """A figure with its legend; None where there is nothing to draw: a line takes two points.

    Args:
        title: what is shown.
        across, up: the axes, with their units.
        lines: in the order of the legend; levels need no points of their own x.
        from_zero: whether the vertical axis begins at 0.
    """
    drawn = [line for line in lines if line.points]
    if not any(len(line.points) > 1 for line in drawn):
        return None
    across_all = [x for line in drawn if not line.level for x, _ in line.points]
    axes = Axes(_range(across_all), _range(_heights(drawn, from_zero), margin=0.05), whole=all(x == int(x) for x in across_all))
    parts = [*_grid(axes), *(part for number, line in enumerate(drawn) for part in _series(axes, number, line))]
    words = [el("text", up, x=LEFT - 56, y=16, class_="axis"), el("text", across, x=RIGHT, y=HEIGHT - 4, text_anchor="end", class_="axis")]
    picture = el("svg", *parts, *words, viewBox=f"{-ROOM} 0 {WIDTH + 2 * ROOM} {HEIGHT}", role="img", aria_label=f"{title}: {'; '.join(map(_told, drawn))}")
    return el("figure", el("figcaption", title), picture, el("p", *(_entry(number, line) for number, line in enumerate(drawn)), class_="legend"))


def beside(*charts: Element | None) -> Element:
    """Charts next to each other, where there is room."""
    return el("div", *charts, class_="beside")


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers within [low, high]: steps of 1, 2 or 5 times a power of ten, of 1 at least where values are `whole`."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= raw)
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step)
    return [number * step for number in range(first, first + most + 2) if number * step <= high + step * 1e-9]


def _heights(lines: Iterable[Line], from_zero: bool) -> list[float]:
    return [y for line in lines for _, y in line.points] + ([0.0] if from_zero else [])


def _range(values: Iterable[float], margin: float = 0.0) -> tuple[float, float]:
    """From the least to the greatest, wide enough to tell them apart; a margin leaves a 0 where it is."""
    found = list(values)
    low, high = min(found), max(found)
    if high - low <= TIGHT * max(abs(low), abs(high)):
        high = low + max(abs(low) * 0.1, 1e-9)
    span = high - low
    return (low if low == 0 else low - span * margin), high + span * margin


def _grid(axes: Axes) -> Iterable[Element]:
    for value in ticks(*axes.y):
        _, y = axes.at(axes.x[0], value)
        yield el("line", x1=LEFT, x2=RIGHT, y1=_short(y), y2=_short(y), class_="grid")
        yield el("text", figure(round(value, 12)), x=LEFT - 6, y=_short(y + 4), text_anchor="end")
    for value in ticks(*axes.x, whole=axes.whole):
        x, _ = axes.at(value, axes.y[0])
        yield el("line", x1=_short(x), x2=_short(x), y1=BOTTOM, y2=BOTTOM + 4, class_="tick")
        yield el("text", figure(round(value, 12)), x=_short(x), y=BOTTOM + 17, text_anchor="middle")
    yield el("line", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM, class_="tick")


def _series(axes: Axes, number: int, line: Line) -> Iterable[Element]:
    if line.level:
        _, y = axes.at(axes.x[0], line.points[0][1])
        yield el("line", x1=LEFT, x2=RIGHT, y1=_short(y), y2=_short(y), class_=_stroke(number))
        return
    places = [axes.at(x, y) for x, y in thinned(line.points)]
    yield el("polyline", points=" ".join(f"{_short(x)},{_short(y)}" for x, y in places), class_=_stroke(number))
    every = math.ceil(len(places) / MARKS)
    yield from (_mark(number, x, y) for x, y in places[every // 2 :: every])


def _stroke(number: int) -> str:
    return f"line s{number % STYLES} d{(number + number // STYLES) % STYLES}"


def _mark(number: int, x: float, y: float) -> Element:
    shape, style = _SHAPES[number % STYLES], f"mark s{number % STYLES}"
    if shape == "circle":
        return el("circle", cx=_short(x), cy=_short(y), r=3.5, class_=style)
    return el("path", d=shape, transform=f"translate({_short(x)} {_short(y)})", class_=style)


def _entry(number: int, line: Line) -> Element:
    sample = el("line", x1=0, x2=36, y1=7, y2=7, class_=_stroke(number))
    mark = None if line.level else _mark(number, 18, 7)
    return el(
        "span", el("svg", *(each for each in (sample, mark) if each is not None), viewBox="0 0 36 14", class_="key", aria_hidden="true"), name(line.label)
    )


def _told(line: Line) -> str:
    """What a series says to somebody who does not see it."""
    values = [y for _, y in line.points]
    if line.level or len(values) == 1:
        return f"{line.label} {figure(values[0])}"
    return f"{line.label} from {figure(values[0])} to {figure(values[-1])}, least {figure(min(values))}, greatest {figure(max(values))}"


def _short(value: float) -> str:
    return f"{value:.1f}"


def by_language(figures: Mapping[str, Points], before: str = "") -> list[Line]:
    """A line a language, in alphabetical order."""
    return [Line(f"{before}{language}", figures[language]) for language in sorted(figures)]
