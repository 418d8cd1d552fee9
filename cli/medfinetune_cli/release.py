"""`medfinetune release FOLDER --reason TEXT`: let out what a gate has stopped, by a decision that is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medfinetune_cli.output import FormatOption, chosen, console, refusals

RunFolderArgument = Annotated[Path, typer.Argument(help="The run's folder on its output volume.", show_default=False)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why it is to be used although it failed, in one line.", show_default=False)]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides.", show_default="the user of this machine")]


def release(context: typer.Context, folder: RunFolderArgument, reason: ReasonOption, by: ByOption = None, output: FormatOption = None) -> None:
    """Release a run that a gate has stopped; the decision is recorded for good.

    A run that failed a gate is quarantined: no adapter/ and no model/. This verifies
    the run against its lineage.json, writes release.json (who, when, why, which
    gates), gives what was trained its name, and says so in the model card, the
    report and the lineage. Killed half-way, run it again. On a cluster a run is
    released by an annotation, by whom the administrator has allowed it: docs/gates.md.
    """
    form = chosen(context, output)
    with refusals(form):
        from medfinetune_cli.trainer_tool import ask_tool, told

        answer = ask_tool("release", folder, f"--reason={reason}", *([] if by is None else [f"--by={by}"]))
        if not told(answer, form):
            _tell(answer)
    raise typer.Exit(answer["exitCode"])


def _tell(answer: dict[str, Any]) -> None:
    out, record = console("stdout"), answer["release"]
    out.print(f"released  against {', '.join(record['gates'])}, by {record['by']}: {record['reason']}", soft_wrap=True)
    out.print(f"  {answer['folder']}/release.json; the model card and report.html say so", soft_wrap=True)
