"""The page's section on memory: what was used, what was planned, what there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from medfinetune_api.results import MemoryEstimate

from medfinetune_trainer.report.chart import Line, chart
from medfinetune_trainer.report.elements import el, table
from medfinetune_trainer.report.history import History, Points
from medfinetune_trainer.report.run import Run
from medfinetune_trainer.report.words import GIB, bytes_of

VRAM = {"vram_used": "in use on the device, all processes", "vram_reserved": "held by the allocator", "vram_peak": "greatest in live tensors"}
HOST = {"rss": "resident in the host's memory"}
LONG = 3
"""Hours beyond which the axis counts hours."""


def memory(run: Run) -> list[Element | None]:
    """What was used, what was planned, what there is."""
    history, planned = run.history, run.prepared.memory if run.prepared else None
    names = VRAM if any(name in history.memory for name in VRAM) else HOST
    hours = max((points[-1][0] for points in history.memory.values()), default=0.0)
    unit, scale = ("hours", 1) if hours > LONG else ("minutes", 60)
    lines = [Line(text, _in_gib(history.memory[key], scale)) for key, text in names.items() if key in history.memory]
    levels = _levels(planned) if names is VRAM and planned else []
    where = "GPU memory, the rank that uses most" if names is VRAM else "Host memory, the rank that uses most"
    on_cpu = "This run trained on the processor: what is drawn is the memory of its processes, with Python and all libraries. No GPU was used."
    return [
        el("p", on_cpu) if lines and names is HOST else None if lines else el("p", "No memory sample is recorded."),
        chart(where, f"{unit} since training first began", "GiB", [*lines, *levels], from_zero=True),
        el("p", f"Greatest: {', '.join(_peaks(history, names))}.") if lines else None,
        _planned(planned) if planned else None,
    ]


def _in_gib(points: Points, scale: int) -> Points:
    return [(hours * scale, size / GIB) for hours, size in points]


def _levels(planned: MemoryEstimate) -> Iterator[Line]:
    yield Line("planned", [(0.0, planned.total / GIB)], level=True)
    if planned.limit is not None:
        yield Line("limit: gpuMemory less its headroom", [(0.0, planned.limit / GIB)], level=True)


def _peaks(history: History, names: Iterable[str]) -> Iterator[str]:
    for key in names:
        if key in history.memory:
            yield f"{bytes_of(max(size for _, size in history.memory[key]))} {(VRAM | HOST)[key]}"


def _planned(planned: MemoryEstimate) -> Element:
    parts = [(part.replace("_", " "), bytes_of(size)) for part, size in planned.model_dump().items() if size is not None]
    return table(("part", "size"), parts, "Planned for one rank's accelerator at the peak of a step, from the model's config.json")
