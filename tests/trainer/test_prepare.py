"""Prepare, as a process on the example's data: what it leaves on disk, that every record is trained on or held out, and what its tables say."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from medfinetune_api.choices import ChatTemplate, LossOn
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared
from medfinetune_trainer.data.epochs import VALIDATION, epoch_name
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.packed import PackedRows
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.data.tokenise import tokenise
from medfinetune_trainer.stages import prepare
from medfinetune_trainer.stages.tables import show
from support.stages import EXAMPLE, Ended, example_plan, leaves_nothing, models_volume, run_stage

Tokens = tuple[int, ...]


def prepared(plan: RunPlan) -> Prepared:
    return Prepared.model_validate_json(plan.folder.prepared.read_bytes())


def oracle(plan: RunPlan) -> Iterator[tuple[str, Tokens, Tokens]]:
    """Language, tokens and loss mask of every record of the plan's sources, one at a time."""
    renderer = Renderer(load_tokenizer(models_volume() / "base"), ChatTemplate.TOKENIZER)
    for source in plan.data.sources:
        for record in read_source(source, Path(plan.mounts.data)):
            done = tokenise(record.messages, renderer, LossOn.RESPONSE)
            yield source.language, tuple(done.input_ids), tuple(done.loss_mask)


def documents(plan: RunPlan, name: str) -> Counter[tuple[str, Tokens, Tokens]]:
    """The documents of an index as training reads them; each row is checked to fit."""
    rows = PackedRows(plan.folder.data, name)
    read: Counter[tuple[str, Tokens, Tokens]] = Counter()
    for i in range(len(rows)):
        row = rows.row(i)
        assert 0 < sum(len(document.input_ids) for document in row) <= plan.data.max_length
        read.update((rows.languages[document.group], tuple(document.input_ids), tuple(document.loss_mask)) for document in row)
    return read


