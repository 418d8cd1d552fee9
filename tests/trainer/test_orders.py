"""Questions in several orders of their options: which orders, what is then asked, and what the answers show of a model that knows, or that only likes A."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import factorial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import Format
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import TaskScores
from medfinetune_trainer.artifacts.files import new_folder
from medfinetune_trainer.data.formats.prompts import choices_prompt, english_prompt, korean_prompt, mmlu_prompt
from medfinetune_trainer.data.records import Message, Record
from medfinetune_trainer.evaluation import results
from medfinetune_trainer.evaluation.exams import exam_tasks
from medfinetune_trainer.evaluation.orders import in_other_orders, option_orders, orders_summary, reordered
from medfinetune_trainer.evaluation.questions import read_questions
from medfinetune_trainer.evaluation.statistics import wilson_interval
from medfinetune_trainer.evaluation.summary import summarise
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.stages.ask import ask
from medfinetune_trainer.stages.asked import questions_of
from medfinetune_trainer.stages.prepared import require_prepared
from support.evaluation import EXAMPLE, KORMEDMCQA, MEDQA, evaluation_plan, mark_prepared, task, tiny_base
from support.models import adapted, save_adapter

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FORMS: tuple[Callable[[str, Sequence[str]], str], ...] = (
    english_prompt,
    korean_prompt,
    choices_prompt,
    lambda question, options: mmlu_prompt(question, options, "anatomy"),
)


def question(options: Sequence[str], answer: int, form: Callable[[str, Sequence[str]], str] = english_prompt, text: str = "Which?") -> Record:
    choices = tuple(LETTERS[: len(options)])
    turns = Message("user", form(text, options)), Message("assistant", choices[answer])
    return Record(f"a.jsonl:{text}", "1", "s", "en", "", "", turns, text, tuple(options), choices, answer)


@given(st.integers(2, 26), st.integers(1, 24), st.integers(0, 99), st.text(max_size=3))
def test_orders_are_different_drawn_and_balanced(options: int, wanted: int, seed: int, text: str) -> None:
    orders = option_orders(options, wanted, seed, text)
    assert orders == option_orders(options, wanted, seed, text)
    assert orders[0] == tuple(range(options))
    assert len(set(orders)) == len(orders) == min(wanted, factorial(options))
    assert all(sorted(order) == list(range(options)) for order in orders)
    for block in range(0, len(orders) - options + 1, options):
        under = Counter((letter, option) for order in orders[block : block + options] for letter, option in enumerate(order))
        assert set(under.values()) == {1}
        assert len(under) == options**2


def test_which_orders_depends_on_seed_and_question() -> None:
    drawn = {tuple(option_orders(5, 2, seed, text)) for seed in range(20) for text in "ab"}
    assert len(drawn) == 4, "each of the four other rotations is drawn"
    assert [len(option_orders(options, 24, 0, "")) for options in (2, 3, 4)] == [2, 6, 24]


@settings(max_examples=50)
@given(st.lists(st.text(max_size=8), min_size=2, max_size=6, unique=True), st.data(), st.sampled_from(FORMS), st.text(max_size=30))
def test_what_is_asked_is_the_form_on_the_reordered_options(
    texts: list[str], data: st.DataObject, form: Callable[[str, Sequence[str]], str], text: str
) -> None:
    """Also where a question quotes its own options."""
    text = f"{text} {english_prompt(text, texts)}"
    answer, order = data.draw(st.integers(0, len(texts) - 1)), tuple(data.draw(st.permutations(range(len(texts)))))
    asked = reordered(question(texts, answer, form, text), order)
    moved = [texts[index] for index in order]
    assert asked.prompt == form(text, moved)
    assert (asked.options, asked.options[asked.answer], asked.messages[-1].content) == (tuple(moved), texts[answer], asked.choices[asked.answer])
    assert asked.where == question(texts, answer, form, text).where


def samples(asked: Sequence[Record], orders: Sequence[Sequence[int]] | None, choose: Callable[[Record], int]) -> list[dict[str, Any]]:
    """What the harness would write of a model that chooses so."""
    written = []
    for number, record in enumerate(asked):
        letter = choose(record)
        doc: dict[str, Any] = {"where": record.where} | ({"order": list(orders[number])} if orders is not None else {})
        answers = [[str(-1.0 if index == letter else -2.0), "False"] for index in range(len(record.choices))]
        written.append({"doc": doc, "filtered_resps": answers, "acc": float(letter == record.answer)})
    return written


@pytest.mark.parametrize(
    ("choose", "accuracy", "consistent", "letters"),
    [
        (lambda record: 0, 0.25, 0.0, (1.0, 0.0, 0.0, 0.0)),
        (lambda record: record.answer, 1.0, 1.0, (0.25,) * 4),
        (lambda record: record.options.index("b"), 0.25, 1.0, (0.25,) * 4),
    ],
    ids=["likes A", "knows", "always takes b"],
)
def test_knowledge_and_letter_bias_are_told_apart(choose: Callable[[Record], int], accuracy: float, consistent: float, letters: tuple[float, ...]) -> None:
    """All answers stand under A in the file, so that in its own order who likes A and who knows look the same; `b` is right in one question of four."""
    asked = [question(["right", "b", "c", "d"], 0, text=f"{number}") for number in range(6)] + [
        question(["b", "a", "c", "d"], 0, text=f"b{number}") for number in range(2)
    ]
    others, orders = in_other_orders(asked, 4, seed=0)
    found = orders_summary(4, samples(asked, None, choose), samples(others, orders, choose))
    assert (found.orders, found.accuracy.n, found.accuracy.accuracy, found.consistent, found.chosen_letters) == (4, 8, accuracy, consistent, letters)
    assert (found.accuracy.low, found.accuracy.high) == wilson_interval(accuracy * 8, 8)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    """Both of the example's test sets, asked of base and tuned model in three orders; the summary is read from what this left."""
    base = tiny_base(tmp_path_factory.mktemp("models") / "base")
    asked = (
        task("medqa", MEDQA, Format.MEDQA, "en", EXAMPLE, limit=12).model_copy(update={"option_orders": 3}),
        task("kormedmcqa", KORMEDMCQA, Format.KORMEDMCQA, "ko", EXAMPLE),
    )
    plan = evaluation_plan(tmp_path_factory.mktemp("output"), base, asked)
    with new_folder(plan.folder.final) as folder:
        save_adapter(adapted(base), folder, plan.model.path)
    mark_prepared(plan)
    ask(plan, require_prepared(plan), Ranks.here(), torch.device("cpu"), plan.folder.root)
    return plan


