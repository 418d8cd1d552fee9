"""The memory plan against the real modules: shapes, what is trained, constants of quantization, and the peaks of real steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from medfinetune_api.choices import Method, Offload, OptimizerType, Placement, Sharding
from medfinetune_trainer.memory.estimate import estimate
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.published import PUBLISHED
from medfinetune_trainer.memory.shape import base_shape, shape_of
from medfinetune_trainer.memory.trained import trained
from medfinetune_trainer.model.architectures import ARCHITECTURES
from support.gang import gang
from support.manifests import minimal_manifest, plan_for
from support.measured import Case, estimated, measured, measured_by_rank
from support.models import CPU, low_rank, tiny
from support.plans import lora_plan, tuning_plan
from transformers import AutoConfig

SHAPES = [*PUBLISHED, *ARCHITECTURES]


def published(name: str) -> dict[str, Any]:
    """A published config.json; for a model type the one that leaves all to transformers' defaults, but for what the defaults would make too large."""
    return dict(PUBLISHED.get(name) or {"model_type": name})


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_real_modules(name: str) -> None:
    config = published(name)
    architecture = ARCHITECTURES[config["model_type"]]
    with torch.device("meta"):
        model = getattr(transformers, architecture.class_name)(AutoConfig.for_model(**config))
    shape = shape_of(config, architecture, name)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    layer = model.get_submodule(architecture.layers)[0]
    linears = {path.rsplit(".", 1)[-1]: module for path, module in layer.named_modules() if isinstance(module, torch.nn.Linear)}
    assert {name: (linear.inputs, linear.outputs, linear.bias) for name, linear in shape.linears.items()} == {
        name: (module.in_features, module.out_features, module.bias is not None) for name, module in linears.items()
    }


