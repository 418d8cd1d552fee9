"""`checkpoints/best/step-N`: what was trained as it stood at the lowest validation loss, ready to become the final adapter.

`trained/` in it is in its final layout, beside the manifest of hashes; the folder appears whole. Of several, the newest counts that the run's newest complete
checkpoint knows of, or that it has written since: a run that is killed between the two goes back to the checkpoint, and must still find the one before. So an
older one goes only when a checkpoint is complete that was written at the newer one's step or later.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medfinetune_api.errors import OutputConflict

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.artifacts.checkpoint import MANIFEST, Manifest
from medfinetune_trainer.artifacts.files import new_folder, remove_folder, rename_folder, sha256_file, storage_errors, write_text

TRAINED = "trained"


@contextmanager
def keeping(best: Path, step: int, saved: int) -> Iterator[Path]:
    """A folder to write what was trained into, kept as the best once the block ends without an error. Rank 0 calls it.

    Args:
        best: `checkpoints/best`.
        step: that is the best now.
        saved: step of the newest complete checkpoint.

    Raises StorageFailed; OutputConflict as `fence.check`.
    """
    target = best / f"step-{step}"
    with new_folder(target) as folder:
        trained = folder / TRAINED
        trained.mkdir()
        yield trained
        hashes = {str(file.relative_to(folder)): sha256_file(file) for file in sorted(trained.rglob("*")) if file.is_file()}
        write_text(folder / MANIFEST, Manifest(step=step, sha256=hashes).model_dump_json(indent=1))
    _prune(best, step, saved)


def forget_later(best: Path, step: int) -> None:
    """Remove what was kept after `step`, which a run that continues from there has not seen, and what a kill left unfinished. Rank 0 calls it.

    Raises StorageFailed; OutputConflict as `fence.check`.
    """
    fence.check()
    with storage_errors(best):
        for left in best.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)
        for each in _steps(best):
            if each > step:
                remove_folder(best / f"step-{each}")


def restore(best: Path, step: int, final: Path) -> None:
    """Give the best, of `step`, the name `final`, and remove the others. Rank 0 calls it.

    Raises OutputConflict where it is lost or damaged: nothing else is released in its place. StorageFailed.
    """
    folder = best / f"step-{step}"
    if not _whole(folder, step):
        raise OutputConflict(
            str(folder),
            found="no whole copy of what was trained at the lowest validation loss",
            expected="every file with the hash in its manifest",
            remedy="Restore the folder; or remove the run's checkpoints to train afresh; or start a new run with earlyStopping.restoreBest: false.",
        )
    rename_folder(folder / TRAINED, final)
    shutil.rmtree(best, ignore_errors=True)


def _whole(folder: Path, step: int) -> bool:
    with storage_errors(folder):
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
            present = {str(file.relative_to(folder)) for file in (folder / TRAINED).rglob("*") if file.is_file()}
            return manifest.step == step and present == manifest.sha256.keys() and all(sha256_file(folder / name) == it for name, it in manifest.sha256.items())
        except ValueError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
                return False
            raise


def _prune(best: Path, step: int, saved: int) -> None:
    """Leave the newest, and the newest that the newest complete checkpoint knows."""
    steps = _steps(best)
    known = max((each for each in steps if each <= saved), default=None)
    with storage_errors(best):
        for each in steps:
            if each not in (step, known):
                remove_folder(best / f"step-{each}")


def _steps(best: Path) -> list[int]:
    numbers = (folder.name.removeprefix("step-") for folder in best.glob("step-*"))
    return sorted(int(number) for number in numbers if number.isdecimal())
