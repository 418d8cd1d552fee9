"""The pre-deployment checklist: what was measured is done with its figure, what failed is failed, and what nobody measured or can measure stays open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from medfinetune_api.choices import PrivacyAction
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_calibration import Calibration
from medfinetune_api.results_evaluation import Clean, EvaluationSummary, Orders, TextScores
from medfinetune_api.results_gates import GateOutcome, Release
from medfinetune_api.results_privacy import PrivacyReport
from medfinetune_api.results_screening import AcrossLanguages, ContaminationReport
from medfinetune_trainer.artifacts.maker import Requester
from medfinetune_trainer.artifacts.verification import verify
from medfinetune_trainer.evaluation.comparison import compare, compare_means
from medfinetune_trainer.evaluation.statistics import score
from medfinetune_trainer.report.card import card, plain
from medfinetune_trainer.report.checklist import checklist, markdown
from medfinetune_trainer.report.checklist_items import Item, State
from medfinetune_trainer.report.gates import Judgement
from medfinetune_trainer.report.page import page
from medfinetune_trainer.report.run import Run, read_run
from medfinetune_trainer.tools.checklist import filled
from support.gates import gate
from support.html_page import Page
from support.told import complete_run, prepared_of, summary_of

FOR_PEOPLE = {"origin", "robustness", "free-text", "intended-use", "clinical", "after"}
"""What no run of today settles, whatever it holds."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    return complete_run(tmp_path_factory.mktemp("output"))


@pytest.fixture
def run(plan: RunPlan) -> Run:
    return read_run(plan.folder.root)


def states(items: list[Item]) -> dict[str, State]:
    return {item.key: item.state for item in items}


def best(run: Run) -> Run:
    """The same with all that a run can have, at its best."""
    assert run.summary
    assert run.lineage
    [task] = run.summary.tasks
    score_of = score(number < 30 for number in range(80))
    bins = Calibration(error=0.1, low=0.05, high=0.15, bins=())
    orders = Orders(orders=2, accuracy=score_of, consistent=0.9, chosen_letters=(0.5, 0.5))
    compared = compare([False] * 80, [number < 40 for number in range(80)])
    more: dict[str, Any] = {"comparison": compared, "tuned_calibration": bins, "tuned_orders": orders, "clean": Clean(contaminated=0, tuned=score_of)}
    change = {"language": "en", "before": score_of, "after": score_of, "comparison": compared, "forgotten": False}
    summary = EvaluationSummary.model_validate(run.summary.model_dump() | {"tasks": [task.model_copy(update=more)], "changes": [change]})
    made_from = run.lineage.made_from.model_copy(update={"requester": Requester(name="erika", verified=True)})
    held = GateOutcome(gate=gate(name="law", task="exam", minimum=0.1), n=80, value=0.5, low=0.4, high=0.6, passed=True, sentence="It holds.")
    release = Release(plan_sha256=run.plan.sha256, by="dr-kim", reason="Reviewed", time=datetime.now(UTC), gates=(), lineage_sha256="0" * 64, files={})
    return replace(
        run,
        summary=summary,
        lineage=run.lineage.model_copy(update={"made_from": made_from}),
        judgement=Judgement((held,), release),
        privacy=privacy(run.plan, 0, names=True),
        contamination=contamination(run.plan, 0),
    )


def privacy(plan: RunPlan, flagged: int, *, names: bool = False, action: PrivacyAction = PrivacyAction.WARN) -> PrivacyReport:
    source = {"source": "medqa", "language": "en", "records": 1272, "flagged": flagged}
    language = {"language": "en", "recognizers": ["PHONE_NUMBER"], "names_scanned": names}
    return PrivacyReport.model_validate({"plan_sha256": plan.sha256, "action": action, "sources": [source], "languages": [language], "findings": []})


def contamination(plan: RunPlan, found: int, action: str = "Report") -> ContaminationReport:
    task = {"task": "exam", "language": "en", "questions": 80, "contaminated": found, "rate": found / 80, "sources": [], "flagged": []}
    whole = {"plan_sha256": plan.sha256, "action": action, "remove_from": "Evaluation", "ngram_threshold": 0.5, "records": 1272, "left_out": 0}
    return ContaminationReport.model_validate(whole | {"languages": [], "across": [], "tasks": [task], "repeats": []})


def test_a_run_that_measured_little_has_little_done_and_nothing_is_claimed(run: Run) -> None:
    found = states(checklist(run))
    assert {key for key, state in found.items() if state is State.DONE} == {"data", "languages", "subjects", "base", "forgetting", "calibration"}
    assert {key for key, state in found.items() if state is State.OPEN} == {*found} - {"data", "languages", "subjects", "base", "forgetting", "calibration"}
    assert FOR_PEOPLE | {"privacy", "names", "contamination", "option-order", "gates", "released", "lineage", "signed", "requester"} <= {*found}
    nothing = states(checklist(replace(run, prepared=None, summary=None, lineage=None)))
    assert set(nothing.values()) == {State.OPEN}


