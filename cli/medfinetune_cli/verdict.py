"""What the ends of a stage's processes mean together: one StageResult, and whose word it is. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from medfinetune_api.choices import Stage
from medfinetune_api.exits import FOLLOWING, Exit, exit_of
from medfinetune_api.results import StageResult
from pydantic import ValidationError

from medfinetune_cli.stage_process import Ended


def verdict(ended: Sequence[Ended], *, stopped: bool) -> tuple[StageResult, Ended]:
    """The stage's result and the process that speaks for it.

    A failure with a cause of its own outranks those that follow from it; among equals the first to end speaks. Where a stop was asked for (`stopped`),
    members that were killed or lost their peers on the way count as interrupted.
    """
    failures = [one for one in ended if one.returncode]
    if not failures:
        speaker = min(ended, key=lambda one: one.launch.node)
        return _reported(speaker) or _result(speaker, Exit.SUCCEEDED, "Ended without a report."), speaker
    speaker = min(failures, key=_rank)
    if stopped and _rank(speaker):
        return _interrupted(failures)
    return _reported(speaker) or _result(speaker, _code(speaker), _unsaid(speaker)), speaker


def _rank(one: Ended) -> int:
    """0 for a cause of its own, 1 for a death by signal, 2 for what follows from another's failure."""
    if one.returncode < 0:
        return 1
    return 2 if _code(one) in FOLLOWING else 0


def _code(one: Ended) -> Exit:
    """A gang member that a signal ended is one that vanished; any other process that a signal ended, an unforeseen failure."""
    if one.returncode < 0:
        return Exit.GANG_LOST if one.launch.in_gang else Exit.INTERNAL_ERROR
    return exit_of(one.returncode)


def _interrupted(failures: Sequence[Ended]) -> tuple[StageResult, Ended]:
    told = [one for one in failures if one.returncode == Exit.INTERRUPTED]
    speaker = min(told or failures, key=lambda one: one.launch.node)
    training = speaker.launch.stage is Stage.TRAIN
    before = "Stopped before it could write a checkpoint; the last complete one, if there is any, stands." if training else "Stopped."
    message = f"{before} Start the run again to continue."
    return (_reported(speaker) if told else None) or _result(speaker, Exit.INTERRUPTED, message), speaker


def _reported(one: Ended) -> StageResult | None:
    """The StageResult on the last line of stdout, if there is one and it agrees with the exit code."""
    try:
        result = StageResult.model_validate_json(one.last_line)
    except ValidationError:
        return None
    return result if result.exit_code == one.returncode else None


def _result(one: Ended, code: Exit, message: str) -> StageResult:
    return StageResult.of(one.launch.stage, code, message)


def _unsaid(one: Ended) -> str:
    """What can be said of a process that ended without a report."""
    if one.returncode < 0:
        name = signal.Signals(-one.returncode).name
        return f"{one.launch.label} was killed by {name}. Look for the cause in this machine's log (memory?), then start the run again."
    return f"{one.launch.label} ended with exit code {one.returncode} and no report; its log holds the cause."
