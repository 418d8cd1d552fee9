"""`medfinetune fetch RUN`: a run's artifacts from the output volume to this machine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from medfinetune_cli.cluster_client import Place, connect
from medfinetune_cli.cluster_options import ContextOption, KubeconfigOption, NamespaceOption, RunArgument
from medfinetune_cli.output import Format, FormatOption, chosen, console, refusals, write_json

if TYPE_CHECKING:
    from medfinetune_cli.fetched import Fetched


class What(StrEnum):
    """Which artifacts."""

    ADAPTER = "adapter"
    MODEL = "model"
    EVALUATION = "evaluation"
    METRICS = "metrics"
    ALL = "all"


ToOption = Annotated[Path | None, typer.Option("--to", help="Folder to make; must not exist.", show_default="./NAME-UID8")]
WhatOption = Annotated[What, typer.Option("--what", help="Which artifacts. [bold]all[/]: these, report.html, prepared.json; never record text.")]
ImageOption = Annotated[
    str | None, typer.Option("--image", help="Image of the pod that reads the volume; needs python3.", show_default="that of the run's newest Job")
]
TimeoutOption = Annotated[int, typer.Option("--timeout", min=1, help="Seconds to wait for that pod to start.")]


def fetch(
    context: typer.Context,
    run: RunArgument,
    to: ToOption = None,
    what: WhatOption = What.ADAPTER,
    image: ImageOption = None,
    timeout: TimeoutOption = 300,
    namespace: NamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    kube_context: ContextOption = None,
    output: FormatOption = None,
) -> None:
    """Copy a run's artifacts to this machine.

    A short-lived pod with no more rights than the run's own reads the output volume
    and sends the files; it is deleted at the end, also on Ctrl-C. Every file's SHA-256
    is computed in the pod and compared here; the folder appears as a whole or not at
    all, and nothing is overwritten. Tokenised data, checkpoints and evaluation samples
    stay on the volume: they hold record text.

    Needs these rights in the namespace: get medfinetunes; list jobs; create, get and
    delete pods; get and create pods/exec.
    """
    form = chosen(context, output)
    with refusals(form), stop_as_interrupt():
        from medfinetune_cli.fetched import fetched

        cluster = connect(Place(kubeconfig, kube_context, namespace))
        _report(fetched(cluster, run, to=to, what=what, image=image, seconds=timeout), form)


@contextmanager
def stop_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command as Ctrl-C does: what it made on the cluster is removed on the way out."""
    before = {one: signal.signal(one, _interrupt) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _report(result: Fetched, form: Format) -> None:
    if form is Format.JSON:
        files = [{"path": one.path, "bytes": one.size, "sha256": one.sha256} for one in result.files]
        write_json({"exitCode": 0, "reason": "Succeeded", "folder": str(result.folder), "files": files})
        return
    total = sum(one.size for one in result.files)
    console("stdout").print(f"fetched  {len(result.files)} files, {total:,} bytes, SHA-256 compared\n  {result.folder}", soft_wrap=True)
