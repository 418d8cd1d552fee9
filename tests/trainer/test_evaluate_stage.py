"""The stage evaluate as a program on a real tiny QLoRA adapter: what it leaves, and what it does when it is started again after a crash at any point."""

from __future__ import annotations

import getpass
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.loggers import EvaluationTracker
from medfinetune_api.choices import ChatTemplate, Stage
from medfinetune_api.errors import Diverged, InvalidData, InvalidModel, OutputConflict
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import TaskPlan
from medfinetune_api.results import Prepared, StageResult
from medfinetune_api.results_evaluation import EvaluationSummary, TaskScores
from medfinetune_trainer.artifacts import attempts
from medfinetune_trainer.artifacts.files import new_folder
from medfinetune_trainer.artifacts.verification import verify
from medfinetune_trainer.data.records import Record
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.evaluation import results
from medfinetune_trainer.evaluation.answers import read_answers
from medfinetune_trainer.evaluation.comparison import holm, mcnemar
from medfinetune_trainer.evaluation.harness import ExamTask, LetterModel, ask_and_describe
from medfinetune_trainer.evaluation.questions import read_questions
from medfinetune_trainer.evaluation.summary import summarise
from medfinetune_trainer.model.adapter import base_digest
from medfinetune_trainer.model.fingerprint import weights_sha256
from medfinetune_trainer.stages.evaluate import run
from peft import PeftModel
from support.evaluation import EXAMPLE, evaluation_plan, example_tasks, mark_prepared, tiny_base, without_network
from support.models import adapted, save_adapter
from transformers import AutoModelForCausalLM


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("models") / "base")


def trained(output: Path, base: Path, tasks: tuple[TaskPlan, ...] | None = None) -> RunPlan:
    """A plan whose training is complete: a QLoRA adapter with moved weights stands under checkpoints/final."""
    plan = evaluation_plan(output, base, example_tasks() if tasks is None else tasks)
    with new_folder(plan.folder.final) as folder:
        save_adapter(adapted(base), folder, plan.model.path)
    mark_prepared(plan)
    return plan


