"""Evaluate: base and tuned model answer the same questions, and the adapter takes its final name.

Each variant's results are complete on the volume before the next is asked; the summary comes after both, and the adapter's name (`checkpoints/final` becomes
`adapter/`) last of all. Started again, the stage does what is missing of these, in this order.

One process, however many trained. The adapter is put on the loaded base once the base has answered, so that both answer from the same 4-bit weights, and it is
read from disk as whoever uses it will read it, by plain PEFT.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from medfinetune_api.choices import Stage
from medfinetune_api.errors import InvalidManifest, OutOfMemory, OutputConflict
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import EvaluationSummary, StageResult
from peft import PeftModel
from safetensors import SafetensorError
from transformers.utils.logging import disable_progress_bar

from medfinetune_trainer.artifacts.files import storage_errors, write_text
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.evaluation import results
from medfinetune_trainer.evaluation.harness import ExamTask, LetterModel, ask_and_describe
from medfinetune_trainer.evaluation.questions import Questions, prompt_template, read_questions
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.folder import model_folder
from medfinetune_trainer.model.load import load_base
from medfinetune_trainer.model.precision import compute_dtype
from medfinetune_trainer.stages.prepared import require_base, require_prepared
from medfinetune_trainer.telemetry.log import say


def run(plan: RunPlan) -> StageResult:
    """Evaluate what is missing, and release the adapter.

    Raises:
        OutputConflict: train is not complete, or what it left is damaged. InvalidData: a task's file cannot be asked.
        InvalidModel: the base cannot be used, or is not the one that prepare saw.
        Diverged: a model answers with likelihoods that are not finite. OutOfMemory, StorageFailed.
    """
    started = time.monotonic()
    folder = plan.folder
    trained = _trained(plan)
    summary = EvaluationSummary.read(folder.summary)
    if summary is None:
        questions = {task.name: read_questions(task, Path(plan.mounts.data), plan.training.seed) for task in plan.evaluation.tasks}
        _ask_what_is_missing(plan, questions, trained)
        summary = results.summarise(plan, {name: found.available for name, found in questions.items()})
        write_text(folder.summary, summary.to_json())
    _release(plan)
    return StageResult.of(Stage.EVALUATE, Exit.SUCCEEDED, _message(summary), _numbers(summary) | {"seconds": time.monotonic() - started})


def _trained(plan: RunPlan) -> Path:
    """The trained adapter, released or not."""
    for folder in (plan.folder.adapter, plan.folder.final):
        if folder.exists():
            return folder
    raise OutputConflict(str(plan.folder.final), found="no such folder", expected="train complete", remedy="Run the stage train of this plan first.")


def _ask_what_is_missing(plan: RunPlan, questions: dict[str, Questions], adapter: Path) -> None:
    variants = ["base", "tuned"] if plan.evaluation.baseline else ["tuned"]
    missing = [variant for variant in variants if questions and not results.is_complete(plan.folder.evaluation, variant, questions)]
    if not missing:
        return
    tasks = [ExamTask(task.name, questions[task.name].asked, _prompt(plan, task.name, questions)) for task in plan.evaluation.tasks]
    device = _device(plan)
    disable_progress_bar()
    try:
        _ask_variants(plan, missing, tasks, adapter, device)
    except torch.OutOfMemoryError:
        remedy = "Lower spec.evaluation.batchSize; training need not be repeated."
        raise OutOfMemory("evaluate", found="no memory left for a forward pass", expected="a batch of questions that fits", remedy=remedy) from None


def _ask_variants(plan: RunPlan, missing: Sequence[str], tasks: Sequence[ExamTask], adapter: Path, device: torch.device) -> None:
    base = model_folder(plan)
    require_base(plan, require_prepared(plan))
    renderer = Renderer(load_tokenizer(base), plan.data.chat_template)
    model: Any = load_base(base, architecture_of(base), plan.tuning.method, compute_dtype(plan.training.precision, device), device)
    for variant in missing:
        if variant == "tuned":
            model = _tuned(model, adapter, device)
        lm = LetterModel(model, renderer, plan.evaluation.batch_size)
        answers = ask_and_describe(lm, tasks, plan.model.path if variant == "base" else f"{plan.model.path}+{plan.identity.name}")
        results.refuse_unanswered(variant, answers)
        results.write(plan.folder.evaluation, variant, answers)
        accuracies = {f"accuracy_{name}": metrics["acc,none"] for name, metrics in answers["results"].items()}
        say("evaluated", variant=variant, questions_cut=len(lm.cut) or None, **accuracies)


def _tuned(model: Any, adapter: Path, device: torch.device) -> Any:
    """The base with the adapter on it. Raises OutputConflict where the adapter cannot be read."""
    try:
        return PeftModel.from_pretrained(model, str(adapter), torch_device=str(device)).eval()
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        remedy = f"Remove {adapter} and start again: training continues from the newest checkpoint."
        raise OutputConflict(str(adapter), found=f"an adapter that cannot be read ({type(error).__name__})", expected="PEFT's layout", remedy=remedy) from error


def _prompt(plan: RunPlan, name: str, questions: dict[str, Questions]) -> str:
    task = next(task for task in plan.evaluation.tasks if task.name == name)
    return prompt_template(task, len(questions[name].asked[0].choices))


def _device(plan: RunPlan) -> torch.device:
    if plan.parallelism.gpus_per_node == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        remedy = "Run evaluate where the plan's GPUs are."
        raise InvalidManifest("spec.parallelism.gpusPerNode", found="no CUDA device on this machine", expected="one GPU to evaluate on", remedy=remedy)
    return torch.device("cuda", 0)


def _release(plan: RunPlan) -> None:
    """Give the evaluated adapter its final name: one rename, so that it is under either name at any moment."""
    if plan.folder.adapter.exists():
        return
    with storage_errors(plan.folder.adapter):
        plan.folder.final.rename(plan.folder.adapter)
        descriptor = os.open(plan.folder.root, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _message(summary: EvaluationSummary) -> str:
    if not summary.tasks:
        return "No task to evaluate; the adapter is released."
    scores = (f"{name} {score.accuracy:.1%} of {score.n}" for name, score in summary.tuned_by_language.items())
    return f"Evaluated: {', '.join(scores)}; the adapter is released."


def _numbers(summary: EvaluationSummary) -> dict[str, float]:
    by_variant = {"base": summary.base_by_language, "tuned": summary.tuned_by_language}
    scores = {(variant, name): score for variant, found in by_variant.items() for name, score in found.items()}
    return {f"accuracy_{variant}_{name}": score.accuracy for (variant, name), score in scores.items()} | {
        f"questions_{name}": float(score.n) for (_, name), score in scores.items()
    }
