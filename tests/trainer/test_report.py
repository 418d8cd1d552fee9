"""The report, the card and the figures: one page without addresses or scripts, every text escaped, the figures those of the files, and no folder too broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import Method, Stage
from medfinetune_api.errors import OutputConflict
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult
from medfinetune_trainer.report.card import card
from medfinetune_trainer.report.chart import Line, chart, ticks
from medfinetune_trainer.report.figures import figures
from medfinetune_trainer.report.history import History, read, thinned
from medfinetune_trainer.report.page import page
from medfinetune_trainer.report.run import Run, read_run
from medfinetune_trainer.report.words import NOT_FOR_CLINICAL_DECISIONS
from medfinetune_trainer.tools.verify import main
from support.html_page import Page
from support.told import complete_run, filled_run, prepared_of, summary_of, told_lines

SECTIONS = [
    "Results",
    "What tuning changed",
    "Calibration",
    "Contamination",
    "Gates",
    "Before it is used",
    "Training",
    "Memory",
    "Time",
    "Attempts",
    "Data",
    "Personal data",
    "What the model was made from",
    "What these figures do not show",
    "The plan",
]
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HOSTILE = st.text(min_size=1, max_size=60) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</td></table>",
        '" onload="x',
        "&lt;",
        "a\u202eb",
        "\x1b[2J",
        "\ud800",
        "---\nbase_model: other",
        "a|b",
        "![x](y)",
        "x" * 5000,
    ]
)


def test_the_page_has_every_section_and_its_figures_are_those_of_the_files(tmp_path: Path) -> None:
    plan = complete_run(tmp_path)
    run = read_run(plan.folder.root)
    text = page(run)
    found = Page(text)
    assert found.by_tag["h2"] == SECTIONS
    assert NOT_FOR_CLINICAL_DECISIONS in found.text
    assert (run.state, plan.sha256 in found.text) == ("Complete", True)
    assert not re.search(r"(https?|ftp|file|data|javascript):|//", re.sub("(?s)<style>.*?</style>", "", text))
    cells = found.by_tag["td"]
    [task] = summary_of(plan, ("doctor", "law")).tasks
    scores = [task.base, task.tuned, *task.base_by_subject.values(), *task.tuned_by_subject.values()]
    for score in filter(None, scores):
        assert f"{100 * score.accuracy:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]" in cells
    for one in (task.comparison, *(row.comparison for row in run.summary.changes if row.subject or not row.task)):
        change = f"{100 * one.difference:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
        assert f"{change}{one.verdict}, p {one.p_holm:.3f}smallest shown {100 * one.smallest:.1f}" in found.text
    for expected in ("1,272", "276,765", "99.2 %", "9.5 %", "9.31 GiB", "5.00 GiB", "in_step 3, micro_batch 2, next_micro_batch 1"):
        assert expected in cells, expected
    assert any("loss from 3 to 0.5" in told or "training from 3 to 0.5" in told for told in found.attributes)
    assert cells.count("cuda") == 2
    assert page(read_run(plan.folder.root)) == text


def test_the_figures_are_the_files_own(tmp_path: Path) -> None:
    plan = complete_run(tmp_path)
    told = figures(read_run(plan.folder.root))
    assert told["evaluation"] == json.loads(plan.folder.summary.read_text())
    assert told["prepared"] == json.loads(plan.folder.prepared.read_text())
    assert (told["steps"], told["last"]["loss"], told["tokens"]) == ({"done": 6, "planned": 6}, 0.5, 12000)
    assert told["peakMemoryBytes"]["vram_reserved"] == (9 << 30) + 6
    assert [(one["fromStep"], one["toStep"]) for one in told["attempts"]] == [(0, 2), (2, 6)]


def test_on_a_processor_the_memory_is_the_hosts_and_says_so(tmp_path: Path) -> None:
    plan = complete_run(tmp_path)
    plan.folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in told_lines(device="cpu")))
    text = Page(page(read_run(plan.folder.root))).text
    assert "trained on the processor" in text
    assert "Host memory, the rank that uses most" in text


@MANY
@given(domain=st.text(min_size=1, max_size=60), subjects=st.lists(HOSTILE, min_size=2, max_size=3, unique=True), language=HOSTILE)
def test_a_hostile_name_is_a_text_and_shows_as_it_is(hostile: RunPlan, domain: str, subjects: list[str], language: str) -> None:
    """No tag, attribute, line of YAML or row of Markdown comes of a name, and none of its characters hides or reorders what stands around it."""
    plan = hostile
    share = prepared_of(plan).sources[0].model_copy(update={"domain": domain})
    prepared, summary = prepared_of(plan).model_copy(update={"sources": (share,)}), summary_of(plan, [subject.replace("\ud800", "?") for subject in subjects])
    history = History()
    for line in told_lines(languages=(language, "ko"), device=domain):
        history.add(line)
    text = page(Run(plan, prepared, summary, None, history, ("damaged.json",), ended=StageResult.of(Stage.TRAIN, Exit.DIVERGED, "no number")))
    text.encode()
    found = Page(text)
    assert found.by_tag["h2"] == SECTIONS
    assert not UNSEEN.search(text)
    markdown = card(plan, prepared, summary, whole=False)
    _, front, body = markdown.split("---\n", 2)
    assert yaml.safe_load(front)["base_model"] == plan.model.path
    assert {line.count(" | ") for line in body.splitlines() if line.startswith("| medqa")} == {7}
    assert not re.search(r"<script|(?<!\\)!\[", body)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    return filled_run(tmp_path_factory.mktemp("hostile"))


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8), lambda part: st.lists(part, max_size=3), max_leaves=4)
FIELDS = ("step", "loss", "seconds", "by_language", "rss", "rank", "tokens")
NEARLY = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["step", "validation", "memory", "start", "other"]),
        "time": st.sampled_from(["2026-01-01T00:00:00+00:00", "0001-01-01T00:00:00+23:59", "2026-01-01", "x"]),
    },
    optional=dict.fromkeys(FIELDS, JSON | st.dictionaries(st.text(max_size=3), JSON | st.dictionaries(st.text(max_size=3), JSON, max_size=2), max_size=2)),
)


@MANY
@given(lines=st.lists(st.binary(max_size=80) | (JSON | NEARLY).map(lambda value: json.dumps(value).encode()), max_size=12))
def test_whatever_stands_in_metrics_the_page_is_made_and_what_was_skipped_is_counted(hostile: RunPlan, lines: list[bytes]) -> None:
    told = [json.dumps(line).encode() for line in told_lines()]
    hostile.folder.metrics.write_bytes(b"\n".join([*told[:3], *lines, *told[3:]])[:-5])
    run = read_run(hostile.folder.root)
    assert run.history.skipped >= 1  # the last line is torn
    found = Page(page(run))
    assert f"{run.history.skipped} lines of metrics.jsonl could not be read" in found.text
    json.dumps(figures(run), allow_nan=False)


@pytest.mark.parametrize("left", ["lineage.json", "evaluation", "metrics.jsonl", "prepared.json"])
def test_of_a_run_that_is_not_complete_the_page_says_what_is_missing(tmp_path: Path, left: str) -> None:
    plan = complete_run(tmp_path)
    order = ["lineage.json", "evaluation", "metrics.jsonl", "prepared.json"]
    for name in order[: order.index(left) + 1]:
        path = plan.folder.root / name
        path.rename(tmp_path / name)
    run = read_run(plan.folder.root, ended=StageResult.of(Stage.TRAIN, Exit.GANG_LOST, "rank 1: found it was killed by SIGKILL."))
    text = Page(page(run)).text
    assert run.state == "Failed in train: GangLost"
    assert "rank 1: found it was killed by SIGKILL." in text
    expected = {"evaluation": "no accuracy is known", "metrics.jsonl": "Training has not begun.", "prepared.json": "Prepare is not complete."}
    assert expected.get(left, "GangLost") in text


def test_damaged_files_are_named_and_a_folder_of_no_run_is_refused(tmp_path: Path) -> None:
    plan = complete_run(tmp_path)
    plan.folder.summary.write_text("{")
    plan.folder.prepared.write_text(prepared_of(plan).model_copy(update={"plan_sha256": "1" * 64}).to_json())
    text = Page(page(read_run(plan.folder.root))).text
    assert ("left out: prepared.json, summary.json" in text, "cannot be read: no accuracy is known" in text, "not been asked" in text) == (True, True, False)
    plan.folder.summary.unlink()
    os.mkfifo(plan.folder.summary)
    plan.folder.prepared.unlink()
    plan.folder.prepared.mkdir()
    assert read_run(plan.folder.root).damaged == ("prepared.json", "summary.json")
    plan.folder.plan.write_text("{")
    for folder in (plan.folder.root, tmp_path, tmp_path / "none"):
        with pytest.raises(OutputConflict, match=r"plan\.json"):
            read_run(folder)


def test_ten_thousand_steps_make_a_small_page_that_keeps_its_peaks(tmp_path: Path) -> None:
    plan = complete_run(tmp_path)
    lines = told_lines(steps=10_000)
    for line in lines:
        if line["kind"] == "step" and line["step"] == 7_777:
            line["loss"] = 99.5
    plan.folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = page(read_run(plan.folder.root))
    assert len(text.encode()) < 200_000
    assert "Curves of more than 600 points" in text
    assert (7_777.0, 99.5) in thinned(read(plan.folder.metrics).steps["loss"])


@MANY
@given(st.lists(st.tuples(st.floats(-1e18, 1e18), st.floats(-1e18, 1e18)), min_size=2, max_size=30), st.booleans())
def test_every_point_of_a_chart_lies_in_its_area(points: list[tuple[float, float]], from_zero: bool) -> None:
    made = chart("t", "x", "y", [Line("a", points), Line("limit", [(0.0, points[0][1])], level=True)], from_zero)
    assert made is not None
    [line] = made.iter("polyline")
    places = [tuple(map(float, place.split(","))) for place in line.get("points", "").split()]
    assert len(places) == len(points)
    assert all(64 <= x <= 708 and 28 <= y <= 222 for x, y in places)


@MANY
@given(st.floats(-1e9, 1e9), st.floats(1e-5, 1e9))
def test_ticks_are_few_ordered_and_inside(low: float, relative: float) -> None:
    span = relative * max(1.0, abs(low))
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 8
    assert found == sorted(found)
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)


def test_a_hub_reads_the_card(tmp_path: Path) -> None:
    plan = filled_run(tmp_path)
    [task] = summary_of(plan, ("doctor", "law")).tasks
    for method, whole, library in ((Method.QLORA, False, "peft"), (Method.FULL, True, "transformers"), (Method.QLORA, True, "transformers")):
        changed = plan.model_copy(update={"tuning": plan.tuning.model_copy(update={"method": method})})
        text = card(changed, prepared_of(plan), summary_of(plan, ("doctor", "law")), whole)
        read_back = ModelCard(text)
        assert (read_back.data.base_model, read_back.data.language, read_back.data.library_name) == ("base", ["en"], library)
        assert NOT_FOR_CLINICAL_DECISIONS in read_back.text
        assert f"{100 * task.tuned.accuracy:.1f} [{100 * task.tuned.low:.1f}, {100 * task.tuned.high:.1f}]" in read_back.text
        assert ("PeftModel" in text) == (library == "peft")


def test_of_a_part_nothing_is_said_that_was_not_checked_and_a_whole_run_lacks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = complete_run(tmp_path)
    absent = [plan.folder.plan, plan.folder.attempts, plan.folder.contamination]
    for file in absent:
        file.unlink(missing_ok=True)
    assert main([str(plan.folder.root)]) == Exit.SUCCEEDED
    part = json.loads(capsys.readouterr().out)
    assert part["notChecked"]
    assert (part["planChecked"], part["attemptsChecked"]) == (False, False)
    assert main([str(plan.folder.root), "--whole"]) == Exit.OUTPUT_CONFLICT
    whole = json.loads(capsys.readouterr().out)
    assert {problem["where"] for problem in whole["problems"]} == {"plan.json", *part["notChecked"]} - {"report.html"}
    assert {problem["found"] for problem in whole["problems"]} == {"no such file"}


def test_report_and_verification_need_no_torch(tmp_path: Path) -> None:
    plan = complete_run(tmp_path)
    program = (
        "import sys; sys.modules |= dict.fromkeys(['torch', 'numpy', 'transformers', 'tensorboardX', 'psutil'])\n"
        "from medfinetune_trainer.tools import report, verify\n"
        "sys.exit(report.main([sys.argv[1]]) or verify.main([sys.argv[1]]))"
    )
    ended = subprocess.run([sys.executable, "-c", program, plan.folder.root], capture_output=True, text=True, env=os.environ, check=False)
    assert ended.returncode == 0, ended.stderr
    report, verdict = map(json.loads, ended.stdout.splitlines())
    assert (report["report"], report["state"]) == (str(plan.folder.report), "Complete")
    assert (verdict["problems"], verdict["notChecked"]) == ([], [])
    Page(plan.folder.report.read_text(encoding="utf-8"))
