"""`python -m medfinetune_trainer.tools.diff A B`: what tells two runs apart, and what became of it. Needs no torch, starts nothing.

One JSON object on stdout: fields of the plan, what the runs were made from, attempts, and every result that either has. Where both kept their answers, a
result is compared question by question (`evaluation.comparison`: paired bootstrap, McNemar, Holm over the rows): of these alone it is said whether the
difference is beyond the noise.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medfinetune_api.errors import OutputConflict, Refusal
from medfinetune_api.layout import RunFolder
from medfinetune_api.results_evaluation import Comparison, Mean, Score

from medfinetune_trainer.artifacts import attempts
from medfinetune_trainer.evaluation.answers import Answer, paired, read_answers
from medfinetune_trainer.evaluation.comparison import compare, compare_means, corrected
from medfinetune_trainer.report.run import Run, read_run

ELSEWHERE = {"identity.name": "metadata.name", "identity.namespace": "metadata.namespace"} | {
    f"parallelism.{name}": f"spec.resources.{name}" for name in ("gpuMemory", "gpuMemoryHeadroom")
}
"""Fields of a plan that a manifest has in another place than below `spec`."""
ACCURACY = "accuracy"
Row = tuple[str, str]
"""Task and metric."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print what tells two runs apart and return the exit code."""
    parser = argparse.ArgumentParser(prog="diff", description="Explain two runs.")
    parser.add_argument("a", type=Path, help="the earlier run's folder, or all that was fetched of it")
    parser.add_argument("b", type=Path, help="the later run's")
    arguments = parser.parse_args(argv)
    try:
        answer = {"exitCode": 0} | difference(arguments.a, arguments.b)
    except Refusal as refusal:
        facts = {"where": refusal.where, "found": refusal.found, "expected": refusal.expected, "remedy": refusal.remedy}
        answer = {"exitCode": int(refusal.exit), "reason": refusal.reason, "problems": [facts]}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    return int(answer["exitCode"])


def difference(a: Path, b: Path) -> dict[str, Any]:
    """What tells the runs in two folders apart. Raises OutputConflict where one has no plan that can be read."""
    runs = read_run(a), read_run(b)
    made = [_made_from(run) for run in runs]
    return {
        "a": _named(a, runs[0]),
        "b": _named(b, runs[1]),
        "plan": list(_unequal(*(_plan(run) for run in runs))),
        "madeFrom": list(_unequal(made[0], made[1])),
        "attempts": [[json.loads(each.to_json()) for each in attempts.read(RunFolder(root))] for root in (a, b)],
        "results": _results(a, b, *runs),
    }


def _named(root: Path, run: Run) -> dict[str, Any]:
    return {"folder": str(root), "name": run.plan.identity.name, "planSha256": run.plan.sha256, "state": run.state}


def _unequal(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Fields of either that the other has not, or has otherwise: absent is null."""
    for field in dict.fromkeys((*a, *b)):
        if a.get(field) != b.get(field):
            yield {"field": field, "a": a.get(field), "b": b.get(field)}


def _plan(run: Run) -> dict[str, Any]:
    """Every value of a plan by its place in the manifest; what lies in a list is named by its name."""
    plan = json.loads(run.plan.to_json())
    del plan["mounts"], plan["identity"]["uid"]
    flat = dict(_flat(plan, ""))
    return {ELSEWHERE.get(path, f"spec.{path}"): value for path, value in flat.items()}


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(part, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for number, part in enumerate(value):
            yield from _flat(part, f"{path}[{part.get('name', number)}]")
    else:
        yield path, value


def _made_from(run: Run) -> dict[str, Any]:
    """What the lineage tells; of a run without one, what prepare found."""
    if run.lineage is None:
        return {"baseSha256": run.prepared.weights_sha256} if run.prepared else {}
    made = json.loads(run.lineage.made_from.to_json())
    made["data"] = {f"data/{path}": digest for path, digest in made["data"].items()}
    flat = {name: value for name, value in made.items() if not isinstance(value, dict)}
    versions = {f"versions.{name}": number for name, number in made["versions"].items()}
    return {**flat, **made["data"], **versions, "requester": made["requester"]["name"]}


def _results(a: Path, b: Path, first: Run, second: Run) -> list[dict[str, Any]]:
    """Each task and metric that either has, in the order of `b`."""
    figures, compared = [_figures(run) for run in (first, second)], _compared(a, b, first, second)
    rows = dict.fromkeys((*figures[1], *figures[0]))
    return [_result(row, figures[0].get(row), figures[1].get(row), compared.get(row)) for row in rows]


def _result(row: Row, a: Score | Mean | None, b: Score | Mean | None, comparison: Comparison | None) -> dict[str, Any]:
    shown = [json.loads(each.to_json()) if each else None for each in (a, b)]
    difference = comparison.difference if comparison else _value(b) - _value(a) if a and b else None
    verdict = comparison.verdict if comparison else "not paired: the answers of one are not here" if a and b else "in one run alone"
    paired_figures = json.loads(comparison.to_json()) if comparison else None
    return {"task": row[0], "metric": row[1], "a": shown[0], "b": shown[1], "difference": difference, "comparison": paired_figures, "verdict": verdict}


def _figures(run: Run) -> dict[Row, Score | Mean]:
    """What the tuned model reached."""
    if run.summary is None:
        return {}
    exams: dict[Row, Score | Mean] = {(task.task, ACCURACY): task.tuned for task in run.summary.tasks}
    return exams | {(task.task, str(metric)): mean for task in run.summary.texts for metric, mean in task.tuned.items()}


def _compared(a: Path, b: Path, first: Run, second: Run) -> dict[Row, Comparison]:
    """Question by question, where both runs kept their answers."""
    rows = [row for row in _figures(second) if row in _figures(first)]
    found = {row: _comparison(row[1], _answers(a, b, row[0])) for row in rows}
    return corrected({row: each for row, each in found.items() if each})


def _answers(a: Path, b: Path, task: str) -> list[tuple[Answer, Answer]]:
    try:
        return paired(*(read_answers(RunFolder(root), "tuned", task) for root in (a, b)))
    except OutputConflict:
        return []


def _comparison(metric: str, pairs: Sequence[tuple[Answer, Answer]]) -> Comparison | None:
    if metric == ACCURACY:
        judged = [(then.right, now.right) for then, now in pairs if then.right is not None and now.right is not None]
        return compare([then for then, _ in judged], [now for _, now in judged]) if judged else None
    measured = [(then.measured[metric], now.measured[metric]) for then, now in pairs if metric in then.measured and metric in now.measured]
    return compare_means([then for then, _ in measured], [now for _, now in measured]) if measured else None


def _value(figure: Score | Mean) -> float:
    return figure.accuracy if isinstance(figure, Score) else figure.mean


if __name__ == "__main__":
    sys.exit(main())
