"""Release of a quarantined run: who decided and why is on the volume before the rename that lets it out.

    release.json, then one rename (`quarantine/` becomes `adapter/`, or `model/` of method Full), then what is told of it

Killed before the rename the run is quarantined: the release.json that may lie there is nobody's until it is released, and the next decision takes its place.
Killed after it the run is released with its record, and the next call tells what is missing. Only a run that verifies is released, so that what is let out is
what was judged; what is told afterwards is written only while the released files are those of the record.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from medfinetune_api.errors import InvalidManifest, OutputConflict
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_gates import GateReport, Release, ReleaseRequest
from pydantic import ValidationError

from medfinetune_trainer.artifacts import fence
from medfinetune_trainer.artifacts.files import rename_folder, sha256_file, storage_errors, write_text
from medfinetune_trainer.artifacts.lineage import Lineage, paths
from medfinetune_trainer.artifacts.quarantined import CARD
from medfinetune_trainer.artifacts.signing import KEY, signer
from medfinetune_trainer.artifacts.verification import verify
from medfinetune_trainer.gates.quarantine import is_released
from medfinetune_trainer.report.page import page
from medfinetune_trainer.report.run import read_run


def requested(by: str, reason: str) -> ReleaseRequest:
    """The decision as it is put. Raises InvalidManifest where it has no reason, or one that cannot be recorded."""
    try:
        return ReleaseRequest(by=by, reason=reason)
    except ValidationError as error:
        field = str(error.errors(include_input=False, include_url=False)[0]["loc"][0])
        text = reason if field == "reason" else by
        found = "none" if not text.strip() else f"{len(text)} characters, not all of them printable" if len(text) <= 512 else f"{len(text)} characters"
        expected = "one line of 1 to 1000 printable characters" if field == "reason" else "a name of 1 to 512 printable characters"
        remedy = "Say in one line why a model that failed a gate is to be used." if field == "reason" else "Name who decides."
        raise InvalidManifest(f"release {field}", found=found, expected=expected, remedy=remedy) from None


def let_out(plan: RunPlan, request: ReleaseRequest) -> Release:
    """Record the decision and give what was trained its final name; of a run that has it already, the record.

    Raises:
        OutputConflict: the run is not quarantined or does not verify, or a newer attempt has its folder. StorageFailed.
    """
    folder = plan.folder
    if is_released(plan):
        return _record(plan)
    report = GateReport.read(folder.gates)
    if not folder.quarantine.is_dir() or report is None or report.plan_sha256 != plan.sha256 or not report.failed:
        remedy = "Nothing is to be released: look at the run's report, or name the folder of a run that a gate has stopped."
        raise OutputConflict(str(folder.root), found="a run that is not quarantined", expected="what a gate has stopped, in quarantine/", remedy=remedy)
    with storage_errors(folder.release):
        fence.check()
        folder.release.unlink(missing_ok=True)  # of a release that was killed before its rename
    lineage_sha256 = _verified(folder.root)
    release = Release(
        plan_sha256=plan.sha256,
        by=request.by,
        reason=request.reason,
        time=datetime.now(UTC).replace(microsecond=0),
        gates=tuple(outcome.gate.name for outcome in report.failed),
        lineage_sha256=lineage_sha256,
        files=_files(folder.quarantine),
    )
    write_text(folder.release, release.to_json() + "\n")
    rename_folder(folder.quarantine, folder.released(plan.tuning.method))
    return release


def is_told(plan: RunPlan) -> bool:
    """Whether the lineage speaks of the release, which it does once all else is written."""
    lineage = Lineage.read(plan.folder.lineage)
    return lineage is not None and lineage.files.get(plan.folder.release.name) == sha256_file(plan.folder.release)


def _record(plan: RunPlan) -> Release:
    """The record of a run that has been let out, whose files are still those of the record."""
    folder = plan.folder
    release, released = Release.read(folder.release), folder.released(plan.tuning.method)
    if release is None or release.plan_sha256 != plan.sha256 or _files(released) != dict(release.files):
        remedy = "Use nothing of this folder: fetch the run anew, or take it from a copy that verifies."
        raise OutputConflict(str(released), found="other files than were released", expected="those of release.json", remedy=remedy)
    return release


def judged_lineage(plan: RunPlan, release: Release) -> Lineage | None:
    """The lineage of the run as it was judged; None once that of the release stands in its place. Raises OutputConflict where it is neither."""
    file = plan.folder.lineage
    if is_told(plan):
        return None
    lineage = Lineage.read(file)
    if lineage is None or sha256_file(file) != release.lineage_sha256:
        remedy = "Take lineage.json from a copy of the quarantined run that verifies, and release again."
        raise OutputConflict(str(file), found="another lineage than was verified", expected=f"SHA-256 {release.lineage_sha256}", remedy=remedy)
    return lineage


def _verified(root: Path) -> str:
    """SHA-256 of the lineage of a run that verifies as a whole, its signature with it. Raises OutputConflict; InvalidManifest where the key cannot sign."""
    signs = signer()
    if signs is None and RunFolder(root).signature.exists():
        remedy = f"Name the site's private key in {KEY}, as evaluate had it: what is told of the release is signed too."
        raise InvalidManifest(KEY, found="none, and a run whose lineage is signed", expected="the key that signs its release", remedy=remedy)
    verdict = verify(root, signs.public_key if signs else None, lambda folder: page(read_run(folder)))
    if verdict.problems:
        first = verdict.problems[0]
        found = f"{first.found}, {len(verdict.problems)} problems in all"
        remedy = "Do not release it. Take the file from a copy that verifies, or evaluate the run again; `medfinetune verify` names every problem."
        raise OutputConflict(first.where, found=found, expected=first.expected, remedy=remedy)
    if missing := [path for path in verdict.unchecked if path.startswith("quarantine/")]:
        raise OutputConflict(
            missing[0], found="no such file", expected="the file that evaluate left", remedy="Release the run where it lies, not a part of it."
        )
    return verdict.lineage_sha256


def _files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` but the model card, which is written anew, finished or not."""
    return {path: sha256_file(folder / path) for path in paths(folder) if path != CARD and not path.startswith(f".{CARD}.")}
