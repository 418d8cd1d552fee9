"""The local executor: one plan, carried through its stages by processes of this machine.

Every stage is idempotent, so this file only decides what to start. It starts nothing that the run folder shows to be complete under the same plan,
and two runs of one folder exclude each other by a lock that ends with its holder. The purge is the last stage of a run that has succeeded, or that a gate has
stopped: after any other failure its owner may mend the cause and go on.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfinetune_api.choices import WORK, Stage
from medfinetune_api.errors import OutputConflict, StorageFailed
from medfinetune_api.exits import Exit
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_training import ParallelismPlan
from medfinetune_api.results import Prepared, StageResult
from medfinetune_api.results_evaluation import EvaluationSummary

from medfinetune_cli.launch import Launch, Machine, launches, next_micro_batch, ports_needed, require_devices, visible_devices, with_micro_batch
from medfinetune_cli.stage_process import Ended, Stop, run_to_end
from medfinetune_cli.verdict import verdict

LOG_TAIL_LINES = 30
"""How much of a failed member's log is shown, where it did not pass through."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class StageRun:
    """One stage of this run: what it reported, and whether it was found complete and so not started."""

    result: StageResult
    skipped: bool


def execute(plan: RunPlan, say: Say, nodes: int | None = None) -> list[StageRun]:
    """Carry `plan` through its stages until one fails; `deciding` says how the run ended. `nodes` starts that many in place of the plan's: the same steps.

    Raises:
        InvalidManifest: something is left to do, and this machine has not the GPUs for it; no folder is made.
        OutputConflict: another run holds the folder. StorageFailed: the output volume cannot be written.
    """
    parallelism = plan.parallelism if nodes is None else plan.parallelism.model_copy(update={"nodes": nodes})
    left = [stage for stage in WORK if not is_complete(stage, plan)]
    if left and not (left == [Stage.EVALUATE] and plan.folder.quarantine.exists()):  # what is judged already is said again, and nothing asked
        require_devices(parallelism, this_machine())
    with _held(plan.folder), tempfile.TemporaryDirectory(prefix="medfinetune-") as scratch:
        file = Path(scratch) / "plan.json"
        file.write_text(plan.to_json(), encoding="utf-8")
        return asyncio.run(_stages(plan, parallelism, file, say))


async def _stages(plan: RunPlan, parallelism: ParallelismPlan, file: Path, say: Say) -> list[StageRun]:
    stop = Stop(lambda: say("stopping in good order, with a checkpoint; a second signal ends the run at once"))
    stop.listen()
    runs: list[StageRun] = []
    for stage in (*WORK, Stage.PURGE):
        if is_complete(stage, plan):
            say(f"{stage}: complete from an earlier run, not done again")
            runs.append(StageRun(StageResult.of(stage, Exit.SUCCEEDED, "Complete from an earlier run."), skipped=True))
            continue
        result = await _stage(stage, plan, parallelism, file, stop, say)
        while (rows := next_micro_batch(plan, result)) is not None:
            say(f"{stage}: the accelerator's memory ran out; again with {rows} {'row' if rows == 1 else 'rows'} in a pass; a step keeps its rows")
            result = await _stage(stage, plan, parallelism, file, stop, say, rows)
        runs.append(StageRun(result, skipped=False))
        if result.exit_code and not (stage is Stage.EVALUATE and result.exit_code == Exit.GATE_FAILED):
            break
    return runs


def deciding(runs: Sequence[StageRun]) -> StageRun:
    """The stage that says how the run ended: the first that failed, else the last."""
    return next((run for run in runs if run.result.exit_code), runs[-1])


