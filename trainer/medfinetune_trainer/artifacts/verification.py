"""Whether a run's folder is still what its lineage.json says: for a whole run, purged or not, and for what was fetched of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medfinetune_api.errors import OutputConflict, Refusal
from medfinetune_api.layout import WORKING, RunFolder
from medfinetune_api.plan import RunPlan
from pydantic import ValidationError

from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.artifacts.lineage import UNLISTED, Lineage, is_under, paths

RESTORE = "Take this file from a copy that verifies, or fetch the run anew; use nothing of a folder that does not verify."


@dataclass(frozen=True)
class Verdict:
    """What became of every file."""

    lineage_sha256: str
    """Of lineage.json itself."""
    plan_sha256: str
    """As lineage.json has it."""
    held: tuple[str, ...]
    """Files that are as they were left."""
    problems: tuple[Refusal, ...] = field(default=())
    """One for each file that is missing, changed, or nothing of the run's."""
    unchecked: tuple[str, ...] = field(default=())
    """Files that lie elsewhere: this is a part of a run."""
    still_there: tuple[str, ...] = field(default=())
    """Files that the purge takes, and has not yet taken."""


def verify(root: Path) -> Verdict:
    """Compare the folder `root` with its lineage.json. Reads every file, about a second a GB.

    What was fetched of a run is a part of it: a fetch never brings data, samples and checkpoints, though the run retains them, and a folder without a plan.json
    may lack any other file or folder of the run's. What is not there at all of these is named as not checked.
    Raises OutputConflict where there is no lineage.json that can be read.
    """
    folder = RunFolder(root)
    lineage = _lineage(folder)
    present = tuple(paths(root))
    absent = sorted(lineage.files.keys() - set(present))
    parts = {_part(path) for path in present}
    unchecked = tuple(path for path in absent if _part(path) not in parts and (_part(path) in WORKING.values() or "plan.json" not in parts))
    gone = set(absent) - set(unchecked)
    unlisted = [path for path in present if path not in lineage.files and not is_under(path, UNLISTED)]
    still_there = tuple(path for path in unlisted if is_under(path, lineage.purged))
    compared = {path: tuple(_compared(root, path, lineage.files[path])) for path in present if path in lineage.files}
    problems = (
        *_plan(folder, lineage),
        *(_problem(path, "no such file", "the file that evaluate left") for path in sorted(gone)),
        *(problem for found in compared.values() for problem in found),
        *(_problem(path, "a file that is none of the run's", "no such file") for path in unlisted if path not in still_there),
    )
    held = tuple(path for path, found in compared.items() if not found)
    return Verdict(sha256_file(folder.lineage), lineage.plan_sha256, held, problems, unchecked, still_there)


def _part(path: str) -> str:
    """What of a run is fetched, or not, as one: a pattern of working files, else the file or folder at the top."""
    return next((pattern for pattern in WORKING.values() if is_under(path, (pattern,))), path.split("/")[0])


def _lineage(folder: RunFolder) -> Lineage:
    remedy = "Name the run's folder, or what `medfinetune fetch` made; a run has a lineage.json once evaluate is complete."
    try:
        return Lineage.model_validate_json(folder.lineage.read_bytes())
    except FileNotFoundError:
        found = "no such file"
    except OSError as error:
        found = error.strerror or "a file that cannot be read"
    except ValidationError:
        found = "a damaged file"
    raise OutputConflict(str(folder.lineage), found=found, expected="the lineage that evaluate left", remedy=remedy)


def _plan(folder: RunFolder, lineage: Lineage) -> Iterator[Refusal]:
    """The plan's own hash does not depend on the bytes of its file, but on what it says."""
    try:
        found = RunPlan.model_validate_json(folder.plan.read_bytes()).sha256
    except FileNotFoundError:
        return
    except (OSError, ValidationError):
        yield _problem("plan.json", "a plan that cannot be read", f"plan {lineage.plan_sha256}")
        return
    if found != lineage.plan_sha256:
        yield _problem("plan.json", f"plan {found}", f"plan {lineage.plan_sha256}")


def _compared(root: Path, path: str, expected: str) -> Iterator[Refusal]:
    file = root / path
    if file.is_symlink() or not file.is_file():
        yield _problem(path, "a link or a device", "the file that evaluate left")
        return
    try:
        found = sha256_file(file)
    except OSError as error:
        yield _problem(path, error.strerror or "a file that cannot be read", f"SHA-256 {expected}")
        return
    if found != expected:
        yield _problem(path, f"SHA-256 {found}", expected)


def _problem(path: str, found: str, expected: str) -> OutputConflict:
    return OutputConflict(path, found=found, expected=expected, remedy=RESTORE)
