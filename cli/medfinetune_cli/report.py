"""`medfinetune report FOLDER`: the whole of a run on one page, made anew from what lies in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medfinetune_cli.output import FormatOption, chosen, console, refusals

FolderArgument = Annotated[Path, typer.Argument(help="The run's folder, or all that was fetched of it.", show_default=False)]


def report(context: typer.Context, folder: FolderArgument, output: FormatOption = None) -> None:
    """Write a run's report.html: curves, memory, accuracy with intervals, attempts.

    One file that opens without a network and holds no record text. Evaluate
    writes it at its end; here it is made anew from what lies in the folder, also
    of a run that failed, was purged, was fetched, or is still at work. Needs no
    GPU and not the extra `trainer`.
    """
    form = chosen(context, output)
    with refusals(form):
        from medfinetune_cli.trainer_tool import ask_tool, told

        answer = ask_tool("report", folder)
        if not told(answer, form):
            _tell(answer)
    raise typer.Exit(answer["exitCode"])


def _tell(answer: dict[str, Any]) -> None:
    from medfinetune_api.results_evaluation import EvaluationSummary

    from medfinetune_cli.tables import changes_table, results_table

    out = console("stdout")
    out.print(f"{answer['name']}: {answer['state']}", soft_wrap=True)
    if answer["evaluation"]:
        summary = EvaluationSummary.model_validate(answer["evaluation"])
        out.print(results_table(summary))
        if summary.changes:
            out.print(changes_table(summary))
    out.print(f"  {answer['report']}", soft_wrap=True)
    if answer["damaged"]:
        console("stderr").print(f"warning: damaged, or of another plan, and left out: {', '.join(answer['damaged'])}", soft_wrap=True)
