"""Plots what the dashboards' queries answer: `python -m dashboards.picture` writes docs/images/{fleet,run}.png.

Not Grafana, which no package registry carries: the same panels at the same places, drawn by matplotlib. What answers is the Prometheus of the tests, which
scrapes a real operator and a real training; so tests/ and examples/ must be on PYTHONPATH.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashboards.__main__ import DASHBOARDS, FOLDER
from dashboards.queries import Asked, asked, put_in

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SCRAPES = 60
WIDTH, ROW = 15.0, 0.22
"""Inches of the whole, and of one of Grafana's rows."""
HEADING = 1
"""Rows of a panel that its title takes."""
FORMATS: dict[str, Callable[[float], str]] = {
    "percentunit": "{:.0%}".format,
    "bytes": ticker.EngFormatter("B", places=0).format_data,
    "s": "{:.3g} s".format,
    "sci": "{:.1e}".format,
}
"""How a unit is written; others as plain numbers."""
Json = dict[str, Any]
Answers = Callable[[Asked], list[Json]]
"""The series that a query answers, as Prometheus gives them: `metric`, and `values` of time and text."""


def draw(board: Json, answers: Answers, file: Path) -> None:
    """Plot a dashboard into `file`."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) + 1
    figure = Figure(figsize=(WIDTH, ROW * rows), dpi=90)
    queries = [*asked(board)]
    shaded = [series for query in queries if query.panel == "annotations" for series in answers(query)]
    for panel in board["panels"]:
        if panel["type"] == "row":
            figure.text(0.01, 1 - (panel["gridPos"]["y"] + 0.8) / rows, panel["title"], weight="bold", size=10)
            continue
        axes = _axes(figure, panel, rows)
        found = [(query, series) for query in queries if query.panel == panel["title"] for series in answers(query)]
        _panel(axes, panel, found, shaded)
    note = "A plot of the panels' queries, answered by a real Prometheus; not a picture of Grafana."
    figure.text(0.01, 0.3 / rows, note, size=8, style="italic")
    figure.savefig(file)


def _axes(figure: Figure, panel: Json, rows: int) -> Axes:
    """Where Grafana would put it, less its title and the room for ticks and legend."""
    place = panel["gridPos"]
    left, width = (place["x"] + 0.8) / 24, (place["w"] - 1.1) / 24
    top, height = place["y"] + HEADING + 0.2, place["h"] - HEADING - 1.4
    axes = figure.add_axes((left, 1 - (top + height) / rows, width, height / rows))
    axes.set_title(panel["title"], size=8, loc="left", pad=3)
    axes.tick_params(labelsize=6)
    return axes


def _panel(axes: Axes, panel: Json, found: list[tuple[Asked, Json]], shaded: list[Json]) -> None:
    kind = panel["type"] if found else "empty"
    {"timeseries": _lines, "stat": _figures, "bargauge": _bars, "table": _table, "empty": _empty}[kind](axes, panel, found)
    if kind == "timeseries":
        begin = min(time for _, series in found for time, _ in series["values"])
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _text(panel["fieldConfig"]["defaults"]["unit"], value)))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda time, _: f"{max(0, time - begin):.0f} s"))
        axes.margins(x=0)
        axes.legend(fontsize=6, loc="best", frameon=False)
        for series in shaded:
            axes.axvspan(series["values"][0][0], series["values"][-1][0], color="tab:blue", alpha=0.07, linewidth=0)


def _lines(axes: Axes, panel: Json, found: list[tuple[Asked, Json]]) -> None:
    drawn = [([time for time, _ in series["values"]], _numbers(series), _legend(query, series)) for query, series in found]
    if panel["fieldConfig"]["defaults"]["custom"].get("stacking"):
        times = sorted({time for each, _, _ in drawn for time in each})
        heights = [[dict(zip(each, numbers, strict=True)).get(time, 0.0) for time in times] for each, numbers, _ in drawn]
        axes.stackplot(times, *heights, labels=[legend for _, _, legend in drawn], alpha=0.6)
        return
    for each, numbers, legend in drawn:
        axes.plot(each, numbers, linewidth=1, label=legend)
    axes.set_ylim(0, 1.15 * max(max(numbers) for _, numbers, _ in drawn) or 1)


def _figures(axes: Axes, panel: Json, found: list[tuple[Asked, Json]]) -> None:
    axes.set_axis_off()
    unit, named = panel["fieldConfig"]["defaults"]["unit"], panel["options"]["textMode"] == "name"
    for place, (query, series) in enumerate(found):
        text = _legend(query, series) if named else f"{_legend(query, series)}\n{_text(unit, _numbers(series)[-1])}"
        across = len(found) == 1 or not named
        where = ((place + 0.5) / len(found), 0.5) if across else (0.5, 1 - (place + 0.5) / len(found))
        axes.text(*where, text, size=8, ha="center", va="center")


def _bars(axes: Axes, panel: Json, found: list[tuple[Asked, Json]]) -> None:
    unit, legends, numbers = (
        panel["fieldConfig"]["defaults"]["unit"],
        [_legend(query, series) for query, series in found],
        [_numbers(each)[-1] for _, each in found],
    )
    bars = axes.barh(range(len(found)), numbers, color="tab:green", alpha=0.6)
    axes.bar_label(bars, [f"{legend}: {_text(unit, number)}" for legend, number in zip(legends, numbers, strict=True)], size=8, label_type="center")
    axes.set_yticks([])
    axes.set_xlim(0, panel["fieldConfig"]["defaults"].get("max"))


def _table(axes: Axes, panel: Json, found: list[tuple[Asked, Json]]) -> None:
    """Series with equal labels as one row, columns named as the panel's last transformation says."""
    axes.set_axis_off()
    names = panel["transformations"][-1]["options"]["renameByName"]
    columns = sorted(names, key=panel["transformations"][-1]["options"]["indexByName"].__getitem__)
    rows: dict[str, Json] = {}
    for query, series in found:
        rows.setdefault(series["metric"]["name"], {}).update(series["metric"] | {f"Value #{query.query}": f"{_numbers(series)[-1]:.4g}"})
    cells = [[row.get(column, "") for column in columns] for row in rows.values()]
    table = axes.table(cells, colLabels=[names[column] for column in columns], loc="upper center", cellLoc="left")
    table.set_fontsize(7)


