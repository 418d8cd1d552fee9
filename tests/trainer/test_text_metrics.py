"""Measurements of free text: the libraries' own values, or ones worked out by hand, in English and in Korean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import TextMetric
from medfinetune_api.errors import InvalidData
from medfinetune_api.plan_evaluation import GlossaryPlan
from medfinetune_trainer.evaluation.code_mixing import code_mixing, in_latin_letters
from medfinetune_trainer.evaluation.entities import Entities, entity_f1, quantities
from medfinetune_trainer.evaluation.glossary import Glossary, glossary_of, use
from medfinetune_trainer.evaluation.text_metrics import TextMeasures, bleu, consistency, f1, rouge_l
from medfinetune_trainer.evaluation.tokens import tokens
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # it ships no types
from sacrebleu import sentence_bleu
from support.evaluation import evaluation_plan

KOREAN = "아스피린 500 mg을 하루 2회 복용하고, 의사와 상담하세요."
ENGLISH = ("Take the aspirin with food, twice a day.", "The patient should take aspirin twice every day with a meal!")
TEXTS = st.text(alphabet="abc 심장은약ไทย医. 0.5", max_size=30)
ALL = TextMeasures(tuple(TextMetric), "ko")


def test_identical_korean_sentences_score_one_in_each() -> None:
    assert ALL.measure(KOREAN, KOREAN, [KOREAN] * 3) == {str(metric): pytest.approx(1) for metric in TextMetric}
    assert RougeScorer(["rougeL"]).score("심장은 피를 보낸다", "심장은 피를 보낸다")["rougeL"].fmeasure == 0, "rouge-score needs no tokenizer of ours any more"


def test_rouge_and_bleu_are_the_libraries_own_in_english() -> None:
    answer, reference = ENGLISH
    assert rouge_l(answer, reference) == RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure
    assert bleu(answer, reference, "en") == pytest.approx(sentence_bleu(answer, [reference]).score / 100)
    assert bleu("", reference, "en") == 0
    assert bleu(KOREAN, KOREAN[::-1], "ko") == pytest.approx(sentence_bleu(KOREAN, [KOREAN[::-1]], tokenize="char").score / 100)


def test_f1_is_squads_with_unicodes_letters() -> None:
    assert f1(*ENGLISH, "en") == pytest.approx(2 * 5 / (6 + 9))  # take, aspirin, with, twice, day
    assert f1("The Aspirin.", "aspirin", "en") == 1
    assert f1("심장은", "심장이", "ko") == pytest.approx(2 * 2 / 6)
    assert (f1("", "aspirin", "en"), f1("", "...", "en"), f1("the", "a", "en")) == (0, 1, 1)
    assert tokens("Ａspirin 0.5mg, हृदय 심장은 心臟 don't") == ["aspirin", "0.5", "mg", "हृदय", "심", "장", "은", "心", "臟", "don", "t"]


@given(st.lists(TEXTS, min_size=2, max_size=4), TEXTS)
def test_measurements_are_shares_and_equal_answers_agree(answers: list[str], reference: str) -> None:
    values = ALL.measure(answers[0], reference, answers)
    assert all(0 <= value <= 1 for value in values.values())
    assert consistency([reference] * 3, "ko") == 1
    assert consistency(answers, "en") == pytest.approx(consistency(answers[::-1], "en"))


def test_quantities_are_equal_however_they_are_spelled() -> None:
    assert set(quantities("0.50mg every 8 hrs; 5-10 mL, 1,000 IU, 120/80 mmHg, 2 mg/kg/day, 37,5 ℃, ㎍: 3㎍")) == {
        "0.5 mg", "8 hour", "5 ml", "10 ml", "1000 unit", "120/80 mmhg", "2 mg/kg/day", "37.5 °c", "3 μg",
    }  # fmt: skip
    assert not set(quantities("100정도, 2분기, 2분의 1, 5세트, 21세기, 3회사, 38초과"))
    assert set(quantities("2정을 5분 동안, 3세 이상")) == {"2 tablet", "5 minute", "3 year"}
    assert set(quantities("500밀리그램을 하루 3회, 7일간")) == {"500 mg", "3 time", "7 day"}
    assert set(quantities("vitamin B12, COVID-19, 2022, 3 monkeys, H2 blocker")) == set()


def test_entity_f1_counts_quantities_and_the_sites_terms() -> None:
    entities = Entities(Glossary(frozenset({"아스피린", "low-dose aspirin"})))
    expected = entities.found(KOREAN)
    assert expected == {"아스피린", "500 mg", "2 time"}
    assert entity_f1(entities.found("아스피린 100 mg을 2회"), expected) == pytest.approx(2 * 2 / (3 + 3))
    assert entity_f1(frozenset({"9 mg"}), frozenset()) is None
    assert "EntityF1" not in ALL.measure("5 mg", "no quantity", ["x", "x"])


def test_terms_are_whole_words_with_korean_particles_and_are_kept_or_lost() -> None:
    terms = Glossary(frozenset({"간염", "간", "aspirin", "心臟"}))
    assert terms.found("간염이 있고 시간이 없다. Aspirin을, aspirins? 我的心臟病") == {"간염", "간", "aspirin", "心臟"}
    assert terms.found("aspirins 시간") == set()
    terms = Glossary(terms.terms - {"간"})
    asked = ["간염은 aspirin 금기", "心臟", "없음"]
    found = use(terms, asked, ["간염", "", "aspirin"], ["간염에 aspirin", "", "心臟"])
    assert (found.expected, found.base, found.tuned, found.lost) == (3, 2, 1, 1)
    assert use(terms, asked, ["간염", "", ""], None).base is None


def test_a_glossary_is_read_by_language_and_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "ko.txt").write_text("간염\n\n  Low  Dose \n", encoding="utf-8")
    (tmp_path / "bad.txt").write_text("term\n" + "x" * 300, encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    plan = evaluation_plan(tmp_path, tmp_path, ())
    plan = plan.model_copy(update={"mounts": plan.mounts.model_copy(update={"data": str(tmp_path)})})

    def glossary(path: str, language: str = "ko") -> Glossary | None:
        part = plan.evaluation.model_copy(update={"glossaries": (GlossaryPlan(path=path, language=language),)})
        return glossary_of(plan.model_copy(update={"evaluation": part}), "ko")

    assert glossary("ko.txt") == Glossary(frozenset({"간염", "low dose"}))
    assert glossary("ko.txt", "en") is None
    for path, where in (("bad.txt", r"bad\.txt:2: found 300 characters"), ("empty.txt", r"empty\.txt: found no terms"), ("none.txt", r"glossaries\[0\]\.path")):
        with pytest.raises(InvalidData, match=where):
            glossary(path)


def test_english_words_count_unless_the_question_has_them_or_they_are_names_of_the_field() -> None:
    answers = ["환자는 surgery 후 recovery 상태", "MRI와 HbA1c, 5 mg, aspirin을 metformin과", "심장은 뛴다", "..."]
    found = code_mixing(answers, ["Surgery 질문", "aspirin?", "", ""], Glossary(frozenset({"metformin"})))
    assert (found.n, found.answers) == (3, pytest.approx(1 / 3))
    assert found.words == pytest.approx(1 / (5 + 8 + 2))
    assert in_latin_letters(["El corazón"])
    assert not in_latin_letters(["심장 heart 은 뛰고 있다"])
