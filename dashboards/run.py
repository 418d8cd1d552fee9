"""One run, or a few side by side, for whoever trains: does it learn, how fast, does it fit, what came out."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.attempts import attempts
from dashboards.frame import KNOWN, SERVED, framed
from dashboards.panels import NO_GPU, RED, AnyPanel, Query, above, bars, below, figure, lines, setting, word

OF_RUN, OF_RANK = "{{namespace}}/{{run}}", "{{namespace}}/{{run}} rank {{rank}}"


def dashboard() -> Dashboard:
    """The dashboard `run`."""
    about = "A run's training and results. Shaded: its attempts. What pods serve ends with them; accuracy stays while the run's object does."
    sections = {"Now": _now(), "Learning": _learning(), "Speed": _speed(), "Memory and storage": _memory(), "Results": _results()}
    return framed("medfinetune-run", "medfinetune / Run", about, sections).annotation(attempts(SERVED))


def of_gang(metric: str) -> str:
    """A figure that one node serves for the whole gang; across a change of attempts one line."""
    return f"max by (namespace, run) ({metric}{{{SERVED}}})"


def of_ranks(metric: str) -> str:
    """A figure that every rank has."""
    return f"max by (namespace, run, rank) ({metric}{{{SERVED}}})"


def _now() -> Sequence[AnyPanel]:
    phase = f"max by (namespace, name, phase) (medfinetune_run_phase{{{KNOWN}}} == 1)"
    done, left, rows, halvings = (
        Query(of_gang(f"medfinetune_{name}"), OF_RUN) for name in ("progress_ratio", "seconds_left", "micro_batch_rows", "out_of_memory_total")
    )
    saved = Query(f"time() - {of_gang('medfinetune_checkpoint_timestamp_seconds')}", OF_RUN)
    age = "Since the last complete checkpoint: what a lost gang would cost."
    return (
        word("Phase", "Where the run is, as the operator last wrote it.", Query(phase, "{{namespace}}/{{name}}: {{phase}}")),
        figure("Progress", "Share of the optimizer steps done.", "percentunit", done),
        figure("Time left", "Until the last step, at the present pace.", "s", left),
        figure("Checkpoint age", age, "s", saved, above(3600, 4 * 3600), empty="No checkpoint yet"),
        figure("Micro-batch", "Rows in one forward pass of one rank.", "short", rows),
        figure("Out of memory", "Times that GPU memory ran out and the micro-batch was halved.", "short", halvings, above(1, 3)),
    )


def _learning() -> Sequence[AnyPanel]:
    train = Query(of_gang("medfinetune_loss"), f"{OF_RUN} train")
    norm, rate = (Query(of_gang(f"medfinetune_{name}"), OF_RUN) for name in ("gradient_norm", "learning_rate"))
    loss, accuracy = (
        Query(f"max by (namespace, run, language) (medfinetune_validation_{name}{{{SERVED}}})", f"{OF_RUN} validation {{{{language}}}}")
        for name in ("loss", "accuracy")
    )
    predicted = "Share of the loss tokens predicted in the last validation, by language."
    return (
        lines("Loss", "Mean cross-entropy in nats: of the last step, and of the last validation by language.", "none", train, loss, width=12),
        lines("Validation accuracy", predicted, "percentunit", accuracy, width=12, empty="No validation yet"),
        lines("Gradient norm", "Global norm before clipping.", "none", norm, width=12),
        lines("Learning rate", "Of the last step.", "sci", rate, width=12),
    )


def _speed() -> Sequence[AnyPanel]:
    steps = f"sum by (le, namespace, run) (rate(medfinetune_step_seconds_bucket{{{SERVED}}}[$__rate_interval]))"
    times = [Query(f"histogram_quantile({share}, {steps})", f"{OF_RUN} p{share * 100:.0f}") for share in (0.5, 0.95)]
    tokens, packing, done = (Query(of_gang(f"medfinetune_{name}"), OF_RUN) for name in ("tokens_per_second", "packing_efficiency_ratio", "progress_ratio"))
    held = "Share of the row slots that hold tokens; under 0.9, time is paid for padding."
    return (
        lines("Step time", "Time of an optimizer step, over all ranks. p95 far above p50: a rank or a disk that stumbles.", "s", *times),
        lines("Tokens per second", "Of the whole gang, in the last step.", "short", tokens),
        lines("Packing efficiency", held, "percentunit", packing, limits=below(0.8, 0.9)),
        lines("Progress over time", "Share of the optimizer steps done. A flat line is a run that stands still.", "percentunit", done, width=24),
    )


def _memory() -> Sequence[AnyPanel]:
    used, peak, limit = (of_ranks(f"medfinetune_vram_{name}_bytes") for name in ("used", "peak", "limit"))
    parts = (Query(used, f"{OF_RANK} used"), Query(peak, f"{OF_RANK} peak of tensors"), Query(limit, f"{OF_RANK} limit"))
    share = Query(f"{peak} / {limit}", OF_RANK)
    host = Query(of_ranks("medfinetune_process_resident_memory_bytes"), OF_RANK)
    free = Query(" / ".join(of_gang(f"medfinetune_output_volume_{name}_bytes") for name in ("free", "size")), OF_RUN)
    fits = "Peak of tensors over limit; above 0.95, where the alert is, a longer row may not fit."
    room = "Share of the output volume that is free; a full one ends the run at its next checkpoint."
    against = lines("VRAM by rank", "GPU memory in use by rank, against what the rank may use.", "bytes", *parts, width=12, empty=NO_GPU)
    against.override_by_regexp(".* limit$", [setting("custom.lineStyle", {"fill": "dash"}), setting("color", {"mode": "fixed", "fixedColor": RED})])
    return (
        against,
        lines("VRAM share", fits, "percentunit", share, limits=above(0.85, 0.95), width=12, empty=NO_GPU),
        lines("Host memory by rank", "Resident memory of each rank's process.", "bytes", host, width=12),
        lines("Output volume", room, "percentunit", free, limits=below(0.1, 0.2), width=12),
    )


def _results() -> Sequence[AnyPanel]:
    accuracy = f"max by (namespace, name, task, language, model) (medfinetune_run_accuracy_ratio{{{KNOWN}}})"
    scores = Query(accuracy, "{{namespace}}/{{name}} {{task}} ({{language}}) {{model}}")
    about = "Share of questions answered rightly, base and tuned on the same questions. Whether a difference is more than noise, the report says."
    return (bars("Accuracy by language", about, "percentunit", scores, most=1, empty="Not evaluated yet"),)
