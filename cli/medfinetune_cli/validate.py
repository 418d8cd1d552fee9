"""`medfinetune validate manifest.yaml`: every problem of a manifest at once, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medfinetune_cli.output import Format, FormatOption, chosen, console, refusals, write_json

ManifestArgument = Annotated[Path, typer.Argument(help="A MedFineTune manifest in YAML.", metavar="MANIFEST", show_default=False)]


def validate(context: typer.Context, manifest: ManifestArgument, output: FormatOption = None) -> None:
    """Check a manifest without starting anything.

    Fields, their bounds and the rules between them; no data and no model is read.
    A valid manifest is answered with the hash of its plan and the name of its run
    folder (exit code 0), an invalid one with every problem it has: the field, what
    was found, what was expected, and what to do (exit code 64).
    """
    form = chosen(context, output)
    with refusals(form):
        from medfinetune_cli.planning import planned

        plan = planned(manifest, Path("/models"), Path("/data"), Path("/output"))
    if form is Format.JSON:
        write_json({"exitCode": 0, "reason": "Succeeded", "problems": [], "planSha256": plan.sha256, "folder": plan.identity.folder})
    else:
        from rich.text import Text

        facts = f"  {manifest}\n  plan    {plan.sha256}\n  folder  {plan.identity.folder}/"
        console("stdout").print(Text.assemble(("valid", "bold green"), facts), soft_wrap=True)
