"""Checkpoints: complete or not there, written beside training, and the newest untouched one is found among whatever a crash, a disk or a hand has left."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.errors import OutputConflict, StorageFailed
from medfinetune_trainer.artifacts import checkpoint
from medfinetune_trainer.artifacts.checkpoint import MANIFEST, POSITION, Position
from medfinetune_trainer.artifacts.history import History, read
from medfinetune_trainer.artifacts.state import finish_saving, load_state, start_saving
from torch import nn

PLAN = "a" * 64
STEPS = (2, 10, 20, 30)
FILES = (".metadata", "__0_0.distcp", POSITION, MANIFEST)


def sealed(checkpoints: Path, step: int, plan_sha256: str = PLAN) -> Path:
    folder = checkpoints / f"step-{step}"
    unfinished = checkpoint.begin(folder)
    for name in FILES[:2]:
        (unfinished / name).write_bytes(f"{name} of {step}".encode())
    states = {"loss_scale": {"scale": 2.0**step, "best": float("inf")}}
    checkpoint.complete(unfinished, folder, Position(plan_sha256=plan_sha256, step=step, states=states))
    return folder


def newest_step(checkpoints: Path) -> int:
    found = checkpoint.newest(checkpoints, PLAN)
    if found is None:
        return 0
    assert found[0].name == f"step-{found[1].step}"
    assert found[1].states == {"loss_scale": {"scale": 2.0 ** found[1].step, "best": float("inf")}}
    return found[1].step


def truncate(file: Path, at: int) -> None:
    file.write_bytes(file.read_bytes()[: at % file.stat().st_size])


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at % len(content)] ^= 1 << at % 8
    file.write_bytes(content)


def swap(file: Path, at: int) -> None:
    """Take the file of another checkpoint."""
    other = file.parents[1] / f"step-{STEPS[(STEPS.index(int(file.parent.name[5:])) + 1 + at % 3) % 4]}" / file.name
    if other.is_file():
        content = other.read_bytes()
        other.write_bytes(file.read_bytes())
        file.write_bytes(content)


def rename(file: Path, at: int) -> None:
    """The whole checkpoint under the name of another step."""
    file.parent.rename(file.parents[1] / f"step-{31 + at}{file.parent.name[5:]}")


def misshape(file: Path, at: int) -> None:
    texts = (b"[]", b"{}", b"[" * 50_000, b'{"step": 1e400}', b'{"step": 9, "sha256": {"a\\u0000b": ""}}', b"\xff\xfe")
    (file.parent / (MANIFEST, POSITION)[at % 2]).write_bytes(texts[at % len(texts)])


def forget(file: Path, at: int) -> None:
    """Remove a file and its line in the manifest."""
    manifest = json.loads((file.parent / MANIFEST).read_text())
    if manifest["sha256"].pop(file.name, None):
        file.unlink()
        (file.parent / MANIFEST).write_text(json.dumps(manifest))


def replace_by_folder(file: Path, at: int) -> None:
    file.unlink()
    file.mkdir()


TEARS: tuple[Callable[[Path, int], None], ...] = (
    truncate,
    flip,
    swap,
    rename,
    misshape,
    replace_by_folder,
    forget,
    lambda file, _: file.unlink(),
    lambda file, _: file.write_bytes(b""),
    lambda file, _: shutil.rmtree(file.parent),
)
STRAYS = ("step-x", "step-030", "step-٣", "step-40", ".step-50.abcd", "step-2/stray", "step-30/core.1234")


def stray(checkpoints: Path, name: str, folder: bool) -> None:
    path = checkpoints / name
    if path.parent.exists():
        path.mkdir() if folder else path.write_bytes(b"stray")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoints = tmp_path_factory.mktemp("run") / "checkpoints"
    for step in STEPS:
        sealed(checkpoints, step)
    return checkpoints


@settings(max_examples=150, deadline=None)
@given(
    torn=st.dictionaries(st.sampled_from(STEPS), st.tuples(st.sampled_from(TEARS), st.sampled_from(FILES), st.integers(0, 4095))),
    strays=st.dictionaries(st.sampled_from(STRAYS), st.booleans()),
)
def test_the_newest_untouched_checkpoint_is_found_among_torn_ones_and_kept(whole: Path, torn: dict[int, tuple], strays: dict[str, bool]) -> None:  # type: ignore[type-arg]  # a tear, its file, where
    with TemporaryDirectory() as name:
        checkpoints = Path(shutil.copytree(whole, Path(name) / "checkpoints"))
        before = {path: path.read_bytes() for path in checkpoints.rglob("*") if path.is_file()}
        for step, (tear, file, at) in sorted(torn.items()):
            if (checkpoints / f"step-{step}" / file).is_file():
                tear(checkpoints / f"step-{step}" / file, at)
        untouched = [s for s in STEPS if all((p := checkpoints / f"step-{s}" / f).is_file() and p.read_bytes() == before[p] for f in FILES)]
        for stray_name, folder in strays.items():
            stray(checkpoints, stray_name, folder)
        expected = max(untouched, default=0)
        assert newest_step(checkpoints) == expected
        sealed(checkpoints, expected + 1)
        checkpoint.prune(checkpoints, expected + 1, keep=2)
        assert newest_step(checkpoints) == expected + 1
        shutil.rmtree(checkpoints / f"step-{expected + 1}")
        assert newest_step(checkpoints) == expected


def test_pruning_keeps_the_newest_complete_ones_and_nothing_torn(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 9):
        sealed(tmp_path, step)
    (tmp_path / "step-3" / MANIFEST).unlink()
    checkpoint.prune(tmp_path, 4, keep=2)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["step-2", "step-4"]


@pytest.mark.parametrize("named", ["elsewhere", "nowhere"])
def test_a_link_in_place_of_a_checkpoint_goes_and_what_it_names_stays(tmp_path: Path, named: str) -> None:
    elsewhere, checkpoints = tmp_path / "elsewhere", tmp_path / "checkpoints"
    elsewhere.mkdir()
    sealed(checkpoints, 1)
    for step in (2, 4):
        (checkpoints / f"step-{step}").symlink_to(tmp_path / named)
    (checkpoints / "step-1.bak").mkdir()
    sealed(checkpoints, 4)
    checkpoint.prune(checkpoints, 4, keep=2)
    assert newest_step(checkpoints) == 4
    assert sorted(folder.name for folder in checkpoints.iterdir()) == (["step-1", "step-1.bak", "step-4"])
    assert elsewhere.is_dir()


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    folder = sealed(tmp_path, 1, plan_sha256="b" * 64)
    with pytest.raises(OutputConflict, match="another run"):
        checkpoint.newest(tmp_path, PLAN)
    assert checkpoint.read(folder) is not None


def test_an_earlier_checkpoint_stands_until_another_takes_its_name_and_what_was_killed_goes(tmp_path: Path) -> None:
    folder = sealed(tmp_path, 1)
    killed = checkpoint.begin(folder)
    unfinished = checkpoint.begin(folder)
    assert list(unfinished.iterdir()) == []
    assert not killed.exists()
    assert checkpoint.read(folder) is not None


def trained(size: int = 30, layers: int = 2) -> tuple[nn.Module, torch.optim.Optimizer]:
    module = nn.Sequential(*(nn.Linear(size, size) for _ in range(layers)))
    optimizer = torch.optim.AdamW(module.parameters())
    update(module, optimizer)
    return module, optimizer


def update(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    module(torch.ones(1, next(module.parameters()).shape[1])).sum().backward()
    optimizer.step()


def tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [*module.parameters(), *(value for each in optimizer.state.values() for value in each.values())]


def test_what_is_written_is_the_state_at_the_start_of_writing(tmp_path: Path) -> None:
    module, optimizer = trained()
    expected = [tensor.detach().clone() for tensor in tensors(module, optimizer)]
    writing = start_saving(tmp_path, module, optimizer, None)
    for _ in range(20):
        update(module, optimizer)
    finish_saving(writing, tmp_path)
    restored = trained()
    load_state(tmp_path, *restored)
    assert all(torch.equal(*pair) for pair in zip(tensors(*restored), expected, strict=True))
    assert not torch.equal(tensors(module, optimizer)[0], expected[0])


@pytest.mark.parametrize("other", [(31, 2), (30, 3), (30, 1)], ids=["another rank", "more layers", "fewer layers"])
def test_tensors_that_are_not_trained_here_are_refused(tmp_path: Path, other: tuple[int, int]) -> None:
    finish_saving(start_saving(tmp_path, *trained(), None), tmp_path)
    with pytest.raises(OutputConflict, match="other tensors than those trained here"):
        load_state(tmp_path, *trained(*other))


def test_a_full_volume_is_named_and_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    sealed(tmp_path, 1)
    folder = checkpoint.begin(tmp_path / "step-2")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StorageFailed, match="could not be written to its end"):
            finish_saving(start_saving(folder, *trained(300), None), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert newest_step(tmp_path) == 1


def test_a_folder_that_may_not_be_written_or_is_gone_is_a_storage_failure(tmp_path: Path) -> None:
    with TemporaryDirectory() as name:
        Path(name).chmod(0o500)
        with without_roots_rights(), pytest.raises(StorageFailed, match="Permission denied"):
            checkpoint.begin(Path(name) / "checkpoints" / "step-1")
    with pytest.raises(StorageFailed, match="No such file or directory"):
        checkpoint.begin(tmp_path / "gone" / "checkpoints" / "step-1")
    assert list(tmp_path.iterdir()) == []


@contextmanager
def without_roots_rights() -> Iterator[None]:
    """Root may write everywhere; whoever else runs this test has no such rights to give up."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65532)
    try:
        yield
    finally:
        os.seteuid(before)


def test_metrics_of_later_steps_and_damaged_lines_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    good = '{"kind": "step", "step": 1}'
    file.write_text("\n".join([good, "5", "[" * 50_000, '{"kind": "step", "step": "1"}', '{"kind": "step", "step": 2}', '{"kind": "st']))
    History(file, resumed_step=1).close()
    assert list(read(file)) == [{"kind": "step", "step": 1}]