def as_a_program(plan: RunPlan, folder: Path) -> tuple[int, StageResult, str]:
    """Exit code, result and stderr of the stage in a process of its own, with a home that must stay empty and no network."""
    home = folder / "home"
    home.mkdir()
    file = folder / "plan.json"
    file.write_text(plan.to_json(), encoding="utf-8")
    environment = os.environ | {"HOME": str(home), "PYTHONPATH": str(without_network(folder / "guard")), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "medfinetune_trainer", "evaluate", "--plan", str(file)]
    process = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert files(home) == set()
    return process.returncode, StageResult.model_validate_json(process.stdout), process.stderr


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def samples(plan: RunPlan, variant: str, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (plan.folder.evaluation / f"samples_{variant}_{task}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_program_evaluates_offline_and_releases_the_adapter(base: Path, tmp_path: Path) -> None:
    plan = trained(tmp_path / "output", base)
    weights = (plan.folder.final / "adapter_model.safetensors").read_bytes()
    code, result, stderr = as_a_program(plan, tmp_path)
    assert (code, result.exit_code) == (Exit.SUCCEEDED, Exit.SUCCEEDED), stderr
    kinds = [f"{kind}_{variant}" for kind in ("answers", "samples") for variant in ("base", "tuned")]
    variants = {f"{kind}_{task}.jsonl" for kind in kinds for task in ("medqa", "kormedmcqa")}
    assert files(plan.folder.evaluation) == {"results_base.json", "results_tuned.json", "summary.json", "activations.json"} | variants
    assert (plan.folder.adapter / "adapter_model.safetensors").read_bytes() == weights
    assert not plan.folder.final.exists()
    assert "it/s" not in stderr
    for variant in ("base", "tuned"):
        text = (plan.folder.evaluation / f"results_{variant}.json").read_text(encoding="utf-8")
        assert not any(private in text for private in (str(tmp_path), platform.node(), getpass.getuser() + "@", "pretty_env_info", "git_hash"))


def test_the_summary_counts_what_the_samples_hold(base: Path, tmp_path: Path) -> None:
    plan = trained(tmp_path, base)
    run(plan)
    summary = EvaluationSummary.model_validate_json(plan.folder.summary.read_bytes())
    for scores in summary.tasks:
        rows = samples(plan, "tuned", scores.task)
        assert (scores.questions, scores.available, scores.tuned.n) == (len(rows),) * 3
        assert scores.tuned.accuracy == sum(row["acc"] for row in rows) / len(rows)
        for subject, score in scores.tuned_by_subject.items():
            right = [row["acc"] for row in rows if row["doc"]["subject"] == subject]
            assert (score.n, score.accuracy) == (len(right), sum(right) / len(right))
        assert [row["doc_hash"] for row in samples(plan, "base", scores.task)] == [row["doc_hash"] for row in rows]
        judged_as_its_samples(plan, scores)
    compared = {row.task: row.comparison for row in summary.changes if row.subject is None}
    assert compared.keys() == {None, "medqa", "kormedmcqa"}
    assert [scores.comparison.p_holm for scores in summary.tasks] == holm([scores.comparison.p for scores in summary.tasks])
    assert EvaluationSummary.model_validate_json(summarise(plan, {scores.task: scores.available for scores in summary.tasks}).to_json()) == summary
    assert summary.tasks[1].tuned_by_subject.keys() == {record.subject for record in asked(plan)["kormedmcqa"]}
    assert summary.tuned_by_language.keys() == {"en", "ko"}


def judged_as_its_samples(plan: RunPlan, scores: TaskScores) -> None:
    """Comparison, calibration and the answers that stay are those of the samples, and none of it holds a question."""
    rows = {variant: samples(plan, variant, scores.task) for variant in ("base", "tuned")}
    before, after = ([row["acc"] for row in rows[variant]] for variant in ("base", "tuned"))
    gained, lost = (sum(now - then == change for then, now in zip(before, after, strict=True)) for change in (1, -1))
    assert (scores.comparison.gained, scores.comparison.lost, scores.comparison.p) == (gained, lost, pytest.approx(mcnemar(gained, lost)))
    for variant, calibration in (("base", scores.base_calibration), ("tuned", scores.tuned_calibration)):
        sure = [torch.tensor([float(likelihood) for likelihood, _ in row["filtered_resps"]]).double().softmax(0).max().item() for row in rows[variant]]
        assert sum(one.n * one.confidence for one in calibration.bins) == pytest.approx(sum(sure))
        kept = read_answers(plan.folder, variant, scores.task)
        assert [answer.confidence for answer in kept] == pytest.approx(sure)
        assert [(answer.where, float(answer.right or 0)) for answer in kept] == [(row["doc"]["where"], row["acc"]) for row in rows[variant]]
        text = plan.folder.answers(variant, scores.task).read_text(encoding="utf-8")
        assert not any(row["doc"]["prompt"][:20] in text for row in rows[variant])


def asked(plan: RunPlan) -> dict[str, list[Record]]:
    return {task.name: read_questions(task, EXAMPLE, plan.training.seed).asked for task in plan.evaluation.tasks}


def direct(plan: RunPlan, base: Path, model: Any) -> dict[str, Any]:
    """What `model`, which never was on disk, answers."""
    lm = LetterModel(model, Renderer(load_tokenizer(base), ChatTemplate.TOKENIZER), plan.evaluation.batch_size)
    return ask_and_describe(lm, [ExamTask(name, records, "") for name, records in asked(plan).items()], "base")


def test_base_and_tuned_are_the_models_they_say(base: Path, tmp_path: Path) -> None:
    """Also: evaluation leaves the 4-bit base as it was, bit for bit."""
    plan = trained(tmp_path, base)
    run(plan)
    model = adapted(base)
    model.get_base_model().set_attn_implementation("sdpa")
    digest = base_digest(model)
    tuned = direct(plan, base, model)
    with model.disable_adapter():
        untuned = direct(plan, base, model)
    assert base_digest(model) == digest
    for variant, answers in (("base", untuned), ("tuned", tuned)):
        for task, rows in answers["samples"].items():
            stored = torch.tensor([[float(text) for text, _ in row["filtered_resps"]] for row in samples(plan, variant, task)])
            expected = torch.tensor([[likelihood for likelihood, _ in row["filtered_resps"]] for row in rows])
            torch.testing.assert_close(stored, expected, rtol=0, atol=1e-5)


def test_files_are_those_the_harness_would_write(base: Path, tmp_path: Path) -> None:
    plan = evaluation_plan(tmp_path, base, example_tasks())
    model = adapted(base)
    model.get_base_model().set_attn_implementation("sdpa")
    answers = direct(plan, base, model)
    results.write(tmp_path, "base", answers)
    tracker = EvaluationTracker(output_path=str(tmp_path / "theirs" / "results.json"))
    rows = answers.pop("samples")
    tracker.save_results_aggregated(answers, rows)
    tracker.save_results_samples("medqa", rows["medqa"])
    (theirs,) = (tmp_path / "theirs").glob("results_*.json")
    ours = json.loads((tmp_path / "results_base.json").read_text(encoding="utf-8"))
    assert json.loads(theirs.read_text(encoding="utf-8")).keys() - {"start_time", "end_time"} == ours.keys()
    assert ours["task_hashes"] == json.loads(theirs.read_text(encoding="utf-8"))["task_hashes"]
    (lines,) = (tmp_path / "theirs").glob("samples_medqa_*.jsonl")
    assert (tmp_path / "samples_base_medqa.jsonl").read_text(encoding="utf-8") == lines.read_text(encoding="utf-8")


@pytest.mark.parametrize("lost", ["nothing", "rename", "summary", "torn summary", "samples", "samples cut", "samples torn", "tuned", "tuned torn"])
def test_started_again_it_does_what_is_missing(base: Path, tmp_path: Path, lost: str) -> None:
    plan = trained(tmp_path, base)
    first = run(plan)
    before = state(plan)
    undo(plan, lost)
    second = run(plan)
    assert {**second.numbers, "seconds": 0} == {**first.numbers, "seconds": 0}
    after = state(plan)
    assert after.keys() == before.keys()
    rewritten = {name for name in before if after[name][0] != before[name][0]}
    assert all(after[name][1] == before[name][1] for name in before if "results" not in name and name not in ("lineage.json", "attempts.jsonl"))
    asked_again = lost not in ("nothing", "rename")
    assert [each.stage for each in attempts.read(plan.folder)] == [Stage.EVALUATE] * (1 + asked_again)
    assert verify(plan.folder.root).problems == ()
    assert not any(name.endswith("base.json") or "samples_base" in name for name in rewritten)
    assert bool(rewritten) == asked_again


def undo(plan: RunPlan, lost: str) -> None:
    """Take the run back to where a crash would have left it."""
    if lost != "nothing":
        plan.folder.checkpoints.mkdir(exist_ok=True)
        plan.folder.adapter.rename(plan.folder.final)
    if lost == "torn summary":
        plan.folder.summary.write_text("{", encoding="utf-8")
    if lost.partition(" ")[0] in ("summary", "samples", "tuned"):
        plan.folder.summary.unlink()
    file = plan.folder.evaluation / ("results_tuned.json" if lost.startswith("tuned") else "samples_tuned_medqa.jsonl")
    if lost in ("samples", "tuned"):
        file.unlink()
    elif lost in ("samples cut", "samples torn", "tuned torn"):
        cut(file, b"\n" if lost == "samples cut" else b"")


def cut(file: Path, end: bytes = b"") -> None:
    """Leave half of a file, up to the last `end` there."""
    half = file.read_bytes()[: file.stat().st_size // 2]
    file.write_bytes(half[: half.rindex(end) + len(end)])


def state(plan: RunPlan) -> dict[str, tuple[int, bytes]]:
    """Time of writing and content of every file."""
    return {name: ((plan.folder.root / name).stat().st_mtime_ns, (plan.folder.root / name).read_bytes()) for name in files(plan.folder.root)}


def test_without_a_trained_adapter_it_refuses_and_writes_nothing(base: Path, tmp_path: Path) -> None:
    plan = evaluation_plan(tmp_path, base, example_tasks())
    with pytest.raises(OutputConflict, match="Run the stage train"):
        run(plan)
    assert files(tmp_path) == set()


def test_a_damaged_adapter_is_refused_with_the_way_to_a_new_one(base: Path, tmp_path: Path) -> None:
    plan = trained(tmp_path, base)
    (plan.folder.final / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(OutputConflict, match="checkpoints/final and start again: training continues from the newest checkpoint"):
        run(plan)


def test_questions_other_than_those_that_were_compared_with_the_training_records_are_refused(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(EXAMPLE, data)
    plan = trained(tmp_path / "output", base)
    plan = plan.model_copy(update={"mounts": plan.mounts.model_copy(update={"data": str(data)})})
    mark_prepared(plan)
    task = plan.evaluation.tasks[0]
    with (data / task.path).open("a", encoding="utf-8") as file:
        file.write("\n")
    with pytest.raises(InvalidData, match=rf"tasks\[name={task.name}\]\.path: found another file, of SHA-256 [0-9a-f]{{12}}; expected the file that prepare"):
        run(plan)
    assert not plan.folder.evaluation.exists()


def test_a_base_other_than_the_one_that_was_prepared_is_refused_with_both_hashes(base: Path, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "models" / "base")
    plan = trained(tmp_path / "output", other)
    before = Prepared.read(plan.folder.prepared)
    assert before is not None
    (other / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(InvalidModel, match=f"{weights_sha256(other)}; expected {before.weights_sha256}"):
        run(plan)


def test_without_tasks_the_adapter_is_released_at_once(base: Path, tmp_path: Path) -> None:
    plan = trained(tmp_path, base, tasks=())
    assert run(plan).exit_code == Exit.SUCCEEDED
    assert plan.folder.adapter.exists()


def test_likelihoods_that_are_not_finite_are_refused() -> None:
    row = {"filtered_resps": [(float("nan"), False), (-1.0, False)]}
    with pytest.raises(Diverged, match="1 questions"):
        results.refuse_unanswered("tuned", {"samples": {"medqa": [row]}})


def test_what_is_told_is_told_again_where_it_is_missing_and_peft_loads_the_adapter_with_its_card(base: Path, tmp_path: Path) -> None:
    plan = trained(tmp_path, base, tasks=())
    run(plan)
    told = [plan.folder.adapter / "README.md", plan.folder.report, plan.folder.lineage]
    before = [file.read_bytes() for file in told]
    for count in range(1, len(told) + 1):
        for file in told[-count:]:
            file.unlink()
        run(plan)
        assert [file.read_bytes() for file in told] == before
    assert verify(plan.folder.root).problems == ()
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), plan.folder.adapter)
    assert model.peft_config["default"].base_model_name_or_path == plan.model.path
