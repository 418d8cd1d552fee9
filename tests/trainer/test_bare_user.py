"""As in a pod: a user that is a bare number, without a home or a name, who may write to the output volume and to /tmp."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from medfinetune_api.results import StageResult
from support.stages import EXAMPLE, SOURCES, models_volume
from support.stages import example_plan as planned

NOBODY = 65532 if os.geteuid() == 0 else os.geteuid()
"""Only root can become another; whoever else runs this test is at least without a name and a home in it."""
KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")


@pytest.fixture
def volume() -> Iterator[Path]:
    """A folder of that user's own, below one that everybody may enter: pytest's own is its owner's alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "volume"
        folder.mkdir()
        for path in (Path(name), folder):
            os.chown(path, NOBODY, NOBODY if os.geteuid() == 0 else -1)
        yield folder


def test_every_stage_works_for_a_user_without_a_name(volume: Path) -> None:
    models = models_volume()
    models.chmod(0o755)
    task = {**SOURCES[0], "name": "exam", "limit": 2, "seen": True}
    plan = planned(volume, models, EXAMPLE, {"nodes": 1, "gpusPerNode": 0}, tasks=[task])  # type: ignore[list-item]  # a limit is a number
    plan = plan.model_copy(update={"training": plan.training.model_copy(update={"epochs": 1})})
    file = volume / "plan.json"
    file.write_text(plan.to_json(), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name in KEPT} | {"OMP_NUM_THREADS": "1"}
    before = set(volume.parent.parent.glob("*"))
    for stage in ("prepare", "train", "evaluate", "purge"):
        command = [*_as_nobody(), sys.executable, "-m", "medfinetune_trainer", stage, "--plan", str(file)]
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
        result = StageResult.model_validate_json(done.stdout)
        assert (done.returncode, result.exit_code) == (0, 0), done.stdout + done.stderr
    left = {path.name for path in plan.folder.root.iterdir() if path.name[0] != "."}
    assert left == {"adapter", "evaluation", "lineage.json", "metrics.jsonl", "plan.json", "prepared.json", "report.html", "tensorboard"}
    assert not [path for path in set(volume.parent.parent.glob("medfinetune-*")) - before if path.stat().st_uid == NOBODY]


def _as_nobody() -> list[str]:
    """Only what is needed to read this Python and this clone, which may lie in root's own home, is left of root's rights; nothing to write with."""
    if os.geteuid():
        return []
    kept = [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *kept, "--bounding-set=-all,+dac_read_search"]
