"""Whatever bytes a data file holds, reading it ends: with records, or with one refusal that names the file and repeats nothing of it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import AnswerStyle, Format
from medfinetune_api.errors import InvalidData
from medfinetune_api.plan_data import ColumnsPlan, SourcePlan
from medfinetune_trainer.data.apart import refuse_trained_on
from medfinetune_trainer.data.formats import load_source, read_source
from pyarrow import parquet
from support.stages import EXAMPLE, example_plan

SECRET = "Sekretariatspatientin"
EXAM = ColumnsPlan(question="q", options=("o",), answer="a", answer_style=AnswerStyle.TEXT)
ROWS: dict[Format, dict[str, Any]] = {
    Format.MEDQA: {"question": SECRET, "options": {"A": SECRET, "B": "x"}, "answer_idx": "A", "answer": SECRET},
    Format.PUBMEDQA: {"QUESTION": SECRET, "CONTEXTS": [SECRET], "final_decision": "yes", "LONG_ANSWER": SECRET},
    Format.QUESTION_ANSWER: {"question": SECRET, "answer": SECRET},
    Format.INSTRUCTION: {"instruction": SECRET, "input": "", "output": SECRET},
    Format.CHAT: {"messages": [{"role": "user", "content": SECRET}, {"role": "assistant", "content": SECRET}]},
    Format.EXAM: {"q": SECRET, "o": [SECRET, "x"], "a": "x"},
    Format.MEDMCQA: {"question": SECRET, "opa": SECRET, "opb": "b", "opc": "c", "opd": "d", "cop": 4, "subject_name": "law"},
    Format.HEADQA: {"qid": 1, "qtext": SECRET, "ra": 2, "year": "2013", "answers": [{"aid": 1, "atext": SECRET}, {"aid": 2, "atext": "x"}]},
    Format.MMLU: {"question": SECRET, "subject": "law", "choices": [SECRET, "b", "c", "d"], "answer": 0},
    Format.USMLE: {"question": SECRET, "options": {"A": SECRET, "B": "x", "C": None}, "answer_idx": "B", "answer": "x"},
}
NESTED = b"[" * 100_000
PIECES = st.sampled_from(
    [NESTED, b"\x00", b"\x1b[2J", "\u202e".encode(), b"\xff", b'"', b"{", b"}", b",", b"\n", b"\r\n", b"[]", b"null", b"1e999", b"\\ud800"]
)
ODD = st.sampled_from([None, True, -1, 0, 5, 1.5, 10**20, "", " ", "A", "0", "A,A", [], [None], [{}], {}, {"A": "x"}, {"B": "y", "AA": "z"}, SECRET])
"""What no format expects of every field."""


def parquet_bytes(rows: list[dict[str, Any]]) -> bytes:
    """The rows as a Parquet file; as texts, where their types disagree."""
    stream = io.BytesIO()
    try:
        table = pyarrow.Table.from_pylist(rows)
        parquet.write_table(table, stream)
    except (pyarrow.ArrowException, OverflowError):
        stream = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist([{name: str(value) for name, value in row.items()} for row in rows]), stream)
    return stream.getvalue()


def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` with a few pieces removed, put in, repeated, or its end cut off."""
    for _ in range(draw(st.integers(1, 3))):
        start, length = draw(st.integers(0, len(content))), draw(st.integers(0, 20))
        end = len(content) if draw(st.integers(0, 4)) == 0 else start + length
        content = content[:start] + draw(PIECES | st.just(content[start:end] * 2) | st.just(b"")) + content[end:]
    return content


@st.composite
def files(draw: st.DrawFn) -> tuple[str, Format, bytes]:
    """Name, format and bytes of a file that may be anything."""
    form = draw(st.sampled_from(list(Format)))
    if form is Format.KORMEDMCQA:
        rows = f'subject,question,A,B,C,D,E,answer\nlaw,{SECRET},{SECRET},b,c,d,e,A\nlaw,"{SECRET}, {SECRET}",a,b,c,d,e,B\n'.encode()
        suffix = ".csv"
    else:
        odd = st.fixed_dictionaries({}, optional=dict.fromkeys(ROWS[form], ODD)) | st.just({"subject": "\u202elaw"}) | st.just({})
        written = [ROWS[form] | draw(odd) for _ in range(2)]
        suffix = draw(st.sampled_from([".jsonl", ".json", ".csv", ".JSONL", ".parquet"]))
        rows = parquet_bytes(written) if suffix == ".parquet" else b"".join(json.dumps(row).encode() + b"\n" for row in written)
        if form is Format.HEADQA and suffix == ".json":
            rows = json.dumps({"version": "1", "exams": {SECRET: {"data": written, "year": "2013"}}}, indent=draw(st.none() | st.just(1))).encode()
        if form is Format.MMLU and suffix == ".csv":
            rows = f"{SECRET},a,b,c,d,A\n{SECRET},a,b,c,d,B\n".encode()
    content = rows if draw(st.integers(0, 3)) == 0 else damaged(draw, rows)
    return (f"file{suffix}.gz", form, gzip.compress(content)[: draw(st.integers(0, 400))]) if draw(st.integers(0, 4)) == 0 else (f"file{suffix}", form, content)


