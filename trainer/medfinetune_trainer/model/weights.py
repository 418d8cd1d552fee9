"""A base's weights on disk: which file holds which weight of the model, all of them or a refusal, and each read once, as it is needed.

Headers come first and say what is missing, unknown or of another shape before a weight is read. Published files may name a module by an older path:
transformers' own table of conversions says what each key is called now. Tensors are read into one buffer, one after the other, and not mapped: a private map of
a file that is larger than the memory a process may have cannot be made.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from medfinetune_api.errors import InvalidModel
from torch import Tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, dot_natural_key, rename_source_key

from medfinetune_trainer.model.folder import weight_files
from medfinetune_trainer.model.stored import Stored, header, not_numbers, unreadable

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What a weight may be stored as, in safetensors' words."""
DERIVED = r"rotary_emb\.inv_freq|(^|\.)position_ids$"
"""Buffers that old checkpoints hold, and that models compute today."""
CHUNK = 1 << 24
"""Bytes hashed at a time."""
SAME_MODEL = "Copy the model again; config.json and the weights must be of the same model."


def locate(folder: Path, model: PreTrainedModel) -> dict[str, Stored]:
    """Where each weight of `model` lies, by its name in the model; tied weights that the files hold once lie in the same place. Reads headers alone.

    Raises:
        InvalidModel: a weight is missing, unknown, of another shape, or of a type other than floating point in 16 bits or more; tied weights differ; a file is
            damaged or not there.
    """
    named = stored_weights(folder, model)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _follow_ties(folder, model, named)
    ignored = re.compile("|".join([DERIVED, *(model._keys_to_ignore_on_load_unexpected or ())]))
    _refuse(folder, "missing", expected.keys() - named.keys())
    _refuse(folder, "of another shape", {name for name in named.keys() & expected.keys() if named[name].shape != expected[name]})
    _refuse(folder, "unknown to the architecture", {name for name in named.keys() - expected.keys() if not ignored.search(name)})
    return {name: _float(named[name]) for name in expected}


def stored_weights(folder: Path, model: PreTrainedModel) -> dict[str, Stored]:
    """Where each weight lies that the files hold, by the name that it has in `model` today; a tied weight may be there once or twice. Raises InvalidModel."""
    return _renamed(model, {name: stored for file in weight_files(folder) for name, stored in header(file).items()})


def read(wanted: Collection[Stored]) -> Iterator[tuple[Stored, Tensor]]:
    """Each tensor on the CPU as its file has it, in memory that the next one takes; every file is opened once. Raises InvalidModel where one cannot be read."""
    buffer = torch.empty(max((each.end - each.start for each in wanted), default=0), dtype=torch.uint8)
    by_file: Mapping[Path, list[Stored]] = defaultdict(list)
    for each in wanted:
        by_file[each.file].append(each)
    for file, held in by_file.items():
        try:
            with file.open("rb") as opened:
                for each in sorted(held, key=lambda each: each.start):
                    part = buffer[: each.end - each.start]
                    opened.seek(each.start)
                    if opened.readinto(part.numpy().data) < len(part):
                        raise EOFError
                    yield each, part.view(DTYPES[each.dtype]).view(each.shape)
        except (OSError, EOFError) as error:
            raise unreadable(file, error) from error


def require_finite(stored: Stored, tensor: Tensor) -> None:
    """Raises InvalidModel where a value, as it is used, is NaN or infinite: one such weight makes every loss NaN."""
    low, high = torch.aminmax(tensor) if tensor.numel() else (tensor.sum(), tensor.sum())
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise not_numbers(stored, str(tensor.dtype).removeprefix("torch."))


def _renamed(model: PreTrainedModel, found: Mapping[str, Stored]) -> dict[str, Stored]:
    """By the names that the model's weights have today."""
    expected, renamings = model.state_dict(), [each for each in get_model_conversion_mapping(model) if isinstance(each, WeightRenaming)]
    named = {}
    for key in sorted(found, key=dot_natural_key):
        name, _ = rename_source_key(key, renamings, [], model.base_model_prefix, expected)
        if name not in expected and key in expected:
            name = key
        named[name] = found[key]
    return named


def _follow_ties(folder: Path, model: PreTrainedModel, named: dict[str, Stored]) -> None:
    """Give two weights that config.json ties one place, whether the files hold one of them or both. Raises InvalidModel where they hold two that differ."""
    for target, source in model.all_tied_weights_keys.items():
        held = [named[name] for name in (source, target) if name in named]
        if len({_digest(each) for each in held} if len(held) > 1 else held) > 1:
            remedy = "Set tie_word_embeddings to false in config.json, or copy the model again."
            raise InvalidModel(
                str(folder), found=f"{source} and {target} with different values", expected="one weight, as config.json ties them", remedy=remedy
            )
        if held:
            named[source] = named[target] = held[0]


def _digest(stored: Stored) -> bytes:
    digest, left = hashlib.sha256(), stored.end - stored.start
    try:
        with stored.file.open("rb") as opened:
            opened.seek(stored.start)
            while left and (part := opened.read(min(left, CHUNK))):
                digest.update(part)
                left -= len(part)
    except OSError as error:
        raise unreadable(stored.file, error) from error
    return digest.digest()


def _refuse(folder: Path, problem: str, names: Collection[str]) -> None:
    if names:
        found = f"{len(names)} weights {problem}, first {min(names)}"
        raise InvalidModel(str(folder), found=found, expected="every weight of the architecture that config.json names, and no other", remedy=SAME_MODEL)


def _float(stored: Stored) -> Stored:
    if stored.dtype not in DTYPES:
        remedy = "Use the unquantised model: QLoRA quantises it to NF4 itself."
        raise InvalidModel(str(stored.file), found=f"{stored.key} stored as {stored.dtype}", expected="weights in 16 or 32 bits", remedy=remedy)
    return stored
