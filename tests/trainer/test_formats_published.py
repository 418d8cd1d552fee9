"""MedMCQA, HEAD-QA, MMLU and USMLE in each layout that is published, on rows written by hand: no file of theirs lies here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pyarrow
import pytest
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.tasks.medmcqa import utils_medmcqa
from lm_eval.utils import apply_template
from medfinetune_api.choices import Format
from medfinetune_api.errors import InvalidData
from medfinetune_trainer.data.apart import refuse_trained_on
from medfinetune_trainer.data.formats import load_source
from medfinetune_trainer.data.records import Record
from pyarrow import parquet
from support.records import columns, json_lines, read, source
from support.stages import example_plan

TEXTS = ("Heart", "Lung", "Liver", "Skin")
MEDMCQA = {"id": "e9", "question": "Which organ?", "exp": None, "choice_type": "single", "subject_name": "Anatomy", "topic_name": None} | dict(
    zip(("opa", "opb", "opc", "opd"), TEXTS, strict=True)
)
ANSWERS = [{"aid": number, "atext": text} for number, text in enumerate(TEXTS, start=1)]
HEADQA = {"name": "Cuaderno", "year": "2016", "category": "nursery", "qid": 7, "qtext": "Which organ?", "ra": 3, "image": None, "answers": ANSWERS}
MMLU = {"question": " Which organ? ", "subject": "clinical_knowledge", "choices": list(TEXTS), "answer": 2}
USMLE = {"question": "Which organ?", "options": dict(zip("ABCD", TEXTS, strict=True)), "answer": "Liver", "answer_idx": "C"}


def refused(folder: Path, name: str, content: str, form: Format, **changes: Any) -> InvalidData:
    with pytest.raises(InvalidData) as error:
        read(folder, name, content, form, **changes)
    return error.value


def numbered(*numbers: object) -> str:
    return json_lines(*(MEDMCQA | {"cop": number} for number in numbers))


@pytest.mark.parametrize(("numbers", "expected"), [((3, 4, 1, 2), [2, 3, 0, 1]), ((3, 0, 1, 2), [3, 0, 1, 2])])
def test_medmcqa_counts_as_its_file_does(tmp_path: Path, numbers: tuple[int, ...], expected: list[int]) -> None:
    records = read(tmp_path, "dev.json", numbered(*numbers), Format.MEDMCQA)
    assert [record.answer for record in records] == expected
    assert {(record.options, record.subject, record.id) for record in records} == {(TEXTS, "Anatomy", "e9")}
    assert {record.prompt for record in records} == {utils_medmcqa.doc_to_text(MEDMCQA)}
    parquet.write_table(pyarrow.Table.from_pylist([MEDMCQA | {"cop": number} for number in numbers]), tmp_path / "a.parquet")
    assert [record.answer for record in read(tmp_path, "a.parquet", (tmp_path / "a.parquet").read_bytes(), Format.MEDMCQA)] == expected


@pytest.mark.parametrize(
    ("numbers", "where", "found"),
    [
        ((1, 2, 3), "dev.json", "does not tell whether it counts the options from 0"),
        ((1, 4, 2, 0), "dev.json:4", "'cop' of 0, and of 4 at line 2"),
        ((0, -1), "dev.json:2", "a question without an answer"),
        ((4, None), "dev.json:2", "a question without an answer"),
        ((4, 5), "dev.json:2", "the answer '5'"),
        ((4, True), "dev.json:2", "no text (boolean)"),
        ((4, "2"), "dev.json:2", "the answer '2'"),
    ],
)
def test_medmcqa_guesses_nothing(tmp_path: Path, numbers: tuple[object, ...], where: str, found: str) -> None:
    error = refused(tmp_path, "dev.json", numbered(*numbers), Format.MEDMCQA)
    assert error.where == where
    assert found in error.found
    assert "Exam" in error.remedy or where != "dev.json"


def test_headqa_rows_and_the_authors_own_object(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist([HEADQA, HEADQA | {"qid": 8, "ra": 1}]), tmp_path / "b.parquet")
    rows = read(tmp_path, "a.parquet", (tmp_path / "b.parquet").read_bytes(), Format.HEADQA)
    texts = {"qid": "7", "qtext": "Which organ?", "ra": "3", "image": "", "answers": ANSWERS}
    exam = {"name": "Cuaderno", "data": [texts, texts | {"qid": "8", "ra": "1"}], "category": "nursery", "year": "2016"}
    written = {"version": "1.0", "language": "en", "exams": {"Cuaderno_2016": exam, "Empty": {"data": []}, "Later": exam | {"year": "2017"}}}
    nested = [read(tmp_path, "HEAD_EN.json", json.dumps(written, indent=indent), Format.HEADQA) for indent in (None, 1)]
    for records in (rows, *nested):
        assert [(record.id, record.answer, record.subject, record.year) for record in records[:2]] == [("7", 2, "nursery", "2016"), ("8", 0, "nursery", "2016")]
        assert {(record.options, record.prompt) for record in records} == {(TEXTS, "Question: Which organ?\nA. Heart\nB. Lung\nC. Liver\nD. Skin\nAnswer:")}
    assert [record.year for record in nested[0]] == ["2016", "2016", "2017", "2017"]
    assert [record.where for record in nested[0]] == [f"HEAD_EN.json:1 question {number}" for number in (1, 2, 3, 4)]
    lines = json.dumps(written, indent=1).splitlines()
    for record in nested[1]:
        line = int(record.where.split(":")[1].split()[0])
        assert lines[line - 1].strip() == "{"
        assert f'"qid": "{record.id}"' in lines[line]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"ra": 0}, "without an answer"),
        ({"ra": 9}, "0 answers with the 'aid' that 'ra' names"),
        ({"ra": "x"}, "'ra' that is no small number"),
        ({"answers": [{"aid": 3, "atext": "a"}, {"aid": 3, "atext": "b"}]}, "2 answers with"),
        ({"answers": ["a", "b"]}, "no list of objects"),
        ({"answers": ANSWERS[2:3]}, "1 options"),
        ({"year": "MMXVI"}, "'year' that is no year"),
    ],
)
def test_a_bad_headqa_question_is_refused_where_it_stands(tmp_path: Path, change: dict[str, Any], found: str) -> None:
    error = refused(tmp_path, "a.jsonl", json_lines(HEADQA, HEADQA | change), Format.HEADQA)
    assert (error.where, found in error.found) == ("a.jsonl:2", True)
    plain = {name: value for name, value in HEADQA.items() if name != "year"}
    nested = {"exams": {"one": {"data": [plain]}, "two": {"year": change.get("year", "2016"), "data": [plain | change]}}}
    error = refused(tmp_path, "a.json", json.dumps(nested), Format.HEADQA)
    assert (error.where, found in error.found) == ("a.json:1 question 2", True)


def test_mmlu_rows_and_the_authors_own_csv(tmp_path: Path) -> None:
    config = load_yaml(Path(lm_eval.tasks.__file__).parent / "mmlu" / "default" / "mmlu_clinical_knowledge.yaml", resolve_func=True)
    expected = config["description"] + apply_template(config["doc_to_text"], MMLU)
    csv = f" Which organ? ,{','.join(TEXTS)},C\n" + '"Which, then?",a,b,c,"d ""e""",A\n'
    (tmp_path / "data").mkdir()
    found = read(tmp_path, "data/clinical_knowledge_test.csv", csv, Format.MMLU)
    assert [(record.where, record.answer) for record in found] == [(f"data/clinical_knowledge_test.csv:{line}", answer) for line, answer in ((1, 2), (2, 0))]
    for record in (found[0], *read(tmp_path, "a.jsonl", json_lines(MMLU), Format.MMLU)):
        assert (record.prompt, record.options, record.answer, record.subject) == (expected, TEXTS, 2, "clinical_knowledge")
    (unnamed,) = read(tmp_path, "a.csv", csv.splitlines()[0], Format.MMLU)
    assert (unnamed.prompt, unnamed.subject) == (expected.removeprefix(config["description"]), "")
    with_header = refused(tmp_path, "a.csv", "question,A,B,C,D,answer\n" + csv, Format.MMLU)
    assert (with_header.where, "no header" in with_header.remedy) == ("a.csv:1", True)
    for change, what in (
        ({"answer": 4}, "the answer '4'"),
        ({"answer": "C"}, "the answer 'C'"),
        ({"choices": "[a b]"}, "no list"),
        ({"choices": ["a"] * 5}, "5"),
    ):
        assert what in refused(tmp_path, "a.jsonl", json_lines(MMLU | change), Format.MMLU).found


