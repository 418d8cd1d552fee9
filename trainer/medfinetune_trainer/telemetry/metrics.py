"""Snapshots as Prometheus series: `medfinetune_*`, in base units.

Figures of the whole gang (loss, tokens, progress) are served by the node of rank 0 alone, so that a sum over pods counts them once; step times and memory are
served for every rank by its node. What has not been measured has no series: without a GPU there is no VRAM series, rather than a zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from medfinetune_trainer.telemetry.snapshot import Snapshot, read_snapshots

MEMORY = {
    "vram_allocated": ("medfinetune_vram_allocated_bytes", "GPU memory in live tensors of this rank."),
    "vram_reserved": ("medfinetune_vram_reserved_bytes", "GPU memory held by this rank's allocator."),
    "vram_peak": ("medfinetune_vram_peak_bytes", "Greatest GPU memory in live tensors of this rank since it began."),
    "vram_limit": ("medfinetune_vram_limit_bytes", "GPU memory that this rank may use: the manifest's gpuMemory or the device's whole, whichever is less."),
    "vram_used": ("medfinetune_vram_used_bytes", "GPU memory in use on this rank's device by all processes, as NVML reports it."),
    "rss": ("medfinetune_process_resident_memory_bytes", "Resident host memory of this rank."),
    "rss_peak": ("medfinetune_process_resident_memory_peak_bytes", "Greatest resident host memory of this rank among its samples."),
}


class GangCollector:
    """Reads this node's snapshots at every scrape."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """The series of this node's ranks; none before the first rank has begun."""
        snapshots = read_snapshots(self._folder)
        if snapshots and snapshots[0].rank == 0:
            yield from _gang(snapshots[0])
        if snapshots:
            yield _step_seconds(snapshots)
            yield from _memory(snapshots)


def _gang(snapshot: Snapshot) -> Iterator[Metric]:
    yield GaugeMetricFamily("medfinetune_step", "Last completed optimizer step.", snapshot.step)
    yield GaugeMetricFamily("medfinetune_steps_planned", "Optimizer steps of the whole run.", snapshot.steps_planned)
    yield GaugeMetricFamily("medfinetune_progress_ratio", "Share of the planned steps that are done, 0 to 1.", snapshot.progress)
    yield GaugeMetricFamily("medfinetune_packing_efficiency_ratio", "Share of the row slots that hold tokens, 0 to 1.", snapshot.packing_efficiency)
    yield CounterMetricFamily("medfinetune_tokens", "Tokens trained on by the gang in this attempt.", snapshot.tokens)
    halvings = "Times that the accelerator's memory ran out in this run and the micro-batch was halved."
    yield CounterMetricFamily("medfinetune_out_of_memory", halvings, snapshot.out_of_memory)
    measured = {
        "medfinetune_micro_batch_rows": ("Rows in one forward pass of one rank.", snapshot.micro_batch),
        "medfinetune_loss": ("Mean cross-entropy of the last step's loss tokens, in nats.", snapshot.loss),
        "medfinetune_learning_rate": ("Learning rate of the last step.", snapshot.learning_rate),
        "medfinetune_gradient_norm": ("Global gradient norm of the last step before clipping.", snapshot.gradient_norm),
        "medfinetune_tokens_per_second": ("Tokens of the last step over its time, whole gang.", snapshot.tokens_per_second),
        "medfinetune_checkpoint_timestamp_seconds": ("When the newest complete checkpoint, or else this attempt, was begun.", snapshot.safe_since),
        "medfinetune_output_volume_size_bytes": ("Size of the output volume.", snapshot.volume.get("size")),
        "medfinetune_output_volume_free_bytes": ("Bytes free on the output volume.", snapshot.volume.get("free")),
        "medfinetune_seconds_left": ("Estimated time until the last step, in seconds.", snapshot.seconds_left),
    }
    for name, (help_text, value) in measured.items():
        if value is not None:
            yield GaugeMetricFamily(name, help_text, value)
    yield from _validation(snapshot)


def _validation(snapshot: Snapshot) -> Iterator[Metric]:
    units = {"loss": "Mean cross-entropy in nats", "perplexity": "exp(loss)", "accuracy": "Share of loss tokens predicted, 0 to 1"}
    for figure, meaning in units.items():
        family = GaugeMetricFamily(f"medfinetune_validation_{figure}", f"{meaning}, last validation, by language.", labels=["language"])
        for language, figures in snapshot.validation.items():
            family.add_metric([language], figures[figure])
        if family.samples:
            yield family


def _step_seconds(snapshots: list[Snapshot]) -> Metric:
    family = HistogramMetricFamily("medfinetune_step_seconds", "Time of one optimizer step, in seconds.", labels=["rank"])
    for snapshot in snapshots:
        family.add_metric([str(snapshot.rank)], snapshot.buckets(), snapshot.step_seconds)
    return family


def _memory(snapshots: list[Snapshot]) -> Iterator[Metric]:
    for key, (name, help_text) in MEMORY.items():
        family = GaugeMetricFamily(name, help_text, labels=["rank"])
        for snapshot in snapshots:
            if key in snapshot.memory:
                family.add_metric([str(snapshot.rank)], snapshot.memory[key])
        if family.samples:
            yield family
