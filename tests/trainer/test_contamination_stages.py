"""Contamination through the real stages: what prepare finds and leaves out, what evaluate asks, what both report, and what stays after the purge."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from medfinetune_api.choices import DecontaminationAction, RemoveFrom
from medfinetune_api.errors import InvalidData, OutputConflict
from medfinetune_api.plan import Mounts, RunPlan
from medfinetune_api.results import Prepared, StageResult
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_api.results_screening import ContaminationReport, Detection
from medfinetune_trainer.artifacts.files import new_folder
from medfinetune_trainer.report.words import scored
from medfinetune_trainer.stages import evaluate, prepare, purge
from support.evaluation import EXAMPLE, evaluation_plan, example_tasks, tiny_base
from support.models import adapted, save_adapter
from support.plans import data_plan, decontamination_plan

REPORT, REMOVE = DecontaminationAction.REPORT, DecontaminationAction.REMOVE
PLANTED = 3


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base, and the example's data with three questions of medqa/test.jsonl among the training records: as it is, in other dress, and reworded."""
    models, data = tiny_base(tmp_path_factory.mktemp("models") / "base"), tmp_path_factory.mktemp("data") / "volume"
    shutil.copytree(EXAMPLE, data)
    rows = [json.loads(line) for line in (data / "medqa/test.jsonl").read_text(encoding="utf-8").splitlines()]
    with (data / "medqa/train.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in (rows[0], in_other_dress(rows[1]), reworded(rows[2])))
    return models, data


def in_other_dress(row: dict[str, Any]) -> dict[str, Any]:
    """Upper case, wide spaces, and the options the other way round."""
    options = dict(zip(row["options"], reversed(row["options"].values()), strict=True))
    right = next(letter for letter, text in options.items() if text == row["answer"])
    return row | {"question": row["question"].upper().replace(" ", "  "), "options": options, "answer_idx": right}


def reworded(row: dict[str, Any]) -> dict[str, Any]:
    """Without two of its words."""
    words = row["question"].split()
    return row | {"question": " ".join([*words[:3], *words[4:9], *words[10:]])}


def plan_of(volumes: tuple[Path, Path], output: Path, **screening: Any) -> RunPlan:
    models, data = volumes
    plan = evaluation_plan(output, models, example_tasks())
    sources = data_plan(sources=plan.data.sources, max_length=512, decontamination=decontamination_plan(**screening))
    return plan.model_copy(update={"mounts": Mounts(models=str(models.parent), data=str(data), output=str(output)), "data": sources})


def evaluated(plan: RunPlan, volumes: tuple[Path, Path]) -> tuple[StageResult, EvaluationSummary]:
    """The result of prepare, and the summary of evaluate, with an adapter of moved weights for what training would have left."""
    result = prepare.run(plan)
    with new_folder(plan.folder.final) as folder:
        save_adapter(adapted(volumes[0]), folder, plan.model.path)
    evaluate.run(plan)
    summary = EvaluationSummary.read(plan.folder.summary)
    assert summary is not None
    return result, summary


def report_of(plan: RunPlan) -> ContaminationReport:
    report = ContaminationReport.read(plan.folder.contamination)
    assert report is not None
    return report


def right(plan: RunPlan, variant: str) -> dict[str, bool]:
    """`file:line` of each question of medqa -> whether it was answered rightly."""
    lines = (plan.folder.evaluation / f"samples_{variant}_medqa.jsonl").read_text(encoding="utf-8").splitlines()
    return {sample["doc"]["where"]: sample["acc"] == 1.0 for sample in map(json.loads, lines)}


def test_what_is_planted_is_reported_and_accuracy_is_given_with_and_without_it(volumes: tuple[Path, Path], tmp_path: Path) -> None:
    plan = plan_of(volumes, tmp_path, action=REPORT)
    result, summary = evaluated(plan, volumes)
    medqa, korean = report_of(plan).tasks
    planted = [f"medqa/test.jsonl:{line}" for line in (1, 2, 3)]
    assert [(each.question, each.found_by) for each in medqa.flagged] == list(zip(planted, tuple(Detection)[:3], strict=True))
    first = 1 + report_of(plan).records - PLANTED
    assert [each.alike[0].record for each in medqa.flagged] == [f"medqa/train.jsonl:{first + k}" for k in range(PLANTED)]
    assert (medqa.contaminated, medqa.rate, korean.contaminated) == (PLANTED, PLANTED / medqa.questions, 0)
    assert (result.numbers["questions_contaminated"], result.numbers["contamination_rate_medqa"]) == (PLANTED, medqa.rate)
    scores, clean = summary.tasks[0], summary.tasks[0].clean
    assert clean is not None
    assert clean.contaminated == PLANTED
    for variant, whole, left in (("base", scores.base, clean.base), ("tuned", scores.tuned, clean.tuned)):
        answers = right(plan, variant)
        without = [answer for where, answer in answers.items() if where not in planted]
        assert whole is not None
        assert left is not None
        assert (whole.n, whole.accuracy) == (len(answers), sum(answers.values()) / len(answers))
        assert (left.n, left.accuracy) == (len(without), sum(without) / len(without))
    assert summary.tasks[1].clean is not None
    assert summary.tasks[1].clean.contaminated == 0
    page, card = plan.folder.report.read_text(encoding="utf-8"), (plan.folder.adapter / "README.md").read_text(encoding="utf-8")
    assert all(f"<bdi>{where}</bdi>" in page for where in planted)
    assert f"| medqa | {medqa.questions} | {PLANTED} | {medqa.rate:.1%} |".replace("%", " %") in card
    assert scored(clean.tuned) in page
    assert scored(clean.tuned) in card
    purge.run(plan)
    assert report_of(plan).contaminated == PLANTED
    texts = [json.loads(line)["question"][:40] for line in (volumes[1] / "medqa/test.jsonl").read_text(encoding="utf-8").splitlines()]
    assert not any(text in plan.folder.contamination.read_text(encoding="utf-8") for text in texts)


def test_removed_from_the_evaluation_they_are_not_asked(volumes: tuple[Path, Path], tmp_path: Path) -> None:
    plan = plan_of(volumes, tmp_path, action=REMOVE, remove_from=RemoveFrom.EVALUATION)
    _, summary = evaluated(plan, volumes)
    scores, clean = summary.tasks[0], summary.tasks[0].clean
    assert clean is not None
    assert (scores.questions, scores.available, clean.contaminated) == (scores.available - PLANTED, report_of(plan).tasks[0].questions, PLANTED)
    assert not {f"medqa/test.jsonl:{line}" for line in (1, 2, 3)} & right(plan, "tuned").keys()
    assert (clean.base, clean.tuned) == (scores.base, scores.tuned)
    # Before removal: the answers to all questions, as a run that only reports gives them.
    reported = evaluated(plan_of(volumes, tmp_path / "reported", action=REPORT), volumes)[1].tasks[0]
    assert reported.clean is not None
    assert (clean.before_base, clean.before_tuned) == (reported.base, reported.tuned)
    assert (clean.base, clean.tuned) == (reported.clean.base, reported.clean.tuned)
    assert (reported.clean.before_base, reported.clean.before_tuned) == (None, None)
    assert all(scored(each) in plan.folder.report.read_text(encoding="utf-8") for each in (clean.before_base, clean.before_tuned))
    assert summary.tuned_by_language["en"] == scores.tuned
    plan.folder.summary.unlink()
    plan.folder.contamination.unlink()
    with pytest.raises(OutputConflict, match=r"contamination\.json: found no such file"):
        evaluate.run(plan)


def test_removed_from_training_they_are_not_trained_on_and_counted(volumes: tuple[Path, Path], tmp_path: Path) -> None:
    plan = plan_of(volumes, tmp_path, action=REMOVE, remove_from=RemoveFrom.TRAINING)
    result = prepare.run(plan)
    prepared = Prepared.read(plan.folder.prepared)
    assert prepared is not None
    (row,) = prepared.sources
    assert (row.decontaminated, row.samples_read, row.samples) == (PLANTED, report_of(plan).records, report_of(plan).records - PLANTED)
    assert result.numbers["records_decontaminated"] == report_of(plan).left_out == PLANTED
    untouched = prepare_without_plants(volumes, tmp_path)
    assert (untouched.train_documents, untouched.sources[0].tokens) == (prepared.train_documents, row.tokens)


def prepare_without_plants(volumes: tuple[Path, Path], folder: Path) -> Prepared:
    plan = plan_of((volumes[0], EXAMPLE), folder / "untouched", action=DecontaminationAction.DISABLED)
    prepare.run(plan)
    assert not plan.folder.contamination.exists()
    prepared = Prepared.read(plan.folder.prepared)
    assert prepared is not None
    return prepared


@pytest.mark.parametrize("side", RemoveFrom)
def test_a_side_that_would_be_left_with_nothing_is_refused(volumes: tuple[Path, Path], tmp_path: Path, side: RemoveFrom) -> None:
    data = tmp_path / "data"
    shutil.copytree(EXAMPLE, data)
    rows = [json.loads(line) for line in (data / "medqa/test.jsonl").read_text(encoding="utf-8").splitlines()]
    (data / "medqa/train.jsonl").write_text("".join(json.dumps(in_other_dress(row)) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InvalidData, match="all resemble"):
        prepare.run(plan_of((volumes[0], data), tmp_path / "out", action=REMOVE, remove_from=side))
