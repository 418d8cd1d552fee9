"""`report.html`: the whole run on one page, without a script, a font or an address of any kind. The same folder gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from medfinetune_trainer.report.accuracy import accuracy
from medfinetune_trainer.report.activation import activation
from medfinetune_trainer.report.calibration import calibration
from medfinetune_trainer.report.changes import changes_of
from medfinetune_trainer.report.checklist import checklist, section
from medfinetune_trainer.report.contamination import contamination
from medfinetune_trainer.report.elements import document, el, facts, name
from medfinetune_trainer.report.forgetting import forgetting
from medfinetune_trainer.report.gates import gates, notices
from medfinetune_trainer.report.groups import groups
from medfinetune_trainer.report.history import SHOWN
from medfinetune_trainer.report.material import data, made_from, plan
from medfinetune_trainer.report.memory import memory
from medfinetune_trainer.report.privacy import privacy
from medfinetune_trainer.report.run import Run
from medfinetune_trainer.report.style import STYLE
from medfinetune_trainer.report.texts import texts
from medfinetune_trainer.report.training import attempts, times, training
from medfinetune_trainer.report.words import LIMITS, NOT_FOR_CLINICAL_DECISIONS

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Lets a browser fetch nothing, whatever stands in the page."""


def page(run: Run) -> str:
    """The page of `run` as text."""
    identity = run.plan.identity
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", **{"http_equiv": "Content-Security-Policy", "content": POLICY}),
        el("meta", **{"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("title", f"{identity.name}: medfinetune report"),
        _style(),
    )
    return document(el("html", head, el("body", *_body(run)), lang="en"))


def _style() -> Element:
    made = Element("style")
    made.text = STYLE  # raw text in HTML: a constant of ours, nothing to escape
    return made


def _body(run: Run) -> Iterable[Element]:
    yield el("h1", "Report of ", name(run.plan.identity.name))
    yield el("p", run.state, class_="state")
    yield from notices(run.judgement)
    yield el("p", NOT_FOR_CLINICAL_DECISIONS, class_="notice")
    if run.ended and run.ended.exit_code:
        yield el("p", el("strong", f"{run.ended.stage} ended with {run.ended.reason} (exit code {run.ended.exit_code}). "), run.ended.message, class_="notice")
    yield facts(_who(run))
    yield from _notes(run)
    sections = list(_sections(run))
    yield el("nav", *(el("a", title, href=f"#{_anchor(title)}") for title, _ in sections), aria_label="Contents")
    for title, content in sections:
        yield el("section", el("h2", title, id=_anchor(title)), *content)


def _sections(run: Run) -> Iterable[tuple[str, Iterable[Element | None]]]:
    yield "Results", [*_results(run), *changes_of(run.changed)]
    if run.summary and run.summary.tasks:
        yield "What tuning changed", forgetting(run.summary, run.plan.evaluation.forgetting_threshold)
        yield "Calibration", calibration(run.summary)
    if run.activations and any(task.layers for task in run.activations.tasks):
        yield "Where the adapter acts", activation(run.activations)
    yield "Contamination", contamination(run.plan, run.contamination, run.summary)
    yield "Gates", gates(run.judgement)
    yield "Before it is used", section(checklist(run))
    yield "Training", training(run)
    yield "Memory", memory(run)
    yield "Time", times(run)
    yield "Attempts", attempts(run)
    yield "Data", data(run)
    yield "Personal data", privacy(run.plan, run.privacy)
    yield "What the model was made from", made_from(run)
    yield "What these figures do not show", [el("ul", *(el("li", limit) for limit in LIMITS))]
    yield "The plan", plan(run)


def _results(run: Run) -> list[Element | None]:
    summary = run.summary
    if summary is None and "summary.json" in run.damaged:
        return [el("p", "What was measured cannot be read: no accuracy is known.")]
    if summary is None:
        return [el("p", "The questions have not been asked yet: no accuracy is known.")]
    return [*accuracy(summary), *groups(summary), *texts(summary)]


def _who(run: Run) -> Iterable[tuple[str, Element | str]]:
    identity = run.plan.identity
    yield "run", name(f"{identity.folder}, namespace {identity.namespace}")
    yield "plan, SHA-256", el("code", run.plan.sha256)
    if run.lineage:
        yield "medfinetune", run.lineage.made_from.versions.get("medfinetune", "of an unknown version")


def _notes(run: Run) -> Iterable[Element]:
    if run.history.skipped:
        yield el("p", f"{run.history.skipped:,} lines of metrics.jsonl could not be read and are left out.", class_="notice")
    if run.damaged:
        yield el("p", f"Damaged, or of another plan, and left out: {', '.join(run.damaged)}.", class_="notice")
    if any(len(points) > SHOWN for points in run.history.steps.values()):
        yield el("p", f"Curves of more than {SHOWN} points show the least and the greatest of every stretch; metrics.jsonl has all.", class_="soft")


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
