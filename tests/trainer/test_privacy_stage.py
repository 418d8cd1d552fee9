"""The privacy scan in prepare, on files with planted personal data: none of it is left where it must not be, whatever the action."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import tostring

import pytest
from datasets import load_from_disk
from medfinetune_api.choices import PrivacyAction
from medfinetune_api.errors import InvalidData, InvalidManifest
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult
from medfinetune_api.results_privacy import PersonalData, PrivacyReport
from medfinetune_trainer.data.template import load_tokenizer
from medfinetune_trainer.privacy import site
from medfinetune_trainer.report.page import page
from medfinetune_trainer.report.privacy import privacy, privacy_words
from medfinetune_trainer.report.run import run_of
from medfinetune_trainer.stages import prepare
from support.records import KORMEDMCQA_HEADER
from support.stages import example_plan, models_volume

PLANTED = {
    "Ada Lovelace": "PERSON",
    "김민수": "PERSON",
    "880101-1234567": "KR_RRN",
    "543-21-9876": "US_SSN",
    "(212) 736-5000": "PHONE_NUMBER",
    "010-2345-6789": "PHONE_NUMBER",
    "ada@example.com": "EMAIL_ADDRESS",
    "12 Maple Street, Springfield, IL 62704": "ADDRESS",
    "서울특별시 강남구 테헤란로 123": "ADDRESS",
    "March 3, 1961": "DATE_OF_BIRTH",
    "HX7654321": "RECORD_NUMBER",
}
"""What must be gone, and what stands in its place."""
TRAIN = [
    {"id": "HX1112223", "question": "Patient name: Ada Lovelace, born March 3, 1961. Diagnosis?", "answer": "Gout. Call (212) 736-5000 or ada@example.com."},
    {"id": "2", "question": "환자명: 김민수, 주민등록번호 880101-1234567", "answer": "연락처 010-2345-6789, 주소 서울특별시 강남구 테헤란로 123"},
    {"id": "3", "question": "Which vitamin prevents scurvy?", "answer": "Vitamin C, 90 mg/day; hotline 1-800-222-1222."},
    {"id": "4", "question": "SSN 543-21-9876, file HX7654321?", "answer": "Lives at 12 Maple Street, Springfield, IL 62704. <eos> HX7654321"},
]
HELD = [{"id": "1", "question": "Is file HX7654321 complete?", "answer": "Yes, says Mr. Lovelace."}]
EXAM = ("0", "nurse", "2020", "1", "1", "이름: 김민수, 다음 중 옳은 것은?", "010-2345-6789", "둘", "셋", "넷", "다섯", "A", "")
COUNTS = {"notes": {"PERSON": 2, "KR_RRN": 1, "US_SSN": 1, "PHONE_NUMBER": 2, "EMAIL_ADDRESS": 1, "ADDRESS": 2, "DATE_OF_BIRTH": 1, "RECORD_NUMBER": 2}}
COUNTS |= {"exam": {"PERSON": 1, "PHONE_NUMBER": 1}, "held": {"PERSON": 1, "RECORD_NUMBER": 1}}


def replaced(value: str) -> str:
    for text, kind in (PLANTED | {"Mr. Lovelace": "PERSON"}).items():
        value = value.replace(text, f"Mr. [{kind}]" if text.startswith("Mr.") else f"[{kind}]")
    return value


def data_volume(folder: Path, by_hand: bool = False) -> Path:
    """The three files; `by_hand`, with what is planted replaced by its type."""
    folder.mkdir()
    change = replaced if by_hand else str
    for name, rows in (("notes", TRAIN), ("held", HELD)):
        lines = [json.dumps({key: change(value) if key != "id" else value for key, value in row.items()}, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    table = io.StringIO()
    csv.writer(table).writerow(map(change, EXAM))
    (folder / "exam.csv").write_text(f"{KORMEDMCQA_HEADER}\n{table.getvalue()}", encoding="utf-8")
    return folder


def plan_of(root: Path, action: str, data: Path, **fields: Any) -> RunPlan:
    """Notes and an examination to train on, a file to validate on."""
    notes = {"name": "notes", "path": "notes.jsonl", "format": "QuestionAnswer", "language": "ko"}
    exam = {"name": "exam", "path": "exam.csv", "format": "KorMedMCQA", "language": "ko"}
    held = {"name": "held", "path": "held.jsonl", "format": "QuestionAnswer", "language": "en"}
    privacy = {"action": action, "recordNumbers": ["HX[0-9]{7}"], **fields}
    return example_plan(root, data=data, sources=[notes, exam], validation={"sources": [held]}, privacy=privacy)


def texts(plan: RunPlan, name: str) -> list[tuple[list[int], list[int]]]:
    dataset = load_from_disk(str(plan.folder.data / name))
    return list(zip(dataset["input_ids"], dataset["loss_mask"], strict=True))


def counted(plan: RunPlan) -> dict[str, dict[str, int]]:
    report = PrivacyReport.model_validate_json(plan.folder.privacy.read_bytes())
    return {source: {row.type.value: row.findings for row in report.findings if row.source == source} for source in COUNTS}


def holds_nothing_planted(written: str) -> bool:
    return not [text for text in (*PLANTED, "Lovelace", "HX1112223") if text in written]


def everything_below(folder: Path) -> str:
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.fixture(scope="module")
def redacted(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunPlan, StageResult]:
    root = tmp_path_factory.mktemp("redact")
    plan = plan_of(root / "out", "Redact", data_volume(root / "data"))
    return plan, prepare.run(plan)


def test_redact_trains_on_exactly_what_a_person_would_have_made_by_hand(redacted: tuple[RunPlan, StageResult], tmp_path: Path) -> None:
    plan, _ = redacted
    by_hand = plan_of(tmp_path / "out", "Disabled", data_volume(tmp_path / "data", by_hand=True))
    prepare.run(by_hand)
    assert not by_hand.folder.privacy.exists()
    for name in ("train", "validation"):
        assert texts(plan, name) == texts(by_hand, name)


def test_of_what_was_redacted_nothing_is_left_in_any_file_or_token(redacted: tuple[RunPlan, StageResult]) -> None:
    plan, result = redacted
    tokenizer = load_tokenizer(models_volume() / "base")
    decoded = "".join(tokenizer.decode(ids) for name in ("train", "validation") for ids, _ in texts(plan, name))
    assert all(f"[{kind}]" in decoded for kind in PersonalData)
    assert "1-800-222-1222" in decoded
    assert holds_nothing_planted(decoded + everything_below(plan.folder.root) + result.to_json())
    assert counted(plan) == COUNTS


def test_every_report_says_what_was_found_and_that_names_were_not_scanned(redacted: tuple[RunPlan, StageResult]) -> None:
    plan, result = redacted
    assert result.numbers["privacy_findings"] == sum(count for counts in COUNTS.values() for count in counts.values())
    assert (result.numbers["privacy_records"], result.numbers["privacy_flagged_records"]) == (6, 5)
    run = run_of(plan, plan.folder)
    for told in (result.message, page(run), privacy_words(plan, run.privacy)):
        assert "16 findings in 5 of 6 records (Redact); names not scanned in en, ko" in told
    section = "".join(tostring(part, "unicode") for part in privacy(plan, run.privacy) if part is not None)
    assert "notes.jsonl:1, notes.jsonl:2" in section
    assert holds_nothing_planted(section)


def test_block_refuses_before_a_record_is_written_and_names_lines_by_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    plan = plan_of(tmp_path / "out", "Block", data_volume(tmp_path / "data"))
    monkeypatch.setattr(prepare, "load_source", lambda *_: pytest.fail("records were about to be written"))
    with pytest.raises(InvalidData) as refusal:
        prepare.run(plan)
    told = str(refusal.value)
    assert "personal data in 5 of 6 records: 2 PERSON in notes (first notes.jsonl:1, notes.jsonl:2)" in told
    assert {path.name for path in plan.folder.root.iterdir()} <= {"plan.json", "privacy.json", ".lock"}
    assert counted(plan) == COUNTS
    assert holds_nothing_planted(told + everything_below(plan.folder.root) + "".join(capfd.readouterr()))


def test_block_lets_clean_records_pass_and_says_that_it_looked(tmp_path: Path) -> None:
    data = data_volume(tmp_path / "data", by_hand=True)
    (data / "notes.jsonl").write_text(json.dumps(TRAIN[2]), encoding="utf-8")
    plan = plan_of(tmp_path / "out", "Block", data)
    assert prepare.run(plan).numbers["privacy_findings"] == 0
    report = PrivacyReport.model_validate_json(plan.folder.privacy.read_bytes())
    assert [(source.source, source.records, source.flagged) for source in report.sources] == [("notes", 1, 0), ("exam", 1, 0), ("held", 1, 0)]
    assert report.action is PrivacyAction.BLOCK


def test_warn_counts_and_trains_on_the_records_as_they_are(tmp_path: Path, capfd: Any) -> None:
    data = data_volume(tmp_path / "data")
    warned, ignored = plan_of(tmp_path / "warned", "Warn", data), plan_of(tmp_path / "ignored", "Disabled", data)
    results = [prepare.run(plan) for plan in (warned, ignored)]
    assert texts(warned, "train") == texts(ignored, "train")
    assert counted(warned) == COUNTS
    assert "privacy_findings" not in results[1].numbers
    assert holds_nothing_planted(warned.folder.privacy.read_text() + results[0].to_json() + "".join(capfd.readouterr()))
    assert prepare.run(warned).numbers == results[0].numbers  # complete already: the totals come from privacy.json


def test_decomposed_syllables_and_noncharacters_hide_nothing(tmp_path: Path) -> None:
    """A template drops noncharacters after the scan; decomposed, a name is no row of syllables."""
    data = data_volume(tmp_path / "data")
    rows = [{"question": unicodedata.normalize("NFD", "환자명: 김민수"), "answer": "010-23\ufdd045-6789"}]
    (data / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    plan = plan_of(tmp_path / "out", "Redact", data)
    prepare.run(plan)
    assert counted(plan)["notes"] == {"PERSON": 1, "PHONE_NUMBER": 1}
    tokenizer = load_tokenizer(models_volume() / "base")
    decoded = "".join(tokenizer.decode(ids) for ids, _ in texts(plan, "train"))
    assert "환자명: [PERSON]" in decoded
    assert holds_nothing_planted(unicodedata.normalize("NFC", decoded))


def test_an_expression_that_goes_astray_in_a_record_is_refused_without_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "SEARCH_SECONDS", 0.5)
    data = data_volume(tmp_path / "data")
    (data / "notes.jsonl").write_text(json.dumps({"question": "Ada Lovelace?", "answer": "α" * 20_000 + "$!"}), encoding="utf-8")
    plan = plan_of(tmp_path / "out", "Warn", data, recordNumbers=[r"(?:\p{Greek}+)+!"])  # a trial knows no Greek
    with pytest.raises(InvalidManifest, match=r"^spec\.data\.privacy\.recordNumbers\[0\]: found an expression that takes more than 0.5 s") as refusal:
        prepare.run(plan)
    assert [path.name for path in plan.folder.root.iterdir() if path.name != ".lock"] == ["plan.json"]
    assert holds_nothing_planted(str(refusal.value))
