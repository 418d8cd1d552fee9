"""Gates: a truth table over bounds and intervals, what too few questions cannot do, scopes, another run, and what is refused before anything is trained."""

from __future__ import annotations

from math import inf, log, sqrt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import DecidedBy, GateMetric, Scoring, TextMetric
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_calibration import Calibration
from medfinetune_api.results_evaluation import Change, CodeMixing, Mean, TextScores
from medfinetune_trainer.evaluation.answers import Answer, write_answers
from medfinetune_trainer.evaluation.comparison import compare, compare_means, mean
from medfinetune_trainer.evaluation.statistics import score
from medfinetune_trainer.gates.decide import FEWEST, decide, passes
from medfinetune_trainer.gates.demands import refuse_undecidable
from medfinetune_trainer.gates.measurement import Measurement
from medfinetune_trainer.gates.noninferiority import greatest_loss
from scipy.optimize import minimize_scalar
from support.gates import exam, gate, gated, summary
from support.told import filled_run, summary_of

SHARES = st.sampled_from([0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0])
Z = 1.959963984540054


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    """A run that asks one examination, `exam`."""
    return filled_run(tmp_path_factory.mktemp("output"))


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(["minimum", "maximum", "max_drop"]), bound=SHARES, ends=st.tuples(SHARES, SHARES, SHARES), by=st.sampled_from(DecidedBy))
def test_a_gate_holds_exactly_where_its_end_of_the_interval_satisfies_the_bound(kind: str, bound: float, ends: tuple[float, ...], by: DecidedBy) -> None:
    low, value, high = sorted(ends)
    metric = GateMetric.CALIBRATION_ERROR if kind == "maximum" else GateMetric.ACCURACY
    asked = gate(task="exam", metric=metric, decided_by=by, **{kind: bound})
    held = {
        ("minimum", DecidedBy.INTERVAL): bound <= low,
        ("minimum", DecidedBy.ESTIMATE): bound <= value,
        ("maximum", DecidedBy.INTERVAL): high <= bound,
        ("maximum", DecidedBy.ESTIMATE): value <= bound,
        ("max_drop", DecidedBy.INTERVAL): high <= bound,
        ("max_drop", DecidedBy.ESTIMATE): value <= bound,
    }
    assert passes(asked, Measurement(100, value, low, high)) is held[kind, by]
    few = Measurement(FEWEST - 1, value, low, high, bootstrapped=True)
    assert passes(asked, few) is (by is DecidedBy.ESTIMATE and held[kind, by])
    assert passes(asked, Measurement(100, float("nan"), float("nan"), float("nan"))) is False


def score_statistic(n: int, gained: int, lost: int, loss: float) -> float:
    """Tango's statistic with the restricted estimate found by a search of the multinomial likelihood, not by its closed form."""

    def negative(share_gained: float) -> float:
        share_lost = share_gained + loss
        same = 1 - share_gained - share_lost
        parts = ((gained, share_gained), (lost, share_lost), (n - gained - lost, same))
        return inf if any(part <= 0 and count for count, part in parts) else -sum(count * log(part) for count, part in parts if count)

    best = minimize_scalar(negative, bounds=(max(0.0, -loss), (1 - loss) / 2), method="bounded", options={"xatol": 1e-12}).x
    return (n * loss - (lost - gained)) / sqrt(n * (2 * best + loss - loss * loss))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(5, 400), shares=st.tuples(st.floats(0, 0.4), st.floats(0, 0.4)))
def test_the_greatest_loss_is_where_the_score_test_begins_to_reject(n: int, shares: tuple[float, float]) -> None:
    gained, lost = (round(n * share) for share in shares)
    end = greatest_loss(n, gained, lost)
    assert (lost - gained) / n < end <= 1
    if end < 0.999:
        assert score_statistic(n, gained, lost, end) == pytest.approx(Z, abs=2e-3)


