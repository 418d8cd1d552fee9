"""What DoRA takes more than LoRA, in bytes: the norm of W + s B A is taken of whole matrices, and PEFT has the adapter's product by feeding it an identity.

Read off `DoraLinearLayer.forward` and `DoraLinearVariant.forward` of PEFT 0.21, and checked against measured peaks (tests/trainer/test_memory_measured.py).
For a layer with `inputs` and `outputs`, one after another:

- the product: an identity of `inputs` x `inputs`, in the type that A has where PEFT reads it, with its copy in the compute type under autocast; B A of it. The
  product's graph keeps the identity until the layer is done.
- the norm: W in the compute type (a copy, where the base is NF4), B A, s B A and their sum.
- the sum over tokens: two scaled results and their product with s, before they are added.

The identity of a wide layer outgrows everything: one of 10,240 inputs takes 420 MB in fp32.
"""

from __future__ import annotations

from medfinetune_api.choices import Quantization, Sharding

from medfinetune_trainer.memory.activations import FP32, mask_bytes, widened
from medfinetune_trainer.memory.buffers import fetched_bytes, fetches
from medfinetune_trainer.memory.job import Job, Setting
from medfinetune_trainer.memory.shape import Linear, ModelShape
from medfinetune_trainer.memory.trained import targets
from medfinetune_trainer.model.architectures import ATTENTION, FEED_FORWARD


def product_bytes(shape: ModelShape, job: Job, setting: Setting) -> int:
    """The most that one adapted layer's product takes for a moment, beside what it keeps; 0 without DoRA."""
    lora = job.tuning.lora
    if lora is None or not lora.use_dora:
        return 0
    tokens = setting.micro_batch * job.row_tokens
    return max(_of_layer(shape.linears[name], job, setting) - tokens * _later(name, shape, job) for name in targets(shape, lora))


def kept_weight_bytes(shape: ModelShape, job: Job, setting: Setting) -> int:
    """Dequantised weights that are kept for the backward pass where dropout is on: PEFT then multiplies by the weight itself.

    The first layer's input wants no gradient, so the projections that read it keep none. Activations on the host take them along.
    """
    lora = job.tuning.lora
    if lora is None or not lora.use_dora or not lora.dropout or job.tuning.quantization is not Quantization.NF4 or fetches(job, setting):
        return 0
    weights = {name: shape.linears[name].weights for name in targets(shape, lora)}
    layers, first = (1, 0) if setting.checkpointing else (shape.layers, sum(weights.get(name, 0) for name in ATTENTION[:3]))
    return job.compute_bytes * (layers * sum(weights.values()) - first)


def gradient_beside_fetched_bytes(shape: ModelShape, job: Job, setting: Setting) -> int:
    """In the backward pass of gate or up, where what is kept is fetched from the host: all that is there beside both halves' fetched values; 0 elsewhere.

    Of each token six values of their own width with the fetched ones, and four of the stream's; with dropout one more of either. Their weight, dequantised
    where it is NF4, and in the adapters' type; there again, where that is another. Read off measured peaks at three widths, in fp32 and bf16.
    """
    lora = job.tuning.lora
    if lora is None or not lora.use_dora or not fetches(job, setting) or targets(shape, lora).isdisjoint(FEED_FORWARD[:2]):
        return 0
    number, plain = FP32 if widened(job) else job.compute_bytes, job.compute_bytes
    wide, narrow = 3 * number + 3 * plain + plain * bool(lora.dropout), 2 * number + 2 * plain + number * bool(lora.dropout)
    weight = (plain if job.tuning.quantization is Quantization.NF4 else 0) + (2 * number if widened(job) else number)
    tokens = setting.micro_batch * job.row_tokens
    there = tokens * (wide * shape.intermediate + narrow * shape.hidden) + weight * shape.linears[FEED_FORWARD[0]].weights
    return there - fetched_bytes(shape, job, setting)


def _of_layer(linear: Linear, job: Job, setting: Setting) -> int:
    """Of the two results that the layer keeps, the adapter's comes last: it is not there yet while the product and the norm are made.

    Where dropout is on, the layer's input and the base's result live on in the frames above, though autograd does not keep them.
    """
    lora = job.tuning.lora
    assert lora is not None
    tokens, number = setting.micro_batch * job.row_tokens, FP32 if widened(job) else job.compute_bytes
    states, eye, weights = tokens * linear.outputs, linear.inputs**2, linear.weights
    own = tokens * (_input_bytes(job) * linear.inputs + (job.compute_bytes * linear.outputs if lora.dropout else 0))
    standing = job.compute_bytes * (eye + lora.rank * linear.inputs)
    master = FP32 if setting.sharding is Sharding.NONE else job.compute_bytes
    cast = master * eye if master != job.compute_bytes else 0
    product = cast + job.compute_bytes * weights - number * states
    norm = _weight_bytes(linear, job, number) + 3 * number * weights - number * states
    scaled = _weight_bytes(linear, job, number) + number * weights + 3 * master * states
    return standing + own + max(product, norm, scaled)


def _input_bytes(job: Job) -> int:
    """Of one number of the layer's input, in forms that autograd does not keep: as it came, in fp32 where adapters want it, and that again without what dropout
    took.
    """
    lora = job.tuning.lora
    assert lora is not None
    if not widened(job):
        return job.compute_bytes if lora.dropout else 0
    return job.compute_bytes + FP32 * (2 if lora.dropout else 1)


def _later(name: str, shape: ModelShape, job: Job) -> int:
    """What the layer keeps of a token only after this projection: behind gate and up their activation, up's sum, and what the one down keeps."""
    lora = job.tuning.lora
    assert lora is not None
    if name not in FEED_FORWARD[:2]:
        return 0
    down = (mask_bytes(job) if lora.dropout else 0) + job.compute_bytes if FEED_FORWARD[2] in targets(shape, lora) else 0
    return 2 * job.compute_bytes * shape.intermediate + down * shape.intermediate + (2 * job.compute_bytes * shape.hidden if down else 0)


def _weight_bytes(linear: Linear, job: Job, number: int) -> int:
    """W, dequantised where it is NF4 and not kept anyway, and once more where adapters are fed in another type."""
    lora = job.tuning.lora
    assert lora is not None
    copies = job.compute_bytes if job.tuning.quantization is Quantization.NF4 and not lora.dropout else 0
    return linear.weights * (copies + (number if number != job.compute_bytes else 0))
