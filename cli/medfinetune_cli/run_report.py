"""The end of a run: what it measured and where it lies, or in one message why it ended early."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from medfinetune_api.errors import Refusal
from medfinetune_api.exits import EXITS, Exit, exit_of
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared, StageResult
from medfinetune_api.results_evaluation import EvaluationSummary
from rich.text import Text

from medfinetune_cli.executor import StageRun, deciding
from medfinetune_cli.folder_map import files, folder_map
from medfinetune_cli.output import Format, console, say, write_json
from medfinetune_cli.tables import changes_table, mixture_table, packing_line, results_table
from medfinetune_cli.trainer_tool import ask_tool


def report(plan: RunPlan, runs: Sequence[StageRun], form: Format) -> None:
    """Tables and the folder's map on stdout, or one JSON object; a failure's message goes to stderr. Of a failed run the page is made first."""
    last = deciding(runs)
    _tell_of_failure(plan, last.result)
    if form is Format.JSON:
        write_json(as_json(plan, runs))
    elif last.result.exit_code:
        _print_failure(plan, last)
    else:
        _print_results(plan)


def as_json(plan: RunPlan, runs: Sequence[StageRun]) -> dict[str, Any]:
    """The run as one object: how it ended, each stage's own result, what was measured, and what lies in the folder."""
    last, folder = deciding(runs).result, plan.folder
    prepared, summary = Prepared.read(folder.prepared), EvaluationSummary.read(folder.summary)
    return {
        "exitCode": last.exit_code,
        "reason": last.reason,
        "message": last.message,
        "planSha256": plan.sha256,
        "folder": str(folder.root),
        "stages": [{"skipped": run.skipped, **json.loads(run.result.to_json())} for run in runs],
        "prepared": json.loads(prepared.to_json()) if prepared else None,
        "evaluation": json.loads(summary.to_json()) if summary else None,
        "files": files(folder),
    }


def _tell_of_failure(plan: RunPlan, last: StageResult) -> None:
    """Best effort: a page that cannot be made changes nothing of how the run ended.

    Of a run that is complete, or that a gate stopped, evaluate has made it, and lists it in the lineage.
    """
    if not last.exit_code or last.exit_code == Exit.INTERRUPTED or not plan.folder.plan.exists():
        return
    if (last.exit_code == Exit.GATE_FAILED or plan.folder.lineage.exists()) and plan.folder.report.exists():
        say(f"report: {plan.folder.report}")
        return
    try:
        answer = ask_tool("report", plan.folder.root, "--ended", last.to_json())
        made = None if answer["exitCode"] else answer["report"]
    except Refusal:
        made = None
    say(f"report: {made}" if made else f"report: none could be made (medfinetune report {plan.folder.root})")


def _print_results(plan: RunPlan) -> None:
    out = console("stdout")
    prepared, summary = Prepared.read(plan.folder.prepared), EvaluationSummary.read(plan.folder.summary)
    if prepared:
        out.print(mixture_table(prepared))
        out.print(packing_line(prepared.packing) + "\n", soft_wrap=True)
    if summary:
        out.print(results_table(summary))
        if summary.changes:
            out.print(changes_table(summary))
        out.print()
    out.print(folder_map(plan.folder))


def _print_failure(plan: RunPlan, last: StageRun) -> None:
    meaning = EXITS[exit_of(last.result.exit_code)]
    out = console("stderr")
    ending = Text.assemble((last.result.stage, "bold red"), " ended with ", (last.result.reason, "bold"), f" (exit code {last.result.exit_code})")
    out.print(ending, soft_wrap=True)
    out.print(f"  {last.result.message}", soft_wrap=True)
    if meaning.retryable:
        out.print("  The same command continues this run.", style="dim", soft_wrap=True)
    if last.result.exit_code == Exit.GATE_FAILED:
        out.print("  What was trained lies in its quarantine/; `medfinetune release` alone lets it out.", style="dim", soft_wrap=True)
    out.print(f"  The run's folder: {plan.folder.root}", style="dim", soft_wrap=True)
