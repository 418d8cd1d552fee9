"""Model, loss and optimizer of one rank, put together as the plan says and prepare chose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from medfinetune_api.choices import Offload
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import Prepared
from torch import nn

from medfinetune_trainer.data.epochs import VALIDATION
from medfinetune_trainer.data.packed import PackedRows
from medfinetune_trainer.model.architectures import Architecture, architecture_of
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.folder import model_folder
from medfinetune_trainer.model.initial import initial_folder
from medfinetune_trainer.model.loss import LossSums, packed_loss
from medfinetune_trainer.model.neftune import add_neftune
from medfinetune_trainer.model.precision import compute_dtype
from medfinetune_trainer.model.sharding import clip_grad_norm, gradient_sync
from medfinetune_trainer.model.tuned import tuning_of
from medfinetune_trainer.optim.groups import Depths, parameter_groups
from medfinetune_trainer.optim.loss_scale import LossScale
from medfinetune_trainer.optim.offload import with_activations_on_host
from medfinetune_trainer.optim.optimizer import build_optimizer
from medfinetune_trainer.optim.parts import Parts
from medfinetune_trainer.optim.ranks import Ranks
from medfinetune_trainer.optim.step import Stepper
from medfinetune_trainer.optim.unfreezing import Unfreezing
from medfinetune_trainer.stages.prepared import micro_batch


def trainee(plan: RunPlan, prepared: Prepared, ranks: Ranks, device: torch.device) -> Stepper:
    """What takes the optimizer steps of this rank, at step 0. Collective. Raises InvalidModel, InvalidManifest."""
    training, tuning = plan.training, plan.tuning
    architecture, dtype = architecture_of(model_folder(plan)), compute_dtype(plan.training.precision, device)
    module = _module(plan, prepared, architecture, dtype, device)
    depths = Depths.of((name for name, _ in module.named_parameters()), architecture.layers, architecture.embedding)
    ratio = tuning.lora.loraplus_lr_ratio if tuning.lora else 1.0
    groups = parameter_groups(module, depths, layer_decay=training.layer_decay, loraplus_ratio=ratio, weight_decay=training.optimizer.weight_decay)
    optimizer = build_optimizer(groups, training.optimizer, on_host=Offload.OPTIMIZER in training.offload)
    scale = LossScale.fresh(dynamic=dtype is torch.float16)
    parts = _parts(plan, module, depths, device)
    return Stepper(parts, optimizer, scale, ranks, micro_batch(prepared), training.optimizer.max_grad_norm, training.seed)


def _module(plan: RunPlan, prepared: Prepared, architecture: Architecture, dtype: torch.dtype, device: torch.device) -> nn.Module:
    chosen, alpha = prepared.chosen, plan.training.neftune_noise_alpha
    module = build(
        model_folder(plan),
        tuning_of(plan),
        dtype,
        device,
        chosen.sharding,
        packed=True,
        activation_checkpointing=chosen.activation_checkpointing,
        trained=initial_folder(plan),
    ).train()
    if alpha:
        add_neftune(module, architecture.embedding, alpha)
    return module


def _parts(plan: RunPlan, module: nn.Module, depths: Depths, device: torch.device) -> Parts:
    training = plan.training
    groups = len(PackedRows(plan.folder.data, VALIDATION).languages)
    loss: Callable[..., LossSums] = partial(packed_loss, groups=groups)
    if Offload.ACTIVATIONS in training.offload:
        loss = with_activations_on_host(loss)
    parts = Parts(module, device, loss, gradient_sync, clip_grad_norm)
    if training.gradual_unfreezing is None:
        return parts
    return replace(parts, frozen=Unfreezing.of(training.gradual_unfreezing, module, depths).frozen)
