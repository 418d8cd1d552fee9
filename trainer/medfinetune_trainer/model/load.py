"""Load a frozen base: NF4 for QLoRA, unquantised for LoRA; from local safetensors only, and never with a weight left at random.

NF4 with double quantization as in QLoRA (Dettmers et al. 2023, arXiv 2305.14314, section 3). The packed bits are stored as uint8, which no
mixed-precision policy casts: wider storage types are cast (fp32), or rewritten where the bits read as NaN (bf16, bitsandbytes #1945).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import torch
import transformers
from medfinetune_api.choices import Method
from medfinetune_api.errors import InvalidModel
from safetensors import SafetensorError
from transformers import AutoConfig, BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from medfinetune_trainer.model.architectures import Architecture


def load_base(folder: Path, architecture: Architecture, method: Method, compute_dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The base in eval mode on `device`, every parameter frozen, without a cache, with plain SDPA attention.

    Args:
        folder: model folder in Hugging Face layout.
        architecture: what `architecture_of(folder)` found.
        method: QLoRA quantises the language model's linear layers to NF4; anything else keeps them in `compute_dtype`.
        compute_dtype: of everything that is not quantised, and of the products with what is.
        device: where the weights go as they are read.

    Raises:
        InvalidModel: a weight is missing, unknown or of another shape, a file is damaged, or config.json holds values that transformers refuses.
    """
    model, report = _read(folder, architecture, _quantization(architecture, compute_dtype) if method is Method.QLORA else None, compute_dtype, device)
    _refuse_partial(folder, report)
    model.config.use_cache = False
    model.config.get_text_config().use_cache = False
    model.requires_grad_(False)
    _keep_packing(model)
    return model


def _quantization(architecture: Architecture, compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        bnb_4bit_quant_storage=torch.uint8,
        llm_int8_skip_modules=list(architecture.never_adapted),
    )


def _read(
    folder: Path, architecture: Architecture, quantization: BitsAndBytesConfig | None, dtype: torch.dtype, device: torch.device
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    kind = getattr(transformers, architecture.class_name)
    config = _config(folder)
    try:
        loaded: tuple[PreTrainedModel, Mapping[str, Any]] = kind.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            quantization_config=quantization,
            device_map={"": device},
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError) as error:
        raise InvalidModel(
            str(folder),
            found=f"weights that cannot be read ({type(error).__name__})",
            expected="complete safetensors files",
            remedy="Copy the model again and compare its hashes with the publisher's.",
        ) from error
    return loaded


def _config(folder: Path) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # each config class validates with errors of its own
        raise InvalidModel(
            f"{folder}/config.json",
            found=f"values that transformers refuses ({type(error).__name__})",
            expected="the config that was published with the weights",
            remedy="Copy config.json again.",
        ) from error


def _refuse_partial(folder: Path, report: Mapping[str, Any]) -> None:
    """transformers only logs these and draws the missing weights at random."""
    mismatched = sorted(str(key[0]) for key in report["mismatched_keys"])
    problems = (
        ("missing", sorted(report["missing_keys"])),
        ("of another shape", mismatched),
        ("unknown to the architecture", sorted(report["unexpected_keys"])),
    )
    for problem, keys in problems:
        if keys:
            raise InvalidModel(
                str(folder),
                found=f"{len(keys)} weights {problem}, first {keys[0]}",
                expected="every weight of the architecture that config.json names, and no other",
                remedy="Copy the model again; config.json and the weights must be of the same model.",
            )


def _keep_packing(model: PreTrainedModel) -> None:
    """On AVX512-BF16 processors one forward in eval mode would repack the base in place: no autograd, and no way back in training."""
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
