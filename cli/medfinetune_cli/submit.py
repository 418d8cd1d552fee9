"""`medfinetune submit manifest.yaml`: hand a run to the cluster's operator."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfinetune_cli.cluster_client import Place, connect
from medfinetune_cli.cluster_options import ContextOption, KubeconfigOption, NamespaceOption
from medfinetune_cli.output import Format, FormatOption, UsageRefusal, chosen, console, refusals, write_json
from medfinetune_cli.validate import ManifestArgument

if TYPE_CHECKING:
    from medfinetune_cli.submission import Submitted


class DryRun(StrEnum):
    """How far a submission goes."""

    NONE = "none"
    SERVER = "server"


DryRunOption = Annotated[DryRun, typer.Option("--dry-run", help="[bold]server[/]: the API server checks everything and stores nothing.")]
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Follow it until it ends, as status --watch does.")]


def submit(
    context: typer.Context,
    manifest: ManifestArgument,
    dry_run: DryRunOption = DryRun.NONE,
    wait: WaitOption = False,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    kube_context: ContextOption = None,
    output: FormatOption = None,
) -> None:
    """Hand a run to the cluster.

    The manifest is validated here first, then by the API server, where no unknown
    field passes. Submitting the same manifest again changes nothing; where only
    runPolicy differs it is changed; any other change is refused, because a run's
    spec is what its results are known by. Submit another experiment under another name.
    Who asks, as the API server knows them, is written down with the run.
    """
    form = chosen(context, output)
    with refusals(form):
        if wait and dry_run is DryRun.SERVER:
            raise UsageRefusal("--wait", found="a dry run", expected="a run that is stored", remedy="Leave out --wait or --dry-run.")
        from medfinetune_cli.submission import read_submission, send

        wanted = read_submission(manifest, namespace)
        cluster = connect(Place(kubeconfig, kube_context, namespace), wanted.namespace)
        submitted = send(cluster, wanted, dry_run=dry_run is DryRun.SERVER)
        if not wait:
            _report(submitted, form)
            return
        from medfinetune_cli.follow import follow

        raise typer.Exit(follow(cluster, submitted.identity.name, form))


def _report(submitted: Submitted, form: Format) -> None:
    identity, how = submitted.identity, " (dry run: nothing was stored)" if submitted.dry_run else ""
    if form is Format.JSON:
        write_json(_as_json(submitted))
        return
    from rich.text import Text

    changed = f"\n  changed    {', '.join(submitted.changed)}" if submitted.changed else ""
    folder = "" if submitted.dry_run else f"\n  folder     {identity.folder}/\n  follow it  medfinetune status {identity.name} -n {identity.namespace} --watch"
    facts = f"{how}  {identity.name}\n  namespace  {identity.namespace}{changed}{folder}"
    console("stdout").print(Text.assemble((submitted.action, "bold green"), facts), soft_wrap=True)


def _as_json(submitted: Submitted) -> dict[str, Any]:
    identity = submitted.identity
    facts = {"action": str(submitted.action), "dryRun": submitted.dry_run, "changed": list(submitted.changed)}
    return {"exitCode": 0, "reason": "Succeeded", "problems": [], "name": identity.name, "namespace": identity.namespace, "uid": identity.uid, **facts}
