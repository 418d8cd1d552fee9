"""What tuning changed by language, task and subject, by hand and as a property; and answers that two runs are compared by once their samples are purged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import Format, Retained
from medfinetune_api.errors import OutputConflict
from medfinetune_api.layout import RunFolder
from medfinetune_trainer.artifacts.lineage import lineage_of, write
from medfinetune_trainer.artifacts.verification import verify
from medfinetune_trainer.evaluation.answers import Answer, paired, read_answers, write_answers
from medfinetune_trainer.evaluation.comparison import compare, holm
from medfinetune_trainer.evaluation.forgetting import changes
from medfinetune_trainer.stages.purge import run as purge
from support.plans import task_plan
from support.told import filled_run, prepared_of

TASKS = [
    task_plan(name="medqa", path="medqa.jsonl", format=Format.MEDQA, language="en"),
    task_plan(name="nurse", path="nurse.csv", format=Format.KORMEDMCQA, language="ko"),
    task_plan(name="learnt", path="learnt.csv", format=Format.KORMEDMCQA, language="ko", seen=True),
]


def answer(number: int, right: bool, subject: str = "", question: int | None = None) -> Answer:
    return Answer(where=f"f:{number}", question=f"{number if question is None else question:064x}", subject=subject, right=right, chosen=0, confidence=0.5)


def pairs(gained: int, lost: int, both: int, subject: str = "") -> list[tuple[Answer, Answer]]:
    outcomes = [(False, True)] * gained + [(True, False)] * lost + [(True, True)] * both
    return [(answer(number, before, subject), answer(number, after, subject)) for number, (before, after) in enumerate(outcomes)]


def test_every_language_task_and_subject_has_a_row_and_what_was_forgotten_is_marked() -> None:
    answered = {"medqa": pairs(0, 5, 95), "nurse": pairs(2, 30, 68, "law") + pairs(30, 2, 68, "ward"), "learnt": pairs(90, 0, 10, "law")}
    rows = changes(TASKS, answered, threshold=0.05, seed=0)
    told = {(row.task, row.language, row.subject): (row.after.n, round(row.comparison.difference, 3), row.forgotten, row.seen) for row in rows}
    assert told == {
        (None, "en", None): (100, -0.05, False, False),  # exactly the threshold is not beyond it
        (None, "ko", None): (200, 0.0, False, False),  # not what was trained on
        ("medqa", "en", None): (100, -0.05, False, False),
        ("nurse", "ko", None): (200, 0.0, False, False),  # whose subjects hide each other
        ("nurse", "ko", "law"): (100, -0.28, True, False),
        ("nurse", "ko", "ward"): (100, 0.28, False, False),
        ("learnt", "ko", None): (100, 0.9, False, True),  # one subject is the whole task
    }
    by_name = {(row.task, row.subject): row for row in rows}
    law = by_name["nurse", "law"]
    assert (law.before.accuracy, law.after.accuracy, law.comparison.verdict) == (0.98, 0.7, "beyond noise")
    assert by_name["medqa", None].comparison.verdict == "within noise"
    assert by_name["medqa", None].comparison.p == pytest.approx(2 / 2**5)
    assert [row.comparison.p_holm for row in rows] == holm([row.comparison.p for row in rows])
    assert changes(TASKS[:1], {"medqa": pairs(0, 5, 95)}, threshold=0.049, seed=0)[0].forgotten


def test_a_question_that_several_tasks_ask_counts_once_in_its_language() -> None:
    """Else one file in three tasks would rule out a loss that it cannot: 40 unchanged answers an interval of 120."""
    asked, again = pairs(0, 4, 36), pairs(0, 30, 10)
    others = [(before.model_copy(update={"question": "f" * 64}), after.model_copy(update={"question": "f" * 64})) for before, after in pairs(1, 0, 0)]
    tasks = [task_plan(name=name, path="nurse.csv", format=Format.KORMEDMCQA, language="ko") for name in ("letters", "written")]
    language, *alone = changes(tasks, {"letters": asked, "written": again + others}, threshold=0.05, seed=0)
    assert (language.before.n, language.comparison.n, language.comparison.lost, language.comparison.gained) == (41, 41, 4, 1)
    assert [row.after.n for row in alone] == [40, 41]


OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from(["", "law", "ward"])), max_size=25)


@settings(max_examples=25, deadline=None)
@given(OUTCOMES, OUTCOMES)
def test_rows_add_up_and_are_those_of_their_questions(english: list[tuple[bool, bool, str]], korean: list[tuple[bool, bool, str]]) -> None:
    asked = {"medqa": english, "nurse": korean}
    answered = {name: [(answer(i, b, s), answer(i, a, s)) for i, (b, a, s) in enumerate(found)] for name, found in asked.items()}
    rows = changes(TASKS[:2], answered, threshold=0.1, seed=4)
    for row in rows:
        name = row.task or {"en": "medqa", "ko": "nurse"}[row.language]
        of_row = [(before, after) for before, after, subject in asked[name] if row.subject in (None, subject)]
        alone = compare(*map(list, zip(*of_row, strict=True)), seed=4)
        assert row.comparison.model_copy(update={"p_holm": alone.p_holm, "beyond_noise": alone.beyond_noise}) == alone
        assert (row.before.n, row.after.n) == (len(of_row), len(of_row))
        assert row.forgotten == (alone.lost - alone.gained > 0.1 * alone.n)
    assert len([row for row in rows if row.task is None]) == bool(english) + bool(korean)


def test_answers_outlive_the_purge_hold_no_text_and_pair_by_question(tmp_path: Path) -> None:
    plan = filled_run(tmp_path, retain=[Retained.DATA])
    asked = [answer(number, number % 3 == 0, "law") for number in range(6)]
    write_answers(plan.folder, "tuned", "exam", asked)
    purge(plan)
    assert read_answers(plan.folder, "tuned", "exam") == asked
    assert not list(plan.folder.evaluation.glob("samples_*"))
    other = [answer(10 + number, True, question=number) for number in (5, 1, 9)]  # another file, order and sample
    assert [(then.where, now.where) for then, now in paired(other, asked)] == [("f:11", "f:1"), ("f:15", "f:5")]
    twice = [answer(0, True), answer(1, False, question=0), answer(2, True, question=0)]
    assert [(then.where, now.where) for then, now in paired(twice, twice[:2])] == [("f:0", "f:0"), ("f:1", "f:1")]
    with pytest.raises(OutputConflict, match=r"answers_base_exam\.jsonl: found no such file"):
        read_answers(plan.folder, "base", "exam")
    plan.folder.answers("base", "exam").write_text('{"where":1}\n')
    with pytest.raises(OutputConflict, match="evaluate it again where its files are damaged"):
        read_answers(plan.folder, "base", "exam")


def test_answers_are_in_the_lineage(tmp_path: Path) -> None:
    plan = filled_run(tmp_path)
    write_answers(plan.folder, "tuned", "exam", [answer(1, True)])
    write(plan.folder, lineage_of(plan, prepared_of(plan)))
    path = plan.folder.answers("tuned", "exam")
    assert str(path.relative_to(plan.folder.root)) in RunFolder(plan.folder.root).lineage.read_text()
    path.write_text(path.read_text().replace("true", "false"))
    assert any("answers_tuned_exam.jsonl" in str(problem) for problem in verify(plan.folder.root).problems)
