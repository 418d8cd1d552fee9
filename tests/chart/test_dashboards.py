"""The committed dashboards against a real Prometheus that scrapes, through the chart's own monitors, a real training run and a real operator."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.prometheus import Json, Prometheus
from support.scraped import RUNS, Scraped, scraped

from dashboards.__main__ import DASHBOARDS, FOLDER
from dashboards.queries import Asked, asked, put_in

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring.md"
BOARDS: dict[str, Json] = {name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in DASHBOARDS}
PANELS = [(board, panel) for board in BOARDS.values() for panel in board["panels"] if panel["type"] != "row"]
QUERIES = [query for board in BOARDS.values() for query in asked(board)]
ON_GPU = [query for query in QUERIES if "vram" in query.expr]
HERE = [query for query in QUERIES if query not in ON_GPU]
AN_HOUR = 3600
GIB = 1 << 30
VRAM = {"used": 10 * GIB, "peak": 8 * GIB, "limit": 20 * GIB}
"""What two ranks of a run on GPUs served some hours ago; no test has a GPU."""


@pytest.fixture(scope="module")
def past() -> Iterator[float]:
    """When the run on GPUs was half done: on a whole minute, and in blocks that lie before all that is scraped now."""
    return (time.time() - 4 * AN_HOUR) // 60 * 60


@pytest.fixture(scope="module")
def watched(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory, past: float) -> Iterator[Scraped]:
    with scraped(control_plane, tmp_path_factory.mktemp("scraped"), on_gpus(past)) as watched:
        yield watched


def on_gpus(middle: float) -> str:
    """Series of a run on two GPUs around that time, in OpenMetrics format, with the labels that the chart's PodMonitor gives."""
    of_run = 'namespace="home",pod="gpus-train-a1-0",run="gpus",stage="train",attempt="1",index="0"'
    lines = []
    for name, size in VRAM.items():
        lines.append(f"# TYPE medfinetune_vram_{name}_bytes gauge")
        lines += [f'medfinetune_vram_{name}_bytes{{{of_run},rank="{rank}"}} {size} {middle + minute * 60}' for rank in (0, 1) for minute in range(-10, 11)]
    return "\n".join([*lines, "# EOF", ""])


def figures(series: Json) -> list[float]:
    """What could be drawn of a series."""
    return [value for _, text in series["values"] if math.isfinite(value := float(text))]


@dataclass(frozen=True)
class Chosen:
    """What a viewer has chosen: namespaces, runs, and the time between two moments."""

    namespace: str
    runs: tuple[str, ...]
    start: float
    end: float


def answers(prometheus: Prometheus, query: Asked, chosen: Chosen) -> list[Json]:
    """The drawable series that a query answers, with variables put in as Grafana does."""
    values = {"namespace": [chosen.namespace], "run": chosen.runs, "__rate_interval": "4s", "__interval": "1s"}
    expr = put_in(query.expr, values)
    if query.label:
        return [{"metric": {query.label: value}} for value in prometheus.values(query.label, expr)]
    return [series for series in prometheus.range(expr, chosen.start, chosen.end) if figures(series)]


def scraped_here(watched: Scraped) -> Chosen:
    return Chosen(watched.namespace, RUNS, watched.start, watched.end)


def scraped_on_gpus(past: float) -> Chosen:
    return Chosen("home", ("gpus",), past - 300, past + 300)


def test_each_installation_has_its_own_line() -> None:
    of_operators = [query.expr for query in QUERIES if "medfinetune_operator_" in query.expr]
    assert len(of_operators) == 6
    assert [expr for expr in of_operators if "by (namespace, job" not in expr] == []


def test_every_query_has_an_answer(watched: Scraped) -> None:
    empty = [str(query) for query in HERE if not answers(watched.prometheus, query, scraped_here(watched))]
    assert not empty, "no answer to " + ", ".join(empty)


def test_every_query_of_gpu_memory_has_an_answer_on_written_series(watched: Scraped, past: float) -> None:
    of_ranks = {str(query): answers(watched.prometheus, query, scraped_on_gpus(past)) for query in ON_GPU}
    assert [name for name, series in of_ranks.items() if not series] == []
    [share] = [series for name, series in of_ranks.items() if "VRAM share" in name]
    assert [(each["metric"]["rank"], set(figures(each))) for each in share] == [(rank, {VRAM["peak"] / VRAM["limit"]}) for rank in ("0", "1")]


def test_a_query_without_an_answer_is_seen(watched: Scraped) -> None:
    loss = next(query for query in HERE if "medfinetune_loss" in query.expr)
    misspelt = replace(loss, expr=loss.expr.replace("medfinetune_loss", "medfinetune_los"))
    here = scraped_here(watched)
    seen = [bool(answers(watched.prometheus, *asked_for)) for asked_for in ((loss, here), (misspelt, here), (loss, replace(here, runs=("ends",))))]
    assert seen == [True, False, False]


def test_legends_name_labels_that_the_series_have(watched: Scraped) -> None:
    for query in HERE:
        for series in answers(watched.prometheus, query, scraped_here(watched)):
            assert set(re.findall(r"{{(\w+)}}", query.legend)) <= set(series["metric"]), f"{query}: {query.legend} of {series['metric']}"


def test_a_panel_tells_what_it_shows_from_a_source_of_the_viewers_choice() -> None:
    for board, panel in PANELS:
        where = f"{board['title']} / {panel['title']}"
        assert panel["description"].endswith("."), where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["fieldConfig"]["defaults"]["noValue"], where
        assert panel["targets"], where
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources), where


def test_dashboards_are_told_apart_and_lead_to_each_other() -> None:
    uids = {board["uid"] for board in BOARDS.values()}
    assert uids == {"medfinetune-fleet", "medfinetune-run"}
    for board in BOARDS.values():
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)
        assert [link["tags"] for link in board["links"]] == [board["tags"]]
    [url] = re.findall(r'"url": "(/d/[^"]+)"', json.dumps(BOARDS["fleet"]["panels"]))
    assert url.split("/")[2].split("?")[0] in uids
    assert set(re.findall(r"var-(\w+)=", url)) <= {each["name"] for each in BOARDS["run"]["templating"]["list"]}


def test_panels_lie_side_by_side() -> None:
    for board in BOARDS.values():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            assert not taken & cells, f"{board['title']} / {panel['title']}"
            assert max(x for x, _ in cells) < 24, f"{board['title']} / {panel['title']}"
            taken |= cells


def test_the_docs_list_what_no_gpu_has_shown() -> None:
    section = MONITORING.read_text(encoding="utf-8").split("## Not yet seen on a GPU")[1].split("\n## ")[0]
    assert set(re.findall(r"^- (.+ / .+?)(?::|$)", section, re.MULTILINE)) == {f"{query.dashboard} / {query.panel}" for query in ON_GPU}
