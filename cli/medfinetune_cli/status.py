"""`medfinetune status [RUN]`: what the cluster knows of the runs, once or live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfinetune_cli.cluster_client import Place, connect
from medfinetune_cli.cluster_options import ContextOption, KubeconfigOption, NamespaceOption
from medfinetune_cli.output import Format, FormatOption, UsageRefusal, chosen, console, refusals, write_json

if TYPE_CHECKING:
    from medfinetune_cli.cluster_client import Cluster
    from medfinetune_cli.run_state import RunState

OptionalRun = Annotated[str | None, typer.Argument(help="Name of a run; without it, all runs of the namespace.", metavar="[RUN]", show_default=False)]
WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it ends; the exit code says how.")]


def status(
    context: typer.Context,
    run: OptionalRun = None,
    watch: WatchOption = False,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    kube_context: ContextOption = None,
    output: FormatOption = None,
) -> None:
    """Show what the cluster knows of the runs.

    Without RUN one line a run. With RUN its conditions, attempts, progress, results
    and artifacts, and in plain words what it waits for and what to do about it.

    --watch redraws until the run has ended, and ends with 0 where it succeeded or was
    released, else with the exit code of the attempt that decided. Without a terminal it writes one
    line a change to stderr, and the whole once at the end.
    """
    form = chosen(context, output)
    with refusals(form):
        if watch and run is None:
            raise UsageRefusal("--watch", found="no run", expected="the name of one run", remedy="Name it: medfinetune status RUN --watch.")
        cluster = connect(Place(kubeconfig, kube_context, namespace))
        if run is None:
            show_runs(cluster, form)
        elif watch:
            from medfinetune_cli.follow import follow

            raise typer.Exit(follow(cluster, run, form))
        else:
            show_run(cluster.run(run), form)


def show_runs(cluster: Cluster, form: Format) -> None:
    """All runs of the namespace, as a table or as JSON."""
    from medfinetune_cli.run_state import RunState

    bodies = cluster.runs()
    if form is Format.JSON:
        write_json({"runs": [as_json(body) for body in bodies]})
    elif bodies:
        from medfinetune_cli.status_view import run_table

        console("stdout").print(run_table([RunState.of(body) for body in bodies], datetime.now(UTC)))
    else:
        console("stderr").print(f"No runs in namespace {cluster.namespace}. Start one: medfinetune submit manifest.yaml", soft_wrap=True)


def show_run(body: dict[str, Any], form: Format) -> None:
    """One run, as tables or as JSON."""
    if form is Format.JSON:
        write_json(as_json(body))
        return
    from medfinetune_cli.run_state import RunState
    from medfinetune_cli.status_view import run_view

    console("stdout").print(run_view(RunState.of(body), datetime.now(UTC)))


def as_json(body: dict[str, Any]) -> dict[str, Any]:
    """A run for a program: who it is, whether and how it ended, what it waits for, and its status word for word."""
    from medfinetune_cli.run_state import RunState
    from medfinetune_cli.waiting import wait_of

    run = RunState.of(body)
    wait = wait_of(run)
    return {
        "name": run.name,
        "namespace": run.identity.namespace,
        "uid": run.identity.uid,
        "phase": run.phase,
        **_ending(run),
        "released": {"time": run.released.last_transition_time.isoformat(), "message": run.released.message} if run.released else None,
        "waitsFor": {"what": wait.what, "remedy": wait.remedy} if wait else None,
        "status": body.get("status") or {},
    }


def _ending(run: RunState) -> dict[str, Any]:
    return {"ended": run.ended, "exitCode": int(run.exit_code) if run.ended else None, "reason": run.reason}