def scored(plan: RunPlan) -> dict[str, TaskScores]:
    summary = summarise(plan, {name: found.available for name, found in questions_of(plan).items()})
    return {scores.task: scores for scores in summary.tasks}


def test_every_order_is_asked_of_both_and_the_headline_is_the_files_own(evaluated: RunPlan) -> None:
    scores = scored(evaluated)["medqa"]
    for variant, orders, headline in (("base", scores.base_orders, scores.base), ("tuned", scores.tuned_orders, scores.tuned)):
        assert orders is not None
        assert headline is not None
        in_file, others = (list(results.samples(evaluated.folder.evaluation, variant, name)) for name in ("medqa", "medqa.orders"))
        assert (len(in_file), len(others), headline.n, orders.accuracy.n, orders.orders) == (12, 24, 12, 12, 3)
        assert headline.accuracy == sum(sample["acc"] for sample in in_file) / 12
        assert orders.accuracy.accuracy == pytest.approx(sum(sample["acc"] for sample in in_file + others) / 36)
        chosen = [max(range(4), key=lambda index: float(sample["filtered_resps"][index][0])) for sample in in_file + others]  # used at once
        assert orders.chosen_letters == pytest.approx([chosen.count(letter) / 36 for letter in range(4)])
        texts: dict[str, set[str]] = {}
        for sample, letter in zip(in_file + others, chosen, strict=True):
            texts.setdefault(sample["doc"]["where"], set()).add(option_text(sample["doc"]["prompt"], letter))
        assert orders.consistent == sum(len(found) == 1 for found in texts.values()) / 12
        assert len({sample["doc"]["prompt"] for sample in in_file + others}) == 36
    assert scored(evaluated)["kormedmcqa"].tuned_orders is None


def option_text(prompt: str, letter: int) -> str:
    return next(line for line in reversed(prompt.splitlines()) if line.startswith(f"{LETTERS[letter]}. "))[3:]


def test_what_a_crash_left_of_the_other_orders_is_asked_again(evaluated: RunPlan) -> None:
    before = scored(evaluated)
    (evaluated.folder.evaluation / "samples_tuned_medqa.orders.jsonl").unlink()
    written = (evaluated.folder.evaluation / "results_base.json").stat().st_mtime_ns
    ask(evaluated, require_prepared(evaluated), Ranks.here(), torch.device("cpu"), evaluated.folder.root)
    assert scored(evaluated) == before
    assert (evaluated.folder.evaluation / "results_base.json").stat().st_mtime_ns == written


def test_years_of_an_examination_are_scored_apart(evaluated: RunPlan) -> None:
    scores = scored(evaluated)["kormedmcqa"]
    asked = read_questions(evaluated.evaluation.tasks[1], EXAMPLE, 0).asked
    years = Counter(f"year={record.year}" for record in asked)
    expected = years if len(years) > 1 else {}
    for groups in (scores.base_by_group, scores.tuned_by_group):
        assert {label: score.n for label, score in groups.items() if label.startswith("year")} == expected
    rows = list(results.samples(evaluated.folder.evaluation, "tuned", "kormedmcqa"))
    for label, score in scores.tuned_by_group.items():
        right = [row["acc"] for row in rows if label in row["doc"]["groups"]]
        assert (score.n, score.accuracy) == (len(right), sum(right) / len(right))


def test_a_prompt_is_recorded_with_as_many_options_as_the_longest_question_has() -> None:
    exam = task("usmle", MEDQA, Format.USMLE, "en", EXAMPLE)
    (made,) = exam_tasks(exam, [question(["a", "b"], 0), question(list("abcdefg"), 6)], seed=0)
    assert made.config.metadata["prompt"] == english_prompt("{question}", [f"{{{letter}}}" for letter in "ABCDEFG"])
