"""`python -m medfinetune_trainer.tools.plan --plan plan.json`: the memory plan of a run, from the base's config.json alone. Needs no torch, starts nothing.

One JSON object on stdout; exit code 0, or DOES_NOT_FIT with the same object and what would fit, or a refusal's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medfinetune_api.errors import InvalidModel, Refusal
from medfinetune_api.exits import EXITS, Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared

from medfinetune_trainer.data.volume import inside
from medfinetune_trainer.memory.choose import Fit, alternatives, choose
from medfinetune_trainer.memory.evaluation import evaluation_bytes, needs_gang
from medfinetune_trainer.memory.job import Setting, known_loss_share
from medfinetune_trainer.memory.projection import ablation, projection
from medfinetune_trainer.memory.refusal import does_not_fit, remedies
from medfinetune_trainer.memory.shape import ModelShape, base_shape


def main(argv: Sequence[str] | None = None) -> int:
    """Print the memory plan and return the exit code."""
    parser = argparse.ArgumentParser(prog="plan", description="What a run takes on one accelerator, and what is chosen for it.")
    parser.add_argument("--plan", type=Path, required=True, help="the RunPlan, JSON")
    plan = RunPlan.model_validate_json(parser.parse_args(argv).plan.read_bytes())
    try:
        shape = base_shape(inside(Path(plan.mounts.models), plan.model.path, "spec.model.path", InvalidModel))
    except Refusal as refusal:
        return _tell({"problems": [_problem(refusal)]}, refusal.exit)
    return _tell(*memory_plan(plan, shape))


def memory_plan(plan: RunPlan, shape: ModelShape) -> tuple[dict[str, Any], Exit]:
    """The memory plan as one object, and the exit code that it means."""
    share, measured = _loss_share(plan)
    fit = choose(plan, shape, share)
    found = [] if fit.fits else remedies(plan, shape, share)
    result = {
        "model": plan.model.path,
        "method": plan.tuning.method.value,
        "parameters": shape.parameters,
        "worldSize": plan.parallelism.world_size,
        "maxLength": plan.data.max_length,
        "gpuMemory": plan.parallelism.gpu_memory,
        "lossTokens": {"share": share, "measured": measured},
        "chosen": _as_json(fit),
        "evaluation": {"bytes": evaluation_bytes(plan, shape), "onGang": needs_gang(plan, shape)},
        "alternatives": [_as_json(each) for each in alternatives(plan, shape, share)],
        "wouldFit": [{"field": each.field, "value": each.value, **_as_json(each.fit)} for each in found],
        "projection": [{"model": each.model, "parameters": each.parameters, **_as_json(each.fit)} for each in projection(plan, share)],
        "ablation": [
            {"step": each.name, **_setting(each.setting), "memory": each.memory.model_dump(), "publishedGb": each.published_gb}
            for each in ablation(plan, shape, share)
        ],
        "problems": [] if fit.fits else [_problem(does_not_fit(plan, fit, found))],
    }
    return result, Exit.SUCCEEDED if fit.fits else Exit.DOES_NOT_FIT


def _loss_share(plan: RunPlan) -> tuple[float, bool]:
    """The share of loss tokens, and whether it is certain or was measured by this run's own prepare."""
    prepared, known = Prepared.read(plan.folder.prepared), known_loss_share(plan)
    if prepared is not None and prepared.plan_sha256 == plan.sha256:
        return prepared.loss_token_share, True
    return known.assumed, known.least == known.assumed


def _as_json(fit: Fit) -> dict[str, Any]:
    return {**_setting(fit.setting), "fits": fit.fits, "memory": fit.memory.model_dump()}


def _setting(setting: Setting) -> dict[str, Any]:
    return {"sharding": setting.sharding.value, "activationCheckpointing": setting.checkpointing, "microBatch": setting.micro_batch}


def _problem(refusal: Refusal) -> dict[str, str]:
    facts = {name: getattr(refusal, name) for name in ("where", "found", "expected", "remedy")}
    return facts | {"reason": refusal.reason}


def _tell(result: dict[str, Any], code: Exit) -> int:
    sys.stdout.write(json.dumps({"exitCode": int(code), "reason": EXITS[code].reason} | result, ensure_ascii=False) + "\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
