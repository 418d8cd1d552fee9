"""Each format gives the records its files hold, asks exams in lm-evaluation-harness's words, and refuses a bad row by file:line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
import yaml
from jinja2 import Template
from lm_eval.tasks.medqa import preprocess_medqa
from lm_eval.tasks.pubmedqa import preprocess_pubmedqa
from medfinetune_api.choices import Format
from medfinetune_api.errors import InvalidData, InvalidManifest
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.records import Message
from support.plans import task_plan
from support.records import KORMEDMCQA_HEADER, MEDQA_ROW, columns, json_lines, read, real_data, source

FIVE = {"A": "a", "B": "b", "C": "c", "D": "d", "E": "e"}
TEXTS = ("Heart", "Lung", "Liver", "Skin")


def kormedmcqa_csv(answer: str = "A", **changes: str) -> str:
    fields = {"subject": "pharm", "question": "Q", **FIVE} | changes
    return f"{KORMEDMCQA_HEADER}\n0,{fields['subject']},2019,1,1,{fields['question']},{','.join(fields[letter] for letter in FIVE)},{answer},\n"


def test_medqa(tmp_path: Path) -> None:
    (record,) = read(tmp_path, "a.jsonl", json_lines(MEDQA_ROW), Format.MEDQA)
    assert record.messages == (Message("user", "Question: Which organ?\nA. Heart\nB. Lung\nC. Liver\nD. Skin\nAnswer:"), Message("assistant", "B"))
    assert (record.question, record.options, record.choices, record.answer) == ("Which organ?", TEXTS, ("A", "B", "C", "D"), 1)
    assert (record.where, record.source, record.language, record.domain, record.subject, record.id) == ("a.jsonl:1", "s", "en", "medical", "", "1")


def test_prompts_are_the_harness_s_own(tmp_path: Path) -> None:
    medqa = {"sent1": MEDQA_ROW["question"], **{f"ending{index}": text for index, text in enumerate(TEXTS)}}
    (record,) = read(tmp_path, "a.jsonl", json_lines(MEDQA_ROW), Format.MEDQA)
    assert record.prompt == preprocess_medqa.doc_to_text(medqa)
    (record,) = read(tmp_path, "a.csv", kormedmcqa_csv(question=" 문제? "), Format.KORMEDMCQA, language="ko")
    assert record.prompt == Template(_kormedmcqa_task()["doc_to_text"]).render(question=" 문제? ", **FIVE)
    entry = {"QUESTION": "Does it?", "CONTEXTS": ["One.", "Two."], "final_decision": "maybe"}
    (record,) = read(tmp_path, "a.json", json.dumps({"77": entry}), Format.PUBMEDQA)
    assert record.prompt == preprocess_pubmedqa.doc_to_text(entry)
    assert (record.choices, record.answer, record.messages[1].content, record.id) == (("yes", "no", "maybe"), 2, "maybe", "77")


def _kormedmcqa_task() -> dict[str, Any]:
    text = (Path(lm_eval.tasks.__file__).parent / "kormedmcqa" / "_template_yaml").read_text()
    task: dict[str, Any] = yaml.load(text.replace("!function", ""), yaml.SafeLoader)
    return task


def test_kormedmcqa_names_its_subjects_in_one_way(tmp_path: Path) -> None:
    for written, named in {"pharm": "pharmacist", "pharmacy": "pharmacist", "doctor": "doctor", "": "given"}.items():
        (record,) = read(tmp_path, "a.csv", kormedmcqa_csv(subject=written), Format.KORMEDMCQA, subject="given")
        assert record.subject == named


@pytest.mark.parametrize(
    ("options", "answer", "style"),
    [("o", "b", "Letter"), ("o", 2, "Number"), ("o", "1", "Index"), ("o", "Lung", "Text"), ("m", "B", "Letter"), ("ABCD", 2, "Number")],
)
def test_exam_reads_what_the_manifest_maps(tmp_path: Path, options: str, answer: object, style: str) -> None:
    row = {"q": "Which organ?", "o": TEXTS, "m": dict(zip("dcba", reversed(TEXTS), strict=True)), **dict(zip("ABCD", TEXTS, strict=True)), "a": answer, "n": 7}
    mapped = columns(options, style, subject="s", id="n")
    (record,) = read(tmp_path, "a.jsonl", json_lines(row | {"s": "nurse"}), Format.EXAM, columns=mapped)
    assert (record.options, record.answer, record.subject, record.id) == (TEXTS, 1, "nurse", "7")
    assert record.prompt == "Question: Which organ?\nA. Heart\nB. Lung\nC. Liver\nD. Skin\nAnswer:"
    (record,) = read(tmp_path, "a.jsonl", json_lines(row), Format.EXAM, columns=mapped, language="ko-KR")
    assert record.prompt == "Which organ?\nA. Heart\nB. Lung\nC. Liver\nD. Skin\n정답："


def test_exam_reads_csv_for_a_task(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('q,o,a\nWhich?,"[""x"", ""y, z""]",2\n')
    task = task_plan(name="t", path="a.csv", format=Format.EXAM, language="en", subject="law", columns=columns("o", "Number"))
    (record,) = read_source(task, tmp_path)
    assert (record.options, record.answer, record.subject, record.domain) == (("x", "y, z"), 1, "law", "")
    with pytest.raises(InvalidManifest, match="columns"):
        list(read_source(task.model_copy(update={"columns": None}), tmp_path))


def test_free_text(tmp_path: Path) -> None:
    (pair,) = read(tmp_path, "a.jsonl", json_lines({"id": "x-1", "question": "Q?", "answer": " A.\n"}), Format.QUESTION_ANSWER)
    assert (pair.messages, pair.id, pair.answer, pair.choices) == ((Message("user", "Q?"), Message("assistant", " A.\n")), "x-1", -1, ())
    instances = [{"input": "1", "output": "I"}, {"input": None, "output": "J"}]
    rows = {"instruction": "Sum up.", "input": "", "output": "S"}, {"instruction": "Do", "instances": instances}
    found = read(tmp_path, "a.jsonl", json_lines(*rows), Format.INSTRUCTION)
    assert [(record.prompt, record.messages[1].content, record.id) for record in found] == [("Sum up.", "S", "1"), ("Do\n\n1", "I", "2"), ("Do", "J", "2/2")]
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user", "assistant")]
    (chat,) = read(tmp_path, "a.jsonl", json_lines({"messages": turns}), Format.CHAT)
    assert [message.role for message in chat.messages] == ["system", "user", "assistant", "user", "assistant"]


def chat_row(*roles: str) -> dict[str, object]:
    return {"messages": [{"role": role, "content": "x"} for role in roles]}


@pytest.mark.parametrize(
    ("form", "row", "found"),
    [
        (Format.MEDQA, MEDQA_ROW | {"options": {"A": "a", "B": "b", "D": "d"}}, "no option C"),
        (Format.MEDQA, MEDQA_ROW | {"options": FIVE}, "5 options"),
        (Format.MEDQA, MEDQA_ROW | {"options": list("abcd")}, "no object"),
        (Format.MEDQA, MEDQA_ROW | {"options": FIVE | {"E": ""}}, "5 options"),
        (Format.MEDQA, MEDQA_ROW | {"options": dict(zip("ABCD", ["a", None, "c", "d"], strict=True))}, "option B that is no text (null)"),
        (Format.MEDQA, MEDQA_ROW | {"answer_idx": "E"}, "the answer 'E'"),
        (Format.MEDQA, MEDQA_ROW | {"answer_idx": "Patient Hong"}, "an answer of length 12"),
        (Format.MEDQA, MEDQA_ROW | {"answer_idx": "천식"}, "an answer of length 2"),
        (Format.MEDQA, MEDQA_ROW | {"answer_idx": "OK"}, "an answer of length 2"),
        (Format.MEDQA, MEDQA_ROW | {"answer": "Heart"}, "not option B"),
        (Format.MEDQA, MEDQA_ROW | {"question": " \n"}, "an empty 'question'"),
        (Format.MEDQA, MEDQA_ROW | {"question": 5}, "'question' that is no text (number)"),
        (Format.MEDQA, MEDQA_ROW | {"question": "\ud800"}, "half a surrogate pair"),
        (Format.MEDQA, {"qestion" if key == "question" else key: value for key, value in MEDQA_ROW.items()}, "'qestion' but no 'question'"),
        (Format.QUESTION_ANSWER, {"question": "Q", "answer": ""}, "an empty 'answer'"),
        (Format.QUESTION_ANSWER, {"frage": "Hong", "antwort": "A"}, "no 'question' among 2 fields"),
        (Format.INSTRUCTION, {"instruction": "I", "input": 3, "output": "O"}, "'input' that is no text (number)"),
        (Format.INSTRUCTION, {"instruction": "I", "instances": []}, "no list of objects"),
        (Format.CHAT, {"messages": "x"}, "no list (string)"),
        (Format.CHAT, chat_row("user"), "1 messages out of order"),
        (Format.CHAT, chat_row("assistant", "user"), "out of order"),
        (Format.CHAT, chat_row("user", "system", "assistant"), "out of order"),
        (Format.CHAT, chat_row(), "0 messages"),
        (Format.CHAT, chat_row("human", "gpt"), "message 1 without a known role"),
        (
            Format.CHAT,
            {"messages": [{"role": "user", "content": [{"type": "text"}]}, {"role": "assistant", "content": "x"}]},
            "content of message 1 that is no text (array)",
        ),
    ],
)
def test_a_bad_row_is_refused(tmp_path: Path, form: Format, row: dict[str, Any], found: str) -> None:
    good = {Format.MEDQA: MEDQA_ROW, Format.QUESTION_ANSWER: {"question": "Q", "answer": "A"}, Format.CHAT: chat_row("user", "assistant")}
    first = good.get(form, {"instruction": "I", "output": "O"})
    content = json.dumps(first) + "\n" + json.dumps(row) + "\n"
    with pytest.raises(InvalidData) as refused:
        read(tmp_path, "a.jsonl", content, form)
    assert refused.value.where == "a.jsonl:2"
    assert found in refused.value.found
    assert not any(secret in str(refused.value) for secret in ("Hong", "천식", "OK"))


@pytest.mark.parametrize(
    ("options", "style", "row", "found"),
    [
        ("o", "Letter", {"o": list("xyz"), "a": "D"}, "the answer 'D'"),
        ("o", "Letter", {"o": list("xyz"), "a": 1}, "the answer '1'"),
        ("o", "Number", {"o": list("xyz"), "a": 0}, "the answer '0'"),
        ("o", "Number", {"o": list("xyz"), "a": True}, "no text (boolean)"),
        ("o", "Number", {"o": list("xyz"), "a": "٢"}, "an answer of length 1"),
        ("o", "Index", {"o": list("xyz"), "a": 3}, "the answer '3'"),
        ("o", "Text", {"o": list("xyx"), "a": "x"}, "equals 2 options"),
        ("o", "Text", {"o": list("xyz"), "a": "w"}, "equals 0 options"),
        ("o", "Letter", {"o": ["x"], "a": "A"}, "1 options"),
        ("o", "Letter", {"o": "x", "a": "A"}, "no JSON"),
        ("o", "Letter", {"o": '{"A": "x", "A": "y"}', "a": "A"}, "a name twice"),
        ("o", "Letter", {"o": {"A": "x", "C": "y"}, "a": "A"}, "no option B"),
        ("xy", "Letter", {"x": "1", "y": "", "a": "A"}, "an empty option B"),
        ("xy", "Letter", {"x": "1", "a": "A"}, "no 'y' among"),
    ],
)
def test_a_bad_exam_row_is_refused(tmp_path: Path, options: str, style: str, row: dict[str, Any], found: str) -> None:
    with pytest.raises(InvalidData) as refused:
        read(tmp_path, "a.jsonl", json_lines(row | {"q": "Q"}), Format.EXAM, columns=columns(options, style))
    assert refused.value.where == "a.jsonl:1"
    assert found in refused.value.found


def test_answers_by_digit_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InvalidData) as refused:
        read(tmp_path, "a.csv", kormedmcqa_csv("5"), Format.KORMEDMCQA)
    assert refused.value.found == "the answer '5'"
    assert "fewshot.csv" in refused.value.remedy
    assert "answerStyle Number" in refused.value.remedy
    with pytest.raises(InvalidData, match="an empty option C"):
        read(tmp_path, "a.csv", kormedmcqa_csv(C=""), Format.KORMEDMCQA)


SPLITS = {"doctor": (1890, 164, 435), "nurse": (582, 291, 878), "pharm": (632, 300, 885), "dentist": (297, 304, 811)}


def test_the_published_files() -> None:
    data = real_data()
    for options in (4, 5):
        for split, count in (("dev", 1272), ("test", 1273)):
            path = f"medqa/{options}_options/{split}.jsonl"
            records = list(read_source(source(path, Format.MEDQA), data))
            rows = [json.loads(line) for line in (data / path).open(encoding="utf-8")]
            assert len(records) == len(rows) == count
            assert all(record.options[record.answer] == row["answer"] for record, row in zip(records, rows, strict=True))
            assert {record.choices for record in records} == {tuple("ABCDE"[:options])}
    for subject, counts in SPLITS.items():
        for split, count in zip(("train", "valid", "test"), counts, strict=True):
            records = list(read_source(source(f"kormedmcqa/{subject}/{split}.csv", Format.KORMEDMCQA, language="ko"), data))
            assert Counter(record.subject for record in records) == {"pharmacist" if subject == "pharm" else subject: count}
        with pytest.raises(InvalidData, match=r"fewshot.csv:\d+: found the answer '\d'.*use train.csv"):
            list(read_source(source(f"kormedmcqa/{subject}/fewshot.csv", Format.KORMEDMCQA), data))
        mapped = columns("ABCDE", "Number", question="question", answer="answer")
        by_number = source(f"kormedmcqa/{subject}/fewshot.csv", Format.EXAM, language="ko", columns=mapped)
        assert len(list(read_source(by_number, data))) == 5
    pubmedqa = list(read_source(source("pubmedqa/ori_pqal.json", Format.PUBMEDQA), data))
    assert Counter(record.choices[record.answer] for record in pubmedqa) == {"yes": 552, "no": 338, "maybe": 110}
    assert sum(1 for _ in read_source(source("medquad/medquad.jsonl", Format.QUESTION_ANSWER), data)) == 16407
    for name, count in (("seed_tasks", 175), ("user_oriented_instructions", 252)):
        assert sum(1 for _ in read_source(source(f"general/{name}.jsonl", Format.INSTRUCTION), data)) == count
