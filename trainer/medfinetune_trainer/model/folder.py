"""The base's folder: where every stage finds it, that all of it lies in its volume, and that it fits the plan. Reads JSON; imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from medfinetune_api.errors import InvalidManifest, InvalidModel
from medfinetune_api.plan import RunPlan

from medfinetune_trainer.artifacts.quarantined import refuse_quarantined
from medfinetune_trainer.data.template import Renderer
from medfinetune_trainer.data.volume import inside
from medfinetune_trainer.model.architectures import LINEARS, text_config

INDEX = "model.safetensors.index.json"


def model_folder(plan: RunPlan) -> Path:
    """The base's folder with every link followed. Its files may be links within the volume, as Hugging Face's cache makes them.

    Raises InvalidModel where the folder, a file in it or a shard that its index names lies outside the models volume, or a gate has stopped what it holds.
    """
    mount = Path(plan.mounts.models)
    folder = inside(mount, plan.model.path, "spec.model.path", InvalidModel)
    refuse_outside(mount, _files(folder))
    refuse_quarantined(folder, "spec.model.path")
    return folder


def refuse_outside(mount: Path, files: Iterable[Path]) -> None:
    """Raises InvalidModel where one of `files` lies outside the models volume at `mount`."""
    for file in files:
        if not Path(os.path.realpath(file)).is_relative_to(mount.resolve()):
            remedy = "Copy what it points to into its folder."
            raise InvalidModel(str(file), found="a file outside the models volume", expected="a file or link within it", remedy=remedy)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the base's weights; what else lies in the folder is not read. Raises InvalidModel where the index does not parse."""
    whole = folder / "model.safetensors"
    return [whole] if whole.is_file() else [folder / shard for shard in sorted(_shards(folder / INDEX))]


def _files(folder: Path) -> Iterator[Path]:
    """Everything in the folder, then the shards, which an index may name outside it: by then the index itself is known to lie inside."""
    yield from folder.rglob("*")
    index = folder / INDEX
    if index.is_file():
        yield from (folder / shard for shard in _shards(index))


def _shards(index: Path) -> set[str]:
    try:
        return set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        found = f"an index that does not parse ({type(error).__name__})"
        raise InvalidModel(str(index), found=found, expected="a JSON object with weight_map", remedy="Copy the model again.") from None


def refuse_misfit(plan: RunPlan, folder: Path, renderer: Renderer) -> None:
    """Refuse a tokenizer or a row that the base has no embeddings or positions for; values that config.json leaves to transformers' defaults pass.

    Raises:
        InvalidModel: the tokenizer can produce tokens beyond the base's vocabulary.
        InvalidManifest: rows are longer than the base's positions.
    """
    config, file = text_config(folder), f"{folder}/config.json"
    tokens, known = _tokens(renderer), config.get("vocab_size")
    if isinstance(known, int) and tokens > known:
        remedy = "Use the tokenizer that was published with the weights, or weights resized to this one."
        raise InvalidModel(file, found=f"vocab_size {known}", expected=f"at least {tokens}, for the tokens of its tokenizer", remedy=remedy)
    _refuse_targets(plan, folder)
    positions, prefix = config.get("max_position_embeddings"), plan.tuning.prefix.num_virtual_tokens if plan.tuning.prefix else 0
    if isinstance(positions, int) and plan.data.max_length + prefix > positions:
        remedy = f"Lower maxLength to {max(0, positions - prefix)}, or choose a base with more positions."
        found = f"rows of {plan.data.max_length} tokens" + (f" behind a prefix of {prefix}" if prefix else "")
        raise InvalidManifest("spec.data.maxLength", found=found, expected=f"at most {positions}, max_position_embeddings of {file}", remedy=remedy)


def _refuse_targets(plan: RunPlan, folder: Path) -> None:
    """Raises InvalidManifest where a target module is no linear layer of the base's decoder layers."""
    named = plan.tuning.lora.target_modules if plan.tuning.lora else "all-linear"
    unknown = [] if named == "all-linear" else [name for name in named if name not in LINEARS]
    if unknown:
        found, expected = f"{', '.join(unknown)[:200]}, which {folder.name} does not have", f"all-linear, or some of {', '.join(LINEARS)}"
        raise InvalidManifest("spec.tuning.lora.targetModules", found=found, expected=expected, remedy="Name linear layers of the decoder layers.")


def _tokens(renderer: Renderer) -> int:
    """One more than the highest id that a rendered text can be encoded to.

    Control tokens that neither the template nor its variables write are never produced: Gemma 3's 1B has its image token beyond a text model's vocabulary.
    """
    tokenizer = renderer.tokenizer
    variables = {tokenizer.bos_token, tokenizer.eos_token}
    never = {token for token in renderer.control if token not in renderer.source and token not in variables}
    return 1 + max((number for token, number in tokenizer.get_vocab().items() if token not in never), default=-1)
