"""`medfinetune checklist FOLDER`: what a clinical model needs before it is used, filled from the run's artifacts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from medfinetune_cli.output import Format, FormatOption, UsageRefusal, chosen, console, refusals, write_json
from medfinetune_cli.report import FolderArgument

KeyOption = Annotated[Path | None, typer.Option("--key", help="The site's public key, PEM, to check the lineage's signature.", show_default=False)]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="As Markdown, for a file or a ticket.")]
MARKS = {"done": "[x]", "open": "[ ]", "failed": "[!]"}


def checklist(context: typer.Context, folder: FolderArgument, key: KeyOption = None, markdown: MarkdownOption = False, output: FormatOption = None) -> None:
    """The pre-deployment checklist of a run: done, open or failed, with evidence.

    What was not measured is open, and so is what no run can know: intended use,
    lawful basis, clinical evaluation. The lineage is verified here and now, with
    --key its signature too. Ends with 0, whatever is open: the decision is a
    person's. A completed list makes no model fit for clinical use.
    """
    form = chosen(context, output)
    with refusals(form):
        from medfinetune_cli.trainer_tool import ask_tool

        if markdown and form is Format.JSON:
            raise UsageRefusal("--markdown", found="--output json too", expected="one format", remedy="Leave out one of them.")
        answer = ask_tool("checklist", folder, *(["--key", str(key)] if key else []))
        _tell(answer, form, markdown)
    raise typer.Exit(answer["exitCode"])


def _tell(answer: dict[str, Any], form: Format, markdown: bool) -> None:
    if form is Format.JSON:
        write_json(answer)
    elif answer["exitCode"]:
        out = console("stderr")
        for problem in answer["problems"]:
            out.print(f"{problem['where']}: found {problem['found']}; expected {problem['expected']}. {problem['remedy']}", soft_wrap=True)
    elif markdown:
        sys.stdout.write(answer["markdown"])
    else:
        _table(answer)


def _table(answer: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    counts = answer["counts"]
    table = Table("", "item", "what is known", "evidence", title=f"Before {answer['name']} is used", title_justify="left", show_lines=True)
    for item in answer["items"]:
        table.add_row(Text(MARKS[item["state"]]), Text(item["question"]), Text(item["finding"]), Text(", ".join(item["evidence"]) or "-"))
    out = console("stdout")
    out.print(table)
    out.print(f"[x] {counts['done']} done   [ ] {counts['open']} open   [!] {counts['failed']} failed. Sources of the items: docs/checklist.md", soft_wrap=True)
