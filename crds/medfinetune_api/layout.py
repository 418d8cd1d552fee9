"""Where everything of a run lies on the output volume: names only, no file access.

One folder a run, `<name>-<uid8>/`, so that a run with the name of a deleted one never takes its artifacts for its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from medfinetune_api.choices import Method, Retained

WORKING = {
    Retained.DATA: "data",
    Retained.SAMPLES: "evaluation/samples_*.jsonl",
    Retained.CHECKPOINTS: "checkpoints",
}
"""What `output.retain` can keep, as patterns relative to the run's folder."""

UNFINISHED = (".cache-*", ".*.????????", "evaluation/.*.????????", "checkpoints/.*.????????")
"""What a killed stage leaves: libraries' caches, and files and folders that never took their name (`.name.` and eight more). Nothing keeps these."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    root: Path

    @property
    def plan(self) -> Path:
        """The RunPlan, as it was when prepare first saw it."""
        return self.root / "plan.json"

    @property
    def prepared(self) -> Path:
        """What prepare measured and chose; its presence means that prepare is complete."""
        return self.root / "prepared.json"

    @property
    def data(self) -> Path:
        """Tokenised documents (Arrow), packing indexes and their manifest. Holds record text in token form."""
        return self.root / "data"

    @property
    def data_manifest(self) -> Path:
        """Counts, hashes, packing efficiency and dropped samples of `data/`."""
        return self.data / "manifest.json"

    @property
    def checkpoints(self) -> Path:
        """`step-N/` folders; one is complete when its `manifest.json` is there and its hashes hold."""
        return self.root / "checkpoints"

    @property
    def final(self) -> Path:
        """The trained adapter before evaluation has passed it; its presence means that train is complete, until evaluate moves it."""
        return self.checkpoints / "final"

    @property
    def adapter(self) -> Path:
        """The adapter in plain PEFT layout; evaluate renames it here once it may be used."""
        return self.root / "adapter"

    @property
    def model(self) -> Path:
        """Whole weights in Hugging Face layout: what method Full trained, or the adapter merged into its base where `output.merge` asks."""
        return self.root / "model"

    def released(self, method: Method) -> Path:
        """What evaluate renames `final` to once it may be used: `model/` of method Full, `adapter/` of all others."""
        return self.model if method is Method.FULL else self.adapter

    @property
    def evaluation(self) -> Path:
        """lm-evaluation-harness's results and samples, and `summary.json`."""
        return self.root / "evaluation"

    @property
    def summary(self) -> Path:
        """The EvaluationSummary; its presence means that evaluate is complete."""
        return self.evaluation / "summary.json"

    def answers(self, variant: str, task: str) -> Path:
        """Which questions of `task` the `base` or `tuned` model answered rightly and how surely, without their text: what two runs are compared by."""
        return self.evaluation / f"answers_{variant}_{task}.jsonl"

    @property
    def contamination(self) -> Path:
        """Which questions resemble training records, by file and line and without their text."""
        return self.root / "contamination.json"

    @property
    def privacy(self) -> Path:
        """What seems to be personal data in the training records, counted by type and source."""
        return self.root / "privacy.json"

    @property
    def activations(self) -> Path:
        """In which decoder layers a low-rank adapter acts, by task."""
        return self.evaluation / "activations.json"

    @property
    def gates(self) -> Path:
        """What every gate measured and decided."""
        return self.evaluation / "gates.json"

    @property
    def quarantine(self) -> Path:
        """What was trained and failed a gate: `final` under this name, which nothing that looks for an adapter reads."""
        return self.root / "quarantine"

    @property
    def release(self) -> Path:
        """Who released what a gate had stopped, when and why."""
        return self.root / "release.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: every training step, validation and memory sample."""
        return self.root / "metrics.jsonl"

    @property
    def report(self) -> Path:
        """The whole run on one page, which opens without a network."""
        return self.root / "report.html"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def lineage(self) -> Path:
        """What the run was made from, and the hash of every file that it leaves."""
        return self.root / "lineage.json"

    @property
    def signature(self) -> Path:
        """The lineage, signed by the site's key: a DSSE envelope around an in-toto Statement."""
        return self.root / "lineage.dsse.json"

    @property
    def attempts(self) -> Path:
        """One JSON object a line: every attempt whose work is in the run, each with the hash of the line before it."""
        return self.root / "attempts.jsonl"

    def purged(self, retain: Collection[Retained]) -> tuple[str, ...]:
        """Patterns, relative to the folder, of what does not stay when the run has ended."""
        return (*(pattern for kind, pattern in WORKING.items() if kind not in retain), *UNFINISHED)