def test_usmle_takes_as_many_options_as_a_question_has(tmp_path: Path) -> None:
    many = {"question": "Which?", "options": {letter: letter.lower() for letter in "ABCDEFGHI"}, "answer_idx": "I", "answer": "i"}
    padded = USMLE | {"options": dict.fromkeys("ABCDEFGHI") | USMLE["options"]}
    parquet.write_table(pyarrow.Table.from_pylist([padded, many]), tmp_path / "b.parquet")
    for name, content in (("a.jsonl", json_lines(USMLE, many)), ("a.parquet", (tmp_path / "b.parquet").read_bytes())):
        records = read(tmp_path, name, content, Format.USMLE)
        assert [(len(record.options), record.choices[record.answer]) for record in records] == [(4, "C"), (9, "I")]
    for change, what in (
        ({"options": {"A": "a", "C": "c"}}, "no option B"),
        ({"answer_idx": "E"}, "the answer 'E'"),
        ({"answer": "Heart"}, "not option C"),
        ({"options": list(TEXTS)}, "no object"),
    ):
        assert what in refused(tmp_path, "a.jsonl", json_lines(USMLE | change), Format.USMLE).found


@pytest.mark.parametrize(
    ("style", "answer"),
    [("Letter", "A, C"), ("Letter", ["C", "a"]), ("Letter", "a|c"), ("Number", "3;1"), ("Number", [1, 3]), ("Index", "0,2"), ("Text", ["Liver", "Heart"])],
)
def test_an_exam_may_have_several_right_answers(tmp_path: Path, style: str, answer: object) -> None:
    content, mapped = json_lines({"q": "Which?", "o": TEXTS, "a": answer, "y": 2022}), columns("o", style, year="y")
    (record,) = read(tmp_path, "a.jsonl", content, Format.EXAM, columns=mapped)
    assert (record.right, record.messages[-1].content, record.year) == ((0, 2), "A, C", "2022")
    reloaded = load_source(source("a.jsonl", Format.EXAM, columns=mapped), tmp_path, tmp_path / "cache")
    assert Record.from_row(reloaded[0]) == record
    if isinstance(answer, list):
        cells = [json.dumps(value).replace('"', '""') for value in (TEXTS, answer)]
        (record,) = read(tmp_path, "a.csv", f'q,o,a\nWhich?,"{cells[0]}","{cells[1]}"\n', Format.EXAM, columns=columns("o", style))
        assert record.right == (0, 2)


