"""`attempts.jsonl`: every attempt whose work is in the run, one a line, each holding the hash of the line before it.

    prepare   when all that it prepared is on the volume
    train     when a gang is about to take its first step, with the step that it goes on from
    evaluate  when it is about to ask

The first entry holds the plan's hash, so an entry that is removed, edited, or put in breaks the chain at the next one; the last one's hash stands in
lineage.json. What was refused, or ended before that, left nothing in the run and has no entry. Until lineage.json is there (and signed), whoever
may write to the folder may write the whole chain anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

from medfinetune_api.base import Contract
from medfinetune_api.choices import Stage
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.scalars import Count, Label, Sha256
from pydantic import AwareDatetime, ValidationError

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.artifacts.files import storage_errors, write_text
from medfinetune_trainer.artifacts.maker import PRODUCT, Requester, code_sha256, image, requester, versions


class Attempt(Contract):
    """One attempt of one stage."""

    stage: Stage
    """Which stage."""
    number: Count | None = None
    """Its number, where the executor counts the attempts of a stage."""
    time: AwareDatetime
    """When it was written down."""
    step: Count | None = None
    """Of train: optimizer steps that were done when it began, from an earlier attempt's checkpoint."""
    processes: Count | None = None
    """Of train: ranks of the gang."""
    requester: Requester
    """Who asked for it."""
    version: Label
    """Of the product."""
    code_sha256: Sha256
    """Of the product's modules (`maker.code_sha256`)."""
    image: str | None = None
    """The container image, where the executor told it."""
    before: Sha256
    """SHA-256 of the line before this one, without its line break; of the first entry, the plan's."""


class Chain(Contract):
    """Of the whole of attempts.jsonl."""

    entries: Count
    """Attempts."""
    last: Sha256
    """SHA-256 of the last line; the plan's hash where there is none."""


def add(plan: RunPlan, stage: Stage, *, step: int | None = None, processes: int | None = None) -> None:
    """Write down an attempt of `stage` by this process. Raises StorageFailed; OutputConflict as `fence.check`."""
    lines = _lines(plan.folder)
    entry = Attempt(
        stage=stage,
        number=fence.number(),
        time=datetime.now(UTC).replace(microsecond=0),
        step=step,
        processes=processes,
        requester=requester(),
        version=versions().get(PRODUCT, "unknown"),
        code_sha256=code_sha256(),
        image=image(),
        before=_chain(plan.sha256, lines).last,
    )
    write_text(plan.folder.attempts, "".join(f"{line.decode('utf-8', 'replace')}\n" for line in lines) + entry.to_json() + "\n")


def chain(plan_sha256: str, folder: RunFolder) -> Chain:
    """What lineage.json says of the attempts of a run. Raises StorageFailed."""
    return _chain(plan_sha256, _lines(folder))


def read(folder: RunFolder) -> list[Attempt]:
    """The attempts that can be read, in order."""
    return [entry for entry in map(_entry, _lines(folder)) if entry is not None]


def breaks(plan_sha256: str, expected: Chain, folder: RunFolder) -> Iterator[str]:
    """What is wrong with attempts.jsonl, in words; nothing where it is the chain that lineage.json tells of."""
    lines = _lines(folder)
    if (found := _chain(plan_sha256, lines)) != expected:
        yield f"{found.entries} attempts, the last of SHA-256 {found.last}, in place of {expected.entries} and {expected.last}"
    befores = [plan_sha256, *map(_sha256, lines)]
    for number, (before, line) in enumerate(zip(befores, lines, strict=False), 1):
        entry = _entry(line)
        if entry is None:
            yield f"attempt {number} cannot be read"
        elif entry.before != before:
            yield f"attempt {number} does not follow what stands before it"


def _chain(plan_sha256: str, lines: list[bytes]) -> Chain:
    return Chain(entries=len(lines), last=_sha256(lines[-1]) if lines else plan_sha256)


def _lines(folder: RunFolder) -> list[bytes]:
    with storage_errors(folder.attempts):
        return folder.attempts.read_bytes().split(b"\n")[:-1] if folder.attempts.exists() else []


def _entry(line: bytes) -> Attempt | None:
    try:
        return Attempt.model_validate_json(line)
    except ValidationError:
        return None


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