def test_without_a_changed_answer_the_greatest_loss_has_a_closed_form() -> None:
    for n in (1, 2, 30, 1000):
        assert greatest_loss(n, 0, 0) == pytest.approx(Z**2 / (n + Z**2), abs=1e-9)


def test_too_few_questions_cannot_pass_however_well_they_were_answered(plan: RunPlan) -> None:
    all_right = [True] * 12
    for asked in (gate(task="exam", minimum=0.8), gate(task="exam", max_drop=0.05)):
        assert not decide(plan, asked, summary(exam(all_right, all_right))).passed
        assert decide(plan, asked.model_copy(update={"decided_by": DecidedBy.ESTIMATE}), summary(exam(all_right, all_right))).passed
        assert decide(plan, asked, summary(exam(all_right * 20, all_right * 20))).passed


def test_the_drop_is_the_comparison_the_other_way_round(plan: RunPlan) -> None:
    base, tuned = [True] * 120 + [False] * 80, [True] * 100 + [False] * 70 + [True] * 30
    compared = compare(base, tuned)
    found = decide(plan, gate(task="exam", max_drop=0.1), summary(exam(base, tuned)))
    assert (found.n, found.value, found.low) == (200, -compared.difference, -compared.high)
    assert found.high == max(-compared.low, greatest_loss(200, compared.gained, compared.lost))
    held, end = "held" if found.passed else "not held", f"{100 * found.high:.2f} %"
    lost = f"lost {100 * -compared.difference:.2f} % [{100 * -compared.high:.2f} %, {end}] of 200 questions against the base"
    assert found.sentence == f"Accuracy of exam: {lost}; at most 10.00 % may be lost, {held} by its upper end, {end}."


def test_each_scope_and_metric_is_looked_up_where_it_is_measured(plan: RunPlan) -> None:
    """Each measured thing has a figure of its own, so that no look-up can hit another's."""
    right = {"whole": 90, "cardiology": 80, "language": 70}
    answers = {name: [number < count for number in range(100)] for name, count in right.items()}
    scores = exam([True] * 200, answers["whole"] * 2, {"cardiology": answers["cardiology"], "law": [True]})
    scores = scores.model_copy(update={"tuned_calibration": Calibration(error=0.11, low=0.06, high=0.17, bins=())})
    rows = {"cardiology": ("exam", "cardiology"), "language": (None, None)}
    changes = tuple(
        Change(task=task, language="en", subject=subject, before=score([True] * 100), after=score(answers[name]), forgotten=False,
               comparison=compare([True] * 100, answers[name]))
        for name, (task, subject) in rows.items()
    )  # fmt: skip
    means = {metric.value: mean([0.3 + 0.1 * number] * 40) for number, metric in enumerate(TextMetric)}
    text = TextScores(task="notes", language="ko", version="1", questions=40, available=40, seen=False, base={}, tuned=means,
                      comparisons={"F1": compare_means([0.5] * 40, [0.25] * 40)}, tuned_code_mixing=CodeMixing(n=50, answers=0.04, words=0.2))  # fmt: skip
    told = summary(scores, tuned_by_language={"en": score(answers["language"])}, changes=changes, texts=(text,))
    expected = [
        (gate(task="exam", minimum=0.5), 0.9),
        (gate(task="exam", subject="cardiology", minimum=0.5), 0.8),
        (gate(language="en", minimum=0.5), 0.7),
        (gate(task="exam", max_drop=0.5), 0.1),
        (gate(task="exam", subject="cardiology", max_drop=0.5), 0.2),
        (gate(language="en", max_drop=0.5), 0.3),
        (gate(task="exam", metric=GateMetric.CALIBRATION_ERROR, maximum=0.5), 0.11),
        (gate(task="notes", metric=GateMetric.CODE_MIXING, maximum=0.5), 0.04),
        (gate(task="notes", metric=GateMetric.F1, max_drop=0.5), 0.25),
        *((gate(task="notes", metric=GateMetric(metric.value), minimum=0.1), 0.3 + 0.1 * number) for number, metric in enumerate(TextMetric)),
    ]
    for asked, value in expected:
        found = decide(plan, asked, told)
        assert (found.value, found.passed) == (pytest.approx(value), True), found.sentence
    code_mixing = decide(plan, expected[7][0], told)
    assert (code_mixing.low, code_mixing.high) == (score([True] * 2 + [False] * 48).low, score([True] * 2 + [False] * 48).high)


