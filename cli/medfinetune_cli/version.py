"""`medfinetune version`: what is installed, read from package metadata; nothing of it is imported."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import typer

from medfinetune_cli.output import Format, FormatOption, chosen, write_json

PRODUCT = "medfinetune"
TRAINER_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "lm-eval", "tokenizers", "safetensors")
"""What decides how a run computes; its report is incomplete without their versions."""


def show_version(context: typer.Context, output: FormatOption = None) -> None:
    """Print the versions of medfinetune, Python and the trainer's libraries."""
    form = chosen(context, output)
    found = {PRODUCT: installed(PRODUCT), "python": platform.python_version()} | {name: installed(name) for name in TRAINER_LIBRARIES}
    if form is Format.JSON:
        write_json(found)
        return
    for name, number in found.items():
        typer.echo(f"{name:<14}{number or 'not installed'}")


def installed(package: str) -> str | None:
    """Version of an installed distribution, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
