"""Evaluate: base and tuned model answer the same questions, and what was trained takes its final name.

Each variant's results are complete on the volume before the next is asked; the summary comes after both, then the name (`checkpoints/final` becomes `adapter/`,
or `model/` of method Full), the merged model where the manifest asks for one, the report, and last the lineage (`telling`). Started again, the stage does
what is missing of these, in this order. Where a gate fails, the name is `quarantine/`, nothing is merged, and the stage ends with GATE_FAILED.

One process asks, however many trained; where the executor's torchrun variables name more ranks, a gang does (`agent`), for a base that does not fit one GPU.
Node 0 then goes on alone. What asks and what merges is imported by whoever does it: an agent would hold the harness and the model's libraries beside its ranks.
"""

from __future__ import annotations

import os
import time

import torch
from medfinetune_api.choices import Method, Stage
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult, TaskResult
from medfinetune_api.results_evaluation import EvaluationSummary, TaskScores
from medfinetune_api.results_gates import GateReport

from medfinetune_trainer.artifacts import attempts
from medfinetune_trainer.artifacts.files import rename_folder, write_text
from medfinetune_trainer.evaluation.clean import with_clean
from medfinetune_trainer.evaluation.summary import summarise
from medfinetune_trainer.gates.decide import judged
from medfinetune_trainer.gates.quarantine import is_stopped, quarantine
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.report.forgetting import told
from medfinetune_trainer.stages.agent import run_gang
from medfinetune_trainer.stages.asked import questions_of, require_tasks, trained_folder
from medfinetune_trainer.stages.imports import stage_module
from medfinetune_trainer.stages.node import Node
from medfinetune_trainer.stages.prepared import is_delivered, require_base, require_prepared
from medfinetune_trainer.stages.telling import begin_anew, put_card, tell
from medfinetune_trainer.telemetry.server import serving_if_asked


def run(plan: RunPlan) -> StageResult:
    """Evaluate what is missing, and release what was trained.

    Raises:
        OutputConflict: train is not complete, or what it left is damaged. InvalidData: a task's file cannot be asked, or is not the one that prepare saw.
        InvalidModel: the base cannot be used, or is not the one that prepare saw.
        Diverged: a model answers with likelihoods that are not finite. OutOfMemory, StorageFailed, and of a gang what `run_gang` raises.
    """
    started = time.monotonic()
    trained_folder(plan)
    node = Node.of(os.environ, 1)
    summary = EvaluationSummary.read(plan.folder.summary)
    if node.rank == 0 and (summary is None or not is_delivered(plan)):
        require_base(plan, require_prepared(plan))
    if summary is None:
        if node.rank == 0:
            require_tasks(plan, require_prepared(plan))
            begin_anew(plan)
            attempts.add(plan, Stage.EVALUATE)
        failed = _ask(plan, node)
        if failed:
            return failed
    if node.rank:
        return StageResult.of(Stage.EVALUATE, Exit.SUCCEEDED, "The questions are asked; node 0 sums up.")
    summary = summary or _summed_up(plan)
    report = judged(plan, summary)
    stopped = is_stopped(plan, report)
    if stopped:
        _keep_back(plan, summary)
    else:
        _release(plan, summary)
    tell(plan, summary)
    numbers = _numbers(summary) | ({"gates_failed": float(len(report.failed))} if report.gates else {}) | {"seconds": time.monotonic() - started}
    message = _stopped(report) if stopped else _message(plan, summary)
    code = Exit.GATE_FAILED if stopped else Exit.SUCCEEDED
    return StageResult.of(Stage.EVALUATE, code, message, numbers, [_task(scores) for scores in summary.tasks])


