"""What tells two runs apart: fields as a manifest has them, what they were made from, and results compared question by question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_trainer.artifacts.lineage import lineage_of, write
from medfinetune_trainer.evaluation.answers import Answer, write_answers
from medfinetune_trainer.tools.diff import difference, main
from statsmodels.stats.contingency_tables import mcnemar
from support.told import complete_run, prepared_of

QUESTIONS = 60


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunPlan, RunPlan]:
    """The same run twice; the second learns faster, from another seed."""
    first = complete_run(tmp_path / "a")
    return first, changed(complete_run(tmp_path / "b"))


def changed(plan: RunPlan) -> RunPlan:
    training = plan.training.model_copy(update={"learning_rate": 1e-3, "seed": 7})
    sources = (*(source.model_copy(update={"domain": "surgery"}) for source in plan.data.sources),)
    other = plan.model_copy(update={"training": training, "data": plan.data.model_copy(update={"sources": sources})})
    for file in (plan.folder.plan, plan.folder.prepared, plan.folder.summary):
        file.write_text(file.read_text().replace(plan.sha256, other.sha256))
    plan.folder.plan.write_text(other.to_json() + "\n")
    write(other.folder, lineage_of(other, prepared_of(other)))
    return other


def answered(plan: RunPlan, right: list[bool]) -> None:
    """Keep these answers of the tuned model; questions are the same in every run, whatever their order."""
    answers = [Answer(where=f"exam.jsonl:{number}", question=f"{number:064x}", right=each) for number, each in enumerate(right, 1)]
    write_answers(plan.folder, "tuned", "exam", answers)


def test_fields_are_named_as_the_manifest_has_them(runs: tuple[RunPlan, RunPlan]) -> None:
    found = difference(*(plan.folder.root for plan in runs))
    assert found["plan"] == [
        {"field": "spec.data.sources[medqa].domain", "a": "medical", "b": "surgery"},
        {"field": "spec.training.learningRate", "a": runs[0].training.learning_rate, "b": 1e-3},
        {"field": "spec.training.seed", "a": runs[0].training.seed, "b": 7},
    ]
    assert [row["field"] for row in found["madeFrom"]] == ["seed"]
    again = difference(runs[0].folder.root, runs[0].folder.root)
    assert (again["plan"], again["madeFrom"], [row["difference"] for row in again["results"]]) == ([], [], [0.0])


def test_results_are_paired_where_both_kept_their_answers_and_else_said_not_to_be(runs: tuple[RunPlan, RunPlan]) -> None:
    roots = [plan.folder.root for plan in runs]
    [unpaired] = difference(*roots)["results"]
    assert (unpaired["difference"], unpaired["comparison"], unpaired["verdict"][:10]) == (0.0, None, "not paired")
    before = [number < 40 for number in range(QUESTIONS)]
    for kept, verdict in ((30, "within noise"), (12, "beyond noise")):
        answered(runs[0], before)
        answered(runs[1], [number < kept for number in range(QUESTIONS)])
        [row] = difference(*roots)["results"]
        compared = row["comparison"]
        assert (compared["n"], compared["gained"], compared["lost"], row["verdict"]) == (QUESTIONS, 0, 40 - kept, verdict if kept == 12 else row["verdict"])
        assert compared["p"] == pytest.approx(mcnemar([[kept, 0], [40 - kept, 20]], exact=True).pvalue)
        assert row["difference"] == pytest.approx((kept - 40) / QUESTIONS)
        assert compared["low"] <= row["difference"] <= compared["high"]


def test_a_run_that_is_not_evaluated_is_compared_as_far_as_it_came(runs: tuple[RunPlan, RunPlan], capsys: pytest.CaptureFixture[str]) -> None:
    second = runs[1].folder
    for file in (second.summary, second.lineage):
        file.unlink()
    found = difference(runs[0].folder.root, second.root)
    assert [row["verdict"] for row in found["results"]] == ["in one run alone"]
    assert EvaluationSummary.read(runs[0].folder.summary)
    second.plan.write_text("{")
    assert main([str(runs[0].folder.root), str(second.root)]) == Exit.OUTPUT_CONFLICT
    assert json.loads(capsys.readouterr().out)["problems"][0]["where"] == str(second.plan)
