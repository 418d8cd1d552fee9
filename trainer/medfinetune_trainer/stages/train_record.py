"""Where a rank's figures go: metrics.jsonl and progress (rank 0), and the snapshot that its agent serves (every rank)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import torch
from medfinetune_api.choices import Stage
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import RESUME_STEP, Prepared

from medfinetune_trainer.artifacts import attempts
from medfinetune_trainer.artifacts.history import History, read
from medfinetune_trainer.optim.fitting import OUT_OF_MEMORY
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.step import StepFigures
from medfinetune_trainer.optim.validation import Quality
from medfinetune_trainer.optim.window import Window
from medfinetune_trainer.stages.prepared import micro_batch
from medfinetune_trainer.telemetry.log import now
from medfinetune_trainer.telemetry.memory import Memory, MemorySampler
from medfinetune_trainer.telemetry.progress import Steps
from medfinetune_trainer.telemetry.snapshot import Snapshot, read_snapshots


@dataclass
class Record:
    """The figures of one rank's attempt."""

    snapshot: Snapshot
    folder: Path
    """The agent's."""
    memory: Memory
    history: History | None
    progress: Steps | None
    output: Path | None = None
    """On the output volume; None but for rank 0, which speaks for the gang."""
    started: float = field(default_factory=time.monotonic)
    lock: Lock = field(default_factory=Lock)

    def step(self, window: Window, figures: StepFigures, learning_rate: float, seconds: float) -> None:
        """An optimizer step is done. Raises StorageFailed."""
        rate = figures.tokens / seconds
        with self.lock:
            now_at = self.snapshot
            now_at.step, now_at.loss, now_at.learning_rate, now_at.gradient_norm = window.step, figures.loss, learning_rate, figures.gradient_norm
            now_at.tokens, now_at.tokens_per_second, now_at.seconds_left = now_at.tokens + figures.tokens, rate, self._seconds_left(window.step)
            now_at.observe(seconds)
        self.share()
        self._write_step(window, figures, learning_rate, seconds)
        if self.progress:
            self.progress.step(window.step, figures.loss, rate, self.snapshot.seconds_left or 0.0)

    def validation(self, window: Window, qualities: Mapping[str, Quality]) -> None:
        """A validation is done. Raises StorageFailed."""
        figures = {language: quality.figures() for language, quality in qualities.items()}
        with self.lock:
            self.snapshot.validation = figures
        self.share()
        if self.history:
            self.history.write("validation", step=window.step, epoch=window.epoch + 1, by_language=figures)
        if self.progress:
            perplexities = {f"perplexity_{language}": round(quality.perplexity, 3) for language, quality in qualities.items()}
            self.progress.event("validation", epoch=window.epoch + 1, **perplexities)

    def sampled(self, sample: Mapping[str, int]) -> None:
        """A memory sample was taken. Rank 0 writes down the newest sample of every rank of its node. Raises StorageFailed."""
        volume = _volume(self.output) if self.output else {}
        with self.lock:
            self.snapshot.memory, self.snapshot.volume = sample, volume
        self.share()
        if self.history:
            for each in read_snapshots(self.folder):
                if each.memory:
                    self.history.write("memory", rank=each.rank, **each.memory)

    def checkpoint(self, step: int, blocked_seconds: float, seconds: float) -> None:
        """A checkpoint is complete, `seconds` after it was begun; training stood still for `blocked_seconds` of them. Raises StorageFailed."""
        with self.lock:
            self.snapshot.safe_since = time.time() - seconds
        self.share()
        if self.history:
            self.history.write("checkpoint", step=step, blocked_seconds=blocked_seconds, seconds=seconds)
        self.event("checkpoint", step=step)

    def stopped(self, best_step: int) -> None:
        """The last step was the last, though more were planned; the validation loss was lowest after `best_step`."""
        with self.lock:
            self.snapshot.steps_planned, self.snapshot.seconds_left = self.snapshot.step, 0.0
        self.share()
        self.event("stopped early", step=self.snapshot.step, best_step=best_step)

    def sync(self) -> None:
        """Return once all that was told of steps is on disk. Raises StorageFailed."""
        if self.history:
            self.history.sync()

    def halved(self, step: int, tried: int, rows: int) -> None:
        """Memory ran out in `step` with `tried` rows in a pass; it goes on with `rows`. Raises StorageFailed."""
        with self.lock:
            self.snapshot.micro_batch, self.snapshot.out_of_memory = rows, self.snapshot.out_of_memory + 1
        self.share()
        if self.history:
            self.history.write(OUT_OF_MEMORY, in_step=step, micro_batch=tried, next_micro_batch=rows)
        self.event("out of memory", step=step, micro_batch=tried, next_micro_batch=rows)

    def event(self, event: str, /, **fields: object) -> None:
        """Something to tell a person, once for the gang."""
        if self.progress:
            self.progress.event(event, **fields)

    def share(self) -> None:
        """Hand the snapshot to the agent."""
        with self.lock:
            self.snapshot.as_of = now()
            self.snapshot.write(self.folder)

    def numbers(self, ranks: Ranks) -> dict[str, float]:
        """The attempt's figures for the StageResult. Collective."""
        peaks = ranks.gather(self.memory.sample())
        snapshot = self.snapshot
        numbers = {
            "steps": float(snapshot.step),
            RESUME_STEP: float(self.snapshot.resume_step),
            "seconds": time.monotonic() - self.started,
            "tokens": float(snapshot.tokens),
            "micro_batch": float(snapshot.micro_batch or 0),
            "out_of_memory": float(snapshot.out_of_memory),
            "peak_rss_bytes": float(max(peak["rss_peak"] for peak in peaks)),
        }
        optional = {"loss": snapshot.loss, "peak_vram_bytes": max((float(peak["vram_peak"]) for peak in peaks if "vram_peak" in peak), default=None)}
        qualities = {f"validation_{name}_{language}": each[name] for language, each in snapshot.validation.items() for name in ("perplexity", "accuracy")}
        return numbers | {name: value for name, value in optional.items() if value is not None} | qualities

    def _write_step(self, window: Window, figures: StepFigures, learning_rate: float, seconds: float) -> None:
        if self.history:
            self.history.write(
                "step",
                step=window.step,
                epoch=window.epoch + 1,
                loss=figures.loss,
                accuracy=figures.accuracy,
                learning_rate=learning_rate,
                gradient_norm=figures.gradient_norm,
                tokens=figures.tokens,
                loss_tokens=figures.loss_tokens,
                seconds=seconds,
                tokens_per_second=figures.tokens / seconds,
            )

    def _seconds_left(self, step: int) -> float:
        per_step = (time.monotonic() - self.started) / (step - self.snapshot.resume_step)
        return per_step * (self.snapshot.steps_planned - step)


