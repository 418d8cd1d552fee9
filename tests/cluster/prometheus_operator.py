"""The CustomResourceDefinitions of Prometheus Operator, out of its Go module: the newest that the module proxy has."""

from __future__ import annotations

from pathlib import Path

from cluster.modules import module

MODULE, VERSION, SUM = "github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")


def definitions() -> list[Path]:
    """Files of the definitions of KINDS. Raises AssertionError if it is not the pinned module."""
    folder = module(MODULE, VERSION, SUM) / "example" / "prometheus-operator-crd"
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in KINDS]
