"""A run's attempts as annotations: shaded for as long as their pods are scraped, so that a jump in a figure can be told from a restart."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.dashboard import AnnotationQuery

from dashboards.panels import SOURCE


class _Titled(AnnotationQuery):
    """An annotation of Grafana's Prometheus data source, with the fields that the SDK's class lacks."""

    def to_json(self) -> dict[str, object]:
        """The SDK's fields and Prometheus' own."""
        return super().to_json() | {"titleFormat": "{{namespace}}/{{run}}: {{stage}}, attempt {{attempt}}", "tagKeys": "stage,attempt"}


class _Attempts(builders.AnnotationQuery):
    def __init__(self) -> None:
        self._internal = _Titled()


def attempts(chosen: str) -> builders.AnnotationQuery:
    """Attempts of the runs that `chosen` selects: Prometheus knows them from the labels of their pods, before anything is measured."""
    expr = f'group by (namespace, run, stage, attempt) (up{{{chosen}, attempt!=""}})'
    return _Attempts().name("Attempts").datasource(SOURCE).icon_color("blue").enable(True).expr(expr)
