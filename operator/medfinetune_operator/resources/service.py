"""The headless Service of a run: it gives each pod a name, `<job>-<index>.<service>`, before the pod is ready, so that the gang can meet."""

from __future__ import annotations

from typing import Any

from medfinetune_api.objects import METRICS_PORT, METRICS_PORT_NAME

from medfinetune_operator.resources.metadata import metadata, run_labels
from medfinetune_operator.run import Run


def service(run: Run) -> dict[str, Any]:
    """The Service; it selects by uid, so that pods of a deleted run of the same name are not among its own."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(run, run.identity.folder),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": run_labels(run),
            "ports": [{"name": METRICS_PORT_NAME, "port": METRICS_PORT, "protocol": "TCP", "targetPort": METRICS_PORT_NAME}],
        },
    }
