"""`medfinetune verify FOLDER`: whether a run's files are still what its lineage.json says."""

from __future__ import annotations

from typing import Any

import typer

from medfinetune_cli.output import Format, FormatOption, chosen, console, refusals, write_json
from medfinetune_cli.report import FolderArgument


def verify(context: typer.Context, folder: FolderArgument, output: FormatOption = None) -> None:
    """Compare every file of a run with the hashes in its lineage.json.

    One line names each file that is missing, changed, or none of the run's; the
    exit code is then 68. What the purge has removed is not missing, and of a part
    that was fetched it says what could not be checked. lineage.json is not signed:
    its own hash is printed, to be kept where the run's owner cannot write. Needs
    no GPU and not the extra `trainer`.
    """
    form = chosen(context, output)
    with refusals(form):
        from medfinetune_cli.trainer_tool import ask_tool

        answer = ask_tool("verify", folder)
        _tell(answer, form)
    raise typer.Exit(answer["exitCode"])


def _tell(answer: dict[str, Any], form: Format) -> None:
    if form is Format.JSON:
        write_json(answer)
        return
    out = console("stderr")
    for problem in answer["problems"]:
        out.print(f"{problem['where']}: {problem['found']}; expected {problem['expected']}", soft_wrap=True)
    if answer["problems"]:
        out.print(f"does not verify ({len(answer['problems'])} of its files). {answer['problems'][0]['remedy']}", soft_wrap=True)
        return
    out = console("stdout")
    out.print(f"verified  {answer['held']} files are as evaluate left them", soft_wrap=True)
    for path in answer["notChecked"]:
        out.print(f"  not here, not checked: {path}", soft_wrap=True)
    if answer["notYetPurged"]:
        out.print(f"  {len(answer['notYetPurged'])} files that the purge removes are still here", soft_wrap=True)
    out.print(f"  plan.json, SHA-256 of what it says: {answer['planSha256']}", soft_wrap=True)
    out.print(f"  lineage.json, SHA-256: {answer['lineageSha256']}", soft_wrap=True)
