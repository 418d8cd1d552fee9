"""The `medfinetune` program: its verbs, its help and its exit codes."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer
from medfinetune_api.exits import EXITS

from medfinetune_cli.output import OUTPUT_FORMAT_HELP, Format
from medfinetune_cli.run import run
from medfinetune_cli.validate import validate
from medfinetune_cli.version import show_version


def _block(title: str, *lines: str) -> str:
    """A titled block of help."""
    return "\n".join((f"[bold]{title}[/]", *(f"  {line}" for line in lines)))


def _exit_codes() -> str:
    wrapped = (textwrap.wrap(meaning.meaning, 52) for meaning in EXITS.values())
    rows = ((f"{code:>3}  {meaning.reason:<17}", lines) for (code, meaning), lines in zip(EXITS.items(), wrapped, strict=True))
    return _block("Exit codes", *(f"{head if number == 0 else '':<22}{line}" for head, lines in rows for number, line in enumerate(lines)))


APP_HELP = _block(
    "Examples",
    "medfinetune validate manifest.yaml",
    "medfinetune run manifest.yaml --models models --data data --output results",
    "medfinetune --install-completion",
)
RUN_HELP = _block(
    "Examples",
    "medfinetune run manifest.yaml --models models --data data --output results",
    "medfinetune --output json run manifest.yaml --models models --data data \\",
    "    --output results > result.json",
)
PLACES_HELP = _block(
    "What the run's folder holds",
    "adapter/                 the adapter in plain PEFT layout, once evaluated",
    "evaluation/summary.json  accuracy, n, intervals by task, language, subject",
    "metrics.jsonl            every training step, one JSON object a line",
    "plan.json prepared.json  what the run was told; what prepare measured",
    "checkpoints/ data/       what an interrupted run continues from",
)
VALIDATE_HELP = _block("Examples", "medfinetune validate manifest.yaml", "medfinetune validate manifest.yaml --output json | jq '.problems[].where'")

app = typer.Typer(
    name="medfinetune",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\n\n".join((APP_HELP, _exit_codes())),
)
app.command("run", epilog="\n\n".join((RUN_HELP, PLACES_HELP, _exit_codes())))(run)
app.command("validate", epilog=VALIDATE_HELP)(validate)
app.command("version")(show_version)


@app.callback()
def medfinetune(context: typer.Context, output: Annotated[Format, typer.Option("--output", "-o", help=OUTPUT_FORMAT_HELP)] = Format.TEXT) -> None:
    """Fine-tune a medical language model on a hospital's own data, inside its own walls, from one manifest."""
    context.obj = output


def main() -> None:
    """Entry point of the console script."""
    app()
