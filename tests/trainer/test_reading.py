"""Every kind of broken file is refused by file:line with what to do, and never with the text of a record."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import Format
from medfinetune_api.errors import InvalidData, InvalidModel, Refusal
from medfinetune_trainer.data.formats import load_source, read_source
from medfinetune_trainer.data.formats.entries import json_entries
from medfinetune_trainer.data.reading import DataFile, csv_rows, json_lines
from medfinetune_trainer.data.records import Record
from medfinetune_trainer.data.volume import inside
from support.plans import task_plan
from support.records import KORMEDMCQA_HEADER, MEDQA_ROW, read, source
from support.records import json_lines as lines

SECRET = "Patient Hong Gildong, 서울"
GOOD = lines(MEDQA_ROW)
CSV_ROW = "0,nurse,2019,1,1,Q?,a,b,c,d,e,A,\n"


@pytest.mark.parametrize(
    ("name", "content", "where", "found", "remedy"),
    [
        ("a.jsonl", b"", "a.jsonl", "no records", "remove this source"),
        ("a.jsonl", b"\n \n", "a.jsonl", "no records", "remove this source"),
        ("a.jsonl", b"\xef\xbb\xbf" + GOOD.encode(), "a.jsonl:1", "a byte order mark", "sed -i"),
        ("a.jsonl", GOOD.encode("utf-16"), "a.jsonl:1", "UTF-16", "iconv -f UTF-16"),
        ("a.jsonl", GOOD.encode() + SECRET.encode("cp949"), "a.jsonl:2", "not UTF-8, at byte 23", "iconv -f CP949"),
        ("a.jsonl", GOOD + SECRET, "a.jsonl:2", "no JSON", "one object a line"),
        ("a.jsonl", GOOD + json.dumps(SECRET), "a.jsonl:2", "a JSON string", "one object a line"),
        ("a.jsonl", f"[{GOOD.strip()}]", "a.jsonl:1", "a JSON array", "jq -c"),
        ("a.jsonl", "[" * 200_000, "a.jsonl:1", "nested too deep", "Correct"),
        ("a.jsonl", '{"a": ' + "9" * 10_000 + "}", "a.jsonl:1", "number too long", "Correct"),
        ("a.jsonl", gzip.compress(GOOD.encode(), mtime=0), "a.jsonl", "gzip under a name without", "Add `.gz`"),
        ("a.jsonl.gz", gzip.compress(GOOD.encode() * 9, mtime=0)[:-20], "a.jsonl.gz", "ends early", "Copy the file again"),
        ("a.jsonl.gz", GOOD, "a.jsonl.gz", "no valid gzip", "Copy the file again"),
        ("a.jsonl.gz", gzip.compress(GOOD.encode(), mtime=0) + SECRET.encode(), "a.jsonl.gz", "bytes after the end of the gzip data", "Copy the file again"),
        ("a.jsonl", f'{GOOD}{{"{SECRET}": 1, "{SECRET}": 2}}', "a.jsonl:2", "a name twice", "Remove or rename"),
        ("a.jsonl", f'{GOOD}{{"a": [{{"b": 1, "b": 1}}]}}', "a.jsonl:2", "a name twice", "Remove or rename"),
        ("a.jsonl.gz", gzip.compress(GOOD.encode() * 9, mtime=0)[:40] + b"\0" * 60, "a.jsonl.gz", "gzip", "Copy the file again"),
    ],
)
def test_broken_json_lines(tmp_path: Path, name: str, content: str | bytes, where: str, found: str, remedy: str) -> None:
    with pytest.raises(InvalidData) as refused:
        read(tmp_path, name, content, Format.MEDQA)
    _says(refused.value, where, found, remedy)


@pytest.mark.parametrize(
    ("content", "where", "found"),
    [
        (b"", "a.csv", "no records"),
        (f"{KORMEDMCQA_HEADER}\n", "a.csv", "no records"),
        (f"{KORMEDMCQA_HEADER}\n{CSV_ROW}1,{SECRET}\n", "a.csv:3", "3 fields"),
        (f'{KORMEDMCQA_HEADER}\n{CSV_ROW}1,"{SECRET}\n{CSV_ROW}', "a.csv:3", "no CSV"),
        (f'{KORMEDMCQA_HEADER}\n"Q\n2",nurse,2019,1,1,Q?,a,b,c,d,e,A,\n{CSV_ROW}1,{SECRET}\n', "a.csv:5", "3 fields"),
        (f'{KORMEDMCQA_HEADER}\n{CSV_ROW}1,"{SECRET * 700_000}', "a.csv:3", "line over 16 MiB"),
        (f"question,question\n{SECRET},x\n", "a.csv:1", "2 columns that share a name"),
        (f"{SECRET}\n{SECRET}\n", "a.csv:2", "no 'A' among"),
        (KORMEDMCQA_HEADER.replace("answer", "answers") + f"\n{CSV_ROW}", "a.csv:2", "'answers' but no 'answer'"),
    ],
)
def test_broken_csv(tmp_path: Path, content: str | bytes, where: str, found: str) -> None:
    with pytest.raises(InvalidData) as refused:
        read(tmp_path, "a.csv", content, Format.KORMEDMCQA)
    _says(refused.value, where, found, "")


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        ("", None, "no records"),
        ("{}", None, "no records"),
        ("[]", 1, "another character"),
        ('{"1": {}', 1, "the end of the file"),
        ('{"1": {},\n"2": 3}', 2, "a JSON number"),
        ('{"1": {},\n\n "2": {"a": ', 3, "no complete JSON"),
        ('{"1": {}, 2: {}}', 1, "a JSON number"),
        ('{"1": {}}\n\n{"2": {}}', 3, "more after"),
        (f'{{"1": {{}}}} {SECRET}', 1, "more after"),
        (f'{{"{SECRET}": {{}},\n"{SECRET}": {{}}}}', 2, "a key that an earlier entry has"),
        ('{"1": {},\n"2": {"a": 1, "a": 2}}', 2, "a name twice"),
    ],
)
def test_broken_entries(tmp_path: Path, content: str, line: int | None, found: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InvalidData) as refused:
        list(json_entries(DataFile(tmp_path / "a.json", "a.json")))
    _says(refused.value, f"a.json:{line}" if line else "a.json", found, "")


def _says(refusal: Refusal, where: str, found: str, remedy: str) -> None:
    assert refusal.where == where
    assert found in refusal.found
    assert remedy in refusal.remedy
    assert refusal.expected
    assert not any(part in str(refusal) for part in ("Hong", "Gildong", "서울"))
    assert refusal.__cause__ is None
    assert refusal.__suppress_context__ or refusal.__context__ is None


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text() | st.integers(), max_size=3), min_size=1, max_size=4), st.sampled_from([None, 1, 4]))
def test_entries_are_what_json_reads(tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, object]], indent: int | None) -> None:
    path = tmp_path_factory.mktemp("entries") / "a.json"
    whole = {f"{index}\n": entry for index, entry in enumerate(entries)}
    path.write_text(json.dumps(whole, indent=indent))
    found = list(json_entries(DataFile(path, "a.json")))
    assert {key: entry for _, key, entry in found} == whole
    lines_of_keys = [number for number, text in enumerate(path.read_text().split("\n"), start=1) for key in whole if json.dumps(key) + ":" in text]
    assert [line for line, _, _ in found] == (lines_of_keys if indent else [1] * len(entries))


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters='\n",')), min_size=2, max_size=2), min_size=1, max_size=5))
def test_csv_rows_are_what_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    quoted = ["\n".join(",".join('"' + field.replace('"', '""') + '"' for field in row) for row in [["x", "y"], *rows])]
    path = tmp_path_factory.mktemp("rows") / "a.csv"
    path.write_bytes(quoted[0].encode())
    found = list(csv_rows(DataFile(path, "a.csv")))
    assert [list(row.values()) for _, row in found] == rows
    starts = [2 + sum(field.count("\n") for row in rows[:index] for field in row) + index for index in range(len(rows))]
    assert [line for line, _ in found] == starts


def test_a_csv_field_may_be_long(tmp_path: Path) -> None:
    (record,) = read(tmp_path, "a.csv", f"{KORMEDMCQA_HEADER}\n{CSV_ROW.replace('Q?', 'Q' * 200_000)}", Format.KORMEDMCQA)
    assert record.question == "Q" * 200_000


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for name, found in [("pipe.jsonl", "a pipe, socket or device"), ("folder.jsonl", "a folder")]:
        with pytest.raises(InvalidData) as refused:
            list(read_source(source(name, Format.MEDQA), tmp_path))
        _says(refused.value, name, found, "Name a file")


def test_a_path_is_refused_by_the_manifest_s_field(tmp_path: Path) -> None:
    train = source("gone.jsonl", Format.MEDQA)
    task = task_plan(name="s", path="gone.jsonl", format=Format.MEDQA, language="en")
    fields = ("spec.data.sources", train, ""), ("spec.data.validation.sources", train, "spec.data.validation.sources"), ("spec.evaluation.tasks", task, "")
    for field, named, listed in fields:
        with pytest.raises(InvalidData) as refused:
            list(read_source(named, tmp_path, listed))
        assert refused.value.where == f"{field}[name=s].path"


def test_gzip_crlf_and_blank_lines_read_alike(tmp_path: Path) -> None:
    plain = read(tmp_path, "a.jsonl", GOOD * 2, Format.MEDQA)
    assert [record.answer for record in plain] == [1, 1]
    assert read(tmp_path, "b.jsonl.gz", gzip.compress((GOOD * 2).encode()), Format.MEDQA)[1].messages == plain[1].messages
    assert read(tmp_path, "c.jsonl", GOOD.replace("\n", "\r\n") + "\r\n" + GOOD, Format.MEDQA)[1].where == "c.jsonl:3"


def test_memory_stays_flat(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.jsonl"
        path.write_text(lines(MEDQA_ROW) * rows)
        tracemalloc.start()
        assert sum(1 for _ in json_lines(DataFile(path, path.name))) == rows
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(20_000) < peak(1_000) + 100_000


def test_arrow_holds_the_records_and_a_refusal_leaves_none(tmp_path: Path) -> None:
    records = read(tmp_path, "a.jsonl", GOOD * 3, Format.MEDQA)
    cache = tmp_path / "cache"
    assert [Record.from_row(row) for row in load_source(source("a.jsonl", Format.MEDQA), tmp_path, cache)] == records
    (tmp_path / "a.jsonl").write_text(GOOD * 2)
    assert len(load_source(source("a.jsonl", Format.MEDQA), tmp_path, cache)) == 2
    (tmp_path / "a.jsonl").write_text(GOOD + SECRET)
    with pytest.raises(InvalidData):
        load_source(source("a.jsonl", Format.MEDQA, name="other"), tmp_path, cache)
    assert [path.name for path in cache.iterdir()] == ["s.arrow"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a/..", "", ".", "out", "out/x", "gone", "loop", "a\0b", "a.txt/b"])
def test_a_path_stays_in_its_volume(tmp_path: Path, path: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "x").write_text("outside")
    (volume / "a.txt").write_text("inside")
    (volume / "out").symlink_to(tmp_path)
    (volume / "loop").symlink_to("loop")
    for kind in (InvalidData, InvalidModel):
        with pytest.raises(kind) as refused:
            inside(volume, path, "spec.model.path", kind)
        assert refused.value.where == "spec.model.path"
        assert str(tmp_path) not in str(refused.value)


def test_links_within_a_volume_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "volume").symlink_to(tmp_path)
    assert inside(tmp_path / "volume", "link/a.txt", "field") == tmp_path / "real" / "a.txt"
