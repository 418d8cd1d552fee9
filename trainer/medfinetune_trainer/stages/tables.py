"""What prepare found, for a person: tables on a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import sys

from medfinetune_api.results import PackingReport, Prepared, SourceShare

from medfinetune_trainer.telemetry.log import say


def show(prepared: Prepared) -> None:
    """Write the mixture and what packing gained to stderr. Sources by name, counts and shares; no record text."""
    if sys.stderr.isatty():
        _show_tables(prepared)
        return
    for row in prepared.sources:
        say("mixture", **row.model_dump())
    say("packing", **prepared.packing.model_dump())
    say("chosen", **prepared.chosen.model_dump(mode="json"))


def _show_tables(prepared: Prepared) -> None:
    from rich.console import Console

    console = Console(stderr=True, markup=False, emoji=False)
    for table in (_mixture(prepared.sources), _packing(prepared.packing)):
        console.print(table)


def _mixture(rows: tuple[SourceShare, ...]) -> object:
    from rich.table import Table

    table = Table("source", "language", "domain", title="Mixture of an epoch")
    for name in ("read", "held out", "over-long", "tokens lost", "left out", "samples", "tokens", "share"):
        table.add_column(name, justify="right")
    for row in rows:
        counts = (row.samples_read, row.validation, row.over_long, row.tokens_dropped, row.mixed_out, row.samples, row.tokens)
        table.add_row(row.name, row.language, row.domain, *(f"{count:,}" for count in counts), f"{row.share:.1%}")
    return table


def _packing(report: PackingReport) -> object:
    from rich.table import Table

    table = Table("", title="Packing")
    for name in ("one sample a row", "packed"):
        table.add_column(name, justify="right")
    table.add_row("rows an epoch", f"{report.rows_unpacked:,}", f"{report.rows:,}")
    table.add_row("efficiency", f"{report.efficiency_unpacked:.1%}", f"{report.efficiency:.1%}")
    table.add_row("steps an epoch", f"{report.steps_per_epoch_unpacked:,}", f"{report.steps_per_epoch:,}")
    return table
