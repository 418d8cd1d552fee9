"""The model learns what it is shown, and packing changes what a step costs, not where training arrives."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean

import torch
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.data.batch import collate
from medfinetune_trainer.data.epochs import epoch_name
from medfinetune_trainer.data.packed import PackedRows
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.loss import loss_logits
from medfinetune_trainer.model.tuned import tuning_of
from medfinetune_trainer.stages import prepare
from support.manifests import minimal_manifest, plan_for
from support.stages import EXAMPLE, SOURCES, models_volume
from support.train import train_here, validations
from transformers import AutoTokenizer

EACH = 32
"""Questions a language."""
HELD_OUT = [source | {"name": f"{source['name']}-valid", "path": str(source["path"]).replace("train", "valid")} for source in SOURCES]
SEEDS = (0, 1, 2)


def first_questions(folder: Path) -> Path:
    """The first EACH questions of each of the example's training files, one a line; the CSV has a header."""
    for source, header in zip(SOURCES, (0, 1), strict=True):
        lines = (EXAMPLE / str(source["path"])).read_text(encoding="utf-8").splitlines()
        file = folder / str(source["path"])
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(lines[: EACH + header]) + "\n", encoding="utf-8")
    return folder


def prepared(output: Path, data: Path, *, spec_data: dict[str, object], training: dict[str, object], dropout: float) -> RunPlan:
    manifest = minimal_manifest(
        data={"sources": SOURCES} | spec_data,
        tuning={"method": "QLoRA", "lora": {"rank": 16, "alpha": 64, "dropout": dropout, "targetModules": ["all-linear"]}},
        training=training,
        parallelism={"nodes": 1, "gpusPerNode": 0},
    )
    plan = plan_for(manifest, models_volume(), data, output)
    prepare.run(plan)
    return plan


def letter_accuracy(plan: RunPlan, adapter: Path | None) -> dict[str, float]:
    """Share of the training questions whose most likely letter among A to E is the answer, by language, as the model itself says."""
    base = Path(plan.mounts.models) / plan.model.path
    adapted = build(base, tuning_of(plan), torch.float32, torch.device("cpu"), None, packed=True, trained=adapter).eval()
    letters = AutoTokenizer.from_pretrained(base).convert_tokens_to_ids(list("ABCDE"))
    rows = PackedRows(plan.folder.data, epoch_name(0))
    right: dict[str, list[bool]] = {language: [] for language in rows.languages}
    for document in (document for row in range(len(rows)) for document in rows.row(row)):
        batch = collate([document])
        with torch.no_grad():
            likely = letters[int(loss_logits(adapted, batch)[0, letters].argmax())]
        right[rows.languages[document.group]].append(likely == int(batch.targets[0]))
    assert [len(each) for each in right.values()] == [EACH, EACH]
    return {language: mean(each) for language, each in right.items()}


def test_it_learns_64_questions_in_two_languages(tmp_path: Path) -> None:
    plan = prepared(
        tmp_path,
        first_questions(tmp_path / "data"),
        spec_data={"maxLength": 512, "validation": {"fraction": 0.0}},
        training={"epochs": 32, "learningRate": 5e-4, "globalBatchTokens": 1536, "scheduler": {"type": "Cosine"}, "precision": "FP32"},
        dropout=0.0,
    )
    untrained = letter_accuracy(plan, None)
    assert max(untrained.values()) <= 0.5  # chance is 0.25 with four options and 0.2 with five
    train_here(plan, tmp_path / "agent")
    trained = letter_accuracy(plan, plan.folder.final)
    assert min(trained.values()) >= 0.95, f"from {untrained} to {trained}"


def test_packed_and_unpacked_reach_the_same_validation_perplexity(tmp_path: Path) -> None:
    """As many documents a step, three seeds each. The noise is what seeds alone do to ln(perplexity): the greater of the two ranges over seeds.

    Measured: packing moves the mean by 0.0025, seeds move it by 0.014.
    """
    reached = {packing: [_validation_loss(tmp_path / f"{packing}-{seed}", packing, seed) for seed in SEEDS] for packing in ("BestFit", "None")}
    noise = max(max(each) - min(each) for each in reached.values())
    difference = abs(mean(reached["BestFit"]) - mean(reached["None"]))
    assert difference <= noise, f"ln(perplexity) {reached}: packing moves it by {difference:.4f}, seeds by {noise:.4f}"
    assert max(max(each) for each in reached.values()) < math.log(900) - 0.3, "nothing was learnt"


def _validation_loss(output: Path, packing: str, seed: int) -> float:
    """The loss on the example's own validation files after two epochs of 96 documents in 18 steps of some 11; the seed draws the adapter and the order."""
    rows = {"BestFit": 2, "None": 11}[packing]
    plan = prepared(
        output,
        EXAMPLE,
        spec_data={"maxLength": 512, "packing": packing, "lossOn": "All", "validation": {"sources": HELD_OUT}},
        training={"epochs": 2, "learningRate": 1e-3, "globalBatchTokens": 512 * rows, "seed": seed, "precision": "FP32"},
        dropout=0.0,
    )
    assert train_here(plan, output / "agent")["steps"] == 18
    loss: float = validations(plan)[-1]["all"]["loss"]
    return loss