def _empty(axes: Axes, panel: Json, found: list[tuple[Asked, Json]]) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, panel["fieldConfig"]["defaults"]["noValue"], size=7, color="grey", ha="center", va="center")


def _numbers(series: Json) -> list[float]:
    return [float(text) for _, text in series["values"]]


def _legend(query: Asked, series: Json) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: series["metric"].get(found[1], ""), query.legend)


def _text(unit: str, value: float) -> str:
    return FORMATS.get(unit, "{:.4g}".format)(value)


def main() -> int:
    """Start what answers, and plot both dashboards."""
    from cluster.control_plane import ControlPlane  # type: ignore[import-not-found]  # of the tests
    from support.scraped import RUNS, scraped  # type: ignore[import-not-found]  # of the tests

    with tempfile.TemporaryDirectory() as name:
        (plane := Path(name, "plane")).mkdir()
        with ControlPlane(plane) as cluster, scraped(cluster, Path(name, "scraped"), scrapes=SCRAPES) as watched:
            values = {"namespace": [watched.namespace], "run": RUNS, "__rate_interval": "10s", "__interval": "1s"}

            def answers(query: Asked) -> list[Json]:
                found: list[Json] = [] if query.label else watched.prometheus.range(put_in(query.expr, values), watched.start, watched.end)
                return [series for series in found if any(math.isfinite(number) for number in _numbers(series))]

            for board in DASHBOARDS:
                draw(json.loads((FOLDER / f"{board}.json").read_text(encoding="utf-8")), answers, IMAGES / f"{board}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
