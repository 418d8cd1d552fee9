"""What train and evaluate ask of prepare: that it is complete, for this plan, that neither its data nor the base has changed since, and what it chose."""

from __future__ import annotations

import json
import os

from medfinetune_api.errors import InvalidManifest, OutputConflict
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_api.scalars import MOST_ROWS

from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.model.fingerprint import require_weights_as_prepared
from medfinetune_trainer.model.folder import model_folder
from medfinetune_trainer.model.initial import initial_folder

MICRO_BATCH = "MEDFINETUNE_MICRO_BATCH"


def is_delivered(plan: RunPlan) -> bool:
    """Whether the whole run is complete, delivered or in quarantine: then nothing is to be done again, though the purge has removed what it was made from."""
    placed = plan.folder.quarantine.exists() or all(folder.exists() for folder in plan.delivered)
    return placed and EvaluationSummary.read(plan.folder.summary) is not None


def micro_batch(prepared: Prepared) -> int:
    """Rows in one forward pass of one rank: MEDFINETUNE_MICRO_BATCH, by which an executor tries again after the accelerator's memory ran out, else prepare's.

    A step's rows are the same either way, and so is its gradient, but for dropout, which is drawn by micro-batch. Raises InvalidManifest.
    """
    text = os.environ.get(MICRO_BATCH)
    if text is None:
        return prepared.chosen.micro_batch
    if not text.isdecimal() or not 1 <= int(text) <= MOST_ROWS:
        remedy = "Let the executor set it, or unset it."
        raise InvalidManifest(MICRO_BATCH, found=text[:20], expected=f"a whole number from 1 to {MOST_ROWS}", remedy=remedy)
    return int(text)


def require_prepared(plan: RunPlan) -> Prepared:
    """What prepare found. Raises OutputConflict where it is not complete, or was for another plan."""
    file = plan.folder.prepared
    prepared = Prepared.read(file)
    if prepared is None or prepared.plan_sha256 != plan.sha256:
        found = f"plan {prepared.plan_sha256[:12]}" if prepared else "a damaged file" if file.exists() else "no such file"
        expected = f"prepare complete for plan {plan.sha256[:12]}"
        raise OutputConflict(str(file), found=found, expected=expected, remedy="Run the stage prepare of this plan first.")
    return prepared


def require_base(plan: RunPlan, prepared: Prepared) -> None:
    """Raises InvalidModel where the base's weights are not those of prepare: an adapter fits no other. Reads them whole, about a second a GB."""
    require_weights_as_prepared(model_folder(plan), prepared.weights_sha256)


def require_initial_as_prepared(plan: RunPlan, prepared: Prepared) -> None:
    """Raises InvalidModel where the adapter that training starts from is not the one that prepare saw."""
    folder = initial_folder(plan)
    if folder and prepared.initial_adapter_sha256:
        require_weights_as_prepared(folder, prepared.initial_adapter_sha256)


def require_data(plan: RunPlan) -> None:
    """Raises OutputConflict where a file of `data/` is missing or is not as its manifest has it. Reads them whole, about a second a GB."""
    folder = plan.folder.data
    try:
        files = json.loads(plan.folder.data_manifest.read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise _damaged(plan, "manifest.json", "no manifest that can be read") from error
    for name, expected in files.items():
        if not (folder / name).exists():
            raise _damaged(plan, name, "no such file")
        if sha256_file(folder / name) != expected:
            raise _damaged(plan, name, "other bytes than prepare wrote")


def _damaged(plan: RunPlan, name: str, found: str) -> OutputConflict:
    remedy = "Remove prepared.json and start again: prepare makes data/ anew."
    return OutputConflict(str(plan.folder.data / name), found=found, expected="the file as prepare left it", remedy=remedy)
