"""Whether a run's folder is still what its lineage.json says: for a whole run, purged or not, and for what was fetched of one.

Every file against its hash, the plan against its own, lineage.json against its seal, each attempt against the one before it, and the signature against the
site's key, where one is given. A report that was made anew counts as whole where it says what these files say (`rendered`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medfinetune_api.errors import OutputConflict, Refusal
from medfinetune_api.layout import WORKING, RunFolder
from medfinetune_api.plan import RunPlan
from pydantic import ValidationError

from medfinetune_trainer.artifacts import attempts, signing
from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.artifacts.lineage import REPORT, UNLISTED, Lineage, is_under, paths
from medfinetune_trainer.artifacts.signing import Signature

if TYPE_CHECKING:
    from securesystemslib.signer import Key

RESTORE = "Take this file from a copy that verifies, or fetch the run anew; use nothing of a folder that does not verify."


@dataclass(frozen=True)
class Verdict:
    """What became of every file."""

    lineage_sha256: str
    """Of lineage.json itself."""
    plan_sha256: str
    """As lineage.json has it."""
    lineage: Lineage
    """What it says."""
    signature: Signature
    """Whether it is signed, and by the key that was given."""
    held: tuple[str, ...]
    """Files that are as they were left."""
    problems: tuple[Refusal, ...] = field(default=())
    """One for each file that is missing, changed, or nothing of the run's."""
    unchecked: tuple[str, ...] = field(default=())
    """Files that lie elsewhere: this is a part of a run."""
    still_there: tuple[str, ...] = field(default=())
    """Files that the purge takes, and has not yet taken."""


def verify(root: Path, key: Key | None = None, rendered: Callable[[Path], str] | None = None, whole: bool = False) -> Verdict:
    """Compare the folder `root` with its lineage.json. Reads every file, about a second a GB.

    `key` is the site's public key: with it a run that is not signed does not verify. `rendered` makes the report of a folder anew.

    What was fetched of a run is a part of it: a fetch never brings data, samples and checkpoints, though the run retains them, and a folder without a plan.json
    may lack any other file or folder of the run's. What is not there at all of these is named as not checked; of a run that must be
    `whole` it is missing, but for the report.
    Raises OutputConflict where there is no lineage.json that can be read.
    """
    folder = RunFolder(root)
    text, lineage = _lineage(folder)
    present = tuple(paths(root))
    absent = _elsewhere(lineage, present)
    unchecked = tuple(path for path in absent if path == REPORT) if whole else absent
    hashes = {f"data/{path}": digest for path, digest in lineage.made_from.data.items()} | dict(lineage.files)
    compared = {path: tuple(_compared(root, path, hashes[path], rendered)) for path in present if path in hashes}
    unlisted = [path for path in present if path not in lineage.files and not is_under(path, UNLISTED)]
    still_there = tuple(path for path in unlisted if is_under(path, lineage.purged))
    signature, wrong = signing.check(folder.signature, text, key)
    problems = (
        *_sealed(lineage, text),
        *(_problem(folder.signature.name, found, "the signature of this lineage.json by the key that was given") for found in wrong),
        *_plan(folder, lineage, whole),
        *_attempts(folder, lineage),
        *(_problem(path, "no such file", "the file that evaluate left") for path in sorted(lineage.files.keys() - {*present, *unchecked})),
        *(problem for found in compared.values() for problem in found),
        *(_problem(path, "a file that is none of the run's", "no such file") for path in unlisted if path not in still_there),
    )
    held = tuple(path for path, found in compared.items() if path in lineage.files and not found)
    return Verdict(sha256_file(folder.lineage), lineage.plan_sha256, lineage, signature, held, problems, unchecked, still_there)


def _elsewhere(lineage: Lineage, present: tuple[str, ...]) -> tuple[str, ...]:
    """Files of the run that a part of it need not hold; of the report not even a whole one, because it can be made anew."""
    parts = {_part(path) for path in present}
    absent = sorted(lineage.files.keys() - set(present))
    return tuple(path for path in absent if path == REPORT or (_part(path) not in parts and (_part(path) in WORKING.values() or "plan.json" not in parts)))


def _part(path: str) -> str:
    """What of a run is fetched, or not, as one: a pattern of working files, else the file or folder at the top."""
    return next((pattern for pattern in WORKING.values() if is_under(path, (pattern,))), path.split("/")[0])


def _lineage(folder: RunFolder) -> tuple[bytes, Lineage]:
    remedy = "Name the run's folder, or what `medfinetune fetch` made; a run has a lineage.json once evaluate is complete."
    try:
        text = folder.lineage.read_bytes()
        return text, Lineage.model_validate_json(text)
    except FileNotFoundError:
        found = "no such file"
    except OSError as error:
        found = error.strerror or "a file that cannot be read"
    except ValidationError:
        found = "a damaged file"
    raise OutputConflict(str(folder.lineage), found=found, expected="the lineage that evaluate left", remedy=remedy)


def _sealed(lineage: Lineage, text: bytes) -> Iterator[Refusal]:
    if lineage.sealed.text.encode() != text:
        yield _problem("lineage.json", "a file that its own seal does not fit", f"one of seal {lineage.sealed.seal}")


def _attempts(folder: RunFolder, lineage: Lineage) -> Iterator[Refusal]:
    """The chain, besides the hash of its file: which attempt was removed or edited. One that lies elsewhere is not checked."""
    if folder.attempts.is_file() and not folder.attempts.is_symlink():
        for found in attempts.breaks(lineage.plan_sha256, lineage.attempts, folder):
            yield _problem(folder.attempts.name, found, "every attempt as it was written down, each with the hash of the one before")


def _plan(folder: RunFolder, lineage: Lineage, whole: bool) -> Iterator[Refusal]:
    """The plan's own hash does not depend on the bytes of its file, but on what it says."""
    try:
        found = RunPlan.model_validate_json(folder.plan.read_bytes()).sha256
    except FileNotFoundError:
        if whole:
            yield _problem("plan.json", "no such file", f"plan {lineage.plan_sha256}")
        return
    except (OSError, ValidationError):
        yield _problem("plan.json", "a plan that cannot be read", f"plan {lineage.plan_sha256}")
        return
    if found != lineage.plan_sha256:
        yield _problem("plan.json", f"plan {found}", f"plan {lineage.plan_sha256}")


def _compared(root: Path, path: str, expected: str, rendered: Callable[[Path], str] | None) -> Iterator[Refusal]:
    file = root / path
    if file.is_symlink() or not file.is_file():
        yield _problem(path, "a link or a device", "the file that evaluate left")
        return
    try:
        found = sha256_file(file)
    except OSError as error:
        yield _problem(path, error.strerror or "a file that cannot be read", f"SHA-256 {expected}")
        return
    if found != expected and not (path == REPORT and rendered and rendered(root).encode() == file.read_bytes()):
        yield _problem(path, f"SHA-256 {found}", expected)


def _problem(path: str, found: str, expected: str) -> OutputConflict:
    return OutputConflict(path, found=found, expected=expected, remedy=RESTORE)
