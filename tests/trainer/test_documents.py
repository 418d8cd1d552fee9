"""Documents that are admitted: what becomes of those over maxLength, their subjects, and by what two are the same."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import Overlong
from medfinetune_api.errors import InvalidData
from medfinetune_trainer.data.documents import Documents, admit

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
