"""What the gates decided, and who released what they had stopped: for the page, the card and every other place that tells of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_gates import GateOutcome, GateReport, Release

from medfinetune_trainer.artifacts.quarantined import SAYS
from medfinetune_trainer.report.elements import Child, el, name, table
from medfinetune_trainer.report.words import percent


@dataclass(frozen=True)
class Judgement:
    """Of one run; without gates nothing was judged."""

    gates: tuple[GateOutcome, ...] = ()
    release: Release | None = None
    """By which decision it may be used against its gates; None of a run that nobody has released."""

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the gates that failed."""
        return tuple(outcome.gate.name for outcome in self.gates if not outcome.passed)

    @property
    def stopped(self) -> bool:
        """Whether the run is in quarantine."""
        return bool(self.failed) and self.release is None

    @property
    def heading(self) -> str:
        """The loud part; empty where every gate holds."""
        names = ", ".join(self.failed)
        if self.stopped:
            return f"{SAYS} {_gates(self.failed)} {names} and is not released. Use it for nothing."
        return f"Released although it failed {_gates(self.failed)} {names}." if self.failed else ""

    @property
    def decision(self) -> str:
        """Who released it, when and why, in the releaser's words; empty where nobody did."""
        return f"Released by {self.release.by} on {self.release.time:%Y-%m-%d %H:%M} UTC: {self.release.reason}" if self.release else ""


NOT_JUDGED = Judgement()


def judgement_of(plan: RunPlan, folder: RunFolder | None = None) -> Judgement:
    """As it stands in the run's folder, or in `folder` where the run was fetched elsewhere."""
    at = folder or plan.folder
    report, release = GateReport.read(at.gates), Release.read(at.release)
    if report is None or report.plan_sha256 != plan.sha256:
        return NOT_JUDGED
    counts = release is not None and release.plan_sha256 == plan.sha256 and not at.quarantine.exists()
    return Judgement(report.gates, release if counts else None)


def gates(judgement: Judgement) -> list[Element | None]:
    """The section's content."""
    if not judgement.gates:
        return [el("p", "The manifest names no gate: nothing was required of this model before it was delivered.")]
    rows = [_row(outcome) for outcome in judgement.gates]
    return [
        el("p", el("bdi", judgement.decision), class_="notice") if judgement.decision else None,
        table(("gate", "holds", "n", "measured", "what was found"), rows, "What had to hold before release, in the manifest's order", numbers_from=9),
    ]


def notices(judgement: Judgement) -> Iterable[Element]:
    """What a reader must not miss."""
    if judgement.heading:
        yield el("p", el("strong", judgement.heading), class_="notice")


def measured(outcome: GateOutcome) -> str:
    """The measurement with its interval, in per cent; a dash where there was none."""
    if outcome.value is None or outcome.low is None or outcome.high is None:
        return "–"
    return f"{percent(outcome.value)} [{percent(outcome.low)}, {percent(outcome.high)}]"


def _row(outcome: GateOutcome) -> tuple[Child, ...]:
    return name(outcome.gate.name), "yes" if outcome.passed else "NO", f"{outcome.n:,}", measured(outcome), el("bdi", outcome.sentence)


def _gates(names: tuple[str, ...]) -> str:
    return "the gate" if len(names) == 1 else "the gates"
