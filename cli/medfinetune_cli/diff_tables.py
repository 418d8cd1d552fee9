"""Two runs side by side, as tables for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from medfinetune_cli.output import console

LONGEST = 48
"""Characters of a value that a table shows; JSON has all."""


def show(answer: dict[str, Any]) -> None:
    """Print what `tools/diff` answered: fields, what the runs were made from, attempts, results."""
    out = console("stdout")
    for letter in ("a", "b"):
        out.print(f"{letter.upper()}  {answer[letter]['folder']}: {answer[letter]['state']}", soft_wrap=True)
    out.print()
    for title, rows in (("Plan", answer["plan"]), ("Made from", answer["madeFrom"])):
        out.print(_fields(title, rows) if rows else f"{title}: the same", soft_wrap=not rows)
    out.print(f"Attempts: {' and '.join(_attempts(each) for each in answer['attempts'])}", soft_wrap=True)
    out.print(_results(answer["results"]) if answer["results"] else "Results: neither run has been evaluated")


def _fields(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table("field", "A", "B", title=f"{title}: what differs", title_justify="left")
    for row in rows:
        table.add_row(Text(row["field"]), _shown(row["a"]), _shown(row["b"]))
    return table


def _shown(value: Any) -> Text:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Text(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def _attempts(found: list[dict[str, Any]]) -> str:
    stages = [each["stage"] for each in found]
    return f"{len(found)} ({', '.join(f'{stages.count(stage)} {stage}' for stage in dict.fromkeys(stages))})" if found else "none recorded"


def _results(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Results of the tuned models, in %: B less A on the questions that both answered", title_justify="left")
    for name in ("task", "metric"):
        table.add_column(name)
    for name in ("n", "A", "B", "difference"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(Text(row["task"]), row["metric"], *_result(row))
    return table


def _result(row: dict[str, Any]) -> Iterator[str]:
    compared = row["comparison"]
    yield str(compared["n"]) if compared else "-"
    for side in ("a", "b"):
        figure = row[side]
        yield f"{100 * figure.get('accuracy', figure.get('mean')):.1f} of {figure['n']}" if figure else "-"
    interval = f" [{100 * compared['low']:+.1f}, {100 * compared['high']:+.1f}]" if compared else ""
    yield "-" if row["difference"] is None else f"{100 * row['difference']:+.1f}{interval}"
    yield row["verdict"]
