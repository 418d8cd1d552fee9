"""Ask base and tuned model what has not been asked, as one process or as one rank of a gang.

An adapter is put on the base before either answers, and is off while the base does, so that both answer from the same weights; the model is built as
training builds it. Of method Full, base and trained model answer one after the other, each as its files have it. In a gang the model is sharded over the ranks
(Full), and all of them answer the same questions in the same order: each forward pass gathers every layer from all. Rank 0 decides what is missing, and it
alone writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from medfinetune_api.choices import Sharding
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared
from medfinetune_api.results_activation import Activations
from torch import nn
from transformers.utils.logging import disable_progress_bar

from medfinetune_trainer.artifacts.files import write_text
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.evaluation import results
from medfinetune_trainer.evaluation.activation import activation
from medfinetune_trainer.evaluation.asking import asked_of, headlines
from medfinetune_trainer.evaluation.generation import WritingModel
from medfinetune_trainer.evaluation.harness import ExamTask, ask_and_describe
from medfinetune_trainer.evaluation.names import name_of_removed, task_names
from medfinetune_trainer.evaluation.questions import Questions
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.folder import model_folder
from medfinetune_trainer.model.full import Full
from medfinetune_trainer.model.precision import compute_dtype
from medfinetune_trainer.model.tuned import tuning_of
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.stages.asked import questions_of, trained_folder
from medfinetune_trainer.telemetry.log import say
from medfinetune_trainer.telemetry.questions import QuestionCount

Asked = Mapping[str, Questions]
"""The questions of every task, by its name."""


def ask(plan: RunPlan, prepared: Prepared, ranks: Ranks, device: torch.device, folder: Path) -> Mapping[str, float]:
    """Ask what is missing and write it down; `folder` takes the figures that are served. Collective.

    Raises:
        OutputConflict: there is no adapter, or it is damaged. InvalidData: a task's file cannot be asked. InvalidModel: the base cannot be used.
        Diverged: a model answers with likelihoods that are not finite. StorageFailed.
    """
    questions = questions_of(plan)
    missing = ranks.from_zero(lambda: _missing(plan, questions))
    if missing:
        disable_progress_bar()
        tasks = [exam for task in plan.evaluation.tasks for exam in asked_of(plan, task, questions[task.name])]
        _ask_variants(plan, missing, questions, tasks, ranks, device, QuestionCount(folder, len(missing) * sum(exam.count for exam in tasks)))
    return {}


def _missing(plan: RunPlan, questions: Asked) -> list[str]:
    asked = [name for task in plan.evaluation.tasks for name in task_names(task)]
    asked += [name_of_removed(name) for name, found in questions.items() if found.removed]
    variants = ["base", "tuned"] if plan.evaluation.baseline else ["tuned"]
    return [variant for variant in variants if asked and not results.is_complete(plan.folder.evaluation, variant, asked)]


def _ask_variants(
    plan: RunPlan, missing: Sequence[str], questions: Asked, tasks: Sequence[ExamTask], ranks: Ranks, device: torch.device, count: QuestionCount
) -> None:
    renderer = Renderer(load_tokenizer(model_folder(plan)), plan.data.chat_template)
    for variant, model in _answering(plan, missing, ranks, device):
        lm = WritingModel(model, renderer, plan.evaluation.batch_size, count.add if ranks.rank == 0 else lambda _: None, plan.training.seed)
        answers = ask_and_describe(lm, tasks, plan.model.path if variant == "base" else f"{plan.model.path}+{plan.identity.name}")
        results.refuse_unanswered(variant, answers)
        if variant == "tuned" and plan.tuning.lora is not None:
            _observe(plan, model, renderer, questions, ranks)
        ranks.from_zero(lambda: results.write(plan.folder.evaluation, variant, answers))  # noqa: B023  # done before the next variant
        if ranks.rank == 0:
            say("evaluated", variant=variant, questions_cut=len(lm.cut) or None, **headlines(answers["results"]))


def _observe(plan: RunPlan, model: nn.Module, renderer: Renderer, questions: Asked, ranks: Ranks) -> None:
    """See in which layers the adapter acts, and write it down before the answers, whose presence says that nothing is missing."""
    tasks = tuple(activation(model, renderer, task.name, task.language, questions[task.name].asked) for task in plan.evaluation.tasks)
    ranks.from_zero(lambda: write_text(plan.folder.activations, Activations(plan_sha256=plan.sha256, tasks=tasks).to_json() + "\n"))


def _answering(plan: RunPlan, variants: Sequence[str], ranks: Ranks, device: torch.device) -> Iterator[tuple[str, nn.Module]]:
    """Each variant with the model that answers for it until the next is asked for."""
    base, trained, tuning = model_folder(plan), trained_folder(plan), tuning_of(plan)
    dtype, sharding = compute_dtype(plan.training.precision, device), Sharding.FULL if ranks.world_size > 1 else None
    if isinstance(tuning, Full):
        for variant in variants:
            yield variant, build(base if variant == "base" else trained, None, dtype, device, sharding, packed=False).eval()
        return
    model = build(base, tuning, dtype, device, sharding, packed=False, trained=trained).eval()
    for variant in variants:
        with tuning.disabled(model) if variant == "base" else nullcontext():
            yield variant, model
