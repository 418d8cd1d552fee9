"""The program around every stage: load the plan, hold the run folder, run the stage, end with one StageResult and one exit code of the contract.

A stage is a module of this package with `run(plan: RunPlan) -> StageResult`, imported only when it is asked for, so that prepare never pays for torch.
It looks at what is complete on the volume, does what is missing, and raises a Refusal for anything its owner can mend. Whatever else it raises ends
as INTERNAL_ERROR with the stack on stderr, without the exceptions' messages: they may quote records.

Standard output carries the result and nothing else: while a stage runs, its file descriptor leads to stderr, for libraries and child processes too. The
termination log gets the result without its sentence where the stage failed: whoever may list pods reads it, and a refusal names files and fields.

In a gang of several nodes every node runs this program; the result of the node of rank 0 (PET_NODE_RANK) speaks for the run.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.errors import Interrupted, Refusal
from medfinetune_api.exits import EXITS, Exit, exit_of
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult

from medfinetune_trainer.artifacts.fence import cause_of
from medfinetune_trainer.artifacts.files import storage_errors
from medfinetune_trainer.artifacts.signing import signer
from medfinetune_trainer.stages.holding import held, load_plan
from medfinetune_trainer.stages.imports import stage_module
from medfinetune_trainer.stages.memory_errors import memory_refusal
from medfinetune_trainer.stages.self_watch import watched
from medfinetune_trainer.stages.surroundings import surroundings
from medfinetune_trainer.telemetry.log import hush_libraries, stack, type_name


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived. No `Exception`, so that no library's handler swallows it on its way up."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage and return its exit code; wrong arguments exit with USAGE, as argparse does.

    SIGTERM and SIGINT raise `Stopped` in the main thread and end as INTERRUPTED; a stage that must first write a checkpoint installs handlers of its own.
    """
    arguments = _parser().parse_args(argv)
    stage = Stage(arguments.stage)
    hush_libraries()
    with _stdout_for_the_result() as stdout:

        def publish(result: StageResult) -> None:
            _publish(result, stdout, arguments.termination_log)

        result = _result(stage, arguments.plan, publish)
        publish(result)
    return result.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medfinetune_trainer", description="Run one stage of a run. It does what is missing on the output volume and ends 0.")
    parser.add_argument("stage", choices=[stage.value for stage in Stage], help="which stage")
    parser.add_argument("--plan", type=Path, required=True, help="the RunPlan, JSON")
    parser.add_argument("--termination-log", type=Path, help="file that receives the StageResult too (Kubernetes: /dev/termination-log)")
    return parser


def _result(stage: Stage, path: Path, publish: Callable[[StageResult], None]) -> StageResult:
    """Run the stage and turn whatever happens into a StageResult; one that stands still is published at once, and the process ends."""
    try:
        with _stopping(), _refusals(stage), watched(stage, lambda stalled: publish(StageResult.of(stage, stalled.exit, str(stalled)))):
            plan = load_plan(path)
            with storage_errors(plan.folder.root), held(plan, stage), _superseded(), surroundings(plan, stage):
                return _run(stage, plan)
    except Refusal as refusal:
        return StageResult.of(stage, refusal.exit, str(refusal))
    except BaseException as error:
        sys.stderr.write(stack(error) + "\n")
        return StageResult.of(stage, Exit.INTERNAL_ERROR, f"{type_name(error)} in stage {stage.value}; its log holds the stack.")


@contextmanager
def _refusals(stage: Stage) -> Iterator[None]:
    """Give a stop and a lack of memory their codes of the contract."""
    try:
        yield
    except Stopped as stopped:
        remedy = "Start it again; it continues."
        raise Interrupted(stage.value, found="a request to stop", expected="the stage to end by itself", remedy=remedy) from stopped
    except Exception as error:
        refusal = memory_refusal(error, stage, stage.value)
        if refusal is None:
            raise
        raise refusal from error


@contextmanager
def _superseded() -> Iterator[None]:
    """Name a newer attempt where it is the cause of whatever failed."""
    try:
        yield
    except Exception as error:
        cause = cause_of(error)
        if cause is error:
            raise
        raise cause from error


def _run(stage: Stage, plan: RunPlan) -> StageResult:
    """A signing key that cannot sign is refused before anything is worked for: evaluate, which signs, comes last."""
    if stage in WORK:
        signer()
    module: Any = stage_module(stage.value)
    result: StageResult = module.run(plan)
    return result


def _publish(result: StageResult, stdout: int, log: Path | None) -> None:
    """One line on the real stdout and in the termination log, which is written in place: it is a mount."""
    sys.stderr.flush()
    with suppress(BrokenPipeError):
        os.write(stdout, (result.to_json() + "\n").encode())
    if log is not None:
        meaning = EXITS[exit_of(result.exit_code)].meaning
        public = result.model_copy(update={"message": meaning}) if result.exit_code else result
        try:
            log.write_text(public.to_json() + "\n", encoding="utf-8")
        except OSError as error:
            sys.stderr.write(f"{log}: {os.strerror(error.errno or 0)}\n")


@contextmanager
def _stdout_for_the_result() -> Iterator[int]:
    """A descriptor of the real stdout, while descriptor 1 leads to stderr. It stays so: what libraries print at exit must not follow the result."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        yield real
    finally:
        os.close(real)


@contextmanager
def _stopping() -> Iterator[None]:
    """Raise Stopped on the first SIGTERM or SIGINT; later ones are ignored, and all once the stage has ended: nothing is to cut off its result."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        _handle(signal.SIG_IGN)
        raise Stopped

    _handle(stop)
    try:
        yield
    finally:
        _handle(signal.SIG_IGN)


def _handle(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
