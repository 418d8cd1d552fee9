"""World sizes 1, 2 and 3 give the losses and gradients of one plain process, whatever the sharding, and leave the 4-bit base bit-equal."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from medfinetune_api.choices import Sharding
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.sharding import checkpoint_activations, clip_grad_norm, trainable
from support.gang import gang
from support.models import Window, adapted, assert_equal, batch, built, held, plain_window, relative, run_window, tiny

SHARDINGS = (Sharding.ADAPTERS_ONLY, Sharding.FULL, Sharding.NONE)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("gemma3"), "gemma3", sliding_window=8)


@pytest.fixture(scope="module")
def alone(base: Path) -> Window:
    """Plain autograd of the mean loss, in one process."""
    return plain_window(base)


def flat(window: Window) -> torch.Tensor:
    return torch.cat([window.gradients[name].flatten() for name in sorted(window.gradients)])


@pytest.mark.parametrize(("world_size", "sharding"), itertools.product((1, 2, 3), SHARDINGS))
def test_every_world_size_and_sharding_equals_one_process(base: Path, alone: Window, world_size: int, sharding: Sharding) -> None:
    assert_equal(gang(world_size, run_window, base, sharding), alone)


@pytest.mark.parametrize("kind", ["gemma3-multimodal", "llama", "qwen2", "qwen3"])
def test_full_sharding_of_every_architecture_with_checkpointed_activations(tmp_path: Path, kind: str) -> None:
    base = tiny(tmp_path / kind, kind)
    assert_equal(gang(2, run_window, base, Sharding.FULL, torch.float32, True), plain_window(base))


@pytest.mark.parametrize(("dtype", "sharding"), itertools.product((torch.bfloat16, torch.float16), SHARDINGS))
def test_sixteen_bit_products_keep_fp32_gradients_near_those_of_fp32(base: Path, dtype: torch.dtype, sharding: Sharding) -> None:
    expected = plain_window(base, dropout=0.0)
    for found in gang(2, run_window, base, sharding, dtype, False, 0.0):
        assert found.digests[0] == found.digests[1]
        assert found.loss == pytest.approx(expected.loss, rel=2e-3)
        assert {gradient.dtype for gradient in found.gradients.values()} == {torch.float32}
        assert relative(flat(found), flat(expected)) < 0.15


def test_each_strategy_shards_what_its_name_says(base: Path) -> None:
    (trained, frozen), *_ = gang(1, held, base, Sharding.NONE)
    assert gang(2, held, base, Sharding.NONE) == [(trained, frozen)] * 2
    assert gang(2, held, base, Sharding.ADAPTERS_ONLY) == [(trained / 2, frozen)] * 2
    assert [size for size, _ in gang(2, held, base, Sharding.FULL)] == [trained / 2] * 2
    assert sum(size for _, size in gang(2, held, base, Sharding.FULL)) == frozen


def test_checkpointed_activations_draw_the_same_dropout(base: Path) -> None:
    plain, checkpointed = (run_window(0, base, Sharding.NONE, torch.float32, flag, 0.5) for flag in (False, True))
    assert_equal([checkpointed], plain)


def test_clipping_scales_to_the_norm_and_zero_leaves_gradients(base: Path) -> None:
    module = built(base, Sharding.NONE)
    packed_loss(module, batch((7, 4)), 2).loss.backward()
    norm = clip_grad_norm(module, 0.0)
    assert clip_grad_norm(module, norm / 2) == norm
    assert clip_grad_norm(module, 0.0) == pytest.approx(norm / 2, rel=1e-4)
    assert len(trainable(module)) == 28


def test_recomputation_really_happens(base: Path) -> None:
    """Guards the test above against a switch that does nothing."""
    model = adapted(base).train()
    checkpoint_activations(model.get_base_model())
    layer = model.get_base_model().model.layers[0]
    calls: list[int] = []
    layer.mlp.register_forward_hook(lambda *_: calls.append(1))
    packed_loss(model, batch((7, 4)), 2).loss.backward()
    assert len(calls) == 2
