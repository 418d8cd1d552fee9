"""The train stage as a program: agents and workers are real processes, and so are the signals."""

from __future__ import annotations

import errno
import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from medfinetune_api.choices import Stage
from medfinetune_api.errors import InvalidManifest, InvalidModel, OutputConflict
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.checkpoint import newest
from medfinetune_trainer.artifacts.checkpoint import read as read_checkpoint
from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.artifacts.history import read
from medfinetune_trainer.data.epochs import epoch_name
from medfinetune_trainer.data.packed import PackedRows
from medfinetune_trainer.stages.outcome import Outcome, outcome_of, root_cause
from medfinetune_trainer.stages.prepared import require_base, require_data, require_prepared
from medfinetune_trainer.stages.train import run
from prometheus_client.parser import text_string_to_metric_families
from safetensors.torch import load_file, save_file
from support.models import tiny
from support.train import SECONDS, Agent, agents, losses, small_run, train_gang, train_here


def steps_told(plan: RunPlan) -> int:
    """The last step that metrics.jsonl tells of."""
    return max((line["step"] for line in read(plan.folder.metrics) if line["kind"] == "step"), default=0)


def ended(gang: list[Agent]) -> list[tuple[int, dict[str, Any]]]:
    return [agent.end() for agent in gang]


def fetched(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS) as answer:
        text: str = answer.read().decode()
    return text


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def test_stopped_killed_and_continued_it_ends_as_if_undisturbed(tmp_path: Path, logs: Path) -> None:
    undisturbed = small_run(tmp_path / "undisturbed", documents=300, dropout=0.1, every_steps=12)
    plan = small_run(tmp_path / "disturbed", documents=300, dropout=0.1, every_steps=12)

    gang = agents(plan, 2, logs)
    gang[0].until(lambda: steps_told(plan) >= 3, "the third step")
    served = {family.name for family in text_string_to_metric_families(fetched(gang[0].metrics_port, "/metrics"))}
    status = json.loads(fetched(gang[1].metrics_port, "/status"))
    gang[1].process.send_signal(signal.SIGTERM)
    assert [(code, result["reason"]) for code, result in ended(gang)] == [(Exit.INTERRUPTED, "Interrupted")] * 2
    stopped = newest(plan.folder.checkpoints, plan.sha256)
    assert stopped is not None
    assert stopped[1].step == steps_told(plan)
    assert {"medfinetune_loss", "medfinetune_step_seconds", "medfinetune_process_resident_memory_bytes", "medfinetune_tokens"} <= served
    assert not any("vram" in name for name in served)
    assert status["stage"] == "train"
    assert 0 < status["step"] < status["stepsPlanned"]
    assert status["resumeStep"] == 0
    assert [one["rank"] for one in status["ranks"]] == [1]

    gang = agents(plan, 2, logs)
    gang[0].until(lambda: steps_told(plan) > stopped[1].step + 2, "steps after the stop")
    gang[1].workers()[0].kill()
    assert [(code, result["reason"]) for code, result in ended(gang)] == [(Exit.GANG_LOST, "GangLost")] * 2
    assert not plan.folder.final.exists()

    [(code, result)] = ended(agents(plan, 1, logs, PET_NPROC_PER_NODE="2"))
    assert code == Exit.SUCCEEDED
    assert result["numbers"]["resume_step"] >= stopped[1].step
    train_gang(undisturbed, 2, tmp_path / "agent")
    assert losses(plan) == losses(undisturbed)
    weights = "adapter_model.safetensors"
    assert sha256_file(plan.folder.final / weights) == sha256_file(undisturbed.folder.final / weights)

    before = sha256_file(plan.folder.metrics)
    assert run(plan).message == "It is trained already."
    assert sha256_file(plan.folder.metrics) == before


def token_of_step_two(plan: RunPlan) -> int:
    """A token that the second step reads and the first does not."""
    rows = PackedRows(plan.folder.data, epoch_name(0))
    steps = [{token for row in range(first, first + plan.rows_per_step) for document in rows.row(row) for token in document.input_ids} for first in (0, 3)]
    return min(steps[1] - steps[0])


def poison(base: Path, token: int) -> None:
    """Make what the base knows of `token` so large that Gemma, which scales it, overflows: NaN in the weights themselves would be refused at once."""
    weights = load_file(base / "model.safetensors")
    weights["model.embed_tokens.weight"][token] = torch.finfo(torch.float32).max
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})


def test_a_loss_of_nan_ends_as_diverged_and_keeps_checkpoints(tmp_path: Path, logs: Path) -> None:
    token = token_of_step_two(small_run(tmp_path / "probe" / "run"))
    poison(tiny(tmp_path / "base", "gemma3", tie_word_embeddings=False), token)
    plan = small_run(tmp_path / "run", every_steps=1)
    [(code, result)] = ended(agents(plan, 1, logs, PET_NPROC_PER_NODE="2"))
    assert (code, result["reason"]) == (Exit.DIVERGED, "Diverged")
    assert "step 2" in result["message"]
    assert "rows" in result["message"]
    assert "(exam-" in result["message"], "the documents, by number and source"
    assert read_checkpoint(plan.folder.checkpoints / "step-1") is not None
    assert not plan.folder.final.exists()


def test_a_node_whose_peer_never_comes_gives_up(tmp_path: Path, logs: Path) -> None:
    plan = small_run(tmp_path / "run")
    [(code, result)] = ended(agents(plan, 2, logs, started=1, MEDFINETUNE_RENDEZVOUS_SECONDS="2"))
    assert code == Exit.GANG_LOST
    assert "not all of 2 nodes" in result["message"]


