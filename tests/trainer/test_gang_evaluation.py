"""Evaluate as a gang: sharded over two ranks, the same questions get the same answers and likelihoods as from one process."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_trainer.artifacts.files import new_folder
from medfinetune_trainer.stages.evaluate import run
from support.evaluation import evaluation_plan, example_tasks, mark_prepared, tiny_base
from support.models import adapted, save_adapter
from support.train import agents


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    """A run whose training is complete, with few questions: an adapter that moves the base's answers stands under checkpoints/final."""
    root = tmp_path_factory.mktemp("gang")
    base = tiny_base(root / "models" / "base")
    tasks = tuple(task.model_copy(update={"limit": 6}) for task in example_tasks())
    plan = evaluation_plan(root / "alone", base, tasks)
    with new_folder(plan.folder.final) as folder:
        save_adapter(adapted(base), folder, plan.model.path)
    mark_prepared(plan)
    return plan


def copied(plan: RunPlan, output: Path) -> RunPlan:
    copy = plan.model_copy(update={"mounts": plan.mounts.model_copy(update={"output": str(output)})})
    shutil.copytree(plan.folder.root, copy.folder.root)
    return copy


def likelihoods(plan: RunPlan) -> dict[str, torch.Tensor]:
    """(questions, choices) by samples file."""
    found = {}
    for file in sorted(plan.folder.evaluation.glob("samples_*")):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        found[file.name] = torch.tensor([float(text) for row in rows for text, _ in row["filtered_resps"]])
    return found


def test_two_ranks_answer_as_one_process_does(trained: RunPlan, tmp_path: Path) -> None:
    shared = copied(trained, tmp_path / "shared")
    gang = agents(shared, 2, tmp_path / "logs", stage="evaluate")
    ends = [agent.end() for agent in gang]
    assert [code for code, _ in ends] == [Exit.SUCCEEDED] * 2, ends
    run(trained)
    alone, together = likelihoods(trained), likelihoods(shared)
    assert len(alone) == 4
    assert alone.keys() == together.keys()
    for name, expected in alone.items():
        torch.testing.assert_close(together[name], expected, rtol=0, atol=1e-4)
    one, two = (EvaluationSummary.read(plan.folder.summary) for plan in (trained, shared))
    assert one is not None
    assert one == two
    assert [(task["task"], task["accuracy"]) for task in ends[0][1]["tasks"]] == [(task.task, round(task.tuned.accuracy, 6)) for task in one.tasks]
    assert (shared.folder.adapter / "adapter_model.safetensors").exists()


def test_a_rank_that_is_killed_is_a_lost_gang_and_a_stop_an_interruption(trained: RunPlan, tmp_path: Path) -> None:
    for number, code in ((signal.SIGKILL, Exit.GANG_LOST), (signal.SIGTERM, Exit.INTERRUPTED)):
        plan = copied(trained, tmp_path / number.name)
        plan.folder.summary.unlink(missing_ok=True)
        shutil.rmtree(plan.folder.evaluation, ignore_errors=True)
        [agent] = agents(plan, 1, tmp_path / "logs", stage="evaluate", PET_NPROC_PER_NODE="2")
        agent.until(lambda agent=agent: agent.workers(), "ranks")  # type: ignore[misc]  # bound now
        (agent.process if number is signal.SIGTERM else agent.workers()[0]).send_signal(number)
        ended, result = agent.end()
        assert ended == code, result
        assert EvaluationSummary.read(plan.folder.summary) is None
