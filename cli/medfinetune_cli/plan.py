"""`medfinetune plan manifest.yaml`: what a run takes on a GPU and what is chosen for it, from the manifest and the base's config.json."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from medfinetune_cli.output import Format, FormatOption, chosen, console, refusals, write_json
from medfinetune_cli.run import Models, check_folder
from medfinetune_cli.validate import ManifestArgument

Results = Annotated[Path, typer.Option("--results", help="Output volume of an earlier run of this manifest: its measured share of loss tokens counts.")]


def plan(context: typer.Context, manifest: ManifestArgument, models: Models, results: Results = Path("results"), output: FormatOption = None) -> None:
    """Say what a run takes on a GPU and what is chosen for it.

    From the shapes in the base's config.json: no weight is read, no data, and no
    GPU is needed. Sharding, activation checkpointing and the micro-batch that are
    Auto are chosen for resources.gpuMemory less its head-room. Where nothing that
    the manifest allows fits, what would is said, and the exit code is 67.

    Besides: the same method and GPU on models of 4B, 7B, 13B and 70B, and the four
    steps of the study's ablation beside its published figures.
    """
    form = chosen(context, output)
    with refusals(form):
        check_folder("--models", models)
        from medfinetune_cli.planning import planned

        found = memory_plan(planned(manifest, models, Path("/data"), results).to_json())
        if form is Format.JSON:
            write_json(found)
        else:
            from medfinetune_cli.plan_tables import show

            show(found, console("stdout"), console("stderr"))
    raise typer.Exit(found["exitCode"])


def memory_plan(run_plan: str) -> dict[str, Any]:
    """What the trainer computes of a RunPlan in JSON; its files are there in the plain install too, which has no torch."""
    with tempfile.TemporaryDirectory(prefix="medfinetune-") as scratch:
        file = Path(scratch) / "plan.json"
        file.write_text(run_plan, encoding="utf-8")
        ended = subprocess.run([sys.executable, "-m", "medfinetune_trainer.tools.plan", "--plan", str(file)], stdout=subprocess.PIPE, text=True, check=False)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found
