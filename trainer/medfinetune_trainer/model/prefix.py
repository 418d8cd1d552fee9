"""Prefix tuning: trained keys and values before every document, in each layer's attention, by PEFT and in PEFT's files (Li and Liang 2021, arXiv 2101.00190,
section 4), without the re-parametrisation: keys and values themselves are the parameters (P-tuning v2, Liu et al. 2022, arXiv 2110.07602, section 3.2).

PEFT hands the prefix to the model as a cache of earlier tokens; `attention.packed_attention` puts it before each document of a batch, so no padding is needed
in training. A cache cannot be computed again in the backward pass: transformers drops it in silence, so that the prefix would not be trained. Prepare and the
manifest's rules therefore keep activation checkpointing off.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from medfinetune_api.choices import Quantization
from medfinetune_api.errors import OutputConflict
from medfinetune_api.plan_tuning import PrefixPlan
from peft import PeftConfig, PeftModel, PeftType, PrefixTuningConfig, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import PreTrainedModel

from medfinetune_trainer.model.architectures import Architecture
from medfinetune_trainer.model.initial_kinds import PREFIX_KEY
from medfinetune_trainer.model.keyed import keyed
from medfinetune_trainer.model.lora import WEIGHTS
from medfinetune_trainer.model.sharding import unwrapped

PARAMETER = "prompt_encoder.default.embedding.weight"
"""(virtual tokens, layers x 2 x key-value heads x head size): all that is trained."""
INITIAL_STD = 0.02
"""Of the prefix's first values: transformers' own for embeddings."""


@dataclass(frozen=True)
class Prefix:
    """A prefix of keys and values."""

    prefix: PrefixPlan
    quantization: Quantization
    seed: int

    def attach(self, base: PreTrainedModel, architecture: Architecture) -> PeftModel:
        """A PeftModel around `base`."""
        tokens = self.prefix.num_virtual_tokens
        with torch.device("meta"):
            adapted = get_peft_model(base, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=tokens))
        assert isinstance(adapted, PeftModel)
        adapted.prompt_tokens["default"] = torch.arange(tokens)  # indexes, which no file holds
        adapted.word_embeddings = None  # a second name for the base's embedding, of use to prompt tuning alone
        return adapted

    def initialise(self, name: str, module: nn.Module) -> None:
        """Normal and small, so that training starts near the base; PEFT's own standard normal learns no faster."""
        for path, parameter in module.named_parameters(prefix=name):
            if path == PARAMETER:
                parameter.data.copy_(torch.empty(parameter.shape).normal_(std=INITIAL_STD, generator=keyed(self.seed, path)))

    def save(self, module: nn.Module, state: Mapping[str, Tensor], folder: Path, base: str) -> None:
        """adapter_config.json and adapter_model.safetensors, as PEFT reads them."""
        config = copy.copy(_peft(module).peft_config["default"])
        config.base_model_name_or_path, config.inference_mode = base, True
        config.save_pretrained(str(folder))
        (folder / WEIGHTS).write_bytes(save({PREFIX_KEY: state[PARAMETER].contiguous()}, metadata={"format": "pt"}))

    def load(self, module: nn.Module, folder: Path) -> Mapping[str, Tensor]:
        """The prefix in `folder`, which must have this one's length and the base's shape. Raises OutputConflict."""
        try:
            if PeftConfig.from_pretrained(str(folder)).peft_type != PeftType.PREFIX_TUNING:
                raise ValueError("another method")
            value = load_file(folder / WEIGHTS)[PREFIX_KEY]
            if value.shape != _peft(module).get_parameter(PARAMETER).shape:
                raise ValueError("a prefix of another shape")
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            remedy = f"Restore it; or remove {folder} and start again: training continues from the newest checkpoint."
            found = f"an adapter that cannot be read ({type(error).__name__})"
            raise OutputConflict(str(folder), found=found, expected="a prefix in PEFT's layout, of this run's shape", remedy=remedy) from error
        return {PARAMETER: value}

    def disabled(self, module: nn.Module) -> AbstractContextManager[None]:
        """PEFT's own switch."""
        disabled: AbstractContextManager[None] = _peft(module).disable_adapter()
        return disabled


def _peft(module: nn.Module) -> PeftModel:
    model = unwrapped(module)
    assert isinstance(model, PeftModel)
    return model