async def _stage(stage: Stage, plan: RunPlan, parallelism: ParallelismPlan, file: Path, stop: Stop, say: Say, rows: int | None = None) -> StageResult:
    if stop.asked.is_set():
        return StageResult.of(stage, Exit.INTERRUPTED, f"Stopped before {stage} began. Start the run again to continue.")
    gang = stage is Stage.TRAIN or (stage is Stage.EVALUATE and _evaluates_on_gang(plan.folder))
    with _free_ports(ports_needed(gang, parallelism)) as ports:
        wanted = with_micro_batch(launches(stage, gang, parallelism, file, this_machine(), ports), rows)
    say(_beginning(stage, plan.folder, wanted))
    result, speaker = verdict(await run_to_end(wanted, file.parent, stop), stopped=stop.asked.is_set())
    if result.exit_code:
        _show_log(speaker)
    return result


def is_complete(stage: Stage, plan: RunPlan) -> bool:
    """True where the run folder belongs to `plan` and holds, undamaged, the mark that the stage leaves last."""
    folder = plan.folder
    if not _belongs(folder, plan):
        return False
    if stage is Stage.PREPARE:
        return Prepared.read(folder.prepared) is not None
    if stage is Stage.TRAIN:
        return any(trained.exists() for trained in (folder.final, folder.released(plan.tuning.method), folder.quarantine))
    if stage is Stage.PURGE:
        return not any(path for pattern in folder.purged(plan.output.retain) for path in folder.root.glob(pattern))
    marks = (*plan.delivered, folder.lineage)
    return EvaluationSummary.read(folder.summary) is not None and all(mark.exists() for mark in marks)


def _evaluates_on_gang(folder: RunFolder) -> bool:
    prepared = Prepared.read(folder.prepared)
    return prepared is not None and prepared.chosen.evaluate_on_gang


def _belongs(folder: RunFolder, plan: RunPlan) -> bool:
    """Whether the folder's own plan is this one; anything else is for the stage to refuse."""
    try:
        return RunPlan.model_validate_json(folder.plan.read_bytes()).sha256 == plan.sha256
    except (OSError, ValueError):
        return False


def _beginning(stage: Stage, folder: RunFolder, wanted: tuple[Launch, ...]) -> str:
    if stage is Stage.PURGE:
        return f"{stage}: removes what output.retain does not name of data, samples and checkpoints"
    if not wanted[0].in_gang:
        return f"{stage}: one process"
    ports = ", ".join(launch.environment["MEDFINETUNE_METRICS_PORT"] for launch in wanted)
    if stage is not Stage.TRAIN:
        return f"{stage}: processes: {len(wanted)}; metrics on http://127.0.0.1 at /metrics, ports {ports}"
    start = "continues from its newest complete checkpoint" if any(folder.checkpoints.glob("step-*/manifest.json")) else "from the beginning"
    return f"{stage}: {start}; processes: {len(wanted)}; metrics on http://127.0.0.1 at /metrics, ports {ports}"


def _show_log(speaker: Ended) -> None:
    """The end of a log that did not pass through: it names the cause, and its file goes with the run."""
    if speaker.log:
        tail = speaker.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        sys.stderr.writelines(f"[{speaker.launch.label}] {line}\n" for line in tail)


def this_machine() -> Machine:
    """What the caller's environment and affinity leave to this run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(cores, visible_devices(_installed_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")), os.environ.get("OMP_NUM_THREADS"))


def _installed_gpus() -> int:
    """How many GPUs the driver knows; 0 where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


@contextmanager
def _free_ports(count: int) -> Iterator[list[int]]:
    """`count` different free ports of the loopback; held until the block ends, then a stage may take them."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in sockets]


@contextmanager
def _held(folder: RunFolder) -> Iterator[None]:
    """The run folder, made if it is missing, for this process alone."""
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        lock = (folder.root / ".run.lock").open("w")
    except OSError as error:
        raise StorageFailed(
            "--output", found=f"{error.strerror} at {error.filename}", expected="a folder that can be written", remedy="Mend or name another output folder."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputConflict(
                str(folder.root), found="another `medfinetune run` at work in it", expected="one run a folder", remedy="Wait until it has ended, or stop it."
            ) from error
        yield
