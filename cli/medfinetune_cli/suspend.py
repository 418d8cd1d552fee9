"""`medfinetune suspend RUN`: a pause that gives the GPUs back."""

from __future__ import annotations

import typer

from medfinetune_cli.cluster_client import Place, connect
from medfinetune_cli.cluster_options import ContextOption, KubeconfigOption, NamespaceOption, RunArgument
from medfinetune_cli.output import FormatOption, chosen, refusals
from medfinetune_cli.policy import Change, change_policy

SUSPEND = Change("suspend", True, "suspending: it writes a checkpoint and gives its GPUs back; continue it by `medfinetune resume`", "is suspended already")


def suspend(
    context: typer.Context,
    run: RunArgument,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    kube_context: ContextOption = None,
    output: FormatOption = None,
) -> None:
    """Pause a run: it writes a checkpoint and gives its GPUs back.

    Nothing is lost and nothing is charged; `resume` continues it.
    """
    form = chosen(context, output)
    with refusals(form):
        change_policy(connect(Place(kubeconfig, kube_context, namespace)), run, SUSPEND, form)
