"""A base with its tuning, sharded: built group by group, so that no rank ever holds more than its share of the model and one group beside it.

A skeleton on the meta device is given what is trained. Then, for each group of modules that is gathered together (a decoder layer; embedding, norm and head; a
vision tower): its base weights are read, cast and quantised on the device, its trained weights get their first values or those of an earlier training, and it
is sharded before the next is read. Training and evaluation both come this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from medfinetune_api.choices import Quantization, Sharding
from torch import Tensor, nn
from transformers import PreTrainedModel

from medfinetune_trainer.model.architectures import Architecture, architecture_of
from medfinetune_trainer.model.attention import use_packed_attention
from medfinetune_trainer.model.load import Places, skeleton
from medfinetune_trainer.model.sharding import Spread, checkpoint_activations
from medfinetune_trainer.model.tuned import Adapter, Tuning
from medfinetune_trainer.telemetry.heartbeat import beat


def build(
    folder: Path,
    tuning: Tuning | None,
    compute_dtype: torch.dtype,
    device: torch.device,
    sharding: Sharding | None,
    *,
    packed: bool,
    activation_checkpointing: bool = False,
    trained: Path | None = None,
) -> nn.Module:
    """The tuned model of this rank, its base in eval mode; the caller chooses a mode. Collective where it is sharded.

    Args:
        folder: the base, in Hugging Face layout.
        tuning: what `tuning_of` made of the plan; None for the base alone, frozen and unquantised.
        compute_dtype: of frozen weights that are not quantised, and of matrix products; masters, gradients and reductions stay fp32.
        device: of this rank; weights are quantised on it.
        sharding: AdaptersOnly, Full or None; the absent one leaves a whole model to each rank, without gradients summed.
        packed: whether documents are packed (training): every forward must then pass `cu_seqlens` and `max_seqlen`. Evaluation keeps SDPA.
        activation_checkpointing: compute a layer's activations again in the backward pass.
        trained: what `Adapter.save` wrote, to start from in place of first values; not of a `tuning` that is none.

    Raises:
        InvalidModel: the base cannot be used. InvalidManifest: the tuning does not fit it. OutputConflict: `trained` cannot be read.
    """
    architecture = architecture_of(folder)
    base = skeleton(folder, architecture, tuning.quantization if tuning else Quantization.NONE, compute_dtype, device)
    places = Places.of(folder, base)
    if packed:
        use_packed_attention(base, architecture)
    module = tuning.attach(base, architecture) if tuning else base
    if activation_checkpointing:
        checkpoint_activations(base)
    values = _adapter(tuning).load(module, trained) if trained else None
    spread = Spread(sharding, compute_dtype, device)
    for group in _groups(module, base, architecture):
        places.fill(group.values(), device)
        for name, part in group.items():
            give_values(name, part, tuning, values, device)
        spread.group(list(group.values()))
        beat()
    return spread.root(module)


def _groups(module: nn.Module, base: PreTrainedModel, architecture: Architecture) -> Iterator[Mapping[str, nn.Module]]:
    """What is read and gathered together, by name; last what stands outside of all others: a tuning's own modules."""
    names = {each: name for name, each in module.named_modules()}
    ends = [base.get_submodule(name) for name in (architecture.embedding, architecture.norm, architecture.head)]
    others = (base.get_submodule(name) for name in architecture.other_modalities)
    for group in (*([layer] for layer in base.get_submodule(architecture.layers).children()), ends, *([other] for other in others)):
        yield {names[each]: each for each in group}
    yield {names[owner]: owner for owner in module.modules() if any(parameter.is_meta for parameter in owner.parameters(recurse=False))}


def give_values(name: str, part: nn.Module, tuning: Tuning | None, values: Mapping[str, Tensor] | None, device: torch.device) -> None:
    """Make the tuning's own parameters in `part` real: `values` by name, or its first ones. They are NaN until then: one that is forgotten must not look like
    a number.
    """
    for owner in part.modules():
        for attribute, parameter in _meta(owner):
            real = torch.full_like(parameter, torch.nan, device=device)
            setattr(owner, attribute, nn.Parameter(real, requires_grad=parameter.requires_grad))
    if values is not None:
        for path, parameter in part.named_parameters(prefix=name):
            if parameter.requires_grad:
                parameter.data.copy_(values[path])
    elif tuning is not None:
        tuning.initialise(name, part)


def _adapter(tuning: Tuning | None) -> Adapter:
    assert isinstance(tuning, Adapter), "only an adapter is read back onto its base"
    return tuning


def _meta(owner: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return [(attribute, parameter) for attribute, parameter in owner.named_parameters(recurse=False) if parameter.is_meta]