@settings(max_examples=200)
@given(files())
def test_any_bytes_are_records_or_one_refusal_without_their_text(tmp_path_factory: pytest.TempPathFactory, file: tuple[str, Format, bytes]) -> None:
    name, form, content = file
    volume = tmp_path_factory.mktemp("volume")
    (volume / name).write_bytes(content)
    source = SourcePlan(name="s", path=name, format=form, language="en", domain="d", columns=EXAM if form is Format.EXAM else None)
    cache = volume / "cache"
    refusal = None
    try:
        assert len(load_source(source, volume, cache)) > 0
    except InvalidData as refused:
        refusal = refused
    if refusal:
        assert SECRET[:8] not in str(refusal)
        assert not any(character in str(refusal) for character in "\x1b\x00\u202e")
        assert refusal.where.startswith(name)
        assert list(cache.glob("*")) == []


def test_a_subject_that_would_reorder_a_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("subject,question,A,B,C,D,E,answer\nlaw\u202e,q,a,b,c,d,e,A\n", encoding="utf-8")
    source = SourcePlan(name="s", path="a.csv", format=Format.KORMEDMCQA, language="ko", domain="d")
    with pytest.raises(InvalidData, match=r"a.csv:2: found a subject with control or text-reordering characters"):
        list(read_source(source, tmp_path))


def written_anew(name: str) -> str:
    """The example's file of that name with its rows shuffled; in JSON Lines other order of names, escapes and blanks, in CSV every field quoted."""
    text = (EXAMPLE / name).read_text(encoding="utf-8")
    if name.endswith(".csv"):
        header, *rows = csv.reader(io.StringIO(text))
        stream = io.StringIO()
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([header, *random.Random(0).sample(rows, len(rows))])
        return stream.getvalue()
    records = [json.loads(line) for line in text.splitlines()]
    return "".join(json.dumps(dict(reversed(record.items())), separators=(" , ", " : ")) + "\n" for record in random.Random(0).sample(records, len(records)))


def test_a_training_file_under_another_name_is_no_examination(tmp_path: Path) -> None:
    """Shuffled, compressed, written anew, with other line ends or another name it is the same file; half of it is another."""
    trained = (EXAMPLE / "medqa" / "train.jsonl").read_bytes().splitlines()
    shuffled = random.Random(0).sample(trained, len(trained))
    (tmp_path / "data" / "medqa").mkdir(parents=True)
    for name in ("medqa/train.jsonl", "kormedmcqa/train.csv"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes((EXAMPLE / name).read_bytes())
    (tmp_path / "data" / "exam.jsonl.gz").write_bytes(gzip.compress(b"\r\n\r\n".join(shuffled)))
    (tmp_path / "data" / "half.jsonl").write_bytes(b"\n".join(trained[: len(trained) // 2]))
    for name in ("medqa/train.jsonl", "kormedmcqa/train.csv"):
        (tmp_path / "data" / f"anew{Path(name).suffix}").write_text(written_anew(name), encoding="utf-8")

    def plan(path: str, **task: Any) -> Any:
        task = {"name": "t", "path": path, "format": "MedQA", "language": "en"} | task
        return example_plan(tmp_path, models=tmp_path, data=tmp_path / "data", tasks=[task])

    korean = {"format": "KorMedMCQA", "language": "ko"}
    for source, copy in (("medqa", plan("exam.jsonl.gz")), ("medqa", plan("anew.jsonl")), ("kormedmcqa", plan("anew.csv", **korean))):
        with pytest.raises(InvalidData, match=rf"spec.evaluation.tasks\[0\].path: found the lines of source {source}, which is trained on") as refused:
            refuse_trained_on(copy)
        assert "seen: true" in refused.value.remedy
    refuse_trained_on(plan("exam.jsonl.gz", seen=True))
    refuse_trained_on(plan("half.jsonl"))
