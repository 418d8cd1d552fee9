"""`medfinetune diff A B`: what tells two runs apart, and whether their results differ by more than chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medfinetune_cli.output import FormatOption, UsageRefusal, chosen, refusals

FirstArgument = Annotated[Path, typer.Argument(metavar="A", help="The earlier run's folder, or all that was fetched of it.", show_default=False)]
SecondArgument = Annotated[Path, typer.Argument(metavar="B", help="The later run's.", show_default=False)]


def diff(context: typer.Context, a: FirstArgument, b: SecondArgument, output: FormatOption = None) -> None:
    """Explain two runs: fields, data, base, versions, attempts, results.

    Fields are named as the manifest has them. A difference of results is B less A,
    with its 95 % interval over the questions that both answered; `within noise`
    says that chance alone may explain it. Runs that differ end with code 0, too.
    """
    form = chosen(context, output)
    with refusals(form):
        from medfinetune_cli.trainer_tool import ask_tool, told

        if not b.is_dir():
            raise UsageRefusal(str(b), found="a file" if b.exists() else "nothing", expected="a folder", remedy="Name a run's folder.")
        answer = ask_tool("diff", a, str(b))
        if not told(answer, form):
            _tell(answer)
    raise typer.Exit(answer["exitCode"])


def _tell(answer: dict[str, Any]) -> None:
    from medfinetune_cli.diff_tables import show

    show(answer)
