"""What a plan asked for, as terms and words: for the page and for the card."""

from __future__ import annotations

from collections.abc import Iterator

from medfinetune_api.choices import Method
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_training import OptimizerPlan
from medfinetune_api.plan_tuning import TuningPlan

from medfinetune_trainer.report.words import figure

FULL_NAMES = {
    Method.QLORA: "QLoRA: low-rank adapters on a base kept in 4 bits (NF4)",
    Method.LORA: "LoRA: low-rank adapters",
    Method.FULL: "full fine-tuning: every weight is trained",
    Method.PREFIX_TUNING: "prefix tuning: trained keys and values before every document",
    Method.BOTTLENECK: "bottleneck adapters in every decoder layer",
}


def method_facts(plan: RunPlan) -> Iterator[tuple[str, str]]:
    """Base, method and hyper-parameters."""
    training, data = plan.training, plan.data
    yield "base model", plan.model.path
    yield "method", FULL_NAMES[plan.tuning.method]
    yield from _shape(plan.tuning)
    yield "base kept as", str(plan.tuning.quantization) if plan.tuning.quantization != "None" else "unquantized weights"
    if plan.tuning.initial_adapter:
        yield "started from the adapter", plan.tuning.initial_adapter.path
    yield "epochs", str(training.epochs)
    yield "learning rate", f"{figure(training.learning_rate)}, {training.scheduler.type}, {training.scheduler.warmup_steps:,} warm-up steps"
    yield "optimizer", _optimizer(training.optimizer)
    yield "batch", f"{training.global_batch_tokens:,} token slots a step, in rows of {data.max_length:,}, packing {data.packing}"
    yield "loss on", "responses only" if data.loss_on == "Response" else "all tokens"
    yield "precision", str(training.precision)
    if training.early_stopping:
        stopping = training.early_stopping
        yield "early stopping", f"patience {stopping.patience}, minimum delta {figure(stopping.minimum_delta)} nats"
    yield "seed", str(training.seed)
    yield "processes", f"{plan.parallelism.world_size} on {plan.parallelism.nodes} nodes, {plan.parallelism.gpus_per_node} GPUs a node"
    yield "mixture", mixture_words(plan)


def mixture_words(plan: RunPlan) -> str:
    """In what proportion the sources were trained on."""
    mixture = plan.data.mixture
    if mixture is None:
        return "every record once an epoch"
    parts = " : ".join(f"{group} {figure(share)}" for group, share in mixture.ratio.items())
    return f"{parts}, by {str(mixture.by).lower()}, counted in {str(mixture.unit).lower()}, {str(mixture.fill).lower()}"


def _shape(tuning: TuningPlan) -> Iterator[tuple[str, str]]:
    if tuning.lora:
        lora = tuning.lora
        targets = lora.target_modules if isinstance(lora.target_modules, str) else ", ".join(lora.target_modules)
        variants = "".join(name for name, used in ((", rank-stabilised", lora.use_rslora), (", DoRA", lora.use_dora)) if used)
        yield "adapter", f"rank {lora.rank}, alpha {figure(lora.alpha)}, dropout {figure(lora.dropout)}, on {targets}{variants}"
    if tuning.prefix:
        yield "prefix", f"{tuning.prefix.num_virtual_tokens} virtual tokens"
    if tuning.bottleneck:
        yield "bottleneck", f"size {tuning.bottleneck.size}, {str(tuning.bottleneck.placement).lower()}, scale {figure(tuning.bottleneck.scale)}"


def _optimizer(optimizer: OptimizerPlan) -> str:
    clipped = f"gradients clipped at {figure(optimizer.max_grad_norm)}" if optimizer.max_grad_norm else "no clipping"
    return f"{optimizer.type}, betas {optimizer.beta1} and {optimizer.beta2}, weight decay {figure(optimizer.weight_decay)}, {clipped}"