@pytest.mark.parametrize(
    "asked",
    [
        gate(task="exam", subject="radiology", minimum=0),
        gate(task="exam", subject="radiology", max_drop=1),
        gate(task="exam", metric=GateMetric.CALIBRATION_ERROR, maximum=1),
        gate(task="exam", metric=GateMetric.F1, minimum=0),
        gate(task="notes", metric=GateMetric.BLEU, minimum=0),
        gate(task="notes", metric=GateMetric.BLEU, max_drop=1),
        gate(task="notes", metric=GateMetric.CODE_MIXING, maximum=1),
        gate(language="ko", minimum=0),
        gate(language="ko", max_drop=1),
        gate(task="exam", max_drop=1, against="earlier-00000000"),
    ],
)
@pytest.mark.parametrize("by", DecidedBy)
def test_what_was_not_measured_fails_its_gate_and_says_so(plan: RunPlan, asked: object, by: DecidedBy) -> None:
    text = TextScores(task="notes", language="en", version="1", questions=1, available=1, seen=False, base={}, tuned={"F1": Mean(n=1, mean=1, low=1, high=1)})
    found = decide(plan, gate(**dict(asked) | {"decided_by": by}), summary(exam([True], [True], {"law": [True]}), texts=(text,)))  # type: ignore[call-overload]  # a model's fields
    assert (found.passed, found.n, found.value) == (False, 0, None)
    assert "not measured, and so not passed" in found.sentence


def answered(folder: RunFolder, right: list[bool], first: int = 0, f1: float = 0.5, task: str = "exam") -> None:
    """What the tuned model of a run answered to questions numbered from `first`; every other one is of subject law."""
    rows = [
        Answer(where=f"exam.jsonl:{number}", question=f"{first + number:064x}", subject=("law", "doctor")[number % 2], right=answer, measured={"F1": f1})
        for number, answer in enumerate(right)
    ]
    write_answers(folder, "tuned", task, rows)


def test_another_run_is_compared_question_by_question(tmp_path: Path) -> None:
    plan = filled_run(tmp_path)
    other = RunFolder(tmp_path / "earlier-00000000")
    before, after = [True] * 90 + [False] * 10, [False] * 5 + [True] * 95
    answered(other, before)
    answered(plan.folder, after, f1=0.4)
    found = decide(plan, gate(task="exam", max_drop=0.2, against="earlier-00000000"), summary())
    assert (found.passed, found.n, found.value) == (True, 100, pytest.approx(-compare(before, after).difference))
    law = decide(plan, gate(task="exam", subject="law", max_drop=0.2, against="earlier-00000000"), summary())
    assert (law.n, law.value) == (50, pytest.approx(-compare(before[::2], after[::2]).difference))
    language = decide(plan, gate(language="en", max_drop=0.2, against="earlier-00000000"), summary())
    assert language.value == found.value
    f1 = decide(plan, gate(task="exam", metric=GateMetric.F1, max_drop=0.2, against="earlier-00000000"), summary())
    assert f1.value == pytest.approx(0.1)
    answered(other, before, first=1)
    moved = decide(plan, gate(task="exam", max_drop=1, against="earlier-00000000"), summary())
    assert not moved.passed
    assert "asked other questions in task exam: 100, of 100 here 99 the same" in moved.sentence


