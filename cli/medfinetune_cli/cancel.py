"""`medfinetune cancel RUN`: end a run for good."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medfinetune_cli.cluster_client import Place, connect
from medfinetune_cli.cluster_options import ContextOption, KubeconfigOption, NamespaceOption, RunArgument
from medfinetune_cli.output import Format, FormatOption, UsageRefusal, chosen, refusals
from medfinetune_cli.policy import Change, change_policy

CANCEL = Change("cancel", True, "cancelling: its pods stop; no adapter will come of it", "is cancelled already")
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def cancel(
    context: typer.Context,
    run: RunArgument,
    yes: YesOption = False,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    kube_context: ContextOption = None,
    output: FormatOption = None,
) -> None:
    """End a run for good; asks first.

    Final: a cancelled run cannot be resumed, its checkpoints and prepared data are
    purged unless output.retain names them. To pause it instead: suspend.
    """
    form = chosen(context, output)
    with refusals(form):
        cluster = connect(Place(kubeconfig, kube_context, namespace))
        change_policy(cluster, run, CANCEL, form, confirm=lambda: None if yes else _confirm(run, cluster.namespace, form))


def _confirm(run: str, namespace: str, form: Format) -> None:
    """Ask a person on a terminal, on stderr. Raises Abort at no, UsageRefusal where there is nobody to ask."""
    if form is Format.JSON or not sys.stdin.isatty():
        raise UsageRefusal("cancel", found="no terminal to ask on", expected="a decision", remedy="Cancelling is final. Give --yes if it is meant.")
    typer.confirm(f"Cancelling {run} in namespace {namespace} is final: it cannot be resumed. Cancel it?", abort=True, err=True)
