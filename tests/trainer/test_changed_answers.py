"""The report's table of changed answers: what the answers' files say, by file and line, with a question's text only where the site retains its samples."""

from __future__ import annotations

import json
import re
from pathlib import Path

from medfinetune_api.choices import Retained
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.evaluation.answers import Answer, write_answers
from medfinetune_trainer.report.changes import Changed, changed_answers
from medfinetune_trainer.report.page import page
from medfinetune_trainer.report.run import run_of
from support.html_page import Page
from support.told import filled_run

ANSWERED = [("doctor", 0, 0, True, True), ("doctor", 1, 2, True, False), ("law", 3, 1, False, True), ("law", 0, 2, False, False), ("", None, 1, False, True)]
"""Subject, the letters that base and tuned model chose, and whether each was right."""


def answered(root: Path, *retain: Retained) -> RunPlan:
    plan = filled_run(root, retain)
    for variant, place in (("base", 0), ("tuned", 1)):
        answers = [
            Answer(where=f"exam.jsonl:{line}", question="0" * 64, subject=subject, chosen=chosen[place], right=chosen[2 + place])
            for line, (subject, *chosen) in enumerate(ANSWERED, start=1)
        ]
        write_answers(plan.folder, variant, "exam", answers)
    samples = [{"doc": {"where": f"exam.jsonl:{line}", "prompt": f"canary {line} <b>?"}} for line in range(1, 6)]
    (plan.folder.evaluation / "samples_tuned_exam.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")
    return plan


def test_questions_whose_answer_changed_are_listed_by_subject_and_line(tmp_path: Path) -> None:
    plan, damaged = answered(tmp_path), list[str]()
    [found] = changed_answers(plan, plan.folder, damaged)
    assert found.changed == (
        Changed("exam.jsonl:2", "doctor", right="B", base="B", tuned="C", gained=False),
        Changed("exam.jsonl:3", "law", right="B", base="D", tuned="B", gained=True),
        Changed("exam.jsonl:5", "", right="B", base="–", tuned="B", gained=True),
    )
    text = page(run_of(plan, plan.folder))
    told = Page(text)
    assert "canary" not in text
    assert "exam: 1 right before and wrong now, 2 wrong before and right now" in told.text
    assert {"Right before, wrong now: 1", "Wrong before, right now: 2", "no subject: 1"} <= set(told.by_tag["summary"])
    assert re.search(r"exam\.jsonl:2</bdi></td><td>B</td><td>B</td><td>C</td>", text)
    assert "exam.jsonl:4" not in told.text
    assert damaged == []


def test_texts_are_shown_where_samples_are_retained_and_damage_is_told(tmp_path: Path) -> None:
    plan = answered(tmp_path, Retained.SAMPLES)
    assert [line for line in range(1, 6) if f"canary {line} <b>?" in Page(page(run_of(plan, plan.folder))).by_tag["pre"]] == [2, 3, 5]
    file = plan.folder.answers("base", "exam")
    for damaged in (file.read_text(encoding="utf-8")[:-40], "", "[]\n" * 5, "{}\n" * 5):
        file.write_text(damaged, encoding="utf-8")
        run = run_of(plan, plan.folder)
        assert (run.changed, run.damaged) == ((), ("answers_base_exam.jsonl", "answers_tuned_exam.jsonl"))
        assert "answers_base_exam.jsonl" in Page(page(run)).text
    file.unlink()
    assert run_of(plan, plan.folder).damaged == ()
