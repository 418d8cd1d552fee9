"""The report of the real run: `results/real.json` for programs, `results/real.md` for people. Figures only; no text of a question."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.packing import machine

RESULTS = Path(__file__).resolve().parents[1] / "results"
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "lm_eval", "datasets")

Figures = dict[str, Any]


def write(outcome: Figures, seconds: Mapping[str, float], base: Mapping[str, Any]) -> str:
    """Write both files from the report of `medfinetune run`, and return the Markdown."""
    folder = Path(outcome["folder"])
    content = {
        "plan_sha256": outcome["planSha256"],
        "base": dict(base),
        "seconds": dict(seconds),
        "chance": {task["task"]: chance(folder, task["task"]) for task in outcome["evaluation"]["tasks"]},
        "most_chosen": {task["task"]: most_chosen(folder, task["task"]) for task in outcome["evaluation"]["tasks"]},
        "evaluation": outcome["evaluation"],
        "prepared": outcome["prepared"],
        "validation": validations(folder),
        "stages": {stage["stage"]: stage["numbers"] for stage in outcome["stages"]},
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES},
    }
    text = "\n".join(markdown(content)) + "\n"
    (RESULTS / "real.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "real.md").write_text(text, encoding="utf-8")
    return text


def chance(folder: Path, task: str) -> float:
    """Accuracy of guessing: the mean over a task's questions of 1 / choices."""
    shares = [1 / len(sample["doc"]["choices"]) for sample in samples(folder, task, "tuned")]
    return sum(shares) / len(shares)


def most_chosen(folder: Path, task: str) -> Figures:
    """The letter that base and tuned model choose most often, and the share of the questions they choose it for."""
    found = {}
    for variant in ("base", "tuned"):
        letters = Counter(_chosen(sample) for sample in samples(folder, task, variant))
        letter, times = letters.most_common(1)[0]
        found[variant] = {"letter": letter, "share": times / letters.total()}
    return found


def samples(folder: Path, task: str, variant: str) -> Iterator[Figures]:
    """The harness's samples of one task and variant."""
    with (folder / "evaluation" / f"samples_{variant}_{task}.jsonl").open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _chosen(sample: Figures) -> str:
    likelihoods = [float(likelihood) for likelihood, _ in sample["filtered_resps"]]
    return str(sample["doc"]["choices"][likelihoods.index(max(likelihoods))])


def validations(folder: Path) -> list[Figures]:
    """Loss, perplexity and accuracy on the held-out records after each epoch, by language."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{"epoch": line["epoch"], "by_language": line["by_language"]} for line in lines if line["kind"] == "validation"]


def markdown(content: Figures) -> Iterator[str]:
    """The report's lines."""
    yield "# The real run: MedQA and KorMedMCQA, all stages"
    yield ""
    yield "Written by `make run-real`; the manifest is [benchmarks/real/manifest.yaml](../real/manifest.yaml)."
    yield from _accuracies(content)
    yield from _training(content)
    yield from _times(content)


def _accuracies(content: Figures) -> Iterator[str]:
    asked = sum(task["questions"] for task in content["evaluation"]["tasks"])
    available = sum(task["available"] for task in content["evaluation"]["tasks"])
    yield from ("", "## Accuracy", "")
    yield "**The base has random weights: on questions it has not seen it is at chance, before and after training. These figures show that the whole path"
    yield "runs on real data and what its results look like; they say nothing about what a real base learns.**"
    yield ""
    yield f"Zero-shot, by letter likelihood, through lm-evaluation-harness; {asked} of {available} questions asked; Wilson 95 % intervals in brackets."
    yield "Such a model prefers one letter whatever the question, and its accuracy is that letter's share of the right answers, which may lie a little off the"
    yield "nominal chance: the letter it chooses most, and for how many of the questions, stands beside."
    yield from ("", "| task | subject | n | chance | base | its letter | tuned | its letter |", "|---|---|---|---|---|---|---|---|")
    for task in content["evaluation"]["tasks"]:
        at_chance = content["chance"][task["task"]]
        for subject, tuned in (task["tunedBySubject"] or {"all": task["tuned"]}).items():
            base = task["baseBySubject"].get(subject, task["base"])
            letters = {variant: f"{found['letter']} {found['share']:.0%}" for variant, found in content["most_chosen"][task["task"]].items()}
            scores = f"{_score(base)} | {letters['base']} | {_score(tuned)} | {letters['tuned']} |"
            yield f"| {task['task']} ({task['language']}) | {subject} | {tuned['n']} | {at_chance:.1%} | {scores}"
    for language, tuned in content["evaluation"]["tunedByLanguage"].items():
        tasks = [task for task in content["evaluation"]["tasks"] if task["language"] == language]
        at_chance = sum(content["chance"][task["task"]] * task["questions"] for task in tasks) / tuned["n"]
        base = content["evaluation"]["baseByLanguage"][language]
        yield f"| {language}, all | | {tuned['n']} | {at_chance:.1%} | {_score(base)} | | {_score(tuned)} | |"


def _score(score: Figures) -> str:
    return f"{score['accuracy']:.1%} [{score['low']:.1%}, {score['high']:.1%}]"


def _training(content: Figures) -> Iterator[str]:
    packing, base = content["prepared"]["packing"], content["base"]
    yield from ("", "## Training", "")
    yield f"Base: Gemma 3, {base['num_hidden_layers']} layers, hidden size {base['hidden_size']}, vocabulary {base['vocabulary']}, random weights, NF4;"
    yield "a frozen random head bounds the loss from below. Two processes, adapters sharded (FSDP2 over gloo)."
    yield ""
    yield f"Packing efficiency {packing['efficiency']:.1%} (one document a row: {packing['efficiencyUnpacked']:.1%});"
    yield f"{packing['stepsPerEpoch']} steps an epoch in place of {packing['stepsPerEpochUnpacked']}."
    yield from ("", "| source | language | read | held out | mixed out | trained on | tokens | share |", "|---|---|---|---|---|---|---|---|")
    for row in content["prepared"]["sources"]:
        counts = " | ".join(str(row[name]) for name in ("samplesRead", "validation", "mixedOut", "samples", "tokens"))
        yield f"| {row['name']} | {row['language']} | {counts} | {row['share']:.1%} |"
    yield ""
    yield "Two tokens of a record carry loss, the letter and the end of the turn. The second is soon always right: 62.5 % (en) and 60 % (ko) mean chance for"
    yield "the letter."
    yield from ("", "| epoch | language | validation loss | perplexity | accuracy of response tokens |", "|---|---|---|---|---|")
    for validation in content["validation"]:
        for language, found in validation["by_language"].items():
            yield f"| {validation['epoch']} | {language} | {found['loss']:.3f} | {found['perplexity']:.1f} | {found['accuracy']:.1%} |"


def _times(content: Figures) -> Iterator[str]:
    seconds, here = content["seconds"], content["machine"]
    yield from ("", "## Wall time", "")
    yield f"On {here['cores']} cores ({here['architecture']}) and {here['memory_gb']} GB, processes' start included:"
    yield from ("", "| prepare | train | evaluate | total |", "|---|---|---|---|")
    yield f"| {seconds['prepare']:.0f} s | {seconds['train']:.0f} s | {seconds['evaluate']:.0f} s | {seconds['total']:.0f} s |"
    yield ""
    yield "Versions: " + ", ".join(f"{name} {number}" for name, number in content["versions"].items()) + "."