def test_a_stop_while_waiting_for_peers_is_heard(tmp_path: Path, logs: Path) -> None:
    plan = small_run(tmp_path / "run")
    [agent] = agents(plan, 2, logs, started=1)
    agent.until(lambda: "metrics" in agent.log.read_text(), "the agent to wait")
    agent.process.send_signal(signal.SIGTERM)
    assert agent.end()[0] == Exit.INTERRUPTED


@pytest.mark.parametrize("prepared", [None, "another plan's", "damaged"])
def test_train_without_prepare_is_refused(tmp_path: Path, logs: Path, prepared: str | None) -> None:
    plan = small_run(tmp_path / "run")
    text = plan.folder.prepared.read_text()
    plan.folder.prepared.unlink()
    if prepared:
        plan.folder.prepared.write_text("{" if prepared == "damaged" else text.replace(plan.sha256, "f" * 64))
    [(code, result)] = ended(agents(plan, 1, logs))
    assert code == Exit.OUTPUT_CONFLICT
    assert "Run the stage prepare" in result["message"]


def test_damaged_data_and_another_base_are_refused_before_any_worker_starts(tmp_path: Path) -> None:
    plan = small_run(tmp_path / "run")
    prepared, index = require_prepared(plan), plan.folder.data / "epochs" / "epoch-0.arrow"
    require_data(plan)
    require_base(plan, prepared)
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(OutputConflict, match=r"epoch-0\.arrow.*Remove prepared\.json"):
        run(plan)
    index.unlink()
    with pytest.raises(OutputConflict, match=r"epoch-0\.arrow: found no such file"):
        require_data(plan)
    plan.folder.data_manifest.write_text("{")
    with pytest.raises(OutputConflict, match=r"manifest\.json"):
        require_data(plan)
    with (Path(plan.mounts.models) / plan.model.path / "model.safetensors").open("ab") as weights:
        weights.write(b" ")
    with pytest.raises(InvalidModel, match=f"expected {prepared.weights_sha256}"):
        require_base(plan, prepared)


def test_gpus_that_are_not_there_are_refused(tmp_path: Path, logs: Path) -> None:
    run = small_run(tmp_path / "run")
    plan = run.model_copy(update={"parallelism": run.parallelism.model_copy(update={"gpus_per_node": 8})})
    plan.folder.prepared.write_text(plan.folder.prepared.read_text().replace(run.sha256, plan.sha256))
    [(code, result)] = ended(agents(plan, 1, logs, PET_NPROC_PER_NODE="8", CUDA_VISIBLE_DEVICES=""))
    assert code == Exit.INVALID_MANIFEST
    assert "spec.parallelism.gpusPerNode" in result["message"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_what_the_volume_does_to_a_rank_is_a_storage_failure(number: int) -> None:
    outcome = outcome_of(OSError(number, "said by the kernel", "checkpoints/shard"), 1, Stage.TRAIN)
    assert outcome.exit_code == Exit.STORAGE_FAILED
    assert outcome.message.startswith("checkpoints/shard: ")
    assert outcome_of(OSError(errno.ENOENT, "none"), 1, Stage.TRAIN).exit_code == Exit.INTERNAL_ERROR


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (torch.OutOfMemoryError(), Exit.OUT_OF_MEMORY, "Lower spec.training.microBatch"),
        (torch.AcceleratorError("CUDA error: out of memory"), Exit.OUT_OF_MEMORY, "Lower spec.training.microBatch"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), Exit.OUT_OF_MEMORY, "Lower spec.training.microBatch"),
        (dist.DistBackendError("NCCL error: unhandled cuda error. Cuda failure 2 'out of memory'"), Exit.OUT_OF_MEMORY, "Lower spec.training.microBatch"),
        (RuntimeError("unable to mmap 64 bytes from file <shm>: Cannot allocate memory (12)"), Exit.HOST_OUT_OF_MEMORY, "spec.resources.train"),
        (MemoryError(), Exit.HOST_OUT_OF_MEMORY, "spec.resources.train"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Exit.HOST_OUT_OF_MEMORY, "spec.resources.train"),
    ],
)
def test_memory_of_a_rank_is_the_accelerators_or_the_hosts(error: Exception, code: Exit, says: str) -> None:
    outcome = outcome_of(error, 1, Stage.TRAIN)
    assert (outcome.exit_code, says in outcome.message) == (code, True)


def test_another_micro_batch_takes_the_same_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, halved = small_run(tmp_path / "plain", micro_batch=3), small_run(tmp_path / "halved", micro_batch=3)
    train_here(plain, tmp_path / "agent")
    monkeypatch.setenv("MEDFINETUNE_MICRO_BATCH", "1")
    train_here(halved, tmp_path / "agent")
    assert [line["micro_batch"] for run in (plain, halved) for line in read(run.folder.metrics) if line["kind"] == "start"] == [3, 1]
    assert losses(halved) == pytest.approx(losses(plain), abs=1e-5)


@pytest.mark.parametrize("text", ["", "0", "4097", "-1", "1.5", "all"])
def test_a_micro_batch_that_is_none_is_refused_before_any_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MEDFINETUNE_MICRO_BATCH", text)
    with pytest.raises(InvalidManifest, match="MEDFINETUNE_MICRO_BATCH"):
        run(small_run(tmp_path / "run"))


def test_the_root_cause_is_not_the_loss_of_a_peer() -> None:
    lost, full, oom = Outcome(0, Exit.GANG_LOST, "", time=1.0), Outcome(1, Exit.STORAGE_FAILED, "", time=2.0), Outcome(2, Exit.OUT_OF_MEMORY, "", time=3.0)
    assert root_cause([lost, full, oom]) is full
    assert root_cause([lost, Outcome(3, Exit.SUCCEEDED, "")]) is lost
    assert root_cause([Outcome(3, Exit.SUCCEEDED, "")]) is None
