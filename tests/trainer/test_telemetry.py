"""What a node serves, and what metrics.jsonl keeps."""

from __future__ import annotations

import json
import math
import shutil
import time
import urllib.request
from pathlib import Path
from threading import Event

import pytest
import torch
from medfinetune_trainer.artifacts.history import History, read
from medfinetune_trainer.stages.train_record import Record
from medfinetune_trainer.telemetry.memory import SAMPLE_SECONDS, Memory, MemorySampler
from medfinetune_trainer.telemetry.questions import QuestionCount
from medfinetune_trainer.telemetry.server import PORT, serving, serving_if_asked
from medfinetune_trainer.telemetry.snapshot import STEP_SECONDS, Snapshot, read_snapshots
from prometheus_client.parser import text_string_to_metric_families
from support.train import free_ports


def snapshot(rank: int, **figures: object) -> Snapshot:
    return Snapshot(rank, world_size=2, steps_planned=10, packing_efficiency=0.98, **figures)  # type: ignore[arg-type]  # names of the dataclass


def scraped(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value for sample in samples}


def status_of(port: int) -> dict[str, object]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def test_nothing_is_served_before_it_was_measured(tmp_path: Path) -> None:
    with serving(tmp_path, "train") as port:
        assert scraped(port) == {}
        assert status_of(port) == {"stage": "train"}
        snapshot(0).write(tmp_path)
        names = {name for name, _ in scraped(port)}
    assert "medfinetune_loss" not in names
    assert not any("vram" in name for name in names)


def test_gang_figures_come_from_rank_0_and_memory_from_every_rank(tmp_path: Path) -> None:
    first = snapshot(
        0, step=4, resume_step=2, as_of="now", tokens=1000, loss=0.5, micro_batch=2, out_of_memory=1, memory={"rss": 7, "rss_peak": 9, "vram_peak": 50}
    )
    first.memory, first.safe_since, first.volume = {**first.memory, "vram_limit": 64}, 1.5e9, {"size": 100, "free": 4}
    for seconds in (0.07, 3.0, 1000.0):
        first.observe(seconds)
    first.write(tmp_path)
    snapshot(1, step=3, as_of="then", memory={"rss": 8, "rss_peak": 8, "vram_peak": 60}).write(tmp_path)
    with serving(tmp_path, "train") as port:
        found, status = scraped(port), status_of(port)
    assert found["medfinetune_loss", ""] == 0.5
    assert found["medfinetune_tokens_total", ""] == 1000
    assert found["medfinetune_progress_ratio", ""] == 0.4
    assert (found["medfinetune_micro_batch_rows", ""], found["medfinetune_out_of_memory_total", ""]) == (2, 1)
    assert (status["microBatch"], status["outOfMemory"]) == (2, 1)
    assert [found["medfinetune_vram_peak_bytes", f"rank={rank}"] for rank in (0, 1)] == [50, 60]
    assert found["medfinetune_vram_limit_bytes", "rank=0"] == 64
    assert (found["medfinetune_output_volume_free_bytes", ""], found["medfinetune_output_volume_size_bytes", ""]) == (4, 100)
    assert found["medfinetune_checkpoint_timestamp_seconds", ""] == 1.5e9
    assert found["medfinetune_step_seconds_count", "rank=0"] == 3
    assert found["medfinetune_step_seconds_bucket", "le=5.0,rank=0"] == 2
    assert (status["step"], status["stepsPlanned"], status["peakVramBytes"], status["peakRssBytes"]) == (4, 10, 60, 9)
    assert (status["resumeStep"], status["asOf"]) == (2, "now")
    assert status["ranks"] == [{"rank": 0, "step": 4, "asOf": "now"}, {"rank": 1, "step": 3, "asOf": "then"}]


def test_a_figure_that_is_no_number_is_served_as_one(tmp_path: Path) -> None:
    """Training ends at such a loss; but were it ever shared, Prometheus must see it and the operator must still read the rest."""
    snapshot(0, step=4, loss=math.nan, gradient_norm=math.inf).write(tmp_path)
    with serving(tmp_path, "train") as port:
        found, status = scraped(port), status_of(port)
    assert math.isnan(found["medfinetune_loss", ""])
    assert found["medfinetune_gradient_norm", ""] == math.inf
    assert status["step"] == 4


