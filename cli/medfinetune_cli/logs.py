"""`medfinetune logs RUN`: what the pods of a run write, one prefix a rank."""

from __future__ import annotations

from typing import Annotated

import typer
from medfinetune_api.choices import Stage

from medfinetune_cli.cluster_client import Place, connect
from medfinetune_cli.cluster_options import ContextOption, KubeconfigOption, NamespaceOption, RunArgument
from medfinetune_cli.output import FormatOption, UsageRefusal, chosen, refusals

StageOption = Annotated[Stage | None, typer.Option("--stage", help="Stage whose pods to read.", show_default="that of the newest attempt")]
AttemptOption = Annotated[int | None, typer.Option("--attempt", min=1, help="Number of the attempt.", show_default="the newest")]
RankOption = Annotated[int | None, typer.Option("--rank", min=0, help="Pod of the gang, by its rank.", show_default="all")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the pods end; without --stage or --attempt, until the run ends.")]
TailOption = Annotated[int | None, typer.Option("--tail", min=0, help="Last lines of each pod.", show_default="all")]


def logs(
    context: typer.Context,
    run: RunArgument,
    stage: StageOption = None,
    attempt: AttemptOption = None,
    rank: RankOption = None,
    follow: FollowOption = False,
    tail: TailOption = None,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    kube_context: ContextOption = None,
    output: FormatOption = None,
) -> None:
    """Print the logs of a run's pods, by default of its newest attempt.

    With several pods each line begins with its stage, attempt and rank. Where there is
    nothing to read yet, says why. Kubernetes keeps the logs of a pod as long as the pod;
    the newest two finished Jobs of a stage are kept with theirs. Needs the rights to list
    pods and to get pods/log.
    """
    with refusals(chosen(context, output)):
        if attempt is not None and stage is None:
            raise UsageRefusal(
                "--attempt", found="no stage", expected="the stage whose attempt it is", remedy="Give --stage prepare, train, evaluate or purge."
            )
        from medfinetune_cli.log_pods import Wanted
        from medfinetune_cli.log_reader import LogReader

        cluster = connect(Place(kubeconfig, kube_context, namespace))
        reader = LogReader(cluster, run, Wanted(stage, attempt, rank), tail)
        reader.follow() if follow else reader.read()
