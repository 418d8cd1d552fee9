"""The privacy scan's rules: what they find of a labelled synthetic set, what they leave alone, and what of a site's own configuration is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.errors import InvalidManifest, InvalidModel
from medfinetune_api.plan_screening import NameModelPlan, PrivacyPlan
from medfinetune_api.results_privacy import PersonalData
from medfinetune_trainer.privacy.analyzer import PIECE, Analyzer
from medfinetune_trainer.privacy.place import Place, merged
from medfinetune_trainer.privacy.redact import redacted
from support.evaluation import without_network
from support.personal import SITE_NUMBER, samples

ROUNDS = 10
RECALL = {(PersonalData.PERSON, "en"): 0.9, (PersonalData.PERSON, "ko"): 0.85}
"""Least share of the labels found whole, 1 for all other types: a name before its noun (`김민수 환자`) or without any label is not looked for."""
PRECISION = {(PersonalData.ADDRESS, "en"): 0.96}
"""Least share of the findings that overlap a label of their type, 1 for all other types: a `12 French Drive system` is no address."""


def analyzer(*expressions: str, models: Path = Path(), names: tuple[NameModelPlan, ...] = ()) -> Analyzer:
    return Analyzer(PrivacyPlan(action="Warn", record_numbers=expressions, name_models=names), ("en", "ko"), models)


@pytest.fixture(scope="module")
def rules() -> Analyzer:
    return analyzer(SITE_NUMBER)


def test_every_type_is_found_in_both_languages_and_what_only_looks_like_it_is_not(rules: Analyzer) -> None:
    labelled, whole, found, right = Counter(), Counter(), Counter(), Counter()
    for sample in samples(ROUNDS):
        places = rules.find(sample.text, sample.language)
        for start, end, kind in sample.labels:
            labelled[kind, sample.language] += 1
            whole[kind, sample.language] += any(place.start <= start and end <= place.end and place.type is kind for place in places)
        for place in places:
            found[place.type, sample.language] += 1
            right[place.type, sample.language] += any(start < place.end and place.start < end and place.type is kind for start, end, kind in sample.labels)
    assert {kind for kind, _ in labelled} == set(PersonalData)
    recalls = {key: whole[key] / labelled[key] for key in labelled}
    precisions = {key: right[key] / found[key] for key in found}
    assert {key: recall for key, recall in recalls.items() if recall < RECALL.get(key, 1)} == {}
    assert {key: precision for key, precision in precisions.items() if precision < PRECISION.get(key, 1)} == {}


def test_a_long_text_is_searched_to_its_end_and_across_the_cut_between_pieces(rules: Analyzer) -> None:
    number = "010-2345-6789"
    text = "가 " * ((PIECE - 8) // 2) + number + " 나" * PIECE + f" {number}"
    assert [text[place.start : place.end] for place in rules.find(text, "ko")] == [number, number]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("환자명 : <김 민 수>", PersonalData.PERSON),
        ("Patient Name: <SMITH, JOHN A>", PersonalData.PERSON),
        ("주민등록번호 <900101-1******> (가림)", PersonalData.KR_RRN),
        ("주민번호: <900101 1234567>", PersonalData.KR_RRN),
        ("SSN <219099999>", PersonalData.US_SSN),
        ("TEL: <031)123-4567>", PersonalData.PHONE_NUMBER),
        ("생년월일: <90년 1월 1일>", PersonalData.DATE_OF_BIRTH),
        ("Date of Birth (mm/dd/yyyy): <01/02/1960>", PersonalData.DATE_OF_BIRTH),
        ("<강원특별자치도 춘천시 중앙로1가 12, 2층>에 산다", PersonalData.ADDRESS),
        ("<1600 Pennsylvania Avenue NW, Washington, DC 20500>", PersonalData.ADDRESS),
        ("MRN#: <12345678>", PersonalData.RECORD_NUMBER),
        ("<김민수@병원.한국>", PersonalData.EMAIL_ADDRESS),
        ("환자명:\n<김철수>", PersonalData.PERSON),
        ("성 명: <김철수>", PersonalData.PERSON),
        ("이 름 : <김철수>", PersonalData.PERSON),
        ("| 성명 | <김철수> |", PersonalData.PERSON),
        ("Pt. name: <Kim Minsu>", PersonalData.PERSON),
        ("생 년 월 일: <1975.3.12>", PersonalData.DATE_OF_BIRTH),
        ("등록번호(ID): <12345678>", PersonalData.RECORD_NUMBER),
        ("환자등록번호 #<12345678>", PersonalData.RECORD_NUMBER),
        ("주민 등록 번호: <900101 1234567>", PersonalData.KR_RRN),
        ("주민등록번호：<９００１０１－１２３４５６７>", PersonalData.KR_RRN),
    ],
)
def test_unusual_ways_to_write_it_are_found_too(rules: Analyzer, text: str, kind: PersonalData) -> None:
    begin, end, plain = text.index("<"), text.index(">") - 1, text.replace("<", "").replace(">", "")
    (place,) = rules.find(plain, "ko")
    assert (place.type, place.start, place.end) == (kind, begin, end)


@given(st.text(max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8), st.sampled_from(PersonalData), st.sampled_from([0.5, 0.9]))))
def test_what_is_redacted_is_exactly_what_was_found(text: str, drawn: list[tuple[int, int, PersonalData, float]]) -> None:
    found = [Place(start, min(start + length, len(text)), kind, score) for start, length, kind, score in drawn if start < len(text)]
    covered = {index for place in found for index in range(place.start, place.end)}
    places = merged(found)
    assert [index for place in places for index in range(place.start, place.end)] == sorted(covered)
    assert all({place.type} <= {one.type for one in found if one.start < place.end and place.start < one.end} for place in places)
    kept = "".join(character for index, character in enumerate(text) if index not in covered)
    result = redacted(text, places)
    assert len(result) == len(kept) + sum(len(place.type) + 2 for place in places)
    for place in reversed(places):
        before = len(redacted(text[: place.start], [one for one in places if one.end <= place.start]))
        assert result[before:].startswith(f"[{place.type}]")


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("MRN-(", "does not compile"),
        ("[0-9]*", "matches where nothing is"),
        ("(?:[A-Z]+)+#", "takes more than 1 s to search"),
        ("([0-9]+[0-9]+)+x", "takes more than 1 s to search"),
    ],
)
def test_an_expression_that_cannot_be_used_is_refused_by_its_field(expression: str, says: str) -> None:
    with pytest.raises(InvalidManifest, match=rf"^spec\.data\.privacy\.recordNumbers\[1\]: found an expression that .*{says[5:]}"):
        analyzer("MRN-[0-9]{8}", expression)


def pipeline(folder: Path, label: str) -> Path:
    """A pipeline that knows two names, as a site saves its own."""
    made = spacy.blank("xx")
    made.add_pipe("entity_ruler").add_patterns([{"label": label, "pattern": "Ada Lovelace"}, {"label": label, "pattern": "Orestes"}])
    made.to_disk(folder)
    return folder


def test_a_sites_model_finds_names_in_free_text_of_its_language_alone(tmp_path: Path) -> None:
    pipeline(tmp_path / "names", "PER")
    scan = analyzer(models=tmp_path, names=(NameModelPlan(language="en", path="names"),))
    text = "Yesterday Ada Lovelace and Orestes were discharged."
    assert [text[place.start : place.end] for place in scan.find(text, "en")] == ["Ada Lovelace", "Orestes"]
    assert scan.find(text, "ko") == []
    assert {language.language: language.names_scanned for language in scan.scanned()} == {"en": True, "ko": False}


def test_a_folder_that_is_no_pipeline_for_names_is_refused_by_its_field(tmp_path: Path) -> None:
    def refused(name: str, says: str) -> None:
        with pytest.raises(InvalidModel, match=rf"^spec\.data\.privacy\.nameModels\[0\]\.path: found .*{says}"):
            analyzer(models=tmp_path, names=(NameModelPlan(language="en", path=name),))

    refused("gone", "no 'gone' in the volume")
    (tmp_path / "empty").mkdir()
    refused("empty", "without config.cfg")
    pipeline(tmp_path / "diseases", "DISEASE")
    refused("diseases", "recognises DISEASE")
    code = pipeline(tmp_path / "code", "PER") / "component.py"
    code.write_text("raise SystemExit")
    refused("code", "a .py file")
    config = pipeline(tmp_path / "stranger", "PER") / "config.cfg"
    config.write_text(config.read_text().replace('factory = "entity_ruler"', 'factory = "of_another_package"'))
    refused("stranger", "does not load")
    outside = pipeline(tmp_path / "linked", "PER") / "vocab" / "strings.json"
    outside.unlink()
    outside.symlink_to("/etc/hostname")
    refused("linked", "a symbolic link out of the volume")


OFFLINE = f"""
import sys
from pathlib import Path
from medfinetune_api.plan_screening import PrivacyPlan
from medfinetune_trainer.privacy.analyzer import Analyzer
rules = Analyzer(PrivacyPlan(action="Warn", record_numbers=({SITE_NUMBER!r},), name_models=()), ("en", "ko", "de"), Path())
print(*(place.type for place in rules.find("Patient name: Ada King, ada@example.com, +44 20 7946 0958, HX1234567", "de")), "torch" in sys.modules)
"""


def test_nothing_that_is_loaded_asks_for_a_network_or_loads_torch(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(without_network(tmp_path / "guard"))}
    ended = subprocess.run([sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.split()) == (0, ["PERSON", "EMAIL_ADDRESS", "PHONE_NUMBER", "RECORD_NUMBER", "False"]), ended.stderr
