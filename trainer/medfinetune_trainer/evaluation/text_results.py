"""From samples of answers in words to what stays of them, and of a task without options what they are worth: means, comparisons, English words, terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import TaskPlan
from medfinetune_api.results_evaluation import CodeMixing, GlossaryUse, Mean, TextScores

from medfinetune_trainer.evaluation import results
from medfinetune_trainer.evaluation.answers import Answer
from medfinetune_trainer.evaluation.code_mixing import code_mixing, in_latin_letters
from medfinetune_trainer.evaluation.comparison import compare_means, mean
from medfinetune_trainer.evaluation.glossary import Glossary, glossary_of, use


def text_answer(sample: Mapping[str, Any]) -> Answer:
    """What stays of a sample whose answer is text: which question, and its measurements."""
    doc = sample["doc"]
    measured = {metric: sample[metric] for metric in sample["metrics"]}
    return Answer(where=doc["where"], question=sha256(doc["question"].encode()).hexdigest(), subject=doc["subject"], measured=measured)


def letter_answer(sample: Mapping[str, Any]) -> Answer:
    """What stays of a sample whose letter was read from the answer; there is no likelihood to be sure by, and no choice where several letters are named."""
    doc, (named,) = sample["doc"], sample["filtered_resps"]
    return Answer(
        where=doc["where"],
        question=sha256(doc["prompt"].encode()).hexdigest(),
        subject=doc["subject"],
        groups=tuple(doc["groups"]),
        right=sample["exact_match"] == 1.0,
        chosen=doc["choices"].index(named) if named in doc["choices"] else None,
    )


def text_scores(plan: RunPlan, task: TaskPlan, base: Sequence[Answer], tuned: Sequence[Answer], available: int) -> TextScores:
    """What the answers to `task` are worth; `base` is empty without a baseline, `available` counts the file's questions. Raises InvalidData (a glossary)."""
    values, seed = [_values(task.metrics, answers) for answers in (base, tuned)], plan.training.seed
    mixing, before_mixing, terms = _words(plan, task, baseline=bool(base))
    return TextScores(
        task=task.name,
        language=task.language,
        version=results.version(plan.folder.evaluation, task.name),
        questions=len(tuned),
        available=available,
        seen=task.seen,
        base=_means(values[0], seed),
        tuned=_means(values[1], seed),
        comparisons={metric: compare_means(values[0][metric], now, seed) for metric, now in values[1].items() if values[0].get(metric)},
        base_code_mixing=before_mixing,
        tuned_code_mixing=mixing,
        glossary=terms,
    )


def means(metrics: Iterable[str], answers: Sequence[Answer], seed: int) -> dict[str, Mean]:
    """What `answers` are worth by metric; one that none of them has is left out."""
    return _means(_values(metrics, answers), seed)


def _values(metrics: Iterable[str], answers: Sequence[Answer]) -> dict[str, list[float]]:
    """By metric, in the order of asking. A question whose reference has no entity has no EntityF1, whoever answers it."""
    return {str(metric): [answer.measured[metric] for answer in answers if metric in answer.measured] for metric in metrics}


def _means(values: Mapping[str, Sequence[float]], seed: int) -> dict[str, Mean]:
    return {metric: mean(found, seed) for metric, found in values.items() if found}


def _words(plan: RunPlan, task: TaskPlan, *, baseline: bool) -> tuple[CodeMixing | None, CodeMixing | None, GlossaryUse | None]:
    """English words of the tuned model and of the base, and the site's terms in both, as far as the language and the plan let them be counted."""
    tuned = list(results.samples(plan.folder.evaluation, "tuned", task.name))
    base = list(results.samples(plan.folder.evaluation, "base", task.name)) if baseline else None
    glossary, references = glossary_of(plan, task.language), [sample["doc"]["reference"] for sample in tuned]
    terms = use(glossary, references, _texts(tuned), None if base is None else _texts(base)) if glossary else None
    asked = [f"{sample['doc']['question']}\n{reference}" for sample, reference in zip(tuned, references, strict=True)]
    if task.language.lower().split("-")[0] == "en" or in_latin_letters(asked):
        return None, None, terms
    mixing = [None if samples is None else code_mixing(_texts(samples), asked, glossary or Glossary()) for samples in (tuned, base)]
    return mixing[0], mixing[1], terms


def _texts(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """The greedy answers."""
    return [sample["filtered_resps"][0] for sample in samples]
