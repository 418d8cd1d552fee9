"""Gates on a language or a subject, by every metric that an answer keeps: each against the figure of exactly the answers it speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest
from medfinetune_api.choices import Format, GateMetric, Scoring, TextMetric
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import GatePlan, TaskPlan
from medfinetune_api.results_evaluation import CodeMixing, TextScores
from medfinetune_trainer.evaluation.answers import Answer, write_answers
from medfinetune_trainer.evaluation.calibration import calibration
from medfinetune_trainer.evaluation.comparison import compare_means, mean
from medfinetune_trainer.gates.decide import decide
from medfinetune_trainer.gates.demands import refuse_undecidable
from support.gates import gate, gated, summary
from support.plans import task_plan
from support.told import filled_run

SUBJECTS = ("law", "ward")
N = 40
"""Answers a task, half of them of each subject."""


def words(name: str, language: str, *metrics: TextMetric, seen: bool = False) -> TaskPlan:
    return task_plan(name=name, path=f"{name}.jsonl", format=Format.QUESTION_ANSWER, language=language, metrics=metrics, seen=seen)


TASKS = (
    task_plan(name="letters", path="letters.jsonl", format=Format.MEDQA, language="ko"),
    task_plan(name="more", path="more.jsonl", format=Format.MEDQA, language="ko"),
    task_plan(name="written", path="written.jsonl", format=Format.MEDQA, language="ko", scoring=Scoring.GENERATION),
    words("notes", "ko", TextMetric.F1, TextMetric.ENTITY_F1),
    words("leaflets", "ko", TextMetric.F1),
    words("learnt", "ko", TextMetric.F1, seen=True),
)
MEASURED = {"notes": (0.8, 0.6), "leaflets": (0.4, 0.3), "learnt": (1.0, 1.0)}
"""F1 of base and tuned model, a hundredth more with every question."""


def asked(name: str) -> list[tuple[Answer, Answer]]:
    """Base's and tuned model's answers to a task. Every fourth reference has an entity; letters that are written have no likelihood."""
    return [(_answer(name, number, 0), _answer(name, number, 1)) for number in range(N)]


def _answer(name: str, number: int, side: int) -> Answer:
    where = {"where": f"{name}:{number}", "question": f"{len(name):032x}{number:032x}", "subject": SUBJECTS[number % 2]}
    if name not in MEASURED:
        sure = None if name == "written" else (0.5 if name == "more" else 0.9) + number / 1000
        return Answer(**where, right=number % 3 == side, chosen=0, confidence=sure)
    f1 = MEASURED[name][side] - number / 100 * 0.5
    return Answer(**where, measured={"F1": f1} | ({"EntityF1": f1 / 2} if name == "notes" and number % 4 == 0 else {}))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    """A run that asked TASKS, and has kept the answers."""
    run = filled_run(tmp_path_factory.mktemp("output"))
    run = run.model_copy(update={"evaluation": run.evaluation.model_copy(update={"tasks": TASKS})})
    for task in TASKS:
        for side, variant in enumerate(("base", "tuned")):
            write_answers(run.folder, variant, task.name, [pair[side] for pair in asked(task.name)])
    return run


def values(metric: str, *tasks: str, subject: str | None = None) -> tuple[list[float], list[float]]:
    """Base's and tuned model's measurements of the answers to `tasks`."""
    pairs = [pair for task in tasks for pair in asked(task) if subject in (None, pair[1].subject) and metric in pair[1].measured]
    return [base.measured[metric] for base, _ in pairs], [tuned.measured[metric] for _, tuned in pairs]


@pytest.mark.parametrize(
    ("scope", "tasks"),
    [({"language": "ko"}, ("notes", "leaflets")), ({"task": "notes", "subject": "law"}, ("notes",))],
    ids=["language", "subject"],
)
@pytest.mark.parametrize("metric", [TextMetric.F1, TextMetric.ENTITY_F1])
def test_answers_in_words_are_judged_by_language_and_subject(plan: RunPlan, scope: dict[str, str], tasks: tuple[str, ...], metric: TextMetric) -> None:
    """Not what was trained on, and not another subject."""
    before, after = values(metric, *tasks, subject=scope.get("subject"))
    level = decide(plan, gate(metric=GateMetric(metric), minimum=0.1, **scope), summary())
    expected = mean(after, plan.training.seed)
    assert (level.n, level.value, level.low, level.high) == (expected.n, expected.mean, expected.low, expected.high)
    drop = decide(plan, gate(metric=GateMetric(metric), max_drop=0.5, **scope), summary())
    compared = compare_means(before, after, plan.training.seed)
    assert (drop.n, drop.value, drop.low, drop.high) == (compared.n, -compared.difference, -compared.high, -compared.low)
    assert drop.passed is (compared.n >= 30), "fewer than 30 decide nothing"


@pytest.mark.parametrize(("scope", "tasks"), [({"language": "ko"}, ("letters", "more")), ({"task": "letters", "subject": "ward"}, ("letters",))])
def test_calibration_is_judged_by_language_and_subject(plan: RunPlan, scope: dict[str, str], tasks: tuple[str, ...]) -> None:
    answers = [tuned for task in tasks for _, tuned in asked(task) if scope.get("subject") in (None, tuned.subject)]
    expected = calibration([answer.confidence or 0 for answer in answers], [bool(answer.right) for answer in answers], plan.training.seed)
    found = decide(plan, gate(metric=GateMetric.CALIBRATION_ERROR, maximum=1, **scope), summary())
    assert (found.n, found.value, found.low, found.high) == (len(answers), expected.error, expected.low, expected.high)


def test_code_mixing_of_a_language_counts_the_answers_of_all_its_tasks(plan: RunPlan) -> None:
    def text(task: str, n: int, share: float) -> TextScores:
        mixing = CodeMixing(n=n, answers=share, words=share)
        return TextScores(task=task, language="ko", version="1", questions=n, available=n, seen=False, base={}, tuned={}, tuned_code_mixing=mixing)

    told = summary(texts=(text("notes", 30, 0.1), text("leaflets", 70, 0.1), text("learnt", 100, 1.0)))
    found = decide(plan, gate(language="ko", metric=GateMetric.CODE_MIXING, maximum=0.5), told)
    assert (found.n, found.value, found.passed) == (100, pytest.approx(0.1), True)


def test_answers_that_one_of_two_alone_has_measured_are_no_comparison(plan: RunPlan, tmp_path: Path) -> None:
    other = plan.model_copy(update={"identity": plan.identity.model_copy(update={"name": "earlier"})})
    compared = gate(task="notes", subject="law", metric=GateMetric.ENTITY_F1, max_drop=1, against=other.identity.folder)
    before = [tuned for _, tuned in asked("notes")]
    write_answers(other.folder, "tuned", "notes", before)
    assert decide(plan, compared, summary()).value == 0
    write_answers(other.folder, "tuned", "notes", [before[0].model_copy(update={"measured": {}}), *before[1:]])
    assert "EntityF1 does not measure the same answers of this run and earlier-" in decide(plan, compared, summary()).sentence


SUBJECTS_ASKED = {task.name: SUBJECTS for task in TASKS}


@pytest.mark.parametrize(
    ("asked_for", "found"),
    [
        (gate(language="ko", metric=GateMetric.BLEU, minimum=0), "Bleu, which no unseen task in ko measures; expected one of Accuracy, CalibrationError, F1"),
        (gate(task="notes", subject="law", metric=GateMetric.CODE_MIXING, maximum=1), "CodeMixing of a subject, which task notes does not measure"),
        (gate(task="written", subject="law", metric=GateMetric.CALIBRATION_ERROR, maximum=1), "CalibrationError, which task written does not measure"),
        (gate(task="letters", subject="law", metric=GateMetric.F1, minimum=0), "F1, which task letters does not measure"),
    ],
)
def test_a_group_without_that_metric_is_refused_before_anything_is_trained(plan: RunPlan, asked_for: GatePlan, found: str) -> None:
    with pytest.raises(InvalidManifest, match=rf"spec\.evaluation\.gates\[gate\]\.metric: found {found}"):
        refuse_undecidable(gated(plan, asked_for), SUBJECTS_ASKED)


def test_every_group_that_was_judged_here_is_let_through(plan: RunPlan) -> None:
    scopes = ({"language": "ko"}, {"task": "notes", "subject": "law"})
    gates = [gate(metric=metric, minimum=0, **scope) for scope in scopes for metric in (GateMetric.F1, GateMetric.ENTITY_F1)]
    gates += [gate(metric=metric, maximum=1, language="ko") for metric in (GateMetric.CALIBRATION_ERROR, GateMetric.CODE_MIXING)]
    refuse_undecidable(gated(plan, *gates), SUBJECTS_ASKED)
