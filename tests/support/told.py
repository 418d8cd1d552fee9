"""A run's folder as the stages leave it, written in a moment: valid by the contract's own models, with nothing trained in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from medfinetune_api.choices import Format, Retained, Sharding
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Chosen, MemoryEstimate, PackingReport, Prepared, SourceShare
from medfinetune_api.results_evaluation import EvaluationSummary, TaskScores
from medfinetune_trainer.artifacts.lineage import lineage_of, write
from medfinetune_trainer.evaluation.answers import Answer
from medfinetune_trainer.evaluation.calibration import abstention, calibration
from medfinetune_trainer.evaluation.comparison import compare
from medfinetune_trainer.evaluation.forgetting import changes
from medfinetune_trainer.evaluation.statistics import score, score_by
from support.manifests import minimal_manifest, plan_for
from support.plans import task_plan

STEPS = 6
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def manifest_of(retain: Sequence[Retained] = (), domain: str = "medical", gates: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What `filled_run` is the run of."""
    source = {"name": "medqa", "path": "medqa.jsonl", "format": "MedQA", "language": "en", "domain": domain}
    task = {"name": "exam", "path": "exam.jsonl", "format": "MedQA", "language": "en"}
    return minimal_manifest(data={"sources": [source]}, evaluation={"tasks": [task], "gates": list(gates)}, output={"retain": list(retain)})


def filled_run(
    output: Path,
    retain: Sequence[Retained] = (),
    domain: str = "medical",
    subjects: Sequence[str] = ("doctor", "law"),
    gates: Sequence[dict[str, Any]] = (),
) -> RunPlan:
    """A complete run but for lineage and report: every kind of file, weights of a few bytes, one task in English."""
    return filled(plan_for(manifest_of(retain, domain, gates), output, output, output), domain, subjects)


def filled(plan: RunPlan, domain: str = "medical", subjects: Sequence[str] = ("doctor", "law")) -> RunPlan:
    """The same of a plan that asks `exam`; returns it."""
    folder = plan.folder
    files = {
        folder.plan: plan.to_json() + "\n",
        folder.prepared: prepared_of(plan, domain).to_json() + "\n",
        folder.summary: summary_of(plan, subjects).to_json(),
        folder.metrics: "".join(json.dumps(line) + "\n" for line in told_lines()),
        folder.adapter / "adapter_config.json": "{}",
        folder.adapter / "adapter_model.safetensors": "weights",
        folder.tensorboard / "events.out.tfevents.000001": "events",
        folder.evaluation / "samples_base_a.jsonl": "a question",
        folder.evaluation / "samples_tuned_a.jsonl": "a question",
        folder.checkpoints / "step-6" / "manifest.json": "{}",
        folder.data / "train" / "data.arrow": "tokens",
        folder.data_manifest: json.dumps({"files": {"train/data.arrow": hashlib.sha256(b"tokens").hexdigest()}}),
        folder.root / ".lock": "",
    }
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return plan


def complete_run(output: Path, retain: Sequence[Retained] = ()) -> RunPlan:
    """The same with its lineage."""
    plan = filled_run(output, retain)
    write(plan.folder, lineage_of(plan, prepared_of(plan)))
    return plan


def prepared_of(plan: RunPlan, domain: str = "medical") -> Prepared:
    share = SourceShare(name="medqa", language="en", domain=domain, samples_read=1272, validation=127, over_long=1, tokens_dropped=9, mixed_out=0, samples=1144,
                        tokens=276765, share=1.0)  # fmt: skip
    packing = PackingReport(efficiency=0.992, efficiency_unpacked=0.095, rows=140, rows_unpacked=1144, steps_per_epoch=3, steps_per_epoch_unpacked=29)
    parts = {
        "base": 5 << 30,
        "quantization": 1 << 28,
        "trained": 1 << 27,
        "gradients": 1 << 27,
        "optimizer": 1 << 28,
        "activations": 3 << 30,
        "logits": 1 << 26,
    }
    memory = MemoryEstimate(**parts, buffers=1 << 29, total=sum(parts.values()) + (1 << 29), limit=16 << 30)
    chosen = Chosen(sharding=Sharding.NONE, micro_batch=1, activation_checkpointing=False, evaluate_on_gang=False)
    return Prepared(plan_sha256=plan.sha256, sources=(share,), packing=packing, chosen=chosen, memory=memory, train_documents=1144, validation_documents=127,
                    validation_rows=16, total_steps=STEPS, loss_token_share=0.01, weights_sha256="0" * 64, tasks_sha256={})  # fmt: skip


