"""The options that every verb for a cluster has, named as kubectl names them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CLUSTER_PANEL = "Cluster"

KubeconfigOption = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="Kubeconfig file.", show_default="KUBECONFIG, or ~/.kube/config", rich_help_panel=CLUSTER_PANEL),
]
ContextOption = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig.", show_default="its current one", rich_help_panel=CLUSTER_PANEL)
]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace of the run.", show_default="the context's", rich_help_panel=CLUSTER_PANEL),
]
RunArgument = Annotated[str, typer.Argument(help="Name of a run.", metavar="RUN", show_default=False)]
