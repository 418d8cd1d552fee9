"""How the command line speaks: Rich to a person, one JSON object on stdout to a program, and every refusal as one clear message.

Rich and pydantic are imported where they are used: `medfinetune version` and completion stay fast.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from medfinetune_api.errors import Refusal
from medfinetune_api.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 120
"""Columns of a table that is written to a file or a pipe."""


class Format(StrEnum):
    """Whom the output is for."""

    TEXT = "text"
    JSON = "json"


OUTPUT_FORMAT_HELP = "[bold]text[/] for a person, [bold]json[/] for a program (one object on stdout)."
FormatOption = Annotated[Format | None, typer.Option("--output", "-o", help=OUTPUT_FORMAT_HELP, show_default="text")]


class UsageRefusal(Refusal):
    """The command line itself cannot be followed: a folder that is not there, an extra that is not installed."""

    exit = Exit.USAGE


def chosen(context: typer.Context, own: Format | None) -> Format:
    """The format that counts: the verb's own option, else the one given before the verb, else text."""
    return own or context.find_root().obj or Format.TEXT


def console(stream: str) -> Console:
    """A Rich console on `stdout` or `stderr`; wide enough for tables where there is no terminal. It reads no markup: paths and names may hold brackets."""
    from rich.console import Console

    plain = not getattr(sys, stream).isatty() and "COLUMNS" not in os.environ
    return Console(stderr=stream == "stderr", width=WIDTH_WITHOUT_TERMINAL if plain else None, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """Tell a person what happens now; on stderr, so that stdout holds results alone."""
    console("stderr").print(text, soft_wrap=True)


def write_json(value: Mapping[str, Any]) -> None:
    """The one JSON object of a verb, on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextmanager
def refusals(form: Format) -> Iterator[None]:
    """Turn a Refusal into one message for each problem it holds, and the contract's exit code."""
    try:
        yield
    except Refusal as refusal:
        from medfinetune_api.manifest import ManifestErrors

        refuse(refusal.problems if isinstance(refusal, ManifestErrors) else (refusal,), form)


def refuse(problems: Sequence[Refusal], form: Format) -> NoReturn:
    """Print every problem and end with the first one's exit code."""
    code = problems[0].exit
    if form is Format.JSON:
        write_json({"exitCode": int(code), "reason": problems[0].reason, "problems": [as_json(problem) for problem in problems]})
    else:
        for problem in problems:
            _print_problem(problem)
    raise typer.Exit(int(code))


def as_json(problem: Refusal) -> dict[str, str]:
    """A refusal as a JSON object."""
    return {"where": problem.where, "found": problem.found, "expected": problem.expected, "remedy": problem.remedy, "reason": problem.reason}


def _print_problem(problem: Refusal) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    for name, value in (("found", problem.found), ("expected", problem.expected), ("do", problem.remedy)):
        facts.add_row(Text(name, style="dim"), Text(value))
    out = console("stderr")
    out.print(Text.assemble(("error ", "bold red"), (problem.where, "bold")), soft_wrap=True)
    out.print(Padding(facts, (0, 0, 1, 2)))
