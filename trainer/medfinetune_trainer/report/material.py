"""The page's sections on what the model was made from: the records by count, the method, the plan."""

from __future__ import annotations

import json
from xml.etree.ElementTree import Element

from medfinetune_api.results import PackingReport, SourceShare

from medfinetune_trainer.report.elements import Child, el, facts, name, table
from medfinetune_trainer.report.plan_facts import method_facts
from medfinetune_trainer.report.run import Run
from medfinetune_trainer.report.words import percent


def data(run: Run) -> list[Element | None]:
    """Mixture and packing."""
    if run.prepared is None:
        return [el("p", "Prepare is not complete.")]
    return [_mixture(run.prepared.sources), _packing(run.prepared.packing)]


def made_from(run: Run) -> list[Element | None]:
    """Base, method, versions, hashes."""
    rows: list[tuple[str, Child]] = list(method_facts(run.plan))
    if run.prepared:
        chosen = run.prepared.chosen
        rows += [("base weights, SHA-256", el("code", run.prepared.weights_sha256)), ("sharding", str(chosen.sharding))]
        rows.append(("activation checkpointing", "on" if chosen.activation_checkpointing else "off"))
    if run.lineage:
        made = run.lineage.made_from
        rows.append(("versions", ", ".join(f"{library} {number}" for library, number in made.versions.items())))
        rows += [("image", made.image)] if made.image else []
    return [facts(rows)]


def plan(run: Run) -> list[Element | None]:
    """The plan as it is, to be opened; where its volumes are mounted tells nothing of the run, and the page is the same elsewhere."""
    told = {name: value for name, value in json.loads(run.plan.to_json()).items() if name != "mounts"}
    text = json.dumps(told, indent=1, ensure_ascii=False)
    return [el("details", el("summary", "Everything the run was told (plan.json, but for where its volumes are mounted)"), el("pre", text))]


def _mixture(sources: tuple[SourceShare, ...]) -> Element:
    head = ("source", "language", "domain", "read", "held out", "over-long", "tokens lost", "contaminated", "left out", "samples", "tokens", "share")
    return table(head, map(_share, sources), "Mixture: what an epoch trains on, by source", numbers_from=3)


def _share(one: SourceShare) -> tuple[Child, ...]:
    counts = (one.samples_read, one.validation, one.over_long, one.tokens_dropped, one.decontaminated, one.mixed_out, one.samples, one.tokens)
    return name(one.name), one.language, name(one.domain), *(f"{count:,}" for count in counts), percent(one.share)


def _packing(packing: PackingReport) -> Element:
    rows = [
        ("rows an epoch", f"{packing.rows_unpacked:,}", f"{packing.rows:,}"),
        ("share of the rows that holds tokens", percent(packing.efficiency_unpacked), percent(packing.efficiency)),
        ("steps an epoch", f"{packing.steps_per_epoch_unpacked:,}", f"{packing.steps_per_epoch:,}"),
    ]
    return table(("packing", "one sample a row", "packed"), rows, "Packing")
