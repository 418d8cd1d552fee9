"""`python -m benchmarks.resume_chaos --kills 30`: a two-process run, killed 30 times, leaves the adapter of the undisturbed run, bit for bit.

Real are the stage programs, their processes and every SIGKILL, to the agent or to a rank, while it imports, trains, writes a checkpoint or the adapter. A
second run, with the base sharded too, goes on with 1, 2 or 3 processes in turn and is killed a third as often; its adapter and losses must be equal to 5
decimals. The last line says it; `lost` counts complete checkpoints that a next life did not continue from. The exit code is 1 unless all holds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.operator_setup import RESULTS, Json, load, machine

from medfinetune_api.choices import Sharding  # isort: skip  # after the tests' helpers are importable
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts.files import sha256_file
from safetensors.torch import load_file
from support.train import agents, losses, small_run

from benchmarks.resume_chaos.lives import Lives
from benchmarks.resume_chaos.moments import drawn

WEIGHTS = "adapter_model.safetensors"
EVERY_STEPS = 3
EQUAL = 5e-6
"""Bound of a difference that 5 decimals do not show."""
SETTING: Json = {"dropout": 0.1, "every_steps": EVERY_STEPS, "learning_rate": 1e-3, "lora_rank": 16}
"""At a rate of 1e-2 training itself is chaotic: after 196 steps rounding alone, at another world size, moves the adapter by 0.46; at 1e-3 by 6e-7."""


def main(arguments: list[str] | None = None) -> int:
    """Run, write the result where it is the whole benchmark, print the line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--result", type=Path, help="JSON file for the result; by default none, but for the whole benchmark benchmarks/results/resume_chaos.json"
    )
    chosen = parser.parse_args(arguments)
    began, busy = time.monotonic(), load()
    with tempfile.TemporaryDirectory(prefix="medfinetune-chaos-") as folder:
        result = chaos(Path(folder), chosen.kills, chosen.seed)
    result |= {"seed": chosen.seed, "seconds": round(time.monotonic() - began), "machine": machine() | {"load_before": busy}}
    file = chosen.result or (RESULTS / "resume_chaos.json" if chosen.kills >= 30 else None)
    if file:
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    kept, changing = result["kept"], result["changing"]
    kills, lost = sum(kept["kills"].values()), len(kept["lost"]) + len(changing["lost"])
    difference = max(changing["adapter_difference"], changing["loss_difference"])
    sys.stdout.write(
        f"resume_chaos kills={kills} elastic_kills={sum(changing['kills'].values())} lost={lost} bit_equal={int(kept['bit_equal'])}"
        f" max_difference={difference:.1e} most_steps_repeated={max(kept['most_steps_repeated'], changing['most_steps_repeated'])}\n"
    )
    return 0 if kills >= chosen.kills and not lost and kept["bit_equal"] and difference < EQUAL else 1


def chaos(folder: Path, kills: int, seed: int) -> Json:
    """The whole experiment, its files in `folder`."""
    documents = 40 + 33 * kills  # steps enough for every life, about a fifth of the documents
    undisturbed, kept = (small_run(folder / name / "run", documents=documents, **SETTING) for name in ("undisturbed", "kept"))
    changing = small_run(folder / "changing" / "run", Sharding.FULL, documents=documents, **SETTING)
    (alone,) = agents(undisturbed, 1, folder / "logs", PET_NPROC_PER_NODE="2")
    code, ended = alone.end()
    assert code == 0, ended
    sys.stderr.write(f"undisturbed: {len(losses(undisturbed))} steps\n")
    figures = {"steps": len(losses(undisturbed)), "every_steps": EVERY_STEPS}
    figures["kept"] = _lived(kept, folder, kills, seed, itertools.repeat(2))
    figures["kept"]["bit_equal"] = _sha256(kept) == _sha256(undisturbed) and losses(kept) == losses(undisturbed)
    figures["changing"] = _lived(changing, folder, max(2, kills // 3), seed + 1, itertools.cycle((2, 1, 3)))
    return figures | {"changing": figures["changing"] | _differences(changing, undisturbed)}


def _lived(plan: RunPlan, folder: Path, kills: int, seed: int, world_sizes: Iterable[int]) -> Json:
    chance = random.Random(seed)
    lives = Lives(plan, folder / "logs", chance, iter(world_sizes))
    for number, moment in enumerate(drawn(kills, chance), 1):
        lives.live_and_die(moment)
        sys.stderr.write(f"{number}: {moment}; {dict(lives.ends)}, repeated {lives.ledger.repeated}, lost {lives.ledger.lost}\n")
    lives.live_on()
    return {
        "kills": dict(sorted(lives.kills.items())),
        "ends": dict(sorted(lives.ends.items())),
        "lost": lives.ledger.lost,
        "most_steps_repeated": max(lives.ledger.repeated, default=0),
    }


def _sha256(plan: RunPlan) -> str:
    return sha256_file(plan.folder.final / WEIGHTS)


def _differences(plan: RunPlan, undisturbed: RunPlan) -> Json:
    found, expected = (load_file(each.folder.final / WEIGHTS) for each in (plan, undisturbed))
    adapter = max(float((found[name] - expected[name]).abs().max()) for name in expected)
    return {"adapter_difference": adapter, "loss_difference": max(abs(a - b) for a, b in zip(losses(plan), losses(undisturbed), strict=True))}


if __name__ == "__main__":
    sys.exit(main())
