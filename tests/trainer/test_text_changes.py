"""Answers in the model's own words: what tuning changed of them by language, task and subject, and what they are worth without contaminated questions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from medfinetune_api.choices import Format, GateMetric, TextMetric
from medfinetune_api.results_evaluation import Change, CleanText, TextScores
from medfinetune_cli.tables import changes_table, results_table
from medfinetune_trainer.evaluation.answers import Answer, write_answers
from medfinetune_trainer.evaluation.clean import with_clean
from medfinetune_trainer.evaluation.comparison import compare_means, corrected, mean
from medfinetune_trainer.evaluation.forgetting import changes
from medfinetune_trainer.evaluation.questions import read_questions
from medfinetune_trainer.evaluation.text_metrics import TextMeasures
from medfinetune_trainer.evaluation.text_results import text_answer
from medfinetune_trainer.evaluation.text_task import TextTask
from support.gates import summary
from support.plans import task_plan
from support.told import filled_run

F1, ENTITY = TextMetric.F1, TextMetric.ENTITY_F1
EXAM = task_plan(name="exam", path="exam.jsonl", format=Format.MEDQA, language="en")
NOTES = task_plan(name="notes", path="notes.jsonl", format=Format.CHAT, language="en", metrics=(F1, ENTITY))
LEARNT = task_plan(name="learnt", path="learnt.jsonl", format=Format.CHAT, language="en", metrics=(F1,), seen=True)


def pairs(before: float, after: float, subject: str, count: int, entities: int = 0) -> list[tuple[Answer, Answer]]:
    """Base's and tuned model's answers; the first `entities` references have one, and both find it half as often as the words."""

    def answer(number: int, value: float) -> Answer:
        found = {str(F1): value} | ({str(ENTITY): value / 2} if number < entities else {})
        return Answer(where=f"f:{number}", question=f"{number:064x}", subject=subject, measured=found)

    return [(answer(number, before), answer(number, after)) for number in range(count)]


def measured(answered: Sequence[tuple[Answer, Answer]], metric: TextMetric, side: int) -> list[float]:
    return [pair[side].measured[metric] for pair in answered if metric in pair[side].measured]


def test_every_measure_has_its_rows_and_what_was_forgotten_is_marked() -> None:
    law, ward = pairs(0.8, 0.4, "law", 40, entities=3), pairs(0.5, 0.6, "ward", 60)
    exam = [(Answer(where="e", question="0" * 64, right=True), Answer(where="e", question="0" * 64, right=True))] * 10
    rows = changes([EXAM, NOTES, LEARNT], {"exam": exam, "notes": law + ward, "learnt": pairs(0.1, 0.9, "law", 10)}, threshold=0.05, seed=3)
    told = {(row.metric, row.task, row.subject): (row.after.n, round(row.comparison.difference, 3), row.forgotten, row.seen) for row in rows}
    assert told == {
        (GateMetric.ACCURACY, None, None): (10, 0.0, False, False),
        (GateMetric.ACCURACY, "exam", None): (10, 0.0, False, False),
        (GateMetric.F1, None, None): (100, -0.1, True, False),  # not what was trained on
        (GateMetric.F1, "notes", None): (100, -0.1, True, False),
        (GateMetric.F1, "notes", "law"): (40, -0.4, True, False),
        (GateMetric.F1, "notes", "ward"): (60, 0.1, False, False),
        (GateMetric.F1, "learnt", None): (10, 0.8, False, True),
        (GateMetric.ENTITY_F1, None, None): (3, -0.2, True, False),  # over the references that have one
        (GateMetric.ENTITY_F1, "notes", None): (3, -0.2, True, False),
    }
    row = next(row for row in rows if (row.metric, row.subject) == (GateMetric.F1, "law"))
    assert (row.before, row.after) == (mean(measured(law, F1, 0), 3), mean(measured(law, F1, 1), 3))
    alone = compare_means(measured(law, F1, 0), measured(law, F1, 1), 3)
    assert (row.comparison.low, row.comparison.high, row.comparison.p) == (alone.low, alone.high, alone.p)
    assert [each.comparison for each in rows] == list(corrected({number: each.comparison for number, each in enumerate(rows)}).values())
    said = {row[:4]: row[-1] for row in zip(*(column.cells for column in changes_table(summary(changes=rows)).columns), strict=True)}
    assert said["notes", "en", "law", "F1"] == "forgotten, beyond noise"
    assert [Change.model_validate_json(each.to_json()) for each in rows] == list(rows)


def test_without_contaminated_questions_a_text_task_is_worth_what_the_others_measure(tmp_path: Path) -> None:
    """A question is known again by all that was asked, the system's turn included."""
    turns = [[("system", "Be brief."), ("user", f"Question {n}?"), ("assistant", "Answer."), ("user", "And then?"), ("assistant", "So.")] for n in range(5)]
    rows = [{"messages": [{"role": role, "content": text} for role, text in each]} for each in turns]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    questions = read_questions(NOTES, tmp_path, 0, alike=[2, 5])
    documents = TextTask(NOTES, questions.asked, TextMeasures(NOTES.metrics, "en")).dataset["test"]
    plan = filled_run(tmp_path)
    values = {"base": [0.1, 0.2, 0.3, 0.4, 0.5], "tuned": [0.9, 0.8, 0.7, 0.6, 0.5]}
    for variant, found in values.items():
        write_answers(
            plan.folder, variant, "notes", [text_answer({"doc": doc, "metrics": ["F1"], "F1": value}) for doc, value in zip(documents, found, strict=True)]
        )
    whole = {variant: {"F1": mean(found, plan.training.seed)} for variant, found in values.items()}
    scores = TextScores(task="notes", language="en", version="1", questions=5, available=5, seen=False, base=whole["base"], tuned=whole["tuned"])
    cleaned = with_clean(summary(texts=(scores,)), plan, {"notes": questions})
    left = {variant: {"F1": mean([found[0], found[2], found[3]], plan.training.seed)} for variant, found in values.items()}
    assert cleaned.texts[0].clean == CleanText(contaminated=2, base=left["base"], tuned=left["tuned"])
    cells = [list(column.cells) for column in results_table(cleaned).columns]
    assert [each[0] for each in cells[:5]] == ["notes", "en", "mean F1", "5", "2"]
    not_asked = read_questions(NOTES, tmp_path, 0, alike=[1, 2, 3, 4, 5])
    nothing = with_clean(summary(texts=(scores,)), plan, {"notes": not_asked}).texts[0].clean
    assert nothing == CleanText(contaminated=5, base={}, tuned={})
    assert with_clean(summary(texts=(scores,)), plan, {"notes": read_questions(NOTES, tmp_path, 0)}).texts[0].clean is None
