"""`lineage.json`: what a run was made from, what was found of it, and the SHA-256 of every file that it leaves. Evaluate writes it last: where it is, the stage
is complete.

It lists what stays. What the purge takes (`output.retain` keeps nothing of it) is named by pattern, so that a purged run is whole; of `data/` the hashes
stay, as prepare wrote them. Its own seal shows damage, no intent: whoever may write to the folder may seal another lineage. Against that stands a signature
beside it (`signing`), or the hash that `medfinetune verify` prints, kept where the run's owner cannot write.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from medfinetune_api.base import Contract
from medfinetune_api.layout import UNFINISHED, RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared
from medfinetune_api.scalars import Label, Seed, Sha256

from medfinetune_trainer.artifacts import attempts, fence
from medfinetune_trainer.artifacts.attempts import Chain
from medfinetune_trainer.artifacts.files import sha256_file, storage_errors, write_text
from medfinetune_trainer.artifacts.maker import Requester, code_sha256, image, requester, versions
from medfinetune_trainer.artifacts.signing import envelope
from medfinetune_trainer.artifacts.verdicts import Verdicts, verdicts_of

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

REPORT = "report.html"
UNLISTED = (fence.FENCE, ".lock", ".run.lock", *UNFINISHED, "lineage.json", "lineage.dsse.json", REPORT)
"""Of a run's folder: locks, what was never finished, this file and its signature. The report is listed once it is made, last of all."""


class MadeFrom(Contract):
    """What decides a run's outcome."""

    base_sha256: Sha256
    """Hash of the base's weights, as `spec.model.sha256` has it."""
    data: Mapping[str, Sha256]
    """SHA-256 of every file that prepare left in `data/`, by path below it: tokenised records, and which of them share a row in which epoch."""
    seed: Seed
    """Seed of everything random."""
    versions: Mapping[str, Label]
    """Version of the product, of Python and of the libraries that compute, by name; those of evaluate, where the stages had different ones."""
    code_sha256: Sha256
    """Hash of the product's own modules as installed; of evaluate, likewise."""
    image: str | None = None
    """The container image, where the executor has told it."""
    requester: Requester
    """Who asked for it."""


class Lineage(Contract):
    """The content of `lineage.json`."""

    plan_sha256: Sha256
    """Hash of the plan, which names model, data, method and hyper-parameters."""
    made_from: MadeFrom
    """What decides the outcome besides the plan."""
    attempts: Chain
    """The attempts that made it (`attempts.jsonl`)."""
    verdicts: Verdicts
    """What screening and gates said, in a sentence each; their files are among `files`."""
    purged: tuple[str, ...]
    """Patterns, relative to the folder, of what goes once the run has ended."""
    files: Mapping[str, Sha256]
    """SHA-256 of every file that stays, by path relative to the folder."""
    seal: Sha256 | None = None
    """SHA-256 of all above in canonical JSON; absent until the file is written."""

    @property
    def sealed(self) -> Lineage:
        """The same with its seal."""
        return self.model_copy(update={"seal": hashlib.sha256(self.model_copy(update={"seal": None}).to_json().encode()).hexdigest()})

    @property
    def text(self) -> str:
        """The file, to the byte."""
        return json.dumps(json.loads(self.to_json()), indent=1, ensure_ascii=False) + "\n"


def lineage_of(plan: RunPlan, prepared: Prepared) -> Lineage:
    """The lineage of a run whose files are complete but for its report. Reads all that stays, about a second a GB. OSErrors of the volume."""
    folder = plan.folder
    purged = folder.purged(plan.output.retain)
    return Lineage(
        plan_sha256=plan.sha256,
        made_from=MadeFrom(
            base_sha256=prepared.weights_sha256,
            data=_data(folder),
            seed=plan.training.seed,
            versions=versions(),
            code_sha256=code_sha256(),
            image=image(),
            requester=requester(),
        ),
        attempts=attempts.chain(plan.sha256, folder),
        verdicts=verdicts_of(folder, plan.sha256),
        purged=purged,
        files={path: sha256_file(folder.root / path) for path in paths(folder.root) if not is_under(path, (*purged, *UNLISTED))},
    )


def write(folder: RunFolder, lineage: Lineage, signer: Signer | None = None) -> None:
    """Write `lineage.json` with the report that is there now, after its signature where there is a signer.

    Where there is none, an earlier signature goes: it is another lineage's. Raises StorageFailed; OutputConflict as `fence.check`.
    """
    report = {REPORT: sha256_file(folder.report)} if folder.report.exists() else {}
    text = lineage.model_copy(update={"files": {**lineage.files, **report}}).sealed.text
    if signer:
        write_text(folder.signature, envelope(text, lineage, signer))
    else:
        with storage_errors(folder.signature):
            fence.check()
            folder.signature.unlink(missing_ok=True)
    write_text(folder.lineage, text)


def paths(root: Path) -> Iterator[str]:
    """Every file and link below `root`, relative to it and in order; no link is followed."""
    for at, folders, files in os.walk(root):
        folders.sort()
        links = [name for name in folders if Path(at, name).is_symlink()]
        for name in sorted(files + links):
            yield Path(at, name).relative_to(root).as_posix()


def is_under(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a path relative to the run's folder, or a folder above it, matches one of the patterns."""
    steps = PurePosixPath(path)
    ways = [str(way) for way in (steps, *steps.parents) if way != PurePosixPath()]
    return any(_matches(way, pattern) for way in ways for pattern in patterns)


def _matches(path: str, pattern: str) -> bool:
    """As `Path.glob` matches: `*` stays within one name."""
    names, parts = path.split("/"), pattern.split("/")
    return len(names) == len(parts) and all(map(fnmatchcase, names, parts))


def _data(folder: RunFolder) -> dict[str, str]:
    """What prepare wrote down of `data/`; nothing where the purge has removed it."""
    try:
        files: dict[str, str] = json.loads(folder.data_manifest.read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, ValueError, KeyError):
        return {}
    return files
