"""What suspend, resume and cancel share: set one field of spec.runPolicy of one run, unless it is set already or the run has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medfinetune_cli.output import Format, console, write_json

if TYPE_CHECKING:
    from medfinetune_cli.cluster_client import Cluster
    from medfinetune_cli.run_state import RunState


@dataclass(frozen=True)
class Change:
    """A field of runPolicy, the value it gets, and the words for it: what happens next, and what it means that it is set already."""

    field: str
    value: bool
    done: str
    already: str


def change_policy(cluster: Cluster, name: str, change: Change, form: Format, confirm: Callable[[], None] = lambda: None) -> None:
    """Make the change, once `confirm` returns, and say what it means. Raises Refusal where the API server does."""
    from medfinetune_cli.run_state import RunState

    run = RunState.of(cluster.run(name))
    said = _needless(run, change)
    if changes := said is None:
        confirm()
        cluster.set_policy(name, {change.field: change.value})
        said = change.done
    if form is Format.JSON:
        write_json({"exitCode": 0, "reason": "Succeeded", "name": name, "namespace": cluster.namespace, "changed": changes, "message": said})
    else:
        console("stdout").print(f"{name}  {said}", soft_wrap=True)


def _needless(run: RunState, change: Change) -> str | None:
    """Why there is nothing to change; None where there is."""
    if run.ended:
        return f"nothing to do: the run has ended ({run.phase})"
    if run.policy.get(change.field, False) is change.value:
        return change.already
    return "nothing to do: the run is cancelled, which is final" if run.policy.get("cancel") else None
