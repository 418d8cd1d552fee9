"""The run folder, explained: what lies where, for whoever opens it next."""

from __future__ import annotations

from pathlib import Path

from medfinetune_api.layout import RunFolder
from rich.table import Table


def files(folder: RunFolder) -> dict[str, str]:
    """What each thing of the run folder is, by its path relative to the folder; only what is there."""
    known = {
        folder.report: "the whole run on one page; opens without a network",
        folder.adapter: _adapter(folder.adapter),
        folder.model: "a whole model, Hugging Face layout: from_pretrained(this folder); no adapter is needed",
        folder.final: "what was trained, not evaluated yet",
        folder.quarantine: "what was trained and failed a gate: use it for nothing; medfinetune release",
        folder.gates: "what every gate measured and decided",
        folder.release: "who released what a gate had stopped, when and why",
        folder.summary: "accuracy, n and intervals by task, language and subject",
        folder.evaluation: "lm-evaluation-harness's results; its samples hold record text",
        folder.lineage: "what it was made from, and every file's hash: medfinetune verify",
        folder.signature: "the lineage, signed by the site's key: medfinetune verify --key",
        folder.attempts: "every attempt that made it, each bound to the one before",
        folder.metrics: "every step, validation and memory sample, one JSON object a line",
        folder.tensorboard: "the same, for tensorboard --logdir",
        folder.prepared: "what prepare measured and chose",
        folder.plan: "the plan: all that the run was told",
        folder.data: "tokenised records and packing indexes; holds record text in token form",
        folder.checkpoints: "what an interrupted training continues from",
    }
    return {_name(path, folder): what for path, what in known.items() if path.exists()}


def folder_map(folder: RunFolder) -> Table:
    """The map as a table: path relative to the output folder, size, what it is."""
    grid = Table(title=f"In {folder.root}", title_justify="left", box=None, show_header=False, padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(style="dim")
    for name, what in files(folder).items():
        grid.add_row(name, _human(_size(folder.root / name)), what)
    return grid


def _adapter(folder: Path) -> str:
    if (folder / "bottleneck_config.json").exists():
        return "the adapter, a layout of our own: load_bottleneck(base, this folder)"
    return "the adapter, plain PEFT layout: PeftModel.from_pretrained(base, this folder)"


def _name(path: Path, folder: RunFolder) -> str:
    return str(path.relative_to(folder.root)) + ("/" if path.is_dir() else "")


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size


def _human(size: int) -> str:
    """Bytes in binary units, one decimal."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
