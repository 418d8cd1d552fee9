"""Stage programs as real processes, on the example's data and a tiny base."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from medfinetune_api.plan import RunPlan
from medfinetune_api.results import StageResult
from support.manifests import minimal_manifest, plan_for
from tiny_base import build

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-minimal" / "data"
SOURCES = [
    {"name": "medqa", "path": "medqa/train.jsonl", "format": "MedQA", "language": "en"},
    {"name": "kormedmcqa", "path": "kormedmcqa/train.csv", "format": "KorMedMCQA", "language": "ko"},
]
UNSCREENED = {"privacy": {"action": "Disabled"}, "decontamination": {"action": "Disabled"}}
"""Of spec.data, for tests of something else: a scan's imports alone take longer than the whole stage on the example."""


@cache
def models_volume() -> Path:
    """A volume with the tiny base `base`, its tokenizer trained on the example; built once a test process."""
    volume = Path(mkdtemp(prefix="medfinetune-models-"))
    texts = [line for source in SOURCES for line in (EXAMPLE / str(source["path"])).read_text(encoding="utf-8").splitlines()]
    build(volume / "base", texts, vocabulary=900)
    return volume


def example_plan(
    output: Path,
    models: Path | None = None,
    data: Path = EXAMPLE,
    parallelism: dict[str, Any] | None = None,
    tasks: Sequence[dict[str, str]] = (),
    **spec_data: Any,
) -> RunPlan:
    """A plan on the example's two training files, without screening; `tasks` are evaluated, `spec_data` is laid over spec.data."""
    spec = {"data": {"sources": SOURCES, "maxLength": 512, **UNSCREENED} | spec_data, "parallelism": parallelism or {"nodes": 1, "gpusPerNode": 0}}
    manifest = minimal_manifest(**spec, evaluation={"tasks": list(tasks)})
    return plan_for(manifest, models or models_volume(), data, output)


class Ended(NamedTuple):
    """How a stage process ended."""

    code: int
    result: StageResult
    stderr: str


def command(stage: str, plan: Path, prelude: str = "") -> list[str]:
    """The command line of a stage; with `prelude`, Python run before it in the same process."""
    if not prelude:
        return [sys.executable, "-m", "medfinetune_trainer", stage, "--plan", str(plan)]
    program = f"import sys\n{prelude}\nfrom medfinetune_trainer.stages.program import main\nsys.exit(main([{stage!r}, '--plan', {str(plan)!r}]))"
    return [sys.executable, "-c", program]


def plan_file(plan: RunPlan) -> Path:
    """The plan, written beside its output volume's run folder."""
    path = Path(plan.mounts.output) / f"{plan.identity.folder}.plan.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plan.to_json(), encoding="utf-8")
    return path


def run_stage(stage: str, plan: RunPlan | Path, prelude: str = "") -> Ended:
    """Run a stage to its end."""
    path = plan if isinstance(plan, Path) else plan_file(plan)
    done = subprocess.run(command(stage, path, prelude), capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 1, f"stdout must hold the result and nothing else: {lines}\n{done.stderr}"
    return Ended(done.returncode, StageResult.model_validate(json.loads(lines[0])), done.stderr)


def leaves_nothing(plan: RunPlan) -> bool:
    """Whether the run folder holds nothing but the plan and the lock."""
    return not plan.folder.root.exists() or {path.name for path in plan.folder.root.iterdir()} <= {".lock", "plan.json"}
