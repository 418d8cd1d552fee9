"""The checklist's items on decisions and proof: gates, release, lineage, signature, requester; and what only people can answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from medfinetune_trainer.artifacts.signing import Signature
from medfinetune_trainer.artifacts.verification import Verdict
from medfinetune_trainer.report.checklist_items import CARD, GATES, LINEAGE, RELEASE, SIGNATURE, Item, State
from medfinetune_trainer.report.run import Run

GATE = Item("gates", "Does it meet what was required before training?", "TRIPOD+AI 12e; WHO 2023, Risk management")
RELEASED = Item("released", "Who released it, and why?", "WHO 2023, Documentation and transparency; DECIDE-AI 5")
USE = Item(
    "intended-use",
    "Are intended use, users and limits stated?",
    "TRIPOD+AI 3b, 26, 27; CONSORT-AI 2a(i); DECIDE-AI 2; Model cards, Intended Use",
    finding="A run does not know what it will be used for: a person must say. The general limits of its figures stand in report and card.",
    evidence=("report.html", CARD),
)
CLINICAL = Item(
    "clinical",
    "Was it evaluated with its users, in their work, with safety watched?",
    "DECIDE-AI 3, 6, 7, 13; CONSORT-AI 19; WHO 2023, Intended use, analytical and clinical validation",
    finding="Examination questions are no patients: nothing here is a clinical evaluation.",
)
AFTER = Item(
    "after",
    "Is it settled who watches it in use, and how it is withdrawn?",
    "TRIPOD+AI 27; WHO 2023, Risk management; WHO 2024, on audit after release",
    finding="Not part of a run.",
)
WHOLE = Item("lineage", "Is what lies here what was trained and judged?", "CONSORT-AI 5(i); DECIDE-AI 4a; WHO 2023, Documentation and transparency")
SIGNED = Item("signed", "Did the site sign it?", "WHO 2023, Documentation and transparency")
ASKED = Item("requester", "Is it proven who asked for it?", "WHO 2023, Documentation and transparency")
VERIFY = "Not checked here: `medfinetune checklist` and `medfinetune verify` check it."


def trust_items(run: Run, verdict: Verdict | None) -> Iterator[Item]:
    """Every item on decisions and proof; `verdict` is of the folder as it lies, None where nobody has looked."""
    yield _gates(run)
    yield _released(run)
    yield _whole(verdict)
    yield _signed(verdict)
    yield _asked(run)
    yield USE
    yield CLINICAL
    yield AFTER


def _gates(run: Run) -> Item:
    judgement = run.judgement
    if not judgement.gates:
        return replace(GATE, finding="No gate was set: nothing was required.")
    failed = [outcome.sentence for outcome in judgement.gates if not outcome.passed]
    finding = " ".join(failed) or f"All {len(judgement.gates)} gates hold."
    return replace(GATE, state=State.FAILED if failed else State.DONE, finding=finding, evidence=(GATES,))


def _released(run: Run) -> Item:
    if run.judgement.release:
        return replace(RELEASED, state=State.DONE, finding=run.judgement.decision, evidence=(RELEASE,))
    if run.judgement.stopped:
        return replace(RELEASED, state=State.FAILED, finding=f"Nobody: quarantined by {', '.join(run.judgement.failed)}.", evidence=(GATES,))
    return replace(RELEASED, finding="No person: it was delivered when it was evaluated, and no decision to use it is recorded.")


def _whole(verdict: Verdict | None) -> Item:
    if verdict is None:
        return replace(WHOLE, finding=VERIFY, evidence=(LINEAGE,))
    if verdict.problems:
        first = verdict.problems[0]
        finding = f"It does not verify: {len(verdict.problems)} problems, the first {first.where}: {first.found}."
        return replace(WHOLE, state=State.FAILED, finding=finding, evidence=(LINEAGE,))
    lineage = verdict.lineage
    finding = f"{len(verdict.held)} files and {lineage.attempts.entries} attempts are as they were left; base {lineage.made_from.base_sha256[:12]}."
    return replace(WHOLE, state=State.DONE, finding=finding, evidence=(LINEAGE,))


def _signed(verdict: Verdict | None) -> Item:
    if verdict is None:
        return replace(SIGNED, finding=VERIFY)
    state = {Signature.HOLDS: State.DONE, Signature.DOES_NOT_HOLD: State.FAILED}.get(verdict.signature, State.OPEN)
    evidence = () if verdict.signature is Signature.UNSIGNED else (SIGNATURE,)
    return replace(SIGNED, state=state, finding=f"Signature: {verdict.signature}.", evidence=evidence)


def _asked(run: Run) -> Item:
    if run.lineage is None:
        return replace(ASKED, finding="Not known here: lineage.json, which is written last, says it.")
    asked = run.lineage.made_from.requester
    finding = f"{asked.name}, {'as an admission policy proved' if asked.verified else 'unverified'}."
    return replace(ASKED, state=State.DONE if asked.verified else State.OPEN, finding=finding, evidence=(LINEAGE,))
