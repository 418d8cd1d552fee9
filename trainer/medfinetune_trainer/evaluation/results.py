"""What an evaluation leaves behind: the harness's results and samples file by file, and from them the summary.

`results_<variant>.json` and `samples_<variant>_<task>.jsonl` hold what lm-evaluation-harness writes itself, in its schema; variant is `base` or `tuned`. The
samples hold questions. The results file is written last of its variant: where it is, the variant is complete, and is not asked again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from lm_eval.utils import handle_non_serializable, hash_string, sanitize_list
from medfinetune_api.errors import Diverged
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import TaskPlan
from medfinetune_api.results_evaluation import EvaluationSummary, TaskScores

from medfinetune_trainer.artifacts.files import write_text
from medfinetune_trainer.evaluation.statistics import score, score_by

Outcome = tuple[str, bool]
"""Subject of a question, and whether the answer was right."""


def is_complete(folder: Path, variant: str, tasks: Iterable[str]) -> bool:
    """Whether every question of this variant has been asked and written down, and all of it is still there."""
    return all(file.exists() for file in (_results_file(folder, variant), *(_samples_file(folder, variant, task) for task in tasks)))


def write(folder: Path, variant: str, results: Mapping[str, Any]) -> None:
    """Write the harness's `results` of one variant: a samples file a task, then the results file. Raises StorageFailed."""
    samples: Mapping[str, list[dict[str, Any]]] = results["samples"]
    for task, rows in samples.items():
        write_text(_samples_file(folder, variant, task), "".join(_sample_line(row) for row in rows))
    hashes = {task: hash_string("".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)) for task, rows in samples.items()}
    aggregated = {name: value for name, value in results.items() if name != "samples"} | {"task_hashes": hashes}
    write_text(_results_file(folder, variant), json.dumps(aggregated, indent=2, default=handle_non_serializable, ensure_ascii=False))


def refuse_unanswered(variant: str, results: Mapping[str, Any]) -> None:
    """Raise Diverged where a likelihood is NaN or infinite: the harness would count it as the first letter."""
    bad = sum(not all(isfinite(likelihood) for likelihood, _ in row["filtered_resps"]) for rows in results["samples"].values() for row in rows)
    if bad:
        remedy = "Train in BF16 or FP32, or with a lower learning rate: this model's activations overflow."
        raise Diverged(f"evaluation of {variant}", found=f"{bad} questions with likelihoods that are not finite", expected="none", remedy=remedy)


def summarise(plan: RunPlan, available: Mapping[str, int]) -> EvaluationSummary:
    """The summary of a complete evaluation, from its files.

    Args:
        plan: whose folder holds them.
        available: questions in each task's file, by task name.
    """
    variants = ("base", "tuned") if plan.evaluation.baseline else ("tuned",)
    outcomes = {variant: {task.name: list(_outcomes(plan, variant, task.name)) for task in plan.evaluation.tasks} for variant in variants}
    languages = {task.name: task.language for task in plan.evaluation.tasks if not task.seen}
    return EvaluationSummary(
        plan_sha256=plan.sha256,
        tasks=tuple(_task_scores(plan, task, outcomes, available[task.name]) for task in plan.evaluation.tasks),
        base_by_language=_by_language(languages, outcomes.get("base", {})),
        tuned_by_language=_by_language(languages, outcomes["tuned"]),
    )


def _task_scores(plan: RunPlan, task: TaskPlan, outcomes: Mapping[str, Mapping[str, list[Outcome]]], available: int) -> TaskScores:
    tuned, base = outcomes["tuned"][task.name], outcomes.get("base", {}).get(task.name, [])
    return TaskScores(
        task=task.name,
        language=task.language,
        seen=task.seen,
        version=str(json.loads(_results_file(plan.folder.evaluation, "tuned").read_text(encoding="utf-8"))["versions"][task.name]),
        questions=len(tuned),
        available=available,
        base=score(right for _, right in base) if base else None,
        tuned=score(right for _, right in tuned),
        base_by_subject=_by_subject(base),
        tuned_by_subject=_by_subject(tuned),
    )


def _by_subject(outcomes: list[Outcome]) -> Any:
    """Questions whose file names no subject are in no subject's score."""
    return score_by((subject, right) for subject, right in outcomes if subject)


def _by_language(languages: Mapping[str, str], outcomes: Mapping[str, list[Outcome]]) -> Any:
    """Every question of a language counts once, whichever task asks it; those that were trained on count in none."""
    return score_by((language, right) for task, language in languages.items() for _, right in outcomes.get(task, ()))


def _outcomes(plan: RunPlan, variant: str, task: str) -> Iterator[Outcome]:
    with _samples_file(plan.folder.evaluation, variant, task).open(encoding="utf-8") as lines:
        for line in lines:
            sample = json.loads(line)
            yield sample["doc"]["subject"], sample["acc"] == 1.0


def _sample_line(row: Mapping[str, Any]) -> str:
    """One sample as the harness's own tracker writes it: arguments by name, responses as text."""
    arguments = {f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(pair)} for i, pair in enumerate(row["arguments"])}
    texts = {name: sanitize_list(row[name]) for name in ("resps", "filtered_resps")}
    line = {**row, **texts, "arguments": arguments, "target": str(row["target"])}
    return json.dumps(line, default=handle_non_serializable, ensure_ascii=False) + "\n"


def _results_file(folder: Path, variant: str) -> Path:
    return folder / f"results_{variant}.json"


def _samples_file(folder: Path, variant: str, task: str) -> Path:
    return folder / f"samples_{variant}_{task}.jsonl"