def summary_of(plan: RunPlan, subjects: Sequence[str]) -> EvaluationSummary:
    """One task of 40 questions a subject; the base answers 11 to 17 of them, the tuned model 12 more, and surer."""
    pairs = [pair for number, subject in enumerate(subjects) for pair in _answered(subject, 11 + number % 7)]
    base, tuned = ([pair[side] for pair in pairs] for side in (0, 1))
    before, after = ([bool(answer.right) for answer in answers] for answers in (base, tuned))
    sure = [answer.confidence or 0.0 for answer in tuned]
    by_subject = [score_by((answer.subject, bool(answer.right)) for answer in answers) for answers in (base, tuned)]
    task = TaskScores(
        task="exam", language="en", version="1.0", questions=len(pairs), available=1273, seen=False, base=score(before), tuned=score(after),
        base_by_subject=by_subject[0], tuned_by_subject=by_subject[1], comparison=compare(before, after),
        base_calibration=calibration([answer.confidence or 0.0 for answer in base], before), tuned_calibration=calibration(sure, after),
        abstention=abstention(sure, after),
    )  # fmt: skip
    changed = changes([task_plan(name="exam", path="exam.jsonl", format=Format.MEDQA, language="en")], {"exam": pairs}, 0.05, 0)
    languages = {"base_by_language": {"en": score(before)}, "tuned_by_language": {"en": score(after)}}
    return EvaluationSummary(plan_sha256=plan.sha256, tasks=(task,), changes=changed, **languages)


def _answered(subject: str, right: int) -> list[tuple[Answer, Answer]]:
    """40 questions as base and tuned model answered them."""
    return [
        (_answer(subject, number, number < right, 0.25 + number / 100), _answer(subject, number, 8 <= number < right + 20, 0.95 - number / 100))
        for number in range(40)
    ]


def _answer(subject: str, number: int, right: bool, confidence: float) -> Answer:
    question = hashlib.sha256(f"{subject} {number}".encode()).hexdigest()
    return Answer(where=f"exam.jsonl:{number + 1}", question=question, subject=subject, right=right, chosen=number % 4, confidence=confidence)


def told_lines(steps: int = STEPS, languages: Sequence[str] = ("en", "ko"), device: str = "cuda") -> list[dict[str, Any]]:
    """metrics.jsonl of a run of two attempts, the second from step 2."""
    seconds = iter(range(1_000_000))

    def line(kind: str, **figures: Any) -> dict[str, Any]:
        return {"kind": kind, "time": (BEGAN + timedelta(seconds=next(seconds))).isoformat(timespec="milliseconds"), **figures}

    def step(number: int) -> dict[str, Any]:
        return line("step", step=number, epoch=1, loss=3 / number, accuracy=0.5, learning_rate=1e-4, gradient_norm=1.5, tokens=2000, loss_tokens=20,
                    seconds=0.5, tokens_per_second=4000.0)  # fmt: skip

    lines = [line("start", step=0, world_size=2, micro_batch=2, device=device)]
    for number in range(1, steps + 1):
        if number == 3:
            lines.append(line("start", step=2, world_size=2, micro_batch=1, device=device))
            lines.append(line("out_of_memory", in_step=3, micro_batch=2, next_micro_batch=1))
        sizes = {"vram_reserved": (9 << 30) + number, "vram_peak": 8 << 30, "vram_used": 10 << 30} if device == "cuda" else {}
        lines += [step(number), line("memory", rank=0, rss=1 << 30, rss_peak=1 << 30, **sizes)]
    figures = {"loss": 1.25, "perplexity": 3.49, "accuracy": 0.625}
    return [*lines, line("validation", step=steps, epoch=1, by_language=dict.fromkeys(languages, figures)), line("checkpoint", step=steps)]
