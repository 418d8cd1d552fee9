"""The memory plan as tables for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

GIB = 1 << 30
PARTS = {
    "base": "frozen weights",
    "quantization": "constants of double quantization",
    "trained": "trained weights, fp32",
    "gradients": "their gradients, fp32",
    "optimizer": "optimizer states",
    "activations": "kept for the backward pass",
    "logits": "logits of the loss tokens",
    "buffers": "there for a moment",
}

Found = Mapping[str, Any]


def show(found: Found, out: Console, error: Console) -> None:
    """All tables of `medfinetune_trainer.tools.plan`'s object on `out`; its problems on `error`. One that holds problems alone has no tables."""
    if "chosen" in found:
        for table in (_chosen(found), _alternatives(found), _projection(found), _ablation(found)):
            out.print(table)
            out.print()
        out.print(_notes(found), style="dim")
    for problem in found["problems"]:
        error.print(Text.assemble(("error ", "bold red"), (problem["where"], "bold")), soft_wrap=True)
        for name, word in (("found", "found"), ("expected", "expected"), ("remedy", "do")):
            error.print(f"  {word:<10}{problem[name]}", soft_wrap=True)


def _chosen(found: Found) -> Table:
    one = found["chosen"]
    verdict = "chosen" if one["fits"] else "the least there is"
    table = _table(f"Memory of one rank at its peak, GiB: {_words(one)} ({verdict})", ("part", "what it is"), ("GiB",))
    for name, what in PARTS.items():
        table.add_row(name, what, _gib(one["memory"][name]))
    table.add_section()
    table.add_row("total", _limit(one["memory"]), _gib(one["memory"]["total"]))
    return table


def _alternatives(found: Found) -> Table:
    table = _table("What each choice takes, GiB", ("sharding", "activations"), ("rows a pass", "GiB", "fits"))
    for one in found["alternatives"]:
        table.add_row(one["sharding"], _kept(one), str(one["microBatch"]), _gib(one["memory"]["total"]), _fits(one))
    return table


def _projection(found: Found) -> Table:
    table = _table(f"The same method ({found['method']}) and GPU on other models, GiB", ("model", "setting"), ("parameters", "GiB", "fits"))
    for one in found["projection"]:
        table.add_row(one["model"], _words(one), f"{one['parameters'] / 1e9:.2f} B", _gib(one["memory"]["total"]), _fits(one))
    return table


def _ablation(found: Found) -> Table:
    table = _table("The study's ablation on this model, GB", ("step", "setting"), ("here, estimated", "study, MedGemma 4B on an L40S"))
    for one in found["ablation"]:
        table.add_row(one["step"], _words(one), f"{one['memory']['total'] / 1e9:.1f}", str(one["publishedGb"]))
    return table


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table


def _notes(found: Found) -> str:
    loss, evaluation = found["lossTokens"], found["evaluation"]
    source = "known" if loss["measured"] else "assumed until prepare has measured it"
    where = "by the whole gang, because one GPU is too small" if evaluation["onGang"] else "in one process"
    return (
        f"{loss['share']:.1%} of the tokens carry loss ({source}); rows of {found['maxLength']} tokens; ranks: {found['worldSize']}. "
        f"Evaluation takes {_gib(evaluation['bytes'])} GiB, {where}."
    )


def _words(one: Found) -> str:
    return f"sharding {one['sharding']}, activations {_kept(one)}, {one['microBatch']} {'row' if one['microBatch'] == 1 else 'rows'} a pass"


def _kept(one: Found) -> str:
    return "computed again" if one["activationCheckpointing"] else "kept"


def _fits(one: Found) -> str:
    return "-" if one["memory"]["limit"] is None else "yes" if one["fits"] else "no"


def _limit(memory: Found) -> str:
    return "no gpuMemory in the manifest" if memory["limit"] is None else f"of {_gib(memory['limit'])} GiB, gpuMemory less head-room"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"
