"""Exit codes: one table for the trainer, both executors and the command line.

A stage program ends with one of these codes and nothing else; an executor decides from the code alone whether to try again, and whether the attempt counts
against ``maxRestarts``. Codes lie outside 1-2 (Python, shells), 126-165 (shells, signals) and below 128, so that none can be mistaken for a signal.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Exit(IntEnum):
    """How a stage, or `medfinetune` itself, ended."""

    SUCCEEDED = 0
    INTERNAL_ERROR = 1
    USAGE = 2
    INVALID_MANIFEST = 64
    INVALID_DATA = 65
    INVALID_MODEL = 66
    DOES_NOT_FIT = 67
    OUTPUT_CONFLICT = 68
    DIVERGED = 69
    STORAGE_FAILED = 70
    GATE_FAILED = 71
    INTERRUPTED = 75
    OUT_OF_MEMORY = 76
    STALLED = 77
    GANG_LOST = 78
    HOST_OUT_OF_MEMORY = 79


class ExitMeaning(NamedTuple):
    """What an executor needs to know of a code."""

    reason: str
    """CamelCase reason for conditions and attempts, as Kubernetes writes them."""
    retryable: bool
    """True where the same plan may succeed if it is started again."""
    charged: bool
    """True where the attempt counts against `maxRestarts`."""
    meaning: str
    """One sentence for the reference table and `--help`."""


EXITS: dict[Exit, ExitMeaning] = {
    Exit.SUCCEEDED: ExitMeaning("Succeeded", False, False, "The stage is complete on the output volume."),
    Exit.INTERNAL_ERROR: ExitMeaning("InternalError", True, True, "A defect or an unforeseen failure of the machine; the log holds the stack."),
    Exit.USAGE: ExitMeaning("Usage", False, False, "The command line was called with wrong arguments."),
    Exit.INVALID_MANIFEST: ExitMeaning("InvalidManifest", False, True, "The manifest or plan asks for something that cannot be done."),
    Exit.INVALID_DATA: ExitMeaning("InvalidData", False, True, "A data file is missing, malformed, or does not hold what the manifest says."),
    Exit.INVALID_MODEL: ExitMeaning("InvalidModel", False, True, "The base model or its tokenizer cannot be used."),
    Exit.DOES_NOT_FIT: ExitMeaning("DoesNotFit", False, True, "No allowed choice fits the memory that the manifest names."),
    Exit.OUTPUT_CONFLICT: ExitMeaning("OutputConflict", False, True, "The run folder belongs to another plan or another live run."),
    Exit.DIVERGED: ExitMeaning("Diverged", False, True, "The loss became NaN or infinite; the last complete checkpoint is kept."),
    Exit.STORAGE_FAILED: ExitMeaning("StorageFailed", True, True, "The output volume is full, read-only, or gone."),
    Exit.GATE_FAILED: ExitMeaning("GateFailed", False, True, "The tuned model is worse than a gate allows; no adapter is released."),
    Exit.INTERRUPTED: ExitMeaning("Interrupted", True, False, "Stopped by SIGTERM or SIGINT after a checkpoint; start again to continue."),
    Exit.OUT_OF_MEMORY: ExitMeaning("OutOfMemory", True, True, "The accelerator's memory ran out; try again with a smaller micro-batch."),
    Exit.STALLED: ExitMeaning("Stalled", True, True, "A rank made no progress within the stall timeout."),
    Exit.GANG_LOST: ExitMeaning("GangLost", True, True, "A rank of the gang vanished or never arrived; the others stopped."),
    Exit.HOST_OUT_OF_MEMORY: ExitMeaning("HostOutOfMemory", True, True, "The host's memory, or the container's limit, ran out."),
}

FOLLOWING = (Exit.GANG_LOST, Exit.INTERRUPTED)
"""What a member of a gang ends with because another failed, or because it was asked to stop: a cause of its own outranks both."""


def exit_of(code: int) -> Exit:
    """The contract's meaning of a process's exit status; a code of no entry (a signal, a crash) is INTERNAL_ERROR."""
    return Exit(code) if code in EXITS else Exit.INTERNAL_ERROR
