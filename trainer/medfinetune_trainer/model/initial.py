"""The earlier adapter that training starts from: where it lies, that it is the plan's kind, and that it fits the base. Imports no torch.

Its values become the first ones of a new run, whose optimizer starts afresh. It need not have been trained on the same NF4 or 16-bit image of the base; rank,
scale, targets and shapes must agree, or it would mean something else in this run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from medfinetune_api.errors import InvalidManifest, InvalidModel
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_tuning import LoraPlan
from safetensors import SafetensorError, safe_open

from medfinetune_trainer.artifacts.quarantined import refuse_quarantined
from medfinetune_trainer.data.volume import inside
from medfinetune_trainer.model.architectures import Architecture, architecture_of
from medfinetune_trainer.model.fingerprint import weights_sha256
from medfinetune_trainer.model.folder import refuse_outside, weight_files
from medfinetune_trainer.model.initial_kinds import (
    BOTTLENECK_CONFIG,
    BOTTLENECK_WEIGHTS,
    Shapes,
    Values,
    Weights,
    bottleneck_shapes,
    bottleneck_values,
    prefix_shapes,
    prefix_values,
)
from medfinetune_trainer.model.stored import refuse_not_numbers
from medfinetune_trainer.telemetry.log import say

FIELD = "spec.tuning.initialAdapter"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
AGAIN = "Copy the adapter again, as the earlier run left it in adapter/."


def initial_folder(plan: RunPlan) -> Path | None:
    """The folder of the adapter that training starts from, with every link followed; None where it starts with a new one.

    Raises InvalidModel where it lies outside the models volume, is not there, or is what a gate has stopped.
    """
    if plan.tuning.initial_adapter is None:
        return None
    mount = Path(plan.mounts.models)
    folder = inside(mount, plan.tuning.initial_adapter.path, f"{FIELD}.path", InvalidModel)
    refuse_quarantined(folder, f"{FIELD}.path")
    refuse_outside(mount, folder.rglob("*"))
    return folder


def initial_sha256(plan: RunPlan) -> str | None:
    """SHA-256 of the weights file that training starts from; None where there is none. Raises InvalidModel."""
    folder = initial_folder(plan)
    return weights_sha256(folder) if folder else None


def require_initial(plan: RunPlan, base: Path) -> None:
    """Refuse an initial adapter that is not what the manifest says, holds what is no number, or does not fit the base in `base` by its shapes.

    Raises:
        InvalidModel: the adapter is not there, cannot be read, has another hash, or does not fit the base.
        InvalidManifest: it is of another method, rank, alpha or variant than the plan's.
    """
    folder, initial = initial_folder(plan), plan.tuning.initial_adapter
    if folder is None or initial is None:
        return
    if initial.sha256 is not None and (found := weights_sha256(folder)) != initial.sha256:
        remedy = "Restore the adapter, or correct the hash in the manifest."
        raise InvalidModel(f"{FIELD}.sha256", found=f"weights with hash {found}", expected=initial.sha256, remedy=remedy)
    tuning, architecture = plan.tuning, architecture_of(base)
    held = (each for file in weight_files(base) for each in _headers(file))
    if tuning.lora is not None:
        _require_values(plan, _low_rank_values(tuning.lora), _config(folder / CONFIG))
        _require_shapes(folder / WEIGHTS, _low_rank_shapes(tuning.lora, held, architecture))
    elif tuning.prefix is not None:
        _require_values(plan, prefix_values(tuning.prefix), _config(folder / CONFIG))
        _require_shapes(folder / WEIGHTS, prefix_shapes(tuning.prefix, architecture, held))
    elif tuning.bottleneck is not None:
        _require_values(plan, bottleneck_values(tuning.bottleneck, architecture), _config(folder / BOTTLENECK_CONFIG))
        _require_shapes(folder / BOTTLENECK_WEIGHTS, bottleneck_shapes(tuning.bottleneck, architecture, held))
    refuse_not_numbers(folder.glob("*.safetensors"))
    _tell_of_another_base(plan, folder)


def _tell_of_another_base(plan: RunPlan, folder: Path) -> None:
    """An adapter names its base by a path alone, which may have changed its name since: another one is told, not refused."""
    named = str(_config(folder / CONFIG).get("base_model_name_or_path") or "") if (folder / CONFIG).is_file() else ""
    if named and PurePosixPath(named).name != PurePosixPath(plan.model.path).name:
        say("the initial adapter names another base", adapter=plan.tuning.initial_adapter and plan.tuning.initial_adapter.path, base=plan.model.path)


def _low_rank_values(lora: LoraPlan) -> Values:
    """Of PEFT's adapter_config.json."""
    return {
        "peft_type": ("spec.tuning.method", "LORA"),
        "r": ("spec.tuning.lora.rank", lora.rank),
        "lora_alpha": ("spec.tuning.lora.alpha", lora.alpha),
        "use_rslora": ("spec.tuning.lora.useRslora", lora.use_rslora),
        "use_dora": ("spec.tuning.lora.useDora", lora.use_dora),
        "rank_pattern": (f"{FIELD}.path", {}),
        "alpha_pattern": (f"{FIELD}.path", {}),
    }


