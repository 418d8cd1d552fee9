"""Condition types, reasons and phases of a MedFineTune: the constants that status, events and alerts speak in."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """What a condition is about. Each is True, False or Unknown; at most one of Succeeded and Failed is ever True."""

    ACCEPTED = "Accepted"
    """The spec resolves to a plan; False says why it never will."""
    PREPARED = "Prepared"
    """The data are tokenised, mixed and packed on the output volume."""
    TRAINED = "Trained"
    """The adapter is trained and written."""
    EVALUATED = "Evaluated"
    """Base and tuned model have answered every task."""
    SUCCEEDED = "Succeeded"
    """All stages are complete and the adapter may be used. Final."""
    FAILED = "Failed"
    """The run ended without an adapter that may be used. Final."""


class ConditionReason(StrEnum):
    """Why a condition has its status. The reasons of failures are those of the exit table (`exits.EXITS`), word for word."""

    RESOLVED = "Resolved"
    """Accepted: a plan was made."""
    WAITING = "Waiting"
    """A stage waits for the one before it."""
    RUNNING = "Running"
    """A stage is at work."""
    SUCCEEDED = "Succeeded"
    """The stage, or the run, is complete."""
    INTERNAL_ERROR = "InternalError"
    """A defect or an unforeseen failure of the machine."""
    USAGE = "Usage"
    """A stage program was called with wrong arguments."""
    INVALID_MANIFEST = "InvalidManifest"
    """The manifest asks for something that cannot be done."""
    INVALID_DATA = "InvalidData"
    """A data file is missing, malformed, or does not hold what the manifest says."""
    INVALID_MODEL = "InvalidModel"
    """The base model or its tokenizer cannot be used."""
    DOES_NOT_FIT = "DoesNotFit"
    """No allowed choice fits the memory that the manifest names."""
    OUTPUT_CONFLICT = "OutputConflict"
    """The run folder belongs to another plan or another live run."""
    DIVERGED = "Diverged"
    """The loss became NaN or infinite."""
    STORAGE_FAILED = "StorageFailed"
    """The output volume is full, read-only, or gone."""
    INTERRUPTED = "Interrupted"
    """The stage was stopped after a checkpoint."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The accelerator's memory ran out."""
    STALLED = "Stalled"
    """A rank made no progress within the stall timeout."""
    GANG_LOST = "GangLost"
    """A rank of the gang vanished or never arrived."""


class Phase(StrEnum):
    """The run in one word, for people; programs read conditions."""

    PENDING = "Pending"
    """Not started."""
    PREPARING = "Preparing"
    """The prepare stage is at work, or between attempts."""
    TRAINING = "Training"
    """The train stage is at work, or between attempts."""
    EVALUATING = "Evaluating"
    """The evaluate stage is at work, or between attempts."""
    SUCCEEDED = "Succeeded"
    """Complete. Final."""
    FAILED = "Failed"
    """Ended without a usable adapter. Final."""


class ConditionStatus(StrEnum):
    """Kubernetes' three truths."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
