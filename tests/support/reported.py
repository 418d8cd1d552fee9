"""Runs whose report has every section: trained on half of the English questions that they are asked, judged by gates on both languages, answering in words."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from medfinetune_api.layout import RunFolder
from medfinetune_trainer.artifacts.files import new_folder
from medfinetune_trainer.stages import evaluate, prepare
from support.cli import medfinetune
from support.manifests import minimal_manifest, plan_for
from support.models import adapted, save_adapter
from support.told import told_lines
from tiny_base import build

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-minimal" / "data"
PLANTED = 12
"""Questions of the English examination that are trained on."""
QUARANTINED = 71
LANGUAGES = ("de", "en", "fr", "ja", "ko", "pt", "zh")
"""Of the loss in a chart: more lines than there are colours."""
KOREAN = {"format": "KorMedMCQA", "language": "ko"}
ENGLISH = {"format": "MedQA", "language": "en"}
TASKS = [
    {"name": "medqa", "path": "medqa/test.jsonl", "optionOrders": 2, **ENGLISH},
    {"name": "kormedmcqa", "path": "kormedmcqa/asked.csv", **KOREAN},
    {"name": "words", "path": "words.jsonl", "format": "Chat", "language": "ko", "metrics": ["F1", "RougeL"], "maxNewTokens": 4},
]
GATES = [{"name": "english-answers", "task": "medqa", "minimum": 0.5}, {"name": "korean-holds", "language": "ko", "maxDrop": 0.05}]


def evaluated(place: Path) -> RunFolder:
    """The folder of a run in this process that gates stop: prepared and evaluated, its adapter moved by chance; what training tells is written down."""
    base = filled(place)
    shape = {"method": "QLoRA", "lora": {"rank": 4, "alpha": 8, "dropout": 0}}
    plan = plan_for(manifest("evaluation", base.name, tuning=shape), base.parent, place / "data", place / "results")
    prepare.run(plan)
    with new_folder(plan.folder.final) as folder:
        save_adapter(adapted(base), folder, base.name)
    plan.folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in _told()), encoding="utf-8")
    evaluate.run(plan)
    return plan.folder


def trained(place: Path) -> RunFolder:
    """The folder of a run by `medfinetune run` that gates stop: a base that has learned Korean questions is tuned on English, and forgets them."""
    base = filled(place)
    sources = {"sources": [{"name": "exam-ko", "path": "kormedmcqa/train.csv", **KOREAN}], "maxLength": 512}
    first = run(place, manifest("korean", base.name, data=sources, tuning={"method": "Full"}, evaluation={}, output={}), base.parent)
    return run(place, manifest("evaluation", first.model.name), first.root)


def filled(place: Path) -> Path:
    """A data volume and a tiny base with random weights; the base."""
    data = place / "data"
    shutil.copytree(EXAMPLE, data)
    lines = (data / "medqa" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:PLANTED]
    called = json.loads(lines[0]) | {"question": "Whom does a nurse call at 010-1234-5678 when the ward has run out of insulin?"}
    with (data / "medqa" / "train.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in (*lines, json.dumps(called)))
    shutil.copy(data / "kormedmcqa" / "train.csv", data / "kormedmcqa" / "asked.csv")
    with (data / "kormedmcqa" / "asked.csv").open(encoding="utf-8", newline="") as file:
        asked = [(row["question"], row[row["answer"]]) for row in csv.DictReader(file)][:6]
    chats = ([{"role": "user", "content": question}, {"role": "assistant", "content": answer}] for question, answer in asked)
    (data / "words.jsonl").write_text("".join(json.dumps({"messages": chat}, ensure_ascii=False) + "\n" for chat in chats), encoding="utf-8")
    (data / "terms.txt").write_text("\n".join(dict(asked).values()), encoding="utf-8")
    texts = [line for file in sorted(EXAMPLE.glob("*/train.*")) for line in file.read_text(encoding="utf-8").splitlines()]
    return build(place / "models" / "base", texts, vocabulary=900)


def manifest(name: str, base: str, **parts: Any) -> dict[str, Any]:
    """English on one process, and all that can be asked; `parts` replace parts of the spec."""
    source = {"name": "exam-en", "path": "medqa/train.jsonl", "domain": "의학", **ENGLISH}
    held_out = {"name": "valid-en", "path": "medqa/valid.jsonl", **ENGLISH}
    spec: dict[str, Any] = {
        "model": {"path": base},
        "data": {"sources": [source], "validation": {"sources": [held_out]}, "maxLength": 512, "privacy": {"action": "Warn"}},
        "training": {"epochs": 30, "learningRate": 2e-3, "globalBatchTokens": 1024, "precision": "FP32"},
        "parallelism": {"nodes": 1, "gpusPerNode": 0},
        "evaluation": {"tasks": TASKS, "gates": GATES, "glossaries": [{"path": "terms.txt", "language": "ko"}]},
        "output": {"retain": ["Samples"]},
    }
    return minimal_manifest(**(spec | parts)) | {"metadata": {"name": name}}


def run(place: Path, given: dict[str, Any], models: Path) -> RunFolder:
    """Run a manifest to its end."""
    name = given["metadata"]["name"]
    file = place / f"{name}.yaml"
    file.write_text(yaml.safe_dump(given, allow_unicode=True), encoding="utf-8")
    done = medfinetune("--output", "json", "run", file, "--models", models, "--data", place / "data", "--output", place / "results")
    assert done.returncode in (0, QUARANTINED), done.stderr
    [root] = (place / "results").glob(f"{name}-*/")
    return RunFolder(root)


def _told() -> list[dict[str, Any]]:
    """What two attempts on a GPU tell, with one more validation, so that languages have lines."""
    lines = told_lines(languages=LANGUAGES)
    [last] = (line for line in lines if line["kind"] == "validation")
    figures = {language: {"loss": 2 + place / 10, "perplexity": 9.0, "accuracy": 0.25 + place / 20} for place, language in enumerate(LANGUAGES)}
    return [*lines[:-2], last | {"step": 2, "by_language": figures}, *lines[-2:]]
