"""What a fetch sends and receives, with the program that the pod runs as a real process: the right files, whole, or a refusal; never anything else on disk."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_cli.fetch_stream import NO_FOLDER, SUMS, command
from medfinetune_cli.fetch_tar import DamagedStream, receive

SENT = {
    "plan.json": b"{}",
    "prepared.json": b"{}\n",
    "metrics.jsonl": b'{"step": 1}\n' * 5000,
    "contamination.json": b"{}",
    "lineage.dsse.json": b"{}",
    "adapter/adapter_config.json": b"{}",
    "adapter/adapter_model.safetensors": bytes(range(256)) * 1000,
    "evaluation/summary.json": b"{}",
    "evaluation/results é.json": b"",
}
KEPT_BACK = {
    "data/train/data.arrow": b"record text",
    "checkpoints/step-50/manifest.json": b"{}",
    "evaluation/samples_medqa.jsonl": b"record text",
    ".plan.json.01234567": b"half",
    "evaluation/.summary.json.01234567": b"half",
}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output volume with one run's folder, a link out of it, and another run's beside it."""
    root = tmp_path_factory.mktemp("volume")
    for name, content in {**SENT, **KEPT_BACK, "../other-run/adapter/secret": b"another's"}.items():
        path = root / "ward-01234567" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "ward-01234567" / "adapter" / "link").symlink_to(root / "other-run")
    (root / "ward-01234567" / "linked.json").symlink_to(root / "other-run" / "adapter" / "secret")
    return root


def sent(volume: Path, *paths: str, folder: str = "ward-01234567") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(folder, paths, root=str(volume)), capture_output=True, check=False)


def found(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "paths", [(), ("adapter", "contamination.json", "lineage.dsse.json"), ("evaluation",), ("metrics.jsonl",)], ids=lambda each: "-".join(each) or "all"
)
def test_what_was_wanted_arrives_whole_and_record_text_stays(volume: Path, tmp_path: Path, paths: tuple[str, ...]) -> None:
    done = sent(volume, *paths)
    files = receive(io.BytesIO(done.stdout), tmp_path)
    expected = {name: content for name, content in SENT.items() if not paths or name.split("/")[0] in paths}
    assert (done.returncode, found(tmp_path)) == (0, expected)
    assert {one.path: (one.size, one.sha256) for one in files} == {name: (len(text), hashlib.sha256(text).hexdigest()) for name, text in expected.items()}


def test_what_is_not_there_is_told_by_the_exit_code(volume: Path) -> None:
    assert [sent(volume, folder="gone-01234567").returncode, sent(volume, "adapterx").returncode] == [NO_FOLDER, NO_FOLDER]
    assert sent(volume, "model", "contamination.json").returncode == NO_FOLDER, "what was found about a run is no model"


@settings(max_examples=300)
@given(data=st.data())
def test_a_stream_that_was_cut_or_changed_is_refused_or_harmless(volume: Path, data: st.DataObject) -> None:
    stream = bytearray(_stream(volume))
    if data.draw(st.booleans(), label="cut"):
        stream = stream[: data.draw(st.integers(0, len(stream) - 1), label="length")]
    else:
        stream[data.draw(st.integers(0, len(stream) - 1), label="place")] ^= data.draw(st.integers(1, 255), label="bits")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "into"
        target.mkdir()
        try:
            receive(io.BytesIO(stream), target)
        except DamagedStream:
            assert [path.name for path in Path(folder).iterdir()] == ["into"]
            return
        assert found(target) == {name: SENT[name] for name in SENT if name.startswith("adapter/")}


_streams: dict[Path, bytes] = {}


def _stream(volume: Path) -> bytes:
    """The adapter as the program in the pod sends it; once."""
    if volume not in _streams:
        _streams[volume] = sent(volume, "adapter").stdout
    return _streams[volume]


def tar_of(*members: tuple[tarfile.TarInfo, bytes], sums: dict[str, str] | None) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for info, content in (*members, *([] if sums is None else [member(SUMS, json.dumps(sums).encode())])):
            tar.addfile(info, io.BytesIO(content))
    stream.seek(0)
    return stream


def member(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content) if kind == tarfile.REGTYPE else 0
    return info, content


X = hashlib.sha256(b"x").hexdigest()
HOSTILE: dict[str, Callable[[], io.BytesIO]] = {
    "a path above": lambda: tar_of(member("../evil"), sums={"../evil": X}),
    "a path above, deeper": lambda: tar_of(member("a/../../evil"), sums={"a/../../evil": X}),
    "an absolute path": lambda: tar_of(member("/tmp/evil"), sums={"/tmp/evil": X}),
    "a symbolic link": lambda: tar_of(member("a", kind=tarfile.SYMTYPE, target=".."), sums={"a": X}),
    "a file through a link": lambda: tar_of(member("a", kind=tarfile.SYMTYPE, target=".."), member("a/evil"), sums={"a/evil": X}),
    "a hard link": lambda: tar_of(member("a"), member("b", kind=tarfile.LNKTYPE, target="a"), sums={"a": X, "b": X}),
    "a device": lambda: tar_of(member("a", kind=tarfile.CHRTYPE), sums={"a": X}),
    "a pipe": lambda: tar_of(member("a", kind=tarfile.FIFOTYPE), sums={"a": X}),
    "a folder": lambda: tar_of(member("a", kind=tarfile.DIRTYPE), sums={}),
    "a name twice": lambda: tar_of(member("a"), member("a"), sums={"a": X}),
    "a file as folder": lambda: tar_of(member("a"), member("a/b"), sums={"a": X, "a/b": X}),
    "an empty name": lambda: tar_of(member("."), sums={".": X}),
    "no hashes": lambda: tar_of(member("a"), sums=None),
    "hashes of others": lambda: tar_of(member("a"), sums={"a": X, "b": X}),
    "another hash": lambda: tar_of(member("a"), sums={"a": "00"}),
    "more behind the hashes": lambda: tar_of(member(SUMS, b"{}"), member("a"), sums=None),
    "hashes that are a list": lambda: tar_of(member(SUMS, b"[]"), sums=None),
    "hashes that are no JSON": lambda: tar_of(member(SUMS, b"{"), sums=None),
}


@pytest.mark.parametrize("stream", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_but_plain_files_inside_the_folder_is_ever_written(tmp_path: Path, stream: Callable[[], io.BytesIO]) -> None:
    target = tmp_path / "into"
    target.mkdir()
    with pytest.raises(DamagedStream):
        receive(stream(), target)
    assert [path.name for path in tmp_path.iterdir()] == ["into"]
    assert all(path.is_file() and not path.is_symlink() for path in target.rglob("*") if not path.is_dir())