def test_a_file_in_two_tasks_weighs_no_more_than_in_one(tmp_path: Path) -> None:
    plan = filled_run(tmp_path)
    (task,) = plan.evaluation.tasks
    twice = (task, task.model_copy(update={"name": "again"}), task.model_copy(update={"name": "learnt", "seen": True}))
    plan = plan.model_copy(update={"evaluation": plan.evaluation.model_copy(update={"tasks": twice})})
    other = RunFolder(tmp_path / "earlier-00000000")
    for folder in (other, plan.folder):
        for name in ("exam", "again"):
            answered(folder, [True] * 40, task=name)
    found = decide(plan, gate(language="en", max_drop=0.05, against="earlier-00000000"), summary())
    assert (found.n, found.high, found.passed) == (40, greatest_loss(40, 0, 0), False)
    answered(plan.folder, [True] * 39, task="again")
    fewer = decide(plan, gate(task="again", max_drop=1, against="earlier-00000000"), summary())
    assert "asked other questions in task again: 40, of 39 here 39 the same" in fewer.sentence


def test_no_change_among_few_does_not_rule_out_a_loss(plan: RunPlan) -> None:
    """60 answers of which none changed: the bootstrap alone would end at 5 points and less, Tango's interval at 6."""
    unchanged = summary(exam([True] * 60, [True] * 60))
    found, bootstrap = decide(plan, gate(task="exam", max_drop=0.05), unchanged), compare([True] * 60, [True] * 60)
    assert (found.passed, found.high) == (False, greatest_loss(60, 0, 0))
    assert -bootstrap.low <= 0.05 < found.high


def test_a_gate_that_could_only_fail_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    plan = filled_run(tmp_path)
    for asked, field, found in (
        (gate(task="exam", subject="radiology", minimum=0.5), "subject", "'radiology', of which task exam asks nothing"),
        (gate(task="exam", metric=GateMetric.F1, minimum=0.5), "metric", "F1, which task exam does not measure"),
        (gate(language="en", metric=GateMetric.F1, minimum=0.5), "metric", "F1, which no unseen task in en measures; expected one of Accuracy, Calibr"),
        (gate(task="exam", max_drop=0.1, against="never-00000000"), "against", "no such folder on the output volume"),
        (gate(task="exam", max_drop=0.1, against=plan.identity.folder), "against", "this run itself"),
    ):
        with pytest.raises(InvalidManifest, match=rf"spec\.evaluation\.gates\[gate\]\.{field}: found .*{found}"):
            refuse_undecidable(gated(plan, asked), {"exam": ["law", "doctor"]})
    refuse_undecidable(gated(plan, gate(task="exam", subject="law", minimum=0.5)), {"exam": ["law"]})


def test_a_run_that_was_asked_otherwise_is_refused_and_one_that_was_asked_the_same_is_not(tmp_path: Path) -> None:
    plan = filled_run(tmp_path)
    other = plan.model_copy(update={"identity": plan.identity.model_copy(update={"name": "earlier"})})
    asked = gate(task="exam", max_drop=0.1, against=other.identity.folder)
    other.folder.evaluation.mkdir(parents=True)
    with pytest.raises(InvalidManifest, match="a run that is not evaluated"):
        refuse_undecidable(gated(plan, asked), {"exam": []})
    other.folder.summary.write_text(summary_of(other, ["law"]).to_json())
    other.folder.plan.write_text(other.to_json())
    refuse_undecidable(gated(plan, asked), {"exam": []})
    (task,) = other.evaluation.tasks
    changed = other.evaluation.model_copy(update={"tasks": (task.model_copy(update={"scoring": Scoring.GENERATION}),)})
    other.folder.plan.write_text(other.model_copy(update={"evaluation": changed}).to_json())
    with pytest.raises(InvalidManifest, match="which asks exam otherwise, or not at all"):
        refuse_undecidable(gated(plan, asked), {"exam": []})
