"""A frozen base: its skeleton on the meta device, and how parts of it are filled: read, cast, quantised to NF4 where the method says so, and put in place.

NF4 with double quantization as in QLoRA (Dettmers et al. 2023, arXiv 2305.14314, section 3). The packed bits are stored as uint8, which no mixed-precision
policy casts: wider storage types are cast (fp32), or rewritten where the bits read as NaN (bf16, bitsandbytes #1945). They are those of transformers' loading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bitsandbytes as bnb
import torch
import transformers
from medfinetune_api.choices import Quantization
from medfinetune_api.errors import InvalidModel
from torch import Tensor, nn
from transformers import AutoConfig, BitsAndBytesConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.quantizers import AutoHfQuantizer

from medfinetune_trainer.model.architectures import Architecture
from medfinetune_trainer.model.heap import blocks_of_their_own
from medfinetune_trainer.model.stored import Stored
from medfinetune_trainer.model.weights import locate, read, require_finite


def load_base(folder: Path, architecture: Architecture, quantization: Quantization, compute_dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The base alone and whole, in eval mode on `device`, every parameter frozen, without a cache, with plain SDPA attention.

    Args:
        folder: model folder in Hugging Face layout.
        architecture: what `architecture_of(folder)` found.
        quantization: NF4 quantises the language model's linear layers; None keeps them in `compute_dtype`.
        compute_dtype: of everything that is not quantised, and of the products with what is.
        device: where the weights go as they are read.

    Raises:
        InvalidModel: a weight is missing, unknown, of another shape, NaN or infinite, a file is damaged, or config.json holds values that transformers refuses.
    """
    model = skeleton(folder, architecture, quantization, compute_dtype, device)
    places = Places.of(folder, model)
    for layer in model.get_submodule(architecture.layers).children():
        places.fill([layer], device)
    places.fill([model], device)
    return model


def skeleton(folder: Path, architecture: Architecture, quantization: Quantization, compute_dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """As `load_base`, with every parameter on the meta device; buffers, which no file holds, are real and on `device`. Reads config.json alone.

    Raises InvalidModel where it holds values that transformers refuses.
    """
    kind = getattr(transformers, architecture.class_name)
    with _refused(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with no_init_weights(), torch.device("meta"):
            model: PreTrainedModel = kind._from_config(config, dtype=compute_dtype, attn_implementation="sdpa")
    if quantization is Quantization.NF4:
        _quantise_layers(model, architecture, compute_dtype, device)
    _compute_buffers(model, device)
    model.config.use_cache = False
    model.config.get_text_config().use_cache = False
    model.requires_grad_(False)
    _keep_packing(model)
    return model.eval()


@dataclass(frozen=True)
class Places:
    """Where each of a base's parameters lies on disk, by the module that owns it: adapters wrap modules and rename their paths, but leave the modules."""

    stored: dict[nn.Module, dict[str, Stored]]

    @classmethod
    def of(cls, folder: Path, model: PreTrainedModel) -> Places:
        """The places of a skeleton's parameters; call it before anything is attached. Raises InvalidModel as `locate`."""
        stored: dict[nn.Module, dict[str, Stored]] = defaultdict(dict)
        for name, place in locate(folder, model).items():
            path, _, attribute = name.rpartition(".")
            stored[model.get_submodule(path)][attribute] = place
        return cls(dict(stored))

    def fill(self, modules: Iterable[nn.Module], device: torch.device) -> None:
        """Read what is still on the meta device in `modules`, each tensor once, into its parameter's type; 4-bit layers are quantised on `device`.

        Raises InvalidModel where a file cannot be read, or values are NaN or infinite.
        """
        wanted: dict[Stored, list[tuple[nn.Module, str]]] = defaultdict(list)
        for owner in dict.fromkeys(each for module in modules for each in module.modules()):
            for attribute, place in self.stored.get(owner, {}).items():
                if getattr(owner, attribute).is_meta:
                    wanted[place].append((owner, attribute))
        with blocks_of_their_own():
            for place, tensor in read(wanted.keys()):
                (owner, attribute), *tied = wanted[place]
                _put(place, owner, attribute, tensor, device)
                for other, name in tied:
                    setattr(other, name, getattr(owner, attribute))


def _put(place: Stored, owner: nn.Module, attribute: str, tensor: Tensor, device: torch.device) -> None:
    """Replace a meta parameter by its value; `tensor` lies in memory that the next one takes."""
    meta = getattr(owner, attribute)
    value = tensor.to(device).to(meta.dtype)
    require_finite(place, value)
    if isinstance(meta, bnb.nn.Params4bit):
        value = bnb.nn.Params4bit(value, requires_grad=False, **meta.__dict__).to(device)
    elif isinstance(meta, nn.Parameter):
        value = nn.Parameter(value.clone() if value.data_ptr() == tensor.data_ptr() else value, requires_grad=meta.requires_grad)
    setattr(owner, attribute, value)


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """What transformers does not take is config.json's doing: nothing else has been read."""
    try:
        yield
    except Exception as error:  # each config class validates with errors of its own, and an activation's name is looked up as the model is built
        raise InvalidModel(
            f"{folder}/config.json",
            found=f"values that transformers refuses ({type(error).__name__})",
            expected="the config that was published with the weights",
            remedy="Copy config.json again.",
        ) from error


def _quantise_layers(model: PreTrainedModel, architecture: Architecture, compute_dtype: torch.dtype, device: torch.device) -> None:
    """Put 4-bit layers, as yet without weights, in place of the language model's linear layers."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        bnb_4bit_quant_storage=torch.uint8,
        llm_int8_skip_modules=list(architecture.never_adapted),
    )
    quantizer = AutoHfQuantizer.from_config(config, pre_quantized=False)
    with _default_dtype(compute_dtype):
        quantizer.preprocess_model(model=model, dtype=compute_dtype, device_map={"": device})
    quantizer.postprocess_model(model)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _compute_buffers(model: PreTrainedModel, device: torch.device) -> None:
    """Rotary frequencies and the like, by the model's own initialisation, which passes over parameters that are marked as done."""
    for parameter in model.parameters():
        parameter._is_hf_initialized = True  # transformers' mark
    for name, buffer in list(model.named_buffers()):
        path, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(path), attribute, torch.empty_like(buffer, device=device))
    model.initialize_weights()


def _keep_packing(model: PreTrainedModel) -> None:
    """On AVX512-BF16 processors one forward in eval mode would repack the base in place: no autograd, and no way back in training."""
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
