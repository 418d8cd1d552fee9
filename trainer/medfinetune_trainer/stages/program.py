"""The program around every stage: load the plan, hold the run folder, run the stage, end with one StageResult and one exit code of the contract.

A stage is a module of this package with `run(plan: RunPlan) -> StageResult`, imported only when it is asked for, so that prepare never pays for torch.
It looks at what is complete on the volume, does what is missing, and raises a Refusal for anything its owner can mend. Whatever else it raises ends
as INTERNAL_ERROR with the stack on stderr, without the exceptions' messages: they may quote records.

Standard output carries the result and nothing else: while a stage runs, its file descriptor leads to stderr, for libraries and child processes too.

In a gang of several nodes every node runs this program; the node of rank 0 (PET_NODE_RANK) holds the folder's lock, and its result speaks for the run.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from medfinetune_api.choices import Stage
from medfinetune_api.errors import Interrupted, InvalidManifest, OutOfMemory, OutputConflict, Refusal
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult
from pydantic import ValidationError

from medfinetune_trainer.artifacts.files import storage_errors
from medfinetune_trainer.telemetry.log import hush_libraries, stack, type_name

LOCK = ".lock"
"""Name of the lock file in a run folder; it stays, the lock ends with the process that holds it."""


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
        result = _result(stage, arguments.plan)
        _publish(result, stdout, arguments.termination_log)
    return result.exit_code


def load_plan(path: Path) -> RunPlan:
    """The RunPlan in `path`. Raises InvalidManifest naming the file and its first wrong field."""
    remedy = "Let `medfinetune run` or the operator write the plan; it is not edited by hand."
    try:
        return RunPlan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidManifest(str(path), found=os.strerror(error.errno or 0), expected="a readable RunPlan in JSON", remedy=remedy) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        where = f"{path}:{field}" if field else str(path)
        raise InvalidManifest(where, found=f"{first['msg']} ({error.error_count()} in all)", expected="a RunPlan of version v1alpha1", remedy=remedy) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medfinetune_trainer", description="Run one stage of a run. It does what is missing on the output volume and ends 0.")
    parser.add_argument("stage", choices=[stage.value for stage in Stage], help="which stage")
    parser.add_argument("--plan", type=Path, required=True, help="the RunPlan, JSON")
    parser.add_argument("--termination-log", type=Path, help="file that receives the StageResult too (Kubernetes: /dev/termination-log)")
    return parser


def _result(stage: Stage, path: Path) -> StageResult:
    """Run the stage and turn whatever happens into a StageResult."""
    try:
        with _stopping(), _refusals(stage):
            plan = load_plan(path)
            with storage_errors(plan.folder.root), _held(plan), _offline(plan, stage):
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
    except MemoryError as error:
        remedy = "Give the pod or machine more memory, or the run less data or a smaller model."
        raise OutOfMemory(stage.value, found="the host's memory used up", expected="room for this stage", remedy=remedy) from error


def _run(stage: Stage, plan: RunPlan) -> StageResult:
    module: Any = importlib.import_module(f"medfinetune_trainer.stages.{stage.value}")
    result: StageResult = module.run(plan)
    return result


def _publish(result: StageResult, stdout: int, log: Path | None) -> None:
    """One line on the real stdout and in the termination log, which is written in place: it is a mount."""
    line = result.to_json() + "\n"
    sys.stderr.flush()
    with suppress(BrokenPipeError):
        os.write(stdout, line.encode())
    if log is not None:
        try:
            log.write_text(line, encoding="utf-8")
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


@contextmanager
def _held(plan: RunPlan) -> Iterator[None]:
    """The run folder, held by this plan and, on the main node, by this process alone. Raises OutputConflict."""
    root = plan.folder.root
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("w") as lock:
        if _node_rank() == 0:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                remedy = "Wait until it has ended, or stop it."
                raise OutputConflict(str(root), found="another live run that holds this folder", expected="one run a folder", remedy=remedy) from error
        _check_owner(plan)
        yield


def _check_owner(plan: RunPlan) -> None:
    file = plan.folder.plan
    if not file.exists():
        return
    try:
        owner = load_plan(file).sha256[:12]
    except InvalidManifest as error:
        remedy = "The file is damaged: restore it, or remove this run's folder to start afresh."
        raise OutputConflict(str(file), found="a plan that cannot be read", expected=f"plan {plan.sha256[:12]}", remedy=remedy) from error
    if owner != plan.sha256[:12]:
        remedy = "Give this run another name or output folder; another experiment is another run."
        raise OutputConflict(str(file), found=f"plan {owner}", expected=f"plan {plan.sha256[:12]}", remedy=remedy)


@contextmanager
def _offline(plan: RunPlan, stage: Stage) -> Iterator[None]:
    """No hub, no telemetry, and caches in the run's own folder: they hold record text, and go when the stage ends or starts again."""
    cache = plan.folder.root / f".cache-{stage.value}-{_node_rank()}"
    shutil.rmtree(cache, ignore_errors=True)
    os.environ |= dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"), "1")
    os.environ |= {"HF_HOME": str(cache), "HF_DATASETS_CACHE": str(cache / "datasets"), "HF_HUB_CACHE": str(cache / "hub"), "TOKENIZERS_PARALLELISM": "false"}
    try:
        yield
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _node_rank() -> int:
    return int(os.environ.get("PET_NODE_RANK", "0"))
