"""The page's sections on training: its curves, how long it took, and when it began and began again."""

from __future__ import annotations

from datetime import UTC
from xml.etree.ElementTree import Element

from medfinetune_trainer.report.chart import Line, beside, by_language, chart
from medfinetune_trainer.report.elements import Child, el, facts, name, table
from medfinetune_trainer.report.history import History, Try
from medfinetune_trainer.report.run import Run
from medfinetune_trainer.report.words import duration, figure

STEP = "optimizer step"
EVENTS = 200
"""Events that are shown: the first ones."""


def training(run: Run) -> list[Element | None]:
    """Loss, validation by language, learning rate and gradient."""
    history = run.history
    if not history.steps["loss"]:
        return [el("p", "No step of training is recorded.")]
    losses = [Line("training", history.steps["loss"]), *by_language(history.validations.get("loss", {}), "validation, ")]
    accuracies = by_language(history.validations.get("accuracy", {}))
    return [
        chart("Loss: mean cross-entropy of the tokens that carry loss", STEP, "nats a token", losses),
        _validation(history),
        chart("Validation: share of loss tokens predicted", STEP, "share, 0 to 1", accuracies, from_zero=True),
        beside(
            chart("Learning rate", STEP, "learning rate", [Line("learning rate", history.steps["learning_rate"])], from_zero=True),
            chart("Gradient norm before clipping", STEP, "norm", [Line("gradient norm", history.steps["gradient_norm"])], from_zero=True),
        ),
    ]


def times(run: Run) -> list[Element | None]:
    """How long steps took."""
    history = run.history
    seconds = [value for _, value in history.steps["seconds"]]
    if not seconds:
        return [el("p", "No step of training is recorded.")]
    half = sorted(seconds)[len(seconds) // 2]
    rows = [
        ("steps recorded", f"{len(seconds):,}"),
        ("time in steps", duration(sum(seconds))),
        ("a step", f"median {figure(half)} s, least {figure(min(seconds))} s, greatest {figure(max(seconds))} s"),
        ("tokens a second", figure(history.tokens / sum(seconds)) if sum(seconds) else "–"),
        ("checkpoints written", f"{history.checkpoints:,}"),
    ]
    drawn = chart("Time of a step", STEP, "seconds", [Line("seconds a step", history.steps["seconds"])], from_zero=True)
    return [facts(rows), drawn]


def attempts(run: Run) -> list[Element | None]:
    """When training began, and began again."""
    tries = run.history.tries
    if not tries:
        return [el("p", "Training has not begun.")]
    head = ("attempt", "began", "from step", "to step", "processes", "micro-batch", "device", "last sign of life", "then")
    rows = [_attempt(run, number, one) for number, one in enumerate(tries)]
    told = [(kind, ", ".join(f"{key} {value}" for key, value in figures.items())) for kind, figures in run.history.events]
    more = f" The first {EVENTS} of {len(told):,}." if len(told) > EVENTS else ""
    return [
        table(head, rows, "Steps after the last checkpoint of an attempt were done again by the next, and count there.", numbers_from=2, words=3),
        table(("event", "figures"), told[:EVENTS], f"What else happened.{more}", numbers_from=2) if told else None,
    ]


def _attempt(run: Run, number: int, one: Try) -> tuple[str, ...]:
    began = one.started.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    surroundings = (one.figures.get(key, "–") for key in ("world_size", "micro_batch", "device"))
    lived = duration((one.last - one.started).total_seconds())
    return str(number + 1), began, f"{one.step:,}", f"{one.reached:,}", *surroundings, f"{lived} later", _then(run, number)


def _validation(history: History) -> Element | None:
    losses = history.validations.get("loss", {})
    if not losses:
        return None
    rows = [_validated(history, language) for language in sorted(losses)]
    head = ("language", "step", "loss, nats a token", "perplexity", "share of loss tokens predicted", "least loss, at step")
    return table(head, rows, "Validation: records that were never trained on, as last measured")


def _validated(history: History, language: str) -> tuple[Child, ...]:
    losses = history.validations["loss"][language]
    found = [history.validations.get(which, {}).get(language) for which in ("loss", "perplexity", "accuracy")]
    last = (figure(points[-1][1]) if points else "–" for points in found)
    step, least = min(losses, key=lambda point: point[1])
    return name(language), f"{losses[-1][0]:,.0f}", *last, f"{figure(least)}, {step:,.0f}"


def _then(run: Run, number: int) -> str:
    tries = run.history.tries
    if number + 1 < len(tries):
        waited = duration((tries[number + 1].started - tries[number].last).total_seconds())
        return f"ended; begun again {waited} after"
    if run.summary:
        return "trained to its end"
    if run.ended and run.ended.stage == "train" and run.ended.exit_code:
        return f"ended: {run.ended.reason}"
    return "not known from here"
