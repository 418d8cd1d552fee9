"""Recording and alert rules: promtool's word on each, the series that they ask for, and a page for whoever is woken."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.debian import debian_program
from medfinetune_operator.sentences import TROUBLES
from support.series import of_operator, of_trainer

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "charts" / "medfinetune" / "rules").glob("*.yaml"))
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
METRICS = ROOT / "docs" / "metrics.md"
KUBELET = {"kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
"""Series of the cluster that rules ask for."""
SECTIONS = ("What it means", "How bad", "Look at", "Do", "Silence it when")
SYNTAX = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|on|group_left|without|ignoring)\s*\([^)]*\)')
"""What holds words that are no series: texts, selectors, ranges, lists of labels."""
OPERATORS = {"and", "or", "unless", "bool", "offset"}


def rules() -> Iterator[Json]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([debian_program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def asked(expr: str) -> set[str]:
    """The series that an expression asks for."""
    return set(re.findall(r"[a-zA-Z_][\w:]*\b(?!\s*\()", SYNTAX.sub(" ", expr))) - OPERATORS


def test_prometheus_reads_the_rules() -> None:
    promtool("check", "rules", *RULES)


@pytest.mark.parametrize("cases", CASES, ids=lambda file: file.stem)
def test_alerts_fire_at_their_threshold_and_not_before(cases: Path) -> None:
    promtool("test", "rules", cases)


def test_every_alert_has_a_case_that_fires_and_one_that_is_silent() -> None:
    shown = {
        (case["alertname"], bool(case["exp_alerts"]))
        for file in CASES
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
    }
    assert shown == {(alert, fires) for alert in ALERTS for fires in (True, False)}


def test_every_series_that_a_rule_asks_for_is_exported() -> None:
    exported = {name for each in (*of_trainer(), *of_operator()) for name in each.asked}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    wanted = set().union(*(asked(rule["expr"]) for rule in rules()))
    assert wanted - exported - recorded == KUBELET
    assert recorded <= wanted


def test_names_are_told_from_the_rest_of_an_expression() -> None:
    assert asked('sum by (le) (rate(a_bucket{b="c d", e=~"f|g"}[5m])) / on (h) group_left (i) j:k:l unless label_replace(m, "n", "$1", "o", "p") > 1.5') == {
        "a_bucket",
        "j:k:l",
        "m",
    }


def test_a_run_that_waits_for_a_person_and_one_that_waits_for_room_are_told_apart() -> None:
    [blocked, waiting] = (
        set(re.findall(r'reason=~"([^"]+)"', ALERTS[name]["expr"])[0].split("|")) for name in ("MedFineTuneRunBlocked", "MedFineTuneRunWaiting")
    )
    assert blocked | {"Unschedulable"} == TROUBLES
    assert "Unschedulable" in waiting - blocked


def test_an_alert_says_how_bad_it_is_and_where_its_page_is() -> None:
    for name, rule in ALERTS.items():
        assert name.startswith("MedFineTune"), name
        assert rule["labels"] in [{"severity": severity} for severity in ("critical", "warning", "info")], name
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        assert all(text.endswith(".") for key, text in rule["annotations"].items() if key != "runbook_url"), name


def test_every_alert_has_its_page_and_no_page_is_left_over() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {*ALERTS, "README"}
    for name in ALERTS:
        text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {name}\n")
        assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == SECTIONS, name
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    rows = {(name, severity) for name, severity in re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|", index, re.MULTILINE)}
    assert rows == {(name, rule["labels"]["severity"]) for name, rule in ALERTS.items()}


def test_the_docs_list_every_series_as_it_is_exported() -> None:
    """What is missing: `PYTHONPATH=tests python -m support.series`."""
    listed = [line for line in METRICS.read_text(encoding="utf-8").splitlines() if line.startswith("| `medfinetune_")]
    own = [each.row for each in (*of_trainer(), *of_operator()) if each.name.startswith("medfinetune_")]
    assert sorted(listed) == sorted(own)
