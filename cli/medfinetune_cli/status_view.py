"""A run as a person sees it: Rich tables of its conditions, attempts, progress, results and artifacts. Pure: `now` is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from medfinetune_api.conditions import ConditionStatus, Phase
from medfinetune_api.results import TaskResult
from medfinetune_api.status import Artifacts, Attempt, Condition, Progress
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from medfinetune_cli.run_state import RunState
from medfinetune_cli.waiting import Wait, wait_of

PHASE_STYLE = {
    Phase.SUCCEEDED: "bold green",
    Phase.FAILED: "bold red",
    Phase.CANCELLED: "bold red",
    Phase.QUARANTINED: "bold yellow",
    Phase.RELEASED: "bold yellow",
}
STATUS_STYLE = {ConditionStatus.TRUE: "green", ConditionStatus.FALSE: "red", ConditionStatus.UNKNOWN: "dim"}


def run_table(runs: Sequence[RunState], now: datetime) -> Table:
    """One row a run."""
    table = _table("", ("run", "phase", "stage"), ("step", "loss", "restarts", "age"))
    table.add_column("waits for", overflow="fold")
    for run in runs:
        progress, wait = run.status.progress, wait_of(run)
        step = f"{progress.step:,} of {progress.total_steps:,}" if progress else ""
        loss = f"{progress.loss:.4f}" if progress and progress.loss is not None else ""
        words = (run.name, _phase(run), run.status.stage or "", step, loss, str(run.status.restarts), duration(now - run.created))
        table.add_row(*words, wait.what if wait else "")
    return table


def run_view(run: RunState, now: datetime) -> Group:
    """Everything that is known of one run."""
    return Group(*_parts(run, now))


def _parts(run: RunState, now: datetime) -> Iterator[RenderableType]:
    yield Text.assemble((run.name, "bold"), "  ", _phase(run), f"  namespace {run.identity.namespace}  {_clock(run, now)}")
    if run.deleting:
        yield Text("It is being deleted.", style="red")
    if wait := wait_of(run):
        yield _wait_lines(wait)
    if run.released:
        yield Text(f"{run.released.last_transition_time.astimezone():%d %b %Y %H:%M}  {run.released.message}", style="yellow")
    if run.status.progress and not run.ended:
        yield _progress(run.status.progress, now)
    for part in (_conditions(run.status.conditions, now), _attempts(run.status.attempts, now), _results(run.status.results)):
        if part.row_count:
            yield Text()
            yield part
    if run.status.artifacts:
        yield Text()
        yield _artifacts(run.status.artifacts)


def duration(span: timedelta) -> str:
    """A span in its two largest units, as kubectl writes ages."""
    seconds = max(0, int(span.total_seconds()))
    units = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    while len(units) > 1 and units[0][0] == 0:
        del units[0]
    return "".join(f"{count}{unit}" for count, unit in units[:2])


def _phase(run: RunState) -> Text:
    return Text(run.phase, style=PHASE_STYLE.get(Phase(run.phase), "bold cyan"))


def _clock(run: RunState, now: datetime) -> str:
    start, end = run.status.start_time, run.status.completion_time
    if start is None:
        return f"created {duration(now - run.created)} ago"
    return f"took {duration(end - start)}" if end else f"started {duration(now - start)} ago"


def _table(title: str, left: Sequence[str], right: Sequence[str] = ()) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _wait_lines(wait: Wait) -> Table:
    lines = Table.grid(padding=(0, 2))
    lines.add_row(Text("waits for", style="yellow"), Text(wait.what))
    lines.add_row(Text("do", style="dim"), Text(wait.remedy))
    return lines


def _progress(progress: Progress, now: datetime) -> Table:
    line = Table.grid(padding=(0, 2))
    words = [f"step {progress.step:,} of {progress.total_steps:,}", f"{progress.percent}%"]
    if progress.seconds_left is not None:
        words.append(f"{duration(timedelta(seconds=progress.seconds_left))} left")
    if progress.loss is not None:
        words.append(f"loss {progress.loss:.4f}")
    if progress.tokens_per_second is not None:
        words.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.gpu_memory_peak is not None:
        words.append(f"peak {progress.gpu_memory_peak}")
    line.add_row(ProgressBar(total=max(1, progress.total_steps), completed=progress.step, width=30), Text("  ".join(words)))
    line.add_row("", Text(f"as of {duration(now - progress.update_time)} ago", style="dim"))
    return line


def _conditions(conditions: Sequence[Condition], now: datetime) -> Table:
    table = _table("Conditions", ("type", "status", "reason"), ("since",))
    table.add_column("message", overflow="fold")
    for one in conditions:
        table.add_row(one.type, Text(one.status, style=STATUS_STYLE[one.status]), one.reason, duration(now - one.last_transition_time), one.message)
    return table


def _attempts(attempts: Sequence[Attempt], now: datetime) -> Table:
    table = _table("Attempts", ("stage",), ("number", "started", "took"))
    for name in ("reason", "charged", "node"):
        table.add_column(name, overflow="fold")
    for name in ("exit code", "resume step", "micro-batch"):
        table.add_column(name, justify="right")
    for one in attempts:
        table.add_row(*_attempt(one, now))
    return table


def _attempt(one: Attempt, now: datetime) -> tuple[str, ...]:
    reason = one.reason or (f"stopping: {one.stopping}" if one.stopping else "at work")
    numbers = (one.exit_code, one.resume_step, one.micro_batch)
    ended = duration((one.end_time or now) - one.start_time)
    begun = one.start_time.astimezone().strftime("%d %b %H:%M:%S")
    return one.stage, str(one.number), begun, ended, reason, "yes" if one.charged else "no", one.node or "", *("" if n is None else str(n) for n in numbers)


def _results(results: Sequence[TaskResult]) -> Table:
    table = _table("Results: accuracy in % with a Wilson 95 % interval", ("task", "language"), ("n", "base", "tuned", "interval", "change"))
    for one in results:
        base, change = _compared(one)
        interval = f"[{100 * one.low:.1f}, {100 * one.high:.1f}]"
        table.add_row(one.task, one.language, f"{one.questions:,}", base, f"{100 * one.accuracy:.1f}", interval, change)
    return table


def _compared(one: TaskResult) -> tuple[str, str]:
    """The base's accuracy, and whether the tuned model's differs from it by more than noise."""
    if one.base_accuracy is None:
        return "", ""
    verdict = {True: ", beyond noise", False: ", within noise", None: ""}[one.beyond_noise]
    return f"{100 * one.base_accuracy:.1f}", f"{100 * (one.accuracy - one.base_accuracy):+.1f}{verdict}"


def _artifacts(artifacts: Artifacts) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("artifacts", style="dim"), Text(f"claim {artifacts.claim_name}, folder {artifacts.folder}"))
    usable = {"adapter": artifacts.adapter, "model": artifacts.model}
    for name, path in usable.items():
        if path or (name == "adapter" and not artifacts.model):
            table.add_row(Text(name, style="dim"), Text(f"{artifacts.folder}/{path}" if path else "none that may be used"))
    table.add_row(Text("plan", style="dim"), Text(f"sha256 {artifacts.plan_sha256}"))
    return table
