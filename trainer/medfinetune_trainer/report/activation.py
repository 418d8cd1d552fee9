"""In which layers the adapter acts, by task and language: where languages part shows where the model tells them apart (Yoo et al. 2026, Fig. 2)."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from medfinetune_api.results_activation import Activations

from medfinetune_trainer.report.chart import Line, chart
from medfinetune_trainer.report.elements import el, table

_KEY = (
    "How much the adapter adds to the outputs of the linear layers that it adapts, as a share of them, by decoder layer; mean over each "
    "question's tokens, then over the first questions of each task. It shows where the adapter works, not whether its work is good."
)


def activation(found: Activations) -> list[Element | None]:
    """The section's content."""
    tasks = [task for task in found.tasks if task.layers]
    lines = [Line(f"{task.task} ({task.language})", [(float(layer), 100 * strength) for layer, strength in enumerate(task.layers)]) for task in tasks]
    rows = [(str(layer), *(f"{100 * task.layers[layer]:.2f}" for task in tasks)) for layer in range(len(tasks[0].layers))] if tasks else []
    head = ("layer", *(f"{task.task}, {task.language}, n = {task.questions}" for task in tasks))
    return [
        el("p", _KEY),
        chart("Adapter activation by layer", "decoder layer, from 0", "share of the output, %", lines, from_zero=True),
        el("details", el("summary", "By layer, in per cent"), table(head, rows)),
    ]
