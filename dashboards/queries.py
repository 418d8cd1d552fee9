"""What a dashboard asks Prometheus, read from its finished JSON as Grafana reads it: queries of panels, annotations and variables, with values put in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.*), (?P<label>\w+)\)")
_SPECIAL = re.compile(r"[$^*{}\[\]+?.()|\\]")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<plain>\w+))")


@dataclass(frozen=True)
class Asked:
    """One query, and where it stands."""

    dashboard: str
    panel: str
    query: str
    """Its letter among those of the panel."""
    expr: str
    legend: str = ""
    label: str = ""
    """Of a variable: the label whose values are asked for."""

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.panel} / {self.query}"


def asked(dashboard: Mapping[str, Any]) -> Iterator[Asked]:
    """Every query of a dashboard, variables not yet put in."""
    title = dashboard["title"]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield Asked(title, panel["title"], target["refId"], target["expr"], target.get("legendFormat", ""))
    for annotation in dashboard["annotations"].get("list", ()):
        yield Asked(title, "annotations", annotation["name"], annotation["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield _of_variable(title, variable["name"], variable["query"])


def put_in(expr: str, values: Mapping[str, str | Sequence[str]]) -> str:
    """`expr` with its variables replaced: several values by a regular expression of them all, one by itself. Raises KeyError for an unknown variable."""
    return _VARIABLE.sub(lambda found: _text(values[found["braced"] or found["plain"]]), expr)


def _of_variable(dashboard: str, name: str, query: str) -> Asked:
    found = _LABEL_VALUES.fullmatch(query)
    if not found:
        raise ValueError(f"{dashboard}, variable {name}: found {query!r}, expected label_values(SELECTOR, LABEL)")
    return Asked(dashboard, "variables", name, found["selector"], label=found["label"])


def _text(value: str | Sequence[str]) -> str:
    """Several values as Grafana's Prometheus data source writes them: what a regular expression would read is escaped, twice for its string."""
    return value if isinstance(value, str) else "(" + "|".join(_SPECIAL.sub(r"\\\\\g<0>", each) for each in value) + ")"
