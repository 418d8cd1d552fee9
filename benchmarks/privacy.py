"""`python -m benchmarks.privacy`: what the privacy scan finds, what it flags wrongly, and how fast it is.

Recall and precision by type and language on the labelled synthetic set of the tests, drawn anew with another seed than theirs. False alarms on every record of
MedQA (dev, test), KorMedMCQA (train) and MedQuAD, which hold no personal data: all that is found there is public (an institute's address, telephone number or
mailbox) or no personal data at all. Speed in CPU seconds of one process, imports apart, on these records; memory as the peak of the resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medfinetune_api.choices import Format, PrivacyAction
from medfinetune_api.plan_data import SourcePlan
from medfinetune_api.plan_screening import PrivacyPlan

from benchmarks.operator_setup import load, machine

RESULT = Path(__file__).parent / "results" / "privacy.json"
ROUNDS, SEED = 50, 2026
REAL = {
    "medqa": [("medqa/4_options/dev.jsonl", Format.MEDQA, "en"), ("medqa/4_options/test.jsonl", Format.MEDQA, "en")],
    "kormedmcqa": [(f"kormedmcqa/{subject}/train.csv", Format.KORMEDMCQA, "ko") for subject in ("doctor", "nurse", "pharm", "dentist")],
    "medquad": [("medquad/medquad.jsonl", Format.QUESTION_ANSWER, "en")],
}


def main() -> None:
    """Measure, write the result where asked, and end with the one line that states it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/privacy.json")
    arguments = parser.parse_args()
    mount, busy = _data_folder(), load()
    started = time.process_time()
    scan = _analyzer()
    imports = time.process_time() - started
    content = {
        "synthetic": synthetic(scan),
        "real": {name: real(scan, mount, files) for name, files in REAL.items()},
        "import_cpu_seconds": imports,
        "peak_resident_mb": _peak(),
        "load_before": busy,
        "machine": machine(),
        "versions": {name: version(name) for name in ("presidio-analyzer", "spacy", "phonenumbers", "regex")},
    }
    if arguments.keep:
        RESULT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    worst = min(row["recall"] for row in content["synthetic"])
    flagged = {name: f"{row['flagged']}/{row['records']}" for name, row in content["real"].items()}
    sys.stdout.write(f"{json.dumps(content, indent=1, ensure_ascii=False)}\nprivacy worst_recall={worst:.2f} flagged={flagged}\n")


def _data_folder() -> Path:
    folder = os.environ.get("MEDFINETUNE_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        sys.exit("MEDFINETUNE_TEST_DATA names no folder: set it to one with medqa/, kormedmcqa/ and medquad/ (docs/development.md)")
    return Path(folder)


def _analyzer() -> Any:
    from medfinetune_trainer.privacy.analyzer import Analyzer
    from support.personal import SITE_NUMBER

    return Analyzer(PrivacyPlan(action=PrivacyAction.WARN, record_numbers=(SITE_NUMBER,), name_models=()), ("en", "ko"), Path())


def synthetic(scan: Any) -> list[dict[str, Any]]:
    """A row for each type and language: labels, the share of them found whole, findings, and the share of these that overlap a label of their type."""
    from support.personal import samples

    labelled, whole, found, right = Counter[Any](), Counter[Any](), Counter[Any](), Counter[Any]()
    for sample in samples(ROUNDS, SEED):
        places = scan.find(sample.text, sample.language)
        for start, end, kind in sample.labels:
            labelled[kind, sample.language] += 1
            whole[kind, sample.language] += any(place.start <= start and end <= place.end and place.type is kind for place in places)
        for place in places:
            found[place.type, sample.language] += 1
            right[place.type, sample.language] += any(start < place.end and place.start < end and place.type is kind for start, end, kind in sample.labels)
    return [
        {
            "type": kind,
            "language": language,
            "labels": count,
            "recall": whole[kind, language] / count,
            "findings": found[kind, language],
            "precision": right[kind, language] / found[kind, language],
        }
        for (kind, language), count in sorted(labelled.items())
    ]


def real(scan: Any, mount: Path, files: list[tuple[str, Format, str]]) -> dict[str, Any]:
    """What is flagged in records that hold no personal data, and how fast they are scanned; reading the files is not counted."""
    from medfinetune_trainer.data.formats import read_source

    findings: Counter[str] = Counter()
    records, flagged, characters, seconds = 0, 0, 0, 0.0
    for path, format, language in files:
        for record in read_source(SourcePlan(name="real", path=path, format=format, language=language, domain="medical"), mount):
            started = time.process_time()
            found = [place.type for message in record.messages for place in scan.find(message.content, language)]
            seconds += time.process_time() - started
            findings.update(found)
            records, flagged = records + 1, flagged + bool(found)
            characters += sum(len(message.content) for message in record.messages)
    rates = {"records_per_cpu_second": records / seconds, "characters_per_cpu_second": characters / seconds}
    return {"records": records, "flagged": flagged, "findings": dict(sorted(findings.items())), **rates}


def _peak() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