@pytest.mark.parametrize(
    ("style", "answer", "found"),
    [
        ("Letter", "A,A", "names an option twice"),
        ("Letter", [], "an empty list"),
        ("Letter", "AC", "an answer of length 2"),
        ("Letter", "A,,C", "an answer of length 0"),
        ("Number", "1,5", "the answer '5'"),
        ("Text", "Heart, Liver", "equals 0 options"),
    ],
)
def test_several_answers_that_are_none_are_refused(tmp_path: Path, style: str, answer: object, found: str) -> None:
    error = refused(tmp_path, "a.jsonl", json_lines({"q": "Which?", "o": TEXTS, "a": answer}), Format.EXAM, columns=columns("o", style))
    assert (error.where, found in error.found) == ("a.jsonl:1", True)


def test_a_question_may_have_26_options_in_any_script(tmp_path: Path) -> None:
    options = [f"{number} 항목" for number in range(26)]
    row = {"q": "سؤال؟", "o": options, "a": "Z"}
    (record,) = read(tmp_path, "a.jsonl", json_lines(row), Format.EXAM, columns=columns("o", "Letter"), language="ar")
    assert (record.choices[-1], record.answer, record.prompt.splitlines()[-2]) == ("Z", 25, "Z. 25 항목")
    assert "27 options" in refused(tmp_path, "a.jsonl", json_lines(row | {"o": [*options, "x"]}), Format.EXAM, columns=columns("o", "Letter")).found


def test_parquet_is_told_from_what_only_bears_its_name(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist([MMLU] * 3), tmp_path / "b.parquet")
    whole = (tmp_path / "b.parquet").read_bytes()
    assert [record.where for record in read(tmp_path, "a.parquet", whole, Format.MMLU)] == ["a.parquet:1", "a.parquet:2", "a.parquet:3"]
    table = pyarrow.table([pyarrow.array(["x"]), pyarrow.array(["y"])], names=["question", "question"])
    parquet.write_table(table, tmp_path / "twice.parquet")
    for name, content, found in (
        ("a.parquet", whole[:-9], "no whole Parquet file"),
        ("a.parquet", b"{}", "no whole Parquet file"),
        ("a.parquet.gz", whole, "`.gz`"),
        ("a.parquet", (tmp_path / "twice.parquet").read_bytes(), "1 columns that share a name"),
        ("a.pq", whole, "a file that ends in '.pq'"),
    ):
        with pytest.raises(InvalidData) as error:
            read(tmp_path, name, content, Format.MMLU)
        assert found in error.value.found


def test_a_parquet_copy_of_what_is_trained_on_is_no_examination(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [USMLE | {"question": f"Which organ? {number}"} for number in range(5)]
    for name, written in (("train.parquet", rows), ("test.parquet", rows[::-1]), ("other.parquet", rows[1:])):
        parquet.write_table(pyarrow.Table.from_pylist(written), data / name)
    trained = [{"name": "usmle", "path": "train.parquet", "format": "USMLE", "language": "en"}]
    plans = [
        example_plan(tmp_path, models=tmp_path, data=data, sources=trained, tasks=[{"name": "t", "path": path, "format": "USMLE", "language": "en"}])
        for path in ("test.parquet", "other.parquet")
    ]
    with pytest.raises(InvalidData, match="the lines of source usmle, which is trained on"):
        refuse_trained_on(plans[0])
    refuse_trained_on(plans[1])
