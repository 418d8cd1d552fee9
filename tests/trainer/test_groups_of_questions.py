"""What tells questions apart beside their subject: year, and whether a Korean question cites a statute by name."""

from __future__ import annotations

from collections import Counter

import pytest
from medfinetune_api.choices import Format
from medfinetune_api.results_evaluation import EvaluationSummary, Orders, TaskScores
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.records import Message, Record
from medfinetune_trainer.evaluation.answers import Answer
from medfinetune_trainer.evaluation.comparison import compare, corrected
from medfinetune_trainer.evaluation.groups import compare_by_group, groups_of, score_by_group
from medfinetune_trainer.evaluation.statistics import score
from medfinetune_trainer.report.groups import groups
from support.records import real_data, source


def record(question: str, language: str = "ko", year: str = "") -> Record:
    turns = Message("user", question), Message("assistant", "A")
    return Record("a.csv:2", "1", "s", language, "", "", turns, question, ("x", "y"), ("A", "B"), 0, year=year)


@pytest.mark.parametrize(
    ("question", "language", "law"),
    [
        ("「의료법」에 따라 옳은 것은?", "ko", "yes"),
        ("다음은 「감염병의 예방 및 관리에 관한 법률」의 내용이다.", "ko-KR", "yes"),
        ("「의약품등의 안정성시험 기준」은?", "ko", "no"),
        ("의료법에 따라 옳은 것은?", "ko", "no"),
        ("「용기」와 「보관법 예」는?", "ko", "no"),
        ("「의료법」", "en", None),
    ],
)
def test_a_question_of_law_cites_a_statute_by_name(question: str, language: str, law: str | None) -> None:
    assert groups_of(record(question, language)) == ((f"law={law}",) if law else ())
    assert groups_of(record(question, language, "2022"))[0] == "year=2022"


def test_a_label_that_all_bear_tells_nothing_apart() -> None:
    asked = [(("year=2022", "law=yes"), True), (("year=2022", "law=no"), False), (("year=2022", "law=no"), True)]
    assert score_by_group(asked) == {"law=no": score([False, True]), "law=yes": score([True])}
    assert score_by_group([]) == {}


def test_a_change_within_a_group_has_its_interval_and_says_whether_it_is_noise() -> None:
    def answer(number: int, right: bool, law: bool) -> Answer:
        return Answer(where="f", question=f"{number:064x}", groups=("year=2022", f"law={'yes' if law else 'no'}"), right=right)

    pairs = [(answer(number, number % 2 == 0, number < 40), answer(number, number >= 40, number < 40)) for number in range(100)]
    found = compare_by_group(pairs, seed=2)
    law, other = compare([number % 2 == 0 for number in range(40)], [False] * 40, 2), compare([number % 2 == 0 for number in range(60)], [True] * 60, 2)
    assert found == corrected({"law=no": other, "law=yes": law})
    assert compare_by_group([], seed=2) == {}


def test_the_report_shows_groups_and_orders_and_nothing_where_there_are_none() -> None:
    plain = TaskScores(
        task="t", language="ko", version="1.0", questions=40, available=40, seen=False, tuned=score([True]), base_by_subject={}, tuned_by_subject={}
    )
    assert groups(summary(plain)) == []
    by_group = {"year=2022": score([True, False] * 20), "law=yes": score([True])}
    orders = Orders(orders=4, accuracy=score([True, False]), consistent=0.5, chosen_letters=(0.75, 0.25))
    told = plain.model_copy(
        update={
            "tuned_by_group": by_group,
            "base_by_group": {"law=yes": score([False])},
            "tuned_orders": orders,
            "comparison_by_group": {"law=yes": compare([False], [True])},
        }
    )
    found = [" ".join(element.itertext()) for element in groups(summary(told)) if element is not None]
    for words in ("medical law (cites a statute) 1* 0.0 [0.0, 79.3] 100.0 [20.7, 100.0] +100.0 [", "within noise", "year 2022 40 – 50.0"):
        assert words in " ".join(found[0].split())
    assert "t tuned 4 2 100.0 [20.7, 100.0] 50.0 [9.5, 90.5] 50.0 % A 75.0 %, B 25.0 %" in " ".join(found[1].split())


def summary(task: TaskScores) -> EvaluationSummary:
    return EvaluationSummary(plan_sha256="0" * 64, tasks=(task,), base_by_language={}, tuned_by_language={})


def test_the_published_examinations_have_408_questions_of_law() -> None:
    data, law, years = real_data(), Counter[str](), Counter[str]()
    for subject in ("doctor", "nurse", "pharm", "dentist"):
        for split in ("train", "valid", "test"):
            for one in read_source(source(f"kormedmcqa/{subject}/{split}.csv", Format.KORMEDMCQA, language="ko"), data):
                year, statute = groups_of(one)
                law[f"{subject} {statute}"] += 1
                years[f"{split} {year[5:]}"] += 1
    assert {name: count for name, count in law.items() if name.endswith("yes")} == {
        "doctor law=yes": 62,
        "nurse law=yes": 127,
        "pharm law=yes": 119,
        "dentist law=yes": 100,
    }
    assert sum(law.values()) == 7469
    assert {name for name in years if not name.startswith("train")} == {"valid 2021", "test 2022", "test 2023", "test 2024"}