def test_the_best_run_leaves_open_what_only_people_can_answer(run: Run, plan: RunPlan) -> None:
    items = checklist(best(run), verify(plan.folder.root))
    assert {item.key for item in items if item.state is not State.DONE} == FOR_PEOPLE | {"signed"}
    assert all(item.evidence and item.finding and item.guidance for item in items if item.state is State.DONE)
    assert len({item.key for item in items}) == len(items)
    known = {item.key: item.finding for item in items}
    assert known["calibration"] == "Expected calibration error: exam 10.0 % [5.0 %, 15.0 %]."
    assert known["data"] == "An epoch: medqa (en, medical) 1,144 records, 100.0 %."
    assert known["released"].startswith("Released by dr-kim on ")


def worse(run: Run) -> Run:
    assert run.summary
    lost = compare([True] * 80, [number < 20 for number in range(80)])
    return replace(run, summary=run.summary.model_copy(update={"tasks": (run.summary.tasks[0].model_copy(update={"comparison": lost}),)}))


def worse_in_words(run: Run) -> Run:
    """Free text lost 60 points; the examination nothing."""
    assert run.summary
    fell = compare_means([0.8] * 80, [0.2] * 80)
    text = TextScores(task="notes", language="en", version="1", questions=80, available=80, seen=False, base={}, tuned={}, comparisons={"F1": fell})
    return replace(run, summary=run.summary.model_copy(update={"texts": (text,)}))


def trained_on(run: Run) -> Run:
    """Whatever was measured was measured on questions that were trained on."""
    assert run.summary
    seen = {part: tuple(each.model_copy(update={"seen": True}) for each in getattr(run.summary, part)) for part in ("tasks", "changes")}
    return replace(run, summary=run.summary.model_copy(update=seen))


def forgetful(run: Run) -> Run:
    assert run.summary
    [change] = run.summary.changes
    return replace(run, summary=run.summary.model_copy(update={"changes": (change.model_copy(update={"forgotten": True}),)}))


def stopped(run: Run) -> Run:
    [outcome] = run.judgement.gates
    return replace(run, judgement=Judgement((outcome.model_copy(update={"passed": False, "sentence": "Below 10 %."}),)))


def untranslated(run: Run) -> Run:
    """Korean records, which no model compared with the English questions."""
    found = contamination(run.plan, 0)
    return replace(run, contamination=found.model_copy(update={"across": (AcrossLanguages(questions="en", records="ko"),)}))


SPOILT: list[tuple[Callable[[Run], Run], dict[str, State], str]] = [
    (lambda run: replace(run, privacy=privacy(run.plan, 3)), {"privacy": State.FAILED, "names": State.OPEN}, "3 of 1,272 records"),
    (lambda run: replace(run, privacy=privacy(run.plan, 3, names=True, action=PrivacyAction.REDACT)), {}, "action Redact"),
    (lambda run: replace(run, contamination=contamination(run.plan, 8)), {"contamination": State.OPEN}, "8 of 80 questions resemble"),
    (lambda run: replace(run, contamination=contamination(run.plan, 8, "Remove")), {}, "action Remove"),
    (untranslated, {"contamination": State.OPEN}, "Translations were not looked for (en with ko)."),
    (worse, {"base": State.FAILED}, "-75.0 points"),
    (worse_in_words, {"base": State.FAILED}, "notes F1 -60.0 points"),
    (
        trained_on,
        dict.fromkeys(("languages", "subjects", "base", "forgetting", "calibration", "option-order"), State.OPEN),
        "questions that were not trained on",
    ),
    (forgetful, {"forgetting": State.FAILED}, "1 of 1 tasks, languages and subjects lost more"),
    (stopped, {"gates": State.FAILED, "released": State.FAILED}, "Below 10 %."),
]


@pytest.mark.parametrize(("spoil", "expected", "finding"), SPOILT)
def test_what_is_wrong_shows_in_its_own_item_alone(run: Run, plan: RunPlan, spoil: Callable[[Run], Run], expected: dict[str, State], finding: str) -> None:
    verdict = verify(plan.folder.root)
    items = checklist(spoil(best(run)), verdict)
    assert states(items) == states(checklist(best(run), verdict)) | expected
    assert any(finding in item.finding for item in items)


def test_a_damaged_run_fails_its_lineage(tmp_path: Path) -> None:
    plan = complete_run(tmp_path)
    (plan.folder.adapter / "adapter_model.safetensors").write_text("Weights")
    found = {item["key"]: item for item in filled(plan.folder.root, None)["items"]}
    assert (found["lineage"]["state"], "adapter/adapter_model.safetensors" in found["lineage"]["finding"]) == ("failed", True)
    assert found["signed"]["state"] == "open"


def test_page_card_and_command_show_every_item_alike(run: Run, plan: RunPlan) -> None:
    items = checklist(run)
    shown = Page(page(run))
    text = card(plan, prepared_of(plan), summary_of(plan, ("doctor", "law")), whole=False, checks=items)
    assert "## Before it is used" in text
    for item in items:
        assert {item.question, item.guidance} <= {*shown.by_tag["td"]}
        assert item.finding in shown.text
        assert f"{item.question} {plain(item.finding)}" in text
    opened = sum(item.state is State.OPEN for item in items)
    assert (text.count("- [ ] OPEN: "), shown.by_tag["td"].count("OPEN")) == (opened, opened)
    assert markdown(items, plain) in text
