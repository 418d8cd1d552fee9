"""The `medfinetune` program: its verbs, its help and its exit codes."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer
from medfinetune_api.exits import EXITS

from medfinetune_cli.cancel import cancel
from medfinetune_cli.checklist import checklist
from medfinetune_cli.diff import diff
from medfinetune_cli.fetch import fetch
from medfinetune_cli.logs import logs
from medfinetune_cli.output import OUTPUT_FORMAT_HELP, Format
from medfinetune_cli.plan import plan
from medfinetune_cli.release import release
from medfinetune_cli.report import report
from medfinetune_cli.resume import resume
from medfinetune_cli.run import run
from medfinetune_cli.status import status
from medfinetune_cli.submit import submit
from medfinetune_cli.suspend import suspend
from medfinetune_cli.validate import validate
from medfinetune_cli.verify import verify
from medfinetune_cli.version import show_version

PLUGIN = Path(sys.argv[0]).name.startswith("kubectl-")
"""Whether kubectl called it: it finds its plugins by their names."""
PROGRAM = "kubectl medfinetune" if PLUGIN else "medfinetune"
CLUSTER = "On a cluster"


def _block(title: str, *lines: str) -> str:
    """A titled block of help."""
    return "\n".join((f"[bold]{title}[/]", *(f"  {line}" for line in lines)))


def _examples(*lines: str) -> str:
    """Calls of this program, under the name that it was called by."""
    return _block("Examples", *(f"{PROGRAM} {line}" if line[0] not in " |" else line for line in lines))


def _exit_codes() -> str:
    wrapped = (textwrap.wrap(meaning.meaning, 52) for meaning in EXITS.values())
    rows = ((f"{code:>3}  {meaning.reason:<17}", lines) for (code, meaning), lines in zip(EXITS.items(), wrapped, strict=True))
    return _block("Exit codes", *(f"{head if number == 0 else '':<22}{line}" for head, lines in rows for number, line in enumerate(lines)))


APP_HELP = _examples(
    "validate manifest.yaml",
    "run manifest.yaml --models models --data data --output results",
    "submit manifest.yaml --namespace oncology --wait",
    "status",
    *(() if PLUGIN else ("--install-completion",)),
)
RUN_HELP = _examples(
    "run manifest.yaml --models models --data data --output results",
    "--output json run manifest.yaml --models models --data data \\",
    "    --output results > result.json",
)
PLACES_HELP = _block(
    "What the run's folder holds",
    "report.html              the whole run on one page, without a network",
    "adapter/                 the adapter in plain PEFT layout, once evaluated",
    "evaluation/summary.json  accuracy, n, intervals by task, language, subject",
    "metrics.jsonl            every training step, one JSON object a line",
    "lineage.json             what it was made from, and every file's hash",
    "attempts.jsonl           every attempt, each bound to the one before",
    "plan.json prepared.json  what the run was told; what prepare measured",
    "checkpoints/ data/       what an interrupted run continues from",
)
VALIDATE_HELP = _examples("validate manifest.yaml", "validate manifest.yaml --output json | jq '.problems[].where'")
REPORT_HELP = _examples("report results/ward-assistant-1a2b3c4d", "report results/ward-assistant-1a2b3c4d -o json | jq .evaluation")
RELEASE_HELP = _examples('release results/ward-assistant-1a2b3c4d --reason "Reviewed by the board: used for English notes only"')
VERIFY_HELP = _examples("verify results/ward-assistant-1a2b3c4d", "verify results/ward-assistant-1a2b3c4d --key site.pub")
DIFF_HELP = _examples("diff results/ward-1a2b3c4d results/ward-5e6f7a8b", "diff results/ward-1a2b3c4d results/ward-5e6f7a8b -o json | jq .plan")
CHECKLIST_HELP = _examples("checklist results/ward-assistant-1a2b3c4d", "checklist results/ward-assistant-1a2b3c4d --key site.pub --markdown > checklist.md")
PLAN_HELP = _examples("plan manifest.yaml --models models", "plan manifest.yaml --models models --output json | jq .chosen.memory")
SUBMIT_HELP = _examples("submit manifest.yaml", "submit manifest.yaml --dry-run=server", "submit manifest.yaml -n oncology --wait")
STATUS_HELP = _examples("status", "status ward-assistant --watch", "status ward-assistant -o json | jq .waitsFor")
LOGS_HELP = _examples("logs ward-assistant --follow", "logs ward-assistant --stage train --attempt 1 --rank 0 --tail 50")
FETCH_HELP = _examples("fetch ward-assistant", "fetch ward-assistant --what all --to results/ward-assistant")

app = typer.Typer(
    name="medfinetune",
    no_args_is_help=True,
    add_completion=not PLUGIN,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\n\n".join((APP_HELP, _exit_codes())),
)
app.command("run", epilog="\n\n".join((RUN_HELP, PLACES_HELP, _exit_codes())))(run)
app.command("validate", epilog=VALIDATE_HELP)(validate)
app.command("report", epilog=REPORT_HELP)(report)
app.command("verify", epilog=VERIFY_HELP)(verify)
app.command("diff", epilog=DIFF_HELP)(diff)
app.command("checklist", epilog=CHECKLIST_HELP)(checklist)
app.command("release", epilog=RELEASE_HELP)(release)
app.command("plan", epilog=PLAN_HELP)(plan)
app.command("version")(show_version)
app.command("submit", epilog=SUBMIT_HELP, rich_help_panel=CLUSTER)(submit)
app.command("status", epilog="\n\n".join((STATUS_HELP, _exit_codes())), rich_help_panel=CLUSTER)(status)
app.command("logs", epilog=LOGS_HELP, rich_help_panel=CLUSTER)(logs)
app.command("suspend", rich_help_panel=CLUSTER)(suspend)
app.command("resume", rich_help_panel=CLUSTER)(resume)
app.command("cancel", rich_help_panel=CLUSTER)(cancel)
app.command("fetch", epilog=FETCH_HELP, rich_help_panel=CLUSTER)(fetch)


@app.callback()
def medfinetune(context: typer.Context, output: Annotated[Format, typer.Option("--output", "-o", help=OUTPUT_FORMAT_HELP)] = Format.TEXT) -> None:
    """Fine-tune a medical language model on a hospital's own data, inside its own walls, from one manifest."""
    context.obj = output


def main() -> None:
    """Entry point of the console script."""
    app(prog_name=PROGRAM, complete_var="_MEDFINETUNE_COMPLETE")
