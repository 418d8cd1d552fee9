"""`medfinetune run manifest.yaml`: all stages of one manifest, on this machine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Annotated

import typer

from medfinetune_cli.output import OUTPUT_FORMAT_HELP, Format, UsageRefusal, chosen, refusals, say
from medfinetune_cli.validate import ManifestArgument

TRAINER_MODULES = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "lm_eval")
"""What the extra `trainer` brings; looked for, never imported here."""

Models = Annotated[Path, typer.Option("--models", help="Folder that stands for the manifest's models volume.", show_default=False)]
Data = Annotated[Path, typer.Option("--data", help="Folder that stands for the manifest's data volume.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", help="Folder that stands for the output volume; made where it is missing.", show_default=False)]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, max=256, help="Nodes to start, in place of parallelism.nodes; see below.", show_default=False)]
SigningKey = Annotated[
    Path | None, typer.Option("--signing-key", help="The site's private key, PEM: signs the lineage. Or MEDFINETUNE_SIGNING_KEY.", show_default=False)
]
RunFormat = Annotated[Format | None, typer.Option("--output-format", "-o", help=OUTPUT_FORMAT_HELP, show_default="text")]


def run(
    context: typer.Context,
    manifest: ManifestArgument,
    models: Models,
    data: Data,
    output: Output,
    nodes: Nodes = None,
    signing_key: SigningKey = None,
    output_format: RunFormat = None,
) -> None:
    """Prepare, train and evaluate what a manifest asks for.

    The manifest's three volumes are folders here. All that a run leaves lies in
    one folder, OUTPUT/NAME-ID/. ID follows from name and spec: the same manifest
    finds its own run again, a changed one is another run.

    When it has succeeded, copies of record text and checkpoints are removed, but
    for what the manifest's output.retain names. So they are where a gate of the
    manifest failed (code 71): what was trained then lies in quarantine/, and
    `medfinetune release` alone lets it out.

    After an interruption run it again: a finished stage is not done again, an
    interrupted one continues from its last complete checkpoint. Ctrl-C or SIGTERM
    asks for a checkpoint and ends with code 75; a second one ends at once.

    --nodes continues the same run, step for step, on more or fewer nodes than its
    manifest names: parallelism is part of ID, and another value there another run.

    Progress goes to stderr, results to stdout. --output names a folder here, so
    JSON is asked for before the verb (--output json), or by -o json.
    """
    form = chosen(context, output_format)
    with refusals(form):
        check_folder("--models", models)
        check_folder("--data", data)
        check_trainer()
        _tell_stages(signing_key)
        from medfinetune_cli.executor import deciding, execute
        from medfinetune_cli.planning import planned
        from medfinetune_cli.run_report import report

        plan = planned(manifest, models, data, output)
        runs = execute(plan, say, nodes)
        report(plan, runs, form)
    raise typer.Exit(deciding(runs).result.exit_code)


def check_folder(option: str, folder: Path) -> None:
    """Raise UsageRefusal where a folder that the run reads is not there."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise UsageRefusal(option, found=f"{found} at {folder}", expected="a folder", remedy=f"Name the folder that stands for the volume of {option[2:]}.")


def _tell_stages(signing_key: Path | None) -> None:
    """By the environment that they inherit: where the site's key lies, and that nobody here has proved who asks. Raises UsageRefusal where there is no key."""
    os.environ["MEDFINETUNE_REQUESTER_VERIFIED"] = ""
    if signing_key and not signing_key.is_file():
        found = "a folder" if signing_key.exists() else "nothing"
        remedy = "Name the site's private key; without the option nothing is signed."
        raise UsageRefusal("--signing-key", found=f"{found} at {signing_key}", expected="a file in PEM", remedy=remedy)
    if signing_key:
        os.environ["MEDFINETUNE_SIGNING_KEY"] = str(signing_key.resolve())


def check_trainer() -> None:
    """Raise UsageRefusal where the extra `trainer` is not installed: the command line alone trains nothing."""
    missing = [name for name in TRAINER_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        remedy = 'Install it: pip install "medfinetune[trainer]" (in a clone: make run installs the locked versions).'
        raise UsageRefusal("medfinetune run", found=f"no {', '.join(missing)}", expected="the extra `trainer`", remedy=remedy)