def test_rank_0_tells_of_its_volume_and_of_what_is_safe(tmp_path: Path) -> None:
    began = time.time()
    record = Record(snapshot(0), tmp_path, Memory(torch.device("cpu")), None, progress=None, output=tmp_path)
    record.sampled({"rss": 5, "rss_peak": 6})
    record.checkpoint(3, blocked_seconds=0.1, seconds=60.0)
    [shared] = read_snapshots(tmp_path)
    assert shared.volume["size"] == shutil.disk_usage(tmp_path).total >= shared.volume["free"] > 0
    assert shared.safe_since is not None
    assert began - 60 <= shared.safe_since <= time.time() - 60
    record.output = tmp_path / "gone"
    record.sampled({"rss": 5, "rss_peak": 6})
    assert read_snapshots(tmp_path)[0].volume == {}


def test_a_node_without_rank_0_serves_no_gang_figure(tmp_path: Path) -> None:
    snapshot(1, step=4, loss=0.5).write(tmp_path)
    with serving(tmp_path, "train") as port:
        assert {name for name, _ in scraped(port)} <= {f"medfinetune_step_seconds_{part}" for part in ("bucket", "count", "sum")}
        assert status_of(port)["loss"] == 0.5


def test_a_stage_of_one_process_serves_where_a_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    monkeypatch.setenv(PORT, str(port))
    with serving_if_asked("evaluate") as folder:
        assert status_of(port) == {"stage": "evaluate"}
        count = QuestionCount(folder, planned=5)
        for questions in (2, 2):
            count.add(questions)
        assert status_of(port) == {"stage": "evaluate", "questions": 4, "questionsPlanned": 5}
        assert scraped(port) == {}
    monkeypatch.setenv(PORT, "0")
    with serving_if_asked("prepare"), pytest.raises(OSError):
        status_of(port)


def test_a_taken_port_does_not_stop_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, "train") as taken:
        monkeypatch.setenv(PORT, str(taken))
        with serving(tmp_path, "train") as port:
            assert port != taken
            assert status_of(port) == {"stage": "train"}


def test_the_histogram_has_every_bound(tmp_path: Path) -> None:
    only = snapshot(0)
    for bound in STEP_SECONDS:
        only.observe(bound)
    assert [count for _, count in only.buckets()] == [*range(1, len(STEP_SECONDS) + 1), len(STEP_SECONDS)]


def test_memory_is_sampled_at_once_and_again_and_again_without_vram_on_a_cpu() -> None:
    samples: list[dict[str, int]] = []
    enough = Event()

    def record(sample: object) -> None:
        samples.append(dict(sample))  # type: ignore[call-overload]  # a Mapping
        if len(samples) == 5:
            enough.set()

    with MemorySampler(Memory(torch.device("cpu")), record, seconds=0.01):
        assert enough.wait(30)
    assert set(samples[0]) == {"rss", "rss_peak"}
    assert samples[0]["rss_peak"] >= samples[0]["rss"] > 0


def test_the_rest_between_samples_keeps_the_promise_of_one_every_30_seconds() -> None:
    """What a sample itself takes is well under a second."""
    assert SAMPLE_SECONDS <= 29
    assert MemorySampler(Memory(torch.device("cpu")), lambda _: None).seconds == SAMPLE_SECONDS


def test_metrics_jsonl_has_the_memory_of_every_rank_of_the_node(tmp_path: Path) -> None:
    snapshot(1, memory={"rss": 8, "rss_peak": 9}).write(tmp_path)
    snapshot(2).write(tmp_path)
    history = History(tmp_path / "metrics.jsonl", 0)
    record = Record(snapshot(0), tmp_path, Memory(torch.device("cpu")), history, progress=None)
    record.sampled({"rss": 5, "rss_peak": 6})
    history.close()
    kept = [(line["rank"], line["rss"], line["rss_peak"]) for line in read(tmp_path / "metrics.jsonl") if line["kind"] == "memory"]
    assert kept == [(0, 5, 6), (1, 8, 9)]


def test_a_continued_history_tells_one_story(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    history = History(path, 0)
    for step in (1, 2, 3):
        history.write("step", step=step, loss=1.0 / step, gradient_norm=None)
    history.write("memory", rss=5)
    history.close()
    with path.open("a") as file:
        file.write('{"kind": "step", "st')
    History(path, 2).close()
    lines = list(read(path))
    assert [line.get("step") for line in lines] == [1, 2, None]
    assert "gradient_norm" not in lines[0]
    assert path.read_text().endswith("}\n")