@pytest.mark.parametrize(("kind", "dora"), [("gemma3-multimodal", False), ("qwen2", True)])
def test_trained_are_those_of_the_real_adapter(tmp_path_factory: pytest.TempPathFactory, kind: Any, dora: bool) -> None:
    base = tiny(tmp_path_factory.getbasetemp() / f"plan-{kind}", kind)
    from medfinetune_trainer.model.architectures import architecture_of
    from medfinetune_trainer.model.load import skeleton

    tuning, architecture = low_rank(rank=8, use_dora=dora), architecture_of(base)
    module = tuning.attach(skeleton(base, architecture, tuning.quantization, torch.float32, CPU), architecture)
    found = trained(base_shape(base), tuning_plan(Method.QLORA, lora=lora_plan(rank=8, use_dora=dora)))
    real = sorted(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    assert sorted(found.tensors(base_shape(base).layers)) == real


CASES = [
    Case("gemma3", Method.QLORA, False, 1, 256, dropout=0.05),
    Case("gemma3", Method.QLORA, True, 2, 128, dropout=0.05),
    Case("gemma3", Method.FULL, False, 1, 512),
    Case("llama", Method.QLORA, False, 2, 128, dropout=0.05),
    Case("llama", Method.QLORA, True, 1, 512, loss_share=0.8),
    Case("llama", Method.LORA, True, 1, 256),
    Case("llama", Method.FULL, True, 2, 256),
    Case("llama", Method.QLORA, False, 1, 256, dtype=torch.bfloat16),
    Case("gemma3", Method.FULL, False, 1, 512, dtype=torch.bfloat16),
    Case("llama", Method.QLORA, False, 1, 256, dropout=0.05, dora=True),
    Case("gemma3", Method.QLORA, True, 1, 256, dora=True),
    Case("gemma3", Method.LORA, True, 2, 256, dora=True),
    Case("llama", Method.QLORA, True, 1, 256, dropout=0.05, dora=True, dtype=torch.bfloat16),
    Case("gemma3", Method.PREFIX_TUNING, False, 2, 128),
    Case("llama", Method.BOTTLENECK, False, 1, 256, dropout=0.05),
    Case("gemma3", Method.BOTTLENECK, True, 2, 256, placement=Placement.PARALLEL),
    Case("llama", Method.QLORA, False, 1, 256, rank=64, optimizer=OptimizerType.ADAMW_8BIT),
    Case("llama", Method.QLORA, False, 1, 512, dropout=0.05, offload=(Offload.ACTIVATIONS,)),
    Case("gemma3", Method.FULL, True, 1, 512, offload=(Offload.ACTIVATIONS,)),
    Case("gemma3", Method.QLORA, False, 1, 512, dropout=0.05, dora=True, offload=(Offload.ACTIVATIONS,)),
    Case("llama", Method.LORA, False, 1, 512, dora=True, offload=(Offload.ACTIVATIONS,), dtype=torch.bfloat16),
]
BITSANDBYTES_MAPS = 2 * 256 * 4
"""Of 8-bit states: what each of 256 codes stands for, once for either moment; the plan leaves them out."""
GANG = [
    Case("llama", Method.QLORA, True, 1, 64, sharding=Sharding.FULL, world_size=2),
    Case("llama", Method.QLORA, False, 1, 64, rank=64, sharding=Sharding.ADAPTERS_ONLY, world_size=2),
    Case("llama", Method.FULL, True, 1, 64, sharding=Sharding.FULL, world_size=2),
    Case("llama", Method.QLORA, False, 1, 64, rank=64, world_size=2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_peak_is_within_ten_percent_of_the_measured_one(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    """Measured by MemTracker on real steps; the constants of quantization, which it does not see, are held against the real ones elsewhere."""
    base = tiny(tmp_path_factory.getbasetemp() / f"peak-{case.kind}", case.kind, hidden_size=128, intermediate_size=512)  # type: ignore[arg-type]  # a Kind
    peak, plan = measured(case, base), estimated(case, base)
    assert plan.total - plan.quantization == pytest.approx(peak["Total"], rel=0.1)
    assert plan.base + plan.trained == peak["Parameter"]
    assert plan.gradients == peak["Gradient"]
    maps = BITSANDBYTES_MAPS if case.optimizer is OptimizerType.ADAMW_8BIT else 0
    assert plan.optimizer + maps == pytest.approx(peak["Optstate"], rel=0.001)
    assert plan.activations + plan.logits + plan.buffers == pytest.approx(peak["Activation"] + peak["Temp"], rel=0.1)


def test_the_peak_of_each_of_two_ranks_is_within_ten_percent(tmp_path_factory: pytest.TempPathFactory) -> None:
    """FSDP and DDP over gloo. Gathered weights and gradients that are not shared out yet have no name of their own, so the sum is compared."""
    base = tiny(tmp_path_factory.getbasetemp() / "peak-gang", "llama", hidden_size=128, intermediate_size=512)
    for peaks in gang(2, measured_by_rank, GANG, base):
        for case, peak in zip(GANG, peaks, strict=True):
            plan = estimated(case, base)
            assert plan.total - plan.quantization == pytest.approx(peak["Total"], rel=0.1), case
            assert plan.optimizer == pytest.approx(peak["Optstate"], rel=0.001), case


def test_the_constants_of_quantization_are_those_that_lie_in_memory(tmp_path_factory: pytest.TempPathFactory) -> None:
    import bitsandbytes as bnb
    from medfinetune_trainer.model.architectures import architecture_of
    from medfinetune_trainer.model.load import load_base

    base = tiny(tmp_path_factory.getbasetemp() / "plan-constants", "llama")
    model = load_base(base, architecture_of(base), low_rank().quantization, torch.bfloat16, CPU)
    states = [module.weight.quant_state for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    job = Job.of(plan_for(minimal_manifest(parallelism={"nodes": 1, "gpusPerNode": 1}), base.parent, base.parent, base.parent), 0.1)
    found = estimate(base_shape(base), job, Setting(Sharding.NONE, False, 1))
    assert found.quantization == pytest.approx(sum(state.absmax.nbytes + state.state2.absmax.nbytes for state in states), rel=0.01)
    assert found.base == sum(parameter.nbytes for parameter in model.parameters())