def _require_values(plan: RunPlan, wanted: Values, config: Mapping[str, Any]) -> None:
    absent = {"use_rslora": False, "use_dora": False, "rank_pattern": {}, "alpha_pattern": {}, "prefix_projection": False}
    for key, (field, value) in wanted.items():
        held = config.get(key, absent.get(key))
        if held != value:
            remedy = "Set the manifest's value to the adapter's, or start from another adapter."
            here = plan.tuning.method if key == "peft_type" else "one for all layers" if value == {} else value
            found = f"{here}, while the initial adapter has {key} {json.dumps(held)[:60]}"
            raise InvalidManifest(field, found=found, expected="the value that the initial adapter was trained with", remedy=remedy)


def _require_shapes(file: Path, expected: Shapes) -> None:
    found = dict(_headers(file))
    if found == expected:
        return
    differing = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    first = differing[0]
    raise InvalidModel(
        str(file),
        found=f"{len(differing)} of {len(found)} weights that differ, first {first}: {_shape(found.get(first))}",
        expected=f"the weights of this run's adapter on this base, there {_shape(expected.get(first))}",
        remedy="Start from an adapter of this base; a LoRA adapter must have the target modules of spec.tuning.lora.targetModules.",
    )


def _low_rank_shapes(lora: LoraPlan, base: Weights, architecture: Architecture) -> Shapes:
    """What PEFT's file of such an adapter holds, by key; published files name a layer by several paths, whose end is the same."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in base:
        modules = name.split(".")
        other = any(skipped.rsplit(".", 1)[-1] in modules for skipped in architecture.never_adapted)
        if len(shape) != 2 or "layers" not in modules or other or not _is_target(modules[-2], lora):
            continue
        outputs, inputs = shape
        path = ".".join(["base_model.model", architecture.layers, *modules[modules.index("layers") + 1 : -1]])
        shapes |= {f"{path}.lora_A.weight": (lora.rank, inputs), f"{path}.lora_B.weight": (outputs, lora.rank)}
        if lora.use_dora:
            shapes[f"{path}.lora_magnitude_vector"] = (outputs,)
    return shapes


def _is_target(module: str, lora: LoraPlan) -> bool:
    return lora.target_modules == "all-linear" or module in lora.target_modules


def _config(file: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(file, type(error).__name__) from None
    if not isinstance(config, dict):
        raise _unreadable(file, "no JSON object")
    return config


def _headers(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor in a file."""
    try:
        with safe_open(file, framework="numpy") as opened:
            yield from ((name, tuple(opened.get_slice(name).get_shape())) for name in opened.keys())  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, type(error).__name__) from None


def _unreadable(file: Path, why: str) -> InvalidModel:
    return InvalidModel(str(file), found=f"a file that cannot be read ({why})", expected="the files of an adapter as an earlier run left it", remedy=AGAIN)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else " x ".join(map(str, shape))
