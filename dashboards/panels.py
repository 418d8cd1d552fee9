"""What a panel looks like: its title, what it says, its unit and limits, its queries. Every kind that the dashboards use, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DynamicConfigValue, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Whatever Prometheus the viewer chooses."""
NO_GPU = "No GPU: trained on CPUs, there is no GPU memory to show"
NOTHING = "Nothing was measured in this time"
GREEN, YELLOW, RED = "green", "yellow", "red"
HEIGHT = 8
Limit = tuple[float | None, str]
"""From which value on, and the colour; None begins the scale."""
AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel | table.Panel
Kind = TypeVar("Kind", timeseries.Panel, stat.Panel, bargauge.Panel, table.Panel)


@dataclass(frozen=True)
class Query:
    """One PromQL query and how its series are named."""

    expr: str
    legend: str = ""


def above(warns: float, alarms: float) -> Sequence[Limit]:
    """Green, yellow from `warns`, red from `alarms`."""
    return ((None, GREEN), (warns, YELLOW), (alarms, RED))


def below(alarms: float, warns: float) -> Sequence[Limit]:
    """Red, yellow from `alarms`, green from `warns`."""
    return ((None, RED), (alarms, YELLOW), (warns, GREEN))


def lines(title: str, about: str, unit: str, *queries: Query, limits: Sequence[Limit] = (), width: int = 8, empty: str = NOTHING) -> timeseries.Panel:
    """Figures over time. `empty` is said where no series answers."""
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
    panel = _dressed(timeseries.Panel(), title, about, unit, queries, limits, width, empty)
    panel.legend(legend).tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    return panel.line_width(1).fill_opacity(5).show_points(VisibilityMode.AUTO).axis_soft_min(0)


def stacked(title: str, about: str, unit: str, *queries: Query, width: int = 8, empty: str = NOTHING) -> timeseries.Panel:
    """Parts of a whole over time."""
    panel = lines(title, about, unit, *queries, width=width, empty=empty)
    return panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A")).fill_opacity(40)


def figure(title: str, about: str, unit: str, query: Query, limits: Sequence[Limit] = (), width: int = 4, empty: str = NOTHING) -> stat.Panel:
    """What stands now, one value a series."""
    panel = _dressed(stat.Panel(), title, about, unit, [query], limits, width, empty).height(HEIGHT // 2)
    coloured = BigValueColorMode.VALUE if limits else BigValueColorMode.NONE
    return panel.reduce_options(_newest()).color_mode(coloured).graph_mode(BigValueGraphMode.NONE).orientation(VizOrientation.AUTO)


def word(title: str, about: str, query: Query, width: int = 4) -> stat.Panel:
    """What stands now, where the series' name is the answer."""
    return figure(title, about, "none", query, width=width).text_mode(BigValueTextMode.NAME)


def bars(title: str, about: str, unit: str, *queries: Query, most: float | None = None, width: int = 24, empty: str = NOTHING) -> bargauge.Panel:
    """What stands now, to be compared; `most` is the end of the scale."""
    panel = _dressed(bargauge.Panel(), title, about, unit, queries, (), width, empty, instant=True).min(0)
    panel.reduce_options(_newest()).orientation(VizOrientation.HORIZONTAL).display_mode(BarGaugeDisplayMode.BASIC)
    return panel.max(most) if most is not None else panel


def rows(title: str, about: str, *queries: Query, width: int = 24, empty: str = NOTHING) -> table.Panel:
    """A table of what stands now: series with equal labels are one row."""
    return _dressed(table.Panel(), title, about, "none", queries, (), width, empty, instant=True, layout=PromQueryFormat.TABLE)


def setting(name: str, value: object) -> DynamicConfigValue:
    """One thing that a field of a panel has otherwise than the rest: `unit`, `thresholds`, `custom.lineStyle`, ..."""
    return DynamicConfigValue(id_val=name, value=value)


def _dressed(
    panel: Kind,
    title: str,
    about: str,
    unit: str,
    queries: Sequence[Query],
    limits: Sequence[Limit],
    width: int,
    empty: str,
    instant: bool = False,
    layout: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> Kind:
    panel.title(title).description(about).unit(unit).datasource(SOURCE).span(width).height(HEIGHT).no_value(empty)
    steps = [Threshold(value=value, color=colour) for value, colour in limits or ((None, GREEN),)]
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        target = Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter).datasource(SOURCE).format(layout)
        panel.with_target(target.instant() if instant else target.range())
    return panel


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])
