"""The NetworkPolicy of a run: its pods speak with each other, answer the operator and Prometheus, ask DNS, and nothing else, neither way."""

from __future__ import annotations

from typing import Any

from medfinetune_api.objects import METRICS_PORT

from medfinetune_operator.resources.metadata import metadata, run_labels
from medfinetune_operator.run import Run
from medfinetune_operator.settings import Settings


def policy(run: Run, settings: Settings) -> dict[str, Any]:
    """The NetworkPolicy. Among its own pods every port is open: gloo and NCCL listen where they like."""
    own = {"podSelector": {"matchLabels": run_labels(run)}}
    readers = [{"namespaceSelector": dict(selector)} for selector in (settings.operator_namespace_selector, settings.scraper_namespace_selector)]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(run, run.identity.folder),
        "spec": {
            **own,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [own]}, {"from": readers, "ports": [{"protocol": "TCP", "port": METRICS_PORT}]}],
            "egress": [{"to": [own]}, dict(settings.dns_egress)],
        },
    }
