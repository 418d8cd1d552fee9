"""A fetch from beginning to end: check what can be checked, start the pod, receive into a temporary folder, delete the pod, take the final name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfinetune_api.exits import Exit
from medfinetune_api.layout import RunFolder
from medfinetune_api.objects import UID_LABEL

from medfinetune_cli.cluster_client import Cluster, Object
from medfinetune_cli.cluster_errors import ClusterRefusal, lacking
from medfinetune_cli.fetch import What
from medfinetune_cli.fetch_pod import fetch_pod, started_pod
from medfinetune_cli.fetch_stream import command, exec_stream
from medfinetune_cli.fetch_tar import ReceivedFile, receive
from medfinetune_cli.output import UsageRefusal, say
from medfinetune_cli.run_state import RunState, claim_of

RIGHTS = (("list", "jobs", "batch"), *((verb, "pods", "") for verb in ("create", "get", "delete")), ("get", "pods/exec", ""), ("create", "pods/exec", ""))
"""What a fetch does in the namespace, besides getting the run. A websocket asks for `get` on pods/exec; newer API servers ask for `create` too."""


class NothingToFetch(ClusterRefusal):
    """The run has not left what was asked for."""


class FolderExists(UsageRefusal):
    """A fetch overwrites nothing."""

    exit = Exit.OUTPUT_CONFLICT


class CannotWrite(UsageRefusal):
    """This machine has no room, or no right, for the folder."""

    exit = Exit.STORAGE_FAILED


@dataclass(frozen=True)
class Fetched:
    """What came, and where it lies."""

    folder: Path
    files: tuple[ReceivedFile, ...]


def fetched(cluster: Cluster, name: str, *, to: Path | None, what: What, image: str | None, seconds: float) -> Fetched:
    """Fetch artifacts of one run. Raises Refusal; whatever happens, the pod is deleted and no half of a folder stays."""
    body = cluster.run(name)
    run = RunState.of(body)
    folder = to or Path(run.identity.folder)
    if folder.exists():
        raise FolderExists("--to", found=f"{folder}, which exists", expected="a folder to make", remedy="Name another folder; nothing is overwritten.")
    paths = wanted_paths(run, what)
    _require_rights(cluster)
    template = _template(cluster, run, image)
    claim = run.status.artifacts.claim_name if run.status.artifacts else claim_of(body, run.identity)
    with _appearing(folder) as receiving, started_pod(cluster, fetch_pod(body, template, claim), seconds) as pod:
        say(f"reading {claim}/{run.identity.folder} through pod {pod}")
        with exec_stream(cluster, pod, command(run.identity.folder, paths)) as stream:
            files = receive(stream, receiving)
    return Fetched(folder, files)


def wanted_paths(run: RunState, what: What) -> tuple[str, ...]:
    """Paths relative to the run's folder, that which has to be there first; none means all. With adapter, model and evaluation comes what was found about the
    run, and what `medfinetune verify` reads: the plan, the chain of attempts, the lineage and its signature.

    Raises NothingToFetch where there is no adapter, or no model, that may be used.
    """
    layout, usable = RunFolder(Path()), run.status.artifacts
    there = {What.ADAPTER: usable and usable.adapter, What.MODEL: usable and usable.model}
    if what in there and not there[what]:
        raise _nothing(run, what, next((each for each, path in there.items() if path), None))
    folders = {What.ADAPTER: layout.adapter, What.MODEL: layout.model, What.EVALUATION: layout.evaluation, What.METRICS: layout.metrics}
    if what not in folders:
        return ()
    proof = (layout.plan, layout.attempts, layout.lineage, layout.signature)
    findings = (layout.contamination, layout.privacy, layout.gates, layout.release)
    return tuple(str(path) for path in (folders[what], *(() if what is What.METRICS else (*proof, *findings))))


def _nothing(run: RunState, what: What, other: What | None) -> NothingToFetch:
    found = f"none: the run is {run.phase}" + (f" ({run.reason})" if run.reason else "")
    remedy = f"Wait until it has succeeded (medfinetune status {run.name} --watch), or fetch --what metrics."
    if other:
        found, remedy = f"none: the run has left its {other}", f"Fetch --what {other}."
    return NothingToFetch(f"{what} of {run.name}", found=found, expected=f"{'an' if what is What.ADAPTER else 'a'} {what} that may be used", remedy=remedy)


def _require_rights(cluster: Cluster) -> None:
    """Before anything is made: a person who may create a pod and not delete it would leave it there."""
    for verb, resource, group in RIGHTS:
        if not cluster.may(verb, resource, group):
            raise lacking(verb, ".".join(filter(None, (resource, group))), cluster.namespace)


def _template(cluster: Cluster, run: RunState, image: str | None) -> Object:
    """The pod template of the run's newest Job; with its Jobs gone, one that only names the image."""
    jobs = cluster.jobs(f"{UID_LABEL}={run.identity.uid}")
    template: Object = jobs[-1]["spec"]["template"]["spec"] if jobs else {"containers": [{"name": "none", "image": image}]}
    if image is None and not jobs:
        found = "none: they are removed some time after the end, or there was none yet"
        remedy = "Give --image IMAGE: one with python3 that the cluster can pull, such as the operator's trainer image."
        raise NothingToFetch(f"Jobs of {run.name}", found=found, expected="one that tells which image can read the volume", remedy=remedy)
    if image is not None:
        template = {**template, "containers": [{**template["containers"][0], "image": image}]}
    return template


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its final name once all went well, and is gone otherwise. Only its owner can read it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield made
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        remedy = "Make room, or name another folder by --to."
        raise CannotWrite(str(folder), found=error.strerror or type(error).__name__, expected="a folder that can be written", remedy=remedy) from None
