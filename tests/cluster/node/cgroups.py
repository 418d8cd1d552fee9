"""The control groups of one node: made for its pods, removed when the namespaces and with them every process are gone.

No kernel takes empty groups away with a killed test run: they wait for the next node of that number, which removes them at its end.
"""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def name(number: int) -> str:
    """The group below which node `number` has its pods."""
    return f"medfinetune-{number}"


def make(number: int) -> None:
    """Make the group in every hierarchy: the kubelet takes a root that exists in all of them."""
    for hierarchy in _hierarchies():
        group = hierarchy / name(number)
        group.mkdir(exist_ok=True)
        # Without processors and memory of its own, a group of this hierarchy takes no process (cgroup v1).
        for resource in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / resource).exists() and (group / resource).exists():
                (group / resource).write_text((hierarchy / resource).read_text())


def remove(number: int) -> None:
    """Remove the group and all below it, in every hierarchy."""
    for hierarchy in _hierarchies():
        group = hierarchy / name(number)
        for path in sorted((path for path in group.rglob("*") if path.is_dir()), key=lambda path: len(path.parts), reverse=True):
            path.rmdir()
        if group.exists():
            group.rmdir()


def _hierarchies() -> list[Path]:
    """Where groups are made: each controller's folder (cgroup v1), or the one root (cgroup v2)."""
    return [_ROOT] if (_ROOT / "cgroup.controllers").exists() else [path for path in _ROOT.iterdir() if path.is_dir() and not path.is_symlink()]
