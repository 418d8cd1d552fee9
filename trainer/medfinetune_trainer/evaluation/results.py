"""What lm-evaluation-harness leaves behind, file by file.

`results_<variant>.json` and `samples_<variant>_<task>.jsonl` hold what lm-evaluation-harness writes itself, in its schema; variant is `base` or `tuned`. The
samples hold questions. The results file is written last of its variant: where it is, the variant is complete, and is not asked again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from lm_eval.utils import handle_non_serializable, hash_string, sanitize_list
from medfinetune_api.errors import Diverged

from medfinetune_trainer.artifacts.files import write_text


def is_complete(folder: Path, variant: str, tasks: Iterable[str]) -> bool:
    """Whether every question of this variant has been asked and written down, and all of it is still there. What is torn is not, and is asked again."""
    try:
        hashes = json.loads(_results_file(folder, variant).read_text(encoding="utf-8"))["task_hashes"]
        return all(hashes[task] == _hash_of(samples(folder, variant, task)) for task in tasks)
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return False


def write(folder: Path, variant: str, results: Mapping[str, Any]) -> None:
    """Write the harness's `results` of one variant: a samples file a task, then the results file. Raises StorageFailed."""
    samples: Mapping[str, list[dict[str, Any]]] = results["samples"]
    for task, rows in samples.items():
        write_text(_samples_file(folder, variant, task), "".join(_sample_line(row) for row in rows))
    hashes = {task: _hash_of(rows) for task, rows in samples.items()}
    aggregated = {name: value for name, value in results.items() if name != "samples"} | {"task_hashes": hashes}
    write_text(_results_file(folder, variant), json.dumps(aggregated, indent=2, default=handle_non_serializable, ensure_ascii=False))


def refuse_unanswered(variant: str, results: Mapping[str, Any]) -> None:
    """Raise Diverged where a likelihood is NaN or infinite: the harness would count it as the first letter. Answers in words have none."""
    scored = (row["filtered_resps"] for rows in results["samples"].values() for row in rows if not isinstance(row["filtered_resps"][0], str))
    bad = sum(not all(isfinite(likelihood) for likelihood, _ in answer) for answer in scored)
    if bad:
        remedy = "Train in BF16 or FP32, or with a lower learning rate: this model's activations overflow."
        raise Diverged(f"evaluation of {variant}", found=f"{bad} questions with likelihoods that are not finite", expected="none", remedy=remedy)


def version(folder: Path, task: str) -> str:
    """The version of `task` that the tuned model was asked, as lm-evaluation-harness records it."""
    return str(json.loads(_results_file(folder, "tuned").read_text(encoding="utf-8"))["versions"][task])


def samples(folder: Path, variant: str, task: str) -> Iterator[dict[str, Any]]:
    """What was asked and answered, in the order of asking, in the harness's schema; `doc` is what the task made of the Record."""
    with _samples_file(folder, variant, task).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _hash_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Of all questions of a task in their order, as the harness's own tracker has it."""
    return str(hash_string("".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)))


def _sample_line(row: Mapping[str, Any]) -> str:
    """One sample as the harness's own tracker writes it: arguments by name, responses as text."""
    arguments = {f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(pair)} for i, pair in enumerate(row["arguments"])}
    texts = {name: sanitize_list(row[name]) for name in ("resps", "filtered_resps")}
    line = {**row, **texts, "arguments": arguments, "target": str(row["target"])}
    return json.dumps(line, default=handle_non_serializable, ensure_ascii=False) + "\n"


def _results_file(folder: Path, variant: str) -> Path:
    return folder / f"results_{variant}.json"


def _samples_file(folder: Path, variant: str, task: str) -> Path:
    return folder / f"samples_{variant}_{task}.jsonl"
