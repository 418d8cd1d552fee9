"""The fleet, for whoever runs the cluster: which run is where, what waits, what failed and why, whether the operator keeps up."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig

from dashboards.frame import KNOWN, SERVED, framed
from dashboards.panels import NO_GPU, AnyPanel, Query, above, figure, lines, rows, setting, stacked

RUN_URL = "/d/medfinetune-run?${datasource:queryparam}&var-namespace=${__data.fields.Namespace}&var-run=${__data.fields.Run}&${__url_time_range}"
COLUMNS = {
    "namespace": "Namespace",
    "name": "Run",
    "phase": "Phase",
    "Value #B": "Progress",
    "Value #C": "Loss",
    "Value #D": "Time left",
    "Value #E": "Tokens/s",
    "Value #F": "GPUs",
}
"""The table's columns in their order, by the names that Grafana gives to what the queries answer."""
INSTALLATION = "{{namespace}}/{{job}}"
"""Of several, each has its own line: one that keeps up must not hide another that does not. `$namespace` chooses among those of runs."""


def dashboard() -> Dashboard:
    """The dashboard `fleet`."""
    about = "Every run of the cluster: phases, GPUs, what waits, what failed. A run's name in the table leads to it."
    sections = {"Runs": _runs(), "GPUs": _gpus(), "Queue": _queue(), "Failures": _failures(), "Operator": _operator()}
    return framed("medfinetune-fleet", "medfinetune / Fleet", about, sections)


def _runs() -> Sequence[AnyPanel]:
    by_phase = Query(f"sum by (phase) (medfinetune_run_phase{{{KNOWN}}})", "{{phase}}")
    return (
        figure("Runs now", "Runs in each phase, ended ones too until their objects are deleted.", "short", by_phase, width=24),
        _table(),
        stacked("Runs by phase", "How the number of runs in each phase went.", "short", by_phase, width=24),
    )


def _table() -> AnyPanel:
    figures = ("progress_percent", "loss", "seconds_left", "tokens_per_second", "gpus")
    queries = [f"max by (namespace, name, phase) (medfinetune_run_phase{{{KNOWN}}} == 1)"]
    queries += [f"max by (namespace, name) (medfinetune_run_{figure}{{{KNOWN}}})" for figure in figures]
    about = "Each run with its phase and, once it trains, how far it is as the operator last heard. The name leads to the run."
    panel = rows("All runs", about, *map(Query, queries), empty="No runs")
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    order = {name: place for place, name in enumerate(COLUMNS)}
    organized = {"excludeByName": {"Time": True, "Value #A": True}, "indexByName": order, "renameByName": COLUMNS}
    panel.with_transformation(DataTransformerConfig(id_val="organize", options=organized))
    panel.override_by_name("Run", [setting("links", [{"title": "Show this run", "url": RUN_URL}])])
    panel.override_by_name("Progress", [setting("unit", "percent"), setting("max", 100), setting("custom.cellOptions", {"type": "gauge", "mode": "basic"})])
    panel.override_by_name("Loss", [setting("decimals", 3)])
    panel.override_by_name("Time left", [setting("unit", "s")])
    return panel.override_by_name("Tokens/s", [setting("unit", "short")])


def _gpus() -> Sequence[AnyPanel]:
    asked = Query(f"sum by (namespace) (medfinetune_run_gpus{{{KNOWN}}})", "{{namespace}}")
    used = Query(f"sum by (namespace) (medfinetune_vram_used_bytes{{{SERVED}}})", "{{namespace}} used")
    limit = Query(f"sum by (namespace) (medfinetune_vram_limit_bytes{{{SERVED}}})", "{{namespace}} limit")
    return (
        stacked("GPUs requested", "GPUs that live attempts ask for, by namespace; 0 where all train on CPUs.", "short", asked, width=12),
        lines("VRAM used", "GPU memory in use on the devices of all ranks, against what they may use.", "bytes", used, limit, width=12, empty=NO_GPU),
    )


def _queue() -> Sequence[AnyPanel]:
    waiting = f'sum by (reason) (medfinetune_run_phase{{{KNOWN}, phase=~"Pending|Preparing|Training|Evaluating", reason!="Running"}})'
    buckets = "sum by (namespace, job, le) (rate(medfinetune_operator_queue_seconds_bucket[$__rate_interval]))"
    times = [Query(f"histogram_quantile({share}, {buckets})", f"{INSTALLATION} p{share * 100:.0f}") for share in (0.5, 0.95)]
    depth = Query("sum by (namespace, job) (medfinetune_operator_queue_depth)", INSTALLATION)
    for_what = "Runs whose present stage waits, by what for: Queued is Kueue's, Unschedulable the cluster's."
    return (
        stacked("Runs that wait", for_what, "short", Query(waiting, "{{reason}}"), empty="No run waits"),
        lines("Queue time", "Time until the operator looked at a run that had news.", "s", *times, limits=above(2, 10), empty="No run had news"),
        lines("Queue length", "Runs that have news and that the operator has not looked at yet.", "short", depth),
    )


def _failures() -> Sequence[AnyPanel]:
    ended = f"sum by (reason) (medfinetune_run_failed_attempts{{{KNOWN}}})"
    halved = f"sum by (namespace, run) (medfinetune_out_of_memory_total{{{SERVED}}})"
    unsuccessful = "Attempts of any stage that ended without success, by reason, of the runs that there are."
    ran_out = "Times that GPU memory ran out in a run and its micro-batch was halved."
    return (
        stacked("Failed attempts by reason", unsuccessful, "short", Query(ended, "{{reason}}"), width=12, empty="No attempt has failed"),
        lines("Out of memory", ran_out, "short", Query(halved, "{{namespace}}/{{run}}"), limits=above(1, 3), width=12, empty="No run trains"),
    )


def _operator() -> Sequence[AnyPanel]:
    looks = Query("sum by (namespace, job, result) (rate(medfinetune_operator_reconciles_total[$__rate_interval]))", f"{INSTALLATION} {{{{result}}}}")
    errors = Query('sum by (namespace, job) (rate(medfinetune_operator_reconciles_total{result="error"}[$__rate_interval]))', INSTALLATION)
    by_answer = "sum by (namespace, job, method, status) (rate(medfinetune_operator_api_requests_total[$__rate_interval]))"
    requests = Query(by_answer, f"{INSTALLATION} {{{{method}}}} {{{{status}}}}")
    failed = "Looks that ended in an error; anything above 0 is a defect, or a cluster in trouble."
    return (
        lines("Reconciles", "Looks at runs a second, by what came of them.", "ops", looks),
        lines("Reconcile errors", failed, "ops", errors, limits=above(0.001, 0.1)),
        lines("Requests to the API server", "Requests a second by method and answer, watches left out.", "reqps", requests),
    )