def _ask(plan: RunPlan, node: Node) -> StageResult | None:
    """Ask what is missing, here or in a gang; the result of a gang that failed."""
    prepared = require_prepared(plan)
    if node.world_size > 1:
        node.require_devices(plan.parallelism)
        outcome = run_gang(plan, Stage.EVALUATE, node)
        return outcome.result(Stage.EVALUATE) if outcome.exit_code else None
    with serving_if_asked(Stage.EVALUATE) as folder:
        stage_module("ask").ask(plan, prepared, Ranks.here(), _device(plan), folder)
    return None


def _summed_up(plan: RunPlan) -> EvaluationSummary:
    questions = questions_of(plan)
    summary = with_clean(summarise(plan, {name: found.available for name, found in questions.items()}), plan, questions)
    write_text(plan.folder.summary, summary.to_json())
    return summary


def _release(plan: RunPlan, summary: EvaluationSummary) -> None:
    """Give what was trained its final name, and merge it where the manifest says so; each is there whole or not at all."""
    released, trained = plan.folder.released(plan.tuning.method), trained_folder(plan)
    if trained != released:
        put_card(plan, summary, trained, whole=released == plan.folder.model)
        rename_folder(trained, released)
    if not all(folder.exists() for folder in plan.delivered):
        stage_module("merging").deliver_merged(plan, summary)


def _keep_back(plan: RunPlan, summary: EvaluationSummary) -> None:
    """Put what was trained into quarantine, with a card that says so before it bears that name."""
    trained = trained_folder(plan)
    if trained != plan.folder.quarantine:
        put_card(plan, summary, trained, whole=plan.tuning.method is Method.FULL)
    quarantine(plan, trained)


def _device(plan: RunPlan) -> torch.device:
    if plan.parallelism.gpus_per_node == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        remedy = "Run evaluate where the plan's GPUs are."
        raise InvalidManifest("spec.parallelism.gpusPerNode", found="no CUDA device on this machine", expected="one GPU to evaluate on", remedy=remedy)
    return torch.device("cuda", 0)


def _message(plan: RunPlan, summary: EvaluationSummary) -> str:
    released = plan.folder.released(plan.tuning.method).name
    verdicts = {row.language: f" ({100 * row.comparison.difference:+.1f} points, {row.comparison.verdict})" for row in summary.exam_changes if row.task is None}
    scores = [f"{name} {score.accuracy:.1%} of {score.n}{verdicts.get(name, '')}" for name, score in summary.tuned_by_language.items()]
    scores += [f"{len(summary.texts)} tasks answered in words"] if summary.texts else []
    if not scores:
        return f"Nothing unseen to evaluate on; the {released} is released."
    changed = f" {told(summary.changes, plan.evaluation.forgetting_threshold)}" if summary.changes else ""
    return f"Evaluated: {', '.join(scores)}; the {released} is released.{changed}"


def _stopped(report: GateReport) -> str:
    names = ", ".join(outcome.gate.name for outcome in report.failed)
    sentences = " ".join(outcome.sentence for outcome in report.failed)
    return f"Quarantined: {len(report.failed)} of {len(report.gates)} gates failed ({names}). {sentences}"


def _numbers(summary: EvaluationSummary) -> dict[str, float]:
    by_variant = {"base": summary.base_by_language, "tuned": summary.tuned_by_language}
    scores = {(variant, name): score for variant, found in by_variant.items() for name, score in found.items()}
    return {f"accuracy_{variant}_{name}": score.accuracy for (variant, name), score in scores.items()} | {
        f"questions_{name}": float(score.n) for (_, name), score in scores.items()
    }


def _task(scores: TaskScores) -> TaskResult:
    return TaskResult(
        task=scores.task,
        language=scores.language,
        seen=scores.seen,
        questions=scores.questions,
        accuracy=round(scores.tuned.accuracy, 6),
        low=round(scores.tuned.low, 6),
        high=round(scores.tuned.high, 6),
        base_accuracy=round(scores.base.accuracy, 6) if scores.base else None,
        beyond_noise=scores.comparison.beyond_noise if scores.comparison else None,
    )
