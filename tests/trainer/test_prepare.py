"""Prepare, as a process on the example's data and in its parts: what it leaves on disk, that no sample is lost unseen, and what it refuses."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import ChatTemplate, LossOn, Overlong
from medfinetune_api.errors import InvalidData, InvalidManifest, InvalidModel, Refusal
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_data import SourcePlan, ValidationPlan
from medfinetune_api.results import Prepared
from medfinetune_trainer.data.documents import Documents, admit
from medfinetune_trainer.data.epochs import VALIDATION, epoch_name
from medfinetune_trainer.data.formats import read_source
from medfinetune_trainer.data.packed import PackedRows
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.data.tokenise import tokenise
from medfinetune_trainer.model.fingerprint import weights_sha256
from medfinetune_trainer.stages import prepare
from medfinetune_trainer.stages.tables import show
from safetensors.torch import load_file, save_file
from support.stages import EXAMPLE, SOURCES, Ended, example_plan, models_volume, run_stage

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


def leaves_nothing(plan: RunPlan) -> bool:
    """Whether the run folder holds nothing but the plan and the lock."""
    return not plan.folder.root.exists() or {path.name for path in plan.folder.root.iterdir()} <= {".lock", "plan.json"}


def refused(plan: RunPlan, kind: type[Refusal], says: str) -> None:
    with pytest.raises(kind, match=says):
        prepare.run(plan)
    assert leaves_nothing(plan)


def test_bad_data_is_refused_without_its_text_and_leaves_nothing_but_the_plan(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(EXAMPLE, data)
    rows = (data / "medqa" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    question = json.loads(rows[6])
    rows[6] = json.dumps(question | {"answer_idx": "Z"})
    (data / "medqa" / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    plan = example_plan(tmp_path / "out", data=data)
    ended = run_stage("prepare", plan)
    assert ended.code == Exit.INVALID_DATA
    assert "medqa/train.jsonl:7" in ended.result.message
    assert "Traceback" not in ended.stderr
    assert question["question"][:30] not in ended.stderr + ended.result.message
    assert leaves_nothing(plan)


def test_samples_over_max_length_are_refused_by_source_and_count(tmp_path: Path) -> None:
    refused(example_plan(tmp_path, maxLength=64), InvalidData, r"source 'medqa': found \d+ of 48 samples over maxLength.*at most 64 tokens")


def test_a_validation_source_that_is_missing_is_refused_by_its_own_field(tmp_path: Path) -> None:
    plan = example_plan(tmp_path)
    gone = plan.data.sources[0].model_copy(update={"name": "held", "path": "gone.jsonl"})
    validation = ValidationPlan(fraction=0, stratify_by=(), sources=(gone,))
    plan = plan.model_copy(update={"data": plan.data.model_copy(update={"validation": validation})})
    refused(plan, InvalidData, r"^spec\.data\.validation\.sources\[name=held\]\.path: found no 'gone.jsonl'")


def test_validation_sources_that_hold_every_training_sample_are_refused(tmp_path: Path) -> None:
    held = [source | {"name": f"held-{source['name']}"} for source in SOURCES]
    plan = example_plan(tmp_path)
    sources = tuple(
        SourcePlan(name=source["name"], path=source["path"], format=source["format"], language="en", domain="medical", subject=None, columns=None)
        for source in held
    )
    validation = ValidationPlan(fraction=0, stratify_by=(), sources=sources)
    plan = plan.model_copy(update={"data": plan.data.model_copy(update={"validation": validation})})
    refused(plan, InvalidData, "every one of 96 samples held out")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda base: (base / "config.json").unlink(), "config.json"),
        (lambda base: (base / "model.safetensors").rename(base / "pytorch_model.bin"), "pickled weights"),
        (lambda base: (base / "chat_template.jinja").unlink(), "no chat template"),
        (lambda base: (base / "tokenizer.json").write_text("{"), "tokenizer"),
        (lambda base: (base / "config.json").write_text("[" * 100_000), "config.json: found a file that does not parse"),
        (lambda base: changed_config(base, hidden_size=10**12), "hidden_size 1000000000000; expected a whole number from 1 to"),
        (lambda base: (base / "chat_template.jinja").write_text("{% for i in range(10**9) %}{% endfor %}"), "changes or refuses user and assistant"),
        (lambda base: not_a_number(base / "model.safetensors"), "found NaN or infinite values in .*norm.*, read as F32"),
    ],
)
def test_a_base_that_cannot_be_used_is_refused(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    shutil.copytree(models_volume() / "base", tmp_path / "models" / "base")
    spoil(tmp_path / "models" / "base")
    refused(example_plan(tmp_path / "out", models=tmp_path / "models"), InvalidModel, says)


def changed_config(base: Path, **fields: int) -> None:
    file = base / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def not_a_number(file: Path) -> None:
    """Make one value of a norm infinite."""
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("norm.weight"))
    weights[name][-1] = float("inf")
    save_file(weights, file, metadata={"format": "pt"})


def test_a_target_module_that_the_base_does_not_have_is_refused_before_a_gpu_is_asked_for(tmp_path: Path) -> None:
    plan = example_plan(tmp_path)
    lora = plan.tuning.lora
    assert lora is not None
    named = plan.tuning.model_copy(update={"lora": lora.model_copy(update={"target_modules": ("q_proj", "embed_tokens")})})
    refused(plan.model_copy(update={"tuning": named}), InvalidManifest, r"spec\.tuning\.lora\.targetModules: found embed_tokens, which base does not have")


def copied_base(tmp_path: Path) -> Path:
    return Path(shutil.copytree(models_volume() / "base", tmp_path / "models" / "base"))


def test_a_tokenizer_with_more_tokens_than_the_base_is_refused_with_both_numbers(tmp_path: Path) -> None:
    base = copied_base(tmp_path)
    tokens = len(load_tokenizer(base))
    changed_config(base, vocab_size=tokens)
    prepare.run(example_plan(tmp_path / "fits", models=tmp_path / "models"))
    changed_config(base, vocab_size=tokens - 1)
    refused(example_plan(tmp_path / "out", models=tmp_path / "models"), InvalidModel, f"vocab_size {tokens - 1}; expected at least {tokens}")


def test_a_control_token_that_the_template_never_writes_may_lie_beyond_the_vocabulary(tmp_path: Path) -> None:
    base = copied_base(tmp_path)
    tokenizer = load_tokenizer(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<audio_soft_token>"]})
    tokenizer.save_pretrained(base)
    prepare.run(example_plan(tmp_path / "out", models=tmp_path / "models"))


def test_rows_longer_than_the_base_has_positions_are_refused(tmp_path: Path) -> None:
    changed_config(copied_base(tmp_path), max_position_embeddings=511)
    refused(
        example_plan(tmp_path / "out", models=tmp_path / "models"), InvalidManifest, r"spec\.data\.maxLength: found rows of 512 tokens; expected at most 511"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_of_the_model_may_be_a_link_within_the_volume_but_not_out_of_it(tmp_path: Path, name: str) -> None:
    file = copied_base(tmp_path) / name
    blob = tmp_path / "models" / "blobs" / "0a1b"
    blob.parent.mkdir()
    file.rename(blob)
    file.symlink_to(Path("..", "blobs", "0a1b"))
    prepare.run(example_plan(tmp_path / "cached", models=tmp_path / "models"))
    outside = blob.rename(tmp_path / name)
    file.unlink()
    file.symlink_to(outside)
    plan = example_plan(tmp_path / "out", models=tmp_path / "models")
    refused(plan, InvalidModel, f"{name}: found a file outside the models volume")


def test_an_index_cannot_name_a_shard_out_of_the_volume(tmp_path: Path) -> None:
    index = copied_base(tmp_path) / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../../outside.safetensors"}}))
    refused(example_plan(tmp_path / "out", models=tmp_path / "models"), InvalidModel, "outside.safetensors: found a file outside the models volume")


@pytest.mark.parametrize("path", ["medqa/none.jsonl", "spoilt.jsonl"])
def test_an_evaluation_file_that_cannot_be_asked_is_refused_before_training(tmp_path: Path, path: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(EXAMPLE, data)
    rows = (data / "medqa" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (data / "spoilt.jsonl").write_text("\n".join([*rows, json.dumps(json.loads(rows[0]) | {"answer_idx": "Z"})]), encoding="utf-8")
    task = {"name": "asked", "path": path, "format": "MedQA", "language": "en"}
    plan = example_plan(tmp_path / "out", data=data, tasks=[task])
    refused(plan, InvalidData, f"{path}:{len(rows) + 1}" if path == "spoilt.jsonl" else path)


def test_weights_must_have_the_hash_that_the_manifest_states(tmp_path: Path) -> None:
    plan = example_plan(tmp_path)
    plan = plan.model_copy(update={"model": plan.model.model_copy(update={"sha256": "0" * 64})})
    refused(plan, InvalidModel, f"spec.model.sha256: .*{weights_sha256(models_volume() / 'base')}")


FEATURES = datasets.Features(
    {"input_ids": datasets.List(datasets.Value("int32")), "loss_mask": datasets.List(datasets.Value("int8")), "subject": datasets.Value("string")}
)


def write(file: Path, samples: list[tuple[int, int]]) -> Path:
    """Documents of (tokens, loss tokens at the end), each with ids of its own, in batches of three."""
    rows = [{"input_ids": [i] * length, "loss_mask": [0] * (length - loss) + [1] * loss, "subject": ""} for i, (length, loss) in enumerate(samples)]
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, FEATURES.arrow_schema) as writer:
        for start in range(0, len(rows), 3):
            writer.write_table(pa.Table.from_pylist(rows[start : start + 3], FEATURES.arrow_schema))
    return file


def read(found: Documents) -> list[list[int]]:
    loaded: list[list[int]] = datasets.Dataset.from_file(str(found.file))["input_ids"][:]
    return loaded


sample_lists = st.lists(st.integers(1, 20).flatmap(lambda length: st.tuples(st.just(length), st.integers(0, length - 1))), min_size=1, max_size=20)


@given(sample_lists, st.sampled_from([Overlong.DROP, Overlong.TRUNCATE]))
def test_no_token_over_max_length_is_lost_uncounted(tmp_path_factory: pytest.TempPathFactory, samples: list[tuple[int, int]], policy: Overlong) -> None:
    folder, limit = tmp_path_factory.mktemp("admit"), 8
    kept = {i: min(length, limit) for i, (length, loss) in enumerate(samples) if length <= limit or (policy is Overlong.TRUNCATE and length - loss < limit)}
    tokenised = write(folder / "tokenised.arrow", samples)
    if not kept:
        with pytest.raises(InvalidData, match="no sample left"):
            admit(tokenised, "a", policy, limit, folder / "admitted.arrow")
        return
    found = admit(tokenised, "a", policy, limit, folder / "admitted.arrow")
    assert read(found) == [[i] * length for i, length in kept.items()]
    assert found.lengths.tolist() == list(kept.values())
    assert found.loss_tokens.tolist() == [max(0, length - (samples[i][0] - samples[i][1])) for i, length in kept.items()]
    assert len(set(found.identities.tolist())) == len(kept)
    assert found.over_long == sum(length > limit for length, _ in samples)
    assert found.tokens_dropped == sum(length for length, _ in samples) - sum(kept.values())


def test_the_error_policy_names_source_count_longest_and_limit(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="source 'a': found 2 of 3 samples over maxLength, the longest of 12 tokens; expected at most 8 tokens"):
        admit(write(tmp_path / "t.arrow", [(9, 1), (8, 1), (12, 1)]), "a", Overlong.ERROR, 8, tmp_path / "a.arrow")


def test_a_document_keeps_its_subject_as_a_number(tmp_path: Path) -> None:
    subjects = ["nurse", "", "doctor", "nurse"]
    table = pa.Table.from_pylist([{"input_ids": [1], "loss_mask": [1], "subject": subject} for subject in subjects], FEATURES.arrow_schema)
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    found = admit(tmp_path / "t.arrow", "a", Overlong.ERROR, 8, tmp_path / "a.arrow")
    assert [found.subjects[number] for number in found.subject_of] == subjects
    assert found.subject_of.nbytes == 4 * len(subjects)


def test_identical_documents_have_one_identity(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"input_ids": ids, "loss_mask": [0, 1], "subject": ""} for ids in ([1, 2], [1, 3], [1, 2])], FEATURES.arrow_schema)
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found = admit(tmp_path / "t.arrow", "a", Overlong.ERROR, 8, tmp_path / "a.arrow")
    assert found.identities[0] == found.identities[2]
    assert found.identities[0] != found.identities[1]


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
