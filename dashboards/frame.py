"""What both dashboards have around their panels: uid, tags, refresh, links to each other, variables that choose the source, the namespaces and the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.panels import SOURCE, AnyPanel

TAG = "medfinetune"
SERVED = 'namespace=~"$namespace", run=~"$run"'
"""Chooses what pods of runs serve: the monitor names their run after the pod's label."""
KNOWN = 'namespace=~"$namespace", name=~"$run"'
"""Chooses what the operator knows of runs."""
ALL = VariableOption(selected=True, text=["All"], value=["$__all"])


def framed(uid: str, title: str, about: str, sections: Mapping[str, Sequence[AnyPanel]]) -> Dashboard:
    """A dashboard of `sections`, each under a heading; panels are numbered in their order."""
    frame = Dashboard(title).uid(uid).description(about).tags([TAG]).timezone("browser").time("now-6h", "now").refresh("30s")
    frame.tooltip(DashboardCursorSync.CROSSHAIR).readonly().link(_others())
    for variable in (_source(), _namespaces(), _runs()):
        frame.with_variable(variable)
    number = 0
    for heading, panels in sections.items():
        frame.with_row(Row(heading).id(number := number + 1))
        for panel in panels:
            frame.with_panel(panel.id(number := number + 1))
    return frame


def _source() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def _namespaces() -> QueryVariable:
    return _several("namespace", "Namespace", "label_values(medfinetune_run_phase, namespace)")


def _runs() -> QueryVariable:
    return _several("run", "Run", 'label_values(medfinetune_run_phase{namespace=~"$namespace"}, name)')


def _several(name: str, label: str, query: str) -> QueryVariable:
    variable = QueryVariable(name).label(label).query(query).datasource(SOURCE).multi(True).include_all(True).all_value(".+").current(ALL)
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)


def _others() -> DashboardLink:
    """Leads to the other dashboards of the tag, with what is chosen here."""
    return DashboardLink("medfinetune").type(DashboardLinkType.DASHBOARDS).tags([TAG]).include_vars(True).keep_time(True)