def _volume(folder: Path) -> dict[str, int]:
    """Bytes of the volume that `folder` is on, as this user may fill it; nothing where it does not answer: whoever writes there next will hear of that."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return {}
    return {"size": usage.total, "free": usage.free}


@contextmanager
def recording(plan: RunPlan, prepared: Prepared, ranks: Ranks, device: torch.device, folder: Path, step: int) -> Iterator[Record]:
    """Record this rank's attempt from `step` on, sampling its memory in a thread meanwhile. Raises StorageFailed."""
    rows, earlier = micro_batch(prepared), sum(line["kind"] == OUT_OF_MEMORY for line in read(plan.folder.metrics))
    snapshot = Snapshot(ranks.rank, ranks.world_size, prepared.total_steps, prepared.packing.efficiency, resume_step=step, step=step)
    snapshot.micro_batch, snapshot.out_of_memory, snapshot.safe_since = rows, earlier, time.time()
    main = ranks.rank == 0
    history = History(plan.folder.metrics, step, plan.folder.tensorboard) if main else None
    memory = Memory(device, plan.parallelism.gpu_memory)
    record = Record(snapshot, folder, memory, history, Steps(prepared.total_steps, step) if main else None, plan.folder.root if main else None)
    if history:
        attempts.add(plan, Stage.TRAIN, step=step, processes=ranks.world_size)
        history.write("start", step=step, world_size=ranks.world_size, micro_batch=rows, device=device.type)
    try:
        with MemorySampler(record.memory, record.sampled):
            if record.progress is None:
                yield record
            else:
                with record.progress:
                    yield record
    finally:
        if history:
            history.close()
