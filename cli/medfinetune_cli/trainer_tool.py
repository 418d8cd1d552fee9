"""Asks a tool of the trainer that needs no torch: a process of its own, because the command line imports nothing of the trainer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from medfinetune_api.errors import Refusal
from medfinetune_api.exits import Exit

from medfinetune_cli.output import Format, UsageRefusal, console, write_json


class ToolFailed(Refusal):
    """A tool ended without an answer: a defect of ours, or a process that was killed."""

    exit = Exit.INTERNAL_ERROR


def ask_tool(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """The answer of `python -m medfinetune_trainer.tools.NAME FOLDER`, whose `exitCode` is the contract's.

    Raises UsageRefusal where there is no such folder; ToolFailed where no answer comes.
    """
    if not folder.is_dir():
        remedy = "Name a run's folder: what `medfinetune run` wrote below --output, or what `medfinetune fetch` made."
        raise UsageRefusal(str(folder), found="a file" if folder.exists() else "nothing", expected="a folder", remedy=remedy)
    command = [sys.executable, "-m", f"medfinetune_trainer.tools.{name}", str(folder), *options]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        remedy = f"Tell us, with the output of: python -m medfinetune_trainer.tools.{name} {folder}"
        raise ToolFailed(f"medfinetune {name}", found=f"exit code {ended.returncode} and no answer", expected="an answer", remedy=remedy) from None
    return answer


def told(answer: dict[str, Any], form: Format) -> bool:
    """Whether all there is to say of a tool's answer has been said: as JSON, or because it is a refusal."""
    if form is Format.JSON:
        write_json(answer)
        return True
    if answer["exitCode"]:
        out = console("stderr")
        for problem in answer["problems"]:
            out.print(f"{problem['where']}: found {problem['found']}; expected {problem['expected']}. {problem['remedy']}", soft_wrap=True)
    return bool(answer["exitCode"])
