"""What prepare found, for a person: tables on a terminal, one JSON object a line otherwise. No record text."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from medfinetune_api.results import Chosen, MemoryEstimate, PackingReport, Prepared, SourceShare

from medfinetune_trainer.memory.choose import Fit
from medfinetune_trainer.memory.words import described, gib
from medfinetune_trainer.telemetry.log import say


def show(prepared: Prepared) -> None:
    """Write the mixture, what packing gained, what was chosen and what it takes to stderr."""
    if sys.stderr.isatty():
        _show_tables(prepared)
        return
    for row in prepared.sources:
        say("mixture", **row.model_dump())
    say("packing", **prepared.packing.model_dump())
    say("chosen", **prepared.chosen.model_dump(mode="json"))
    if prepared.memory:
        say("memory", **prepared.memory.model_dump(exclude_none=True))


def show_misfits(fits: Iterable[Fit]) -> None:
    """Write to stderr what each choice takes, where none that the plan allows fits."""
    if sys.stderr.isatty():
        _print(_alternatives(fits))
        return
    for fit in fits:
        say("does not fit" if not fit.fits else "would fit", setting=described(fit.setting), bytes=fit.memory.total, limit=fit.memory.limit)


def _show_tables(prepared: Prepared) -> None:
    _print(_mixture(prepared.sources), _packing(prepared.packing))
    if prepared.memory:
        _print(_memory_line(prepared.chosen, prepared.memory))


def _print(*shown: object) -> None:
    from rich.console import Console

    console = Console(stderr=True, markup=False, emoji=False)
    for each in shown:
        console.print(each)


def _memory_line(chosen: Chosen, memory: MemoryEstimate) -> str:
    limit = f" of {gib(memory.limit)}" if memory.limit is not None else ""
    return f"Memory of a rank: {gib(memory.total)}{limit}; {described(chosen)}"


def _alternatives(fits: Iterable[Fit]) -> object:
    from rich.table import Table

    table = Table("setting", title="What each choice takes")
    for name in ("takes", "of"):
        table.add_column(name, justify="right")
    for fit in fits:
        table.add_row(described(fit.setting), gib(fit.memory.total), gib(fit.memory.limit or 0))
    return table


def _mixture(rows: tuple[SourceShare, ...]) -> object:
    from rich.table import Table

    table = Table("source", "language", "domain", title="Mixture of an epoch")
    for name in ("read", "held out", "over-long", "tokens lost", "contaminated", "left out", "samples", "tokens", "share"):
        table.add_column(name, justify="right")
    for row in rows:
        counts = (row.samples_read, row.validation, row.over_long, row.tokens_dropped, row.decontaminated, row.mixed_out, row.samples, row.tokens)
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
