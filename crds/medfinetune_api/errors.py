"""Refusals: every error a user can cause or must act on.

Each names where (field, or file:line), what was found, what was expected, and what to do. None carries record text: `found` holds counts, types, keys or
letters, never the content of a question, an answer or a message. An exception that is not a `Refusal` is a defect of ours.
"""

from __future__ import annotations

from typing import ClassVar

from medfinetune_api.exits import EXITS, Exit
from medfinetune_api.unseen import visible


class Refusal(Exception):  # noqa: N818  # the field's word; an error would be a defect of ours
    """Something the run cannot go on with, and what its owner can do about it.

    Args:
        where: manifest field (`spec.data.sources[0].path`), or `file:line`.
        found: what is there, without record text.
        expected: what would have been accepted.
        remedy: an imperative sentence.
    """

    exit: ClassVar[Exit] = Exit.INVALID_MANIFEST

    def __init__(self, where: str, *, found: str, expected: str, remedy: str) -> None:
        self.where, self.found, self.expected, self.remedy = map(visible, (where, found, expected, remedy))
        super().__init__(f"{self.where}: found {self.found}; expected {self.expected}. {self.remedy}")

    @property
    def reason(self) -> str:
        """The CamelCase reason of the exit code, as it stands in conditions and attempts."""
        return EXITS[self.exit].reason

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by keyword arguments: worker processes hand refusals to their agent."""
        return _rebuild, (type(self), self.where, self.found, self.expected, self.remedy)


def _rebuild(kind: type[Refusal], where: str, found: str, expected: str, remedy: str) -> Refusal:
    return kind(where, found=found, expected=expected, remedy=remedy)


class InvalidManifest(Refusal):
    """The manifest asks for something that cannot be done. Final: no retry helps."""

    exit = Exit.INVALID_MANIFEST


class InvalidData(Refusal):
    """A data file cannot be used as the manifest says. Final until the file or the manifest changes."""

    exit = Exit.INVALID_DATA


class InvalidModel(Refusal):
    """The base model or tokenizer cannot be used. Final until the model folder changes."""

    exit = Exit.INVALID_MODEL


class DoesNotFit(Refusal):
    """No choice that the manifest allows fits the memory that it names. Final: nothing was started, and no GPU was asked for."""

    exit = Exit.DOES_NOT_FIT


class OutputConflict(Refusal):
    """The run folder belongs to another plan or another live run. Final: nothing in it was touched."""

    exit = Exit.OUTPUT_CONFLICT


class Diverged(Refusal):
    """The loss is NaN or infinite. Final with the same plan; complete checkpoints are kept."""

    exit = Exit.DIVERGED


class StorageFailed(Refusal):
    """The output volume is full, read-only or gone. Retryable once it is back."""

    exit = Exit.STORAGE_FAILED


class Interrupted(Refusal):
    """A stop was asked for and a checkpoint written. Retryable, not charged."""

    exit = Exit.INTERRUPTED


class OutOfMemory(Refusal):
    """The accelerator's memory ran out. Retryable with a smaller micro-batch."""

    exit = Exit.OUT_OF_MEMORY


class HostOutOfMemory(Refusal):
    """The host's memory, or the container's limit, ran out. Retryable: the same plan may fit on another machine."""

    exit = Exit.HOST_OUT_OF_MEMORY


class GangLost(Refusal):
    """A rank vanished or never arrived. Retryable."""

    exit = Exit.GANG_LOST


class Stalled(Refusal):
    """A rank made no progress within the stall timeout. Retryable."""

    exit = Exit.STALLED
