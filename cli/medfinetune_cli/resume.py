"""`medfinetune resume RUN`: go on where a suspended run stopped."""

from __future__ import annotations

import typer

from medfinetune_cli.cluster_client import Place, connect
from medfinetune_cli.cluster_options import ContextOption, KubeconfigOption, NamespaceOption, RunArgument
from medfinetune_cli.output import FormatOption, chosen, refusals
from medfinetune_cli.policy import Change, change_policy

RESUME = Change("suspend", False, "resuming: it asks for its pods again and continues from its last checkpoint", "is not suspended")


def resume(
    context: typer.Context,
    run: RunArgument,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    kube_context: ContextOption = None,
    output: FormatOption = None,
) -> None:
    """Continue a suspended run from its last checkpoint."""
    form = chosen(context, output)
    with refusals(form):
        change_policy(connect(Place(kubeconfig, kube_context, namespace)), run, RESUME, form)