SAYS_IF_TORCH_IS_THERE = """
import atexit
atexit.register(lambda: sys.stderr.write(f"torch imported: {'torch' in sys.modules}"))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunPlan, Ended]:
    """An example run, prepared."""
    plan = example_plan(tmp_path_factory.mktemp("out"), validation={"fraction": 0.2})
    return plan, run_stage("prepare", plan, SAYS_IF_TORCH_IS_THERE)


@pytest.fixture(scope="module")
def plan(run: tuple[RunPlan, Ended]) -> RunPlan:
    """Its plan."""
    return run[0]


def test_prepare_succeeds_without_torch(run: tuple[RunPlan, Ended]) -> None:
    plan, ended = run
    assert ended.code == Exit.SUCCEEDED, ended.stderr
    assert ended.result.numbers["total_steps"] == prepared(plan).total_steps
    assert ended.stderr.endswith("torch imported: False")


def test_every_record_is_trained_on_each_epoch_or_held_out(plan: RunPlan) -> None:
    held = documents(plan, VALIDATION)
    for epoch in range(plan.training.epochs):
        trained = documents(plan, epoch_name(epoch))
        assert trained + held == Counter(oracle(plan))
        assert not set(trained) & set(held)
    languages = Counter(language for language, _, _ in held.elements())
    assert languages == {"en": 10, "ko": 9}  # a fifth of 48 and of 48 by largest remainders: 19 in all


def test_what_is_reported_is_what_lies_on_disk(plan: RunPlan) -> None:
    report = prepared(plan)
    rows = PackedRows(plan.folder.data, epoch_name(0))
    trained = list(documents(plan, epoch_name(0)).elements())
    tokens = sum(len(ids) for _, ids, _ in trained)
    assert report.packing.rows == len(rows)
    assert report.packing.efficiency == tokens / (len(rows) * plan.data.max_length)
    assert report.packing.efficiency_unpacked == tokens / (len(trained) * plan.data.max_length)
    assert report.packing.steps_per_epoch == -(-len(rows) // plan.rows_per_step)
    assert report.total_steps == report.packing.steps_per_epoch * plan.training.epochs
    assert report.loss_token_share == sum(sum(mask) for _, _, mask in trained) / tokens
    assert (report.train_documents, sum(row.tokens for row in report.sources)) == (len(trained), tokens)
    assert all(row.samples_read == row.validation + row.mixed_out + row.samples for row in report.sources)


def test_a_complete_stage_does_nothing_and_says_so(plan: RunPlan) -> None:
    before = {path: path.stat().st_mtime_ns for path in plan.folder.root.rglob("*") if path.is_file()}
    again = run_stage("prepare", plan)
    assert again.code == Exit.SUCCEEDED
    assert "complete already" in again.stderr
    after = {path: path.stat().st_mtime_ns for path in plan.folder.root.rglob("*") if path.is_file()}
    assert {path: time for path, time in after.items() if path.name != ".lock"} == {path: time for path, time in before.items() if path.name != ".lock"}


AT_THE_LAST_FILE = """
import os, signal
from medfinetune_trainer.stages import prepare
prepare.write_manifest = lambda *_: os.kill(os.getpid(), signal.{signal})
"""


def test_stopped_or_killed_half_way_it_starts_again_from_nothing_and_ends_the_same(plan: RunPlan, tmp_path: Path) -> None:
    again = example_plan(tmp_path, validation={"fraction": 0.2})
    assert run_stage("prepare", again, AT_THE_LAST_FILE.format(signal="SIGTERM")).code == Exit.INTERRUPTED
    assert leaves_nothing(again)
    with pytest.raises(AssertionError, match="stdout must hold the result"):
        run_stage("prepare", again, AT_THE_LAST_FILE.format(signal="SIGKILL"))
    assert list(again.folder.root.glob(".data.*")), "the kill came too late to prove anything"
    assert not again.folder.data.exists()
    assert run_stage("prepare", again).code == Exit.SUCCEEDED
    assert sorted(path.name for path in again.folder.root.iterdir()) == [".lock", "attempts.jsonl", "data", "plan.json", "prepared.json"]
    assert sorted(path.name for path in again.folder.data.iterdir()) == ["epochs", "manifest.json", "train", "validation"]
    assert again.folder.data_manifest.read_text() == plan.folder.data_manifest.read_text()
    assert prepared(again) == prepared(plan)


def test_a_mixture_repeats_and_leaves_out_as_the_table_says(tmp_path: Path) -> None:
    plan = example_plan(tmp_path, validation={"fraction": 0}, mixture={"by": "Language", "ratio": {"en": 1, "ko": 3}, "fill": "Repeat"})
    prepare.run(plan)
    report = prepared(plan)
    assert [(row.samples, row.mixed_out, row.share) for row in report.sources] == [(48, 0, 0.25), (144, 0, 0.75)]
    assert (report.train_documents, report.validation_documents, report.validation_rows) == (96, 0, 0)
    expected = Counter({document: 1 if document[0] == "en" else 3 for document in oracle(plan)})
    assert documents(plan, epoch_name(0)) == expected
    assert not documents(plan, VALIDATION)


def test_what_validation_sources_hold_is_not_trained_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(EXAMPLE, data)
    lines = (data / "medqa" / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "medqa" / "held.jsonl").write_text("".join(lines[:5]), encoding="utf-8")
    held = {"name": "held", "path": "medqa/held.jsonl", "format": "MedQA", "language": "en"}
    plan = example_plan(tmp_path / "out", data=data, validation={"sources": [held]})
    prepare.run(plan)
    assert not set(documents(plan, epoch_name(0))) & set(documents(plan, VALIDATION))
    assert [(row.name, row.validation, row.samples) for row in prepared(plan).sources] == [("medqa", 5, 43), ("kormedmcqa", 0, 48), ("held", 5, 0)]


class Terminal(StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [StringIO, Terminal])
def test_the_mixture_is_a_table_on_a_terminal_and_json_lines_elsewhere(plan: RunPlan, monkeypatch: pytest.MonkeyPatch, stream: type[StringIO]) -> None:
    monkeypatch.setattr("sys.stderr", stream())
    monkeypatch.setenv("COLUMNS", "160")
    show(prepared(plan))
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]  # the stream set above
    if stream is Terminal:
        assert "Mixture of an epoch" in shown
        assert "kormedmcqa" in shown
        assert "steps an epoch" in shown
        assert "Memory of a rank" in shown
    else:
        events = [json.loads(line) for line in shown.splitlines()]
        assert [event["event"] for event in events] == ["mixture", "mixture", "packing", "chosen", "memory"]
        assert [event["samples"] for event in events[:2]] == [row.samples for row in prepared(plan).sources]
