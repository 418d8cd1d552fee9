"""The memory plan: what is chosen, refused and proposed (test_memory_measured.py holds its figures against real steps)."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from medfinetune_api.choices import LossOn, Offload, OptimizerType, Sharding, Toggle
from medfinetune_api.errors import DoesNotFit, InvalidModel
from medfinetune_api.plan import RunPlan
from medfinetune_api.scalars import MOST_ROWS
from medfinetune_trainer.memory.choose import Fit, alternatives, choose, largest_micro_batch
from medfinetune_trainer.memory.estimate import estimate
from medfinetune_trainer.memory.evaluation import evaluation_bytes, needs_gang
from medfinetune_trainer.memory.job import Job, Setting, known_loss_share
from medfinetune_trainer.memory.projection import ablation, projection, published_shape
from medfinetune_trainer.memory.published import GEMMA_3_4B_TEXT, LLAMA_3_8B, LLAMA_3_70B, MEDGEMMA_4B, PUBLISHED
from medfinetune_trainer.memory.refusal import remedies
from medfinetune_trainer.memory.shape import shape_of
from medfinetune_trainer.model.architectures import ARCHITECTURES
from medfinetune_trainer.stages import prepare
from support.manifests import minimal_manifest, plan_for

GIB = 1 << 30


def plan_of(gpus: int = 1, memory: str | None = None, root: Path = Path("/"), **spec: Any) -> RunPlan:
    resources = {"gpuMemory": memory} if memory else {}
    return plan_for(
        minimal_manifest(parallelism={"nodes": 1, "gpusPerNode": gpus} | spec.pop("parallelism", {}), resources=resources, **spec), root, root, root
    )


@pytest.mark.parametrize(
    ("model", "gpus", "memory", "expected"),
    [
        (MEDGEMMA_4B, 1, "80Gi", (Sharding.NONE, False, 4)),
        (MEDGEMMA_4B, 1, "24Gi", (Sharding.NONE, False, 1)),
        (MEDGEMMA_4B, 1, "20Gi", (Sharding.NONE, True, 8)),
        (MEDGEMMA_4B, 2, "8Gi", (Sharding.NONE, True, 2)),
        (LLAMA_3_70B, 8, "24Gi", (Sharding.FULL, True, 1)),
    ],
)
def test_the_fastest_that_fits_is_chosen(model: str, gpus: int, memory: str, expected: tuple[Sharding, bool, int]) -> None:
    plan, shape = plan_of(gpus, memory), published_shape(model)
    fit = choose(plan, shape, 0.1)
    assert fit.fits
    assert (fit.setting.sharding, fit.setting.checkpointing, fit.setting.micro_batch) == expected
    faster = [
        each for each in alternatives(plan, shape, 0.1) if each.setting.checkpointing < fit.setting.checkpointing and each.setting.sharding is expected[0]
    ]
    assert not any(each.fits for each in faster)


def test_what_the_manifest_sets_is_kept(tmp_path: Path) -> None:
    asked = {"microBatch": 3, "activationCheckpointing": "Disabled"}
    fit = choose(plan_of(2, "200Gi", training=asked, parallelism={"sharding": "Full"}), published_shape(MEDGEMMA_4B), 0.1)
    assert fit.setting == Setting(Sharding.FULL, False, 3)
    eight_bit = plan_of(2, "80Gi", training={"optimizer": {"type": "AdamW8bit"}}, parallelism={"sharding": "None"})
    assert choose(eight_bit, published_shape(MEDGEMMA_4B), 0.1).setting.sharding is Sharding.NONE


@pytest.mark.parametrize(
    ("nodes", "gpus", "sharding", "checkpointing"),
    [(1, 0, Sharding.NONE, False), (2, 0, Sharding.ADAPTERS_ONLY, False), (1, 1, Sharding.NONE, True), (1, 4, Sharding.ADAPTERS_ONLY, True)],
)
def test_without_a_limit_the_stated_rules_choose(nodes: int, gpus: int, sharding: Sharding, checkpointing: bool) -> None:
    fit = choose(plan_of(gpus, parallelism={"nodes": nodes}), published_shape(MEDGEMMA_4B), 0.1)
    assert fit.setting == Setting(sharding, checkpointing, 1)
    assert fit.memory.limit is None


def by_size(plan: RunPlan, shape: Any, setting: Setting, **changes: Any) -> int:
    job = Job.of(plan, 0.1)
    return estimate(shape, Job(**(vars(job) | changes)), setting).total


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from([GEMMA_3_4B_TEXT, LLAMA_3_8B]),
    method=st.sampled_from(["QLoRA", "LoRA", "Full", "PrefixTuning", "Bottleneck"]),
    sharding=st.sampled_from([Sharding.NONE, Sharding.ADAPTERS_ONLY, Sharding.FULL]),
    rows=st.integers(1, 8),
)
def test_more_of_anything_takes_no_less(model: str, method: str, sharding: Sharding, rows: int) -> None:
    shape, plan = published_shape(model), plan_of(8, tuning={"method": method})
    here = Setting(sharding, False, rows)
    size = by_size(plan, shape, here, rows_per_step=4096)
    assert by_size(plan, shape, Setting(sharding, False, rows + 1), rows_per_step=4096) >= size
    assert by_size(plan, shape, Setting(sharding, True, rows), rows_per_step=4096) <= size
    assert by_size(plan, shape, here, rows_per_step=4096, world_size=16) <= size
    if method != "Full":  # there autocast's copies of fp32 masters can outweigh what 16 bits save
        assert by_size(plan, shape, here, rows_per_step=4096, compute_bytes=4) > size
    assert by_size(plan, shape, here, rows_per_step=4096, offload=(Offload.ACTIVATIONS,)) <= size
    assert by_size(plan, shape, here, rows_per_step=4096, optimizer=OptimizerType.PAGED_ADAMW_8BIT) <= size


@pytest.mark.parametrize(
    ("model", "gpus", "memory", "spec"),
    [
        (MEDGEMMA_4B, 1, "4Gi", {"data": {"maxLength": 8192}}),
        (MEDGEMMA_4B, 1, "24Gi", {"tuning": {"method": "Full"}}),
        (LLAMA_3_70B, 2, "20Gi", {}),
        (MEDGEMMA_4B, 1, "12Gi", {"training": {"activationCheckpointing": "Disabled"}}),
        (MEDGEMMA_4B, 1, "3Gi", {"training": {"optimizer": {"type": "AdamW8bit"}}}),
        (MEDGEMMA_4B, 1, "24Gi", {"tuning": {"method": "Full"}, "training": {"optimizer": {"type": "PagedAdamW8bit"}, "epochs": 1}}),
    ],
)
def test_every_remedy_that_a_refusal_names_fits(model: str, gpus: int, memory: str, spec: dict[str, Any]) -> None:
    """Each is written into the manifest as the message says it, and chosen for anew."""
    plan, shape = plan_of(gpus, memory, **spec), published_shape(model)
    assert not choose(plan, shape, 0.1).fits
    found = remedies(plan, shape, 0.1)
    assert found
    for remedy in found:
        assert remedy.fit.fits
        assert applied(plan, remedy.field, remedy.value, spec, gpus, memory, shape).fits
    [size] = [int(remedy.value.removesuffix("Gi")) for remedy in found if remedy.field == "spec.resources.gpuMemory"]
    assert not choose(plan_of(gpus, f"{size - 1}Gi", **spec), shape, 0.1).fits, "a smaller one would do"


@settings(max_examples=40, deadline=None)
@given(method=st.sampled_from(["QLoRA", "Full", "PrefixTuning"]), rows=st.integers(1, 40), gib=st.integers(1, 200), gpus=st.integers(1, 3), again=st.booleans())
def test_the_most_rows_are_those_that_a_search_one_by_one_finds(method: str, rows: int, gib: int, gpus: int, again: bool) -> None:
    batch = {"training": {"globalBatchTokens": rows * 1024}, "data": {"maxLength": 1024}}
    shape, job = published_shape(MEDGEMMA_4B), Job.of(plan_of(gpus, tuning={"method": method}, **batch), 0.1)
    fitting = [each for each in range(1, job.rows_per_rank + 1) if estimate(shape, job, Setting(Sharding.NONE, again, each)).total <= gib * GIB]
    most = largest_micro_batch(shape, job, Setting(Sharding.NONE, again, 1), gib * GIB)
    assert job.passes(most) == job.passes(max(fitting)) if fitting else most == 0


def test_the_largest_batch_of_the_shortest_rows_is_planned_too() -> None:
    plan = plan_of(1, "24Gi", training={"globalBatchTokens": 2**30}, data={"maxLength": 16})
    assert 1 <= choose(plan, published_shape(MEDGEMMA_4B), 0.1).setting.micro_batch <= MOST_ROWS


def applied(plan: RunPlan, field: str, value: str, spec: dict[str, Any], gpus: int, memory: str, shape: Any) -> Fit:
    import yaml

    parts = field.removeprefix("spec.").split(".")
    change = yaml.safe_load(value)
    if parts == ["resources", "gpuMemory"]:
        return choose(plan_of(gpus, change, **spec), shape, 0.1)
    if parts == ["parallelism"]:
        return choose(plan_of(gpus, memory, parallelism=change, **spec), shape, 0.1)
    part, name = parts
    changed = dict(spec)
    changed[part] = dict(spec.get(part, {})) | {name: change}
    return choose(plan_of(gpus, memory, **changed), shape, 0.1)


def test_prepare_refuses_before_it_reads_anything_at_length(tmp_path: Path) -> None:
    """The weights of a 70B model are not even there, nor is the data; the message fits the contract, and nothing is written."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps({**PUBLISHED[LLAMA_3_70B], "architectures": ["LlamaForCausalLM"]}))
    plan = plan_of(1, "24Gi", tmp_path)
    with pytest.raises(DoesNotFit, match=r"spec\.resources\.gpuMemory: found .* GiB a GPU at least") as refused:
        prepare.run(plan)
    assert len(str(refused.value)) <= 1000
    assert not plan.folder.root.exists()
    tight = plan.model_copy(update={"parallelism": plan.parallelism.model_copy(update={"gpu_memory_headroom": 0.999})})
    with pytest.raises(DoesNotFit, match=r"24\.0 GiB less 99\.9% head-room"):
        prepare.run(tight)


def test_what_is_known_of_the_loss_before_data_is_read() -> None:
    assert known_loss_share(plan_of(data={"lossOn": "All"})) == (1.0, 1.0)
    least, assumed = known_loss_share(plan_of())
    assert plan_of().data.loss_on is LossOn.RESPONSE
    assert 0 == least < assumed


def test_evaluation_needs_the_gang_where_one_gpu_is_too_small() -> None:
    shape = published_shape(LLAMA_3_70B)
    needed = evaluation_bytes(plan_of(2), shape) / 0.8 / GIB
    assert [needs_gang(plan_of(gpus, memory), shape) for gpus, memory in ((2, f"{int(needed)}Gi"), (2, f"{int(needed) + 1}Gi"), (1, "8Gi"))] == [
        True,
        False,
        False,
    ]
    assert not needs_gang(plan_of(2), shape)
    assert not needs_gang(plan_of(0, parallelism={"nodes": 2}), shape)


def test_the_projection_and_the_ablation_fall_as_the_study_says() -> None:
    plan = plan_of(1, "48Gi")
    sizes = [each.fit.memory.total for each in projection(plan, 0.1)]
    assert [round(each.parameters / 1e9) for each in projection(plan, 0.1)] == [4, 7, 13, 71]
    assert sizes[3] == max(sizes)
    steps = list(ablation(plan, published_shape(MEDGEMMA_4B), 0.1))
    assert [step.published_gb for step in steps] == [48, 28, 24, 20]
    assert [step.memory.total for step in steps] == sorted((step.memory.total for step in steps), reverse=True)


def test_a_prefix_is_never_computed_again() -> None:
    plan = plan_of(1, "12Gi", tuning={"method": "PrefixTuning"})
    assert plan.training.activation_checkpointing is Toggle.AUTO
    assert not any(
        fit.setting.checkpointing for fit in [*alternatives(plan, published_shape(MEDGEMMA_4B), 0.1), choose(plan, published_shape(MEDGEMMA_4B), 0.1)]
    )


SIZES = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size"]
ABSURD = [2**16, 2 * 10**8, 2**31, 2**32 - 1, 2**63]


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(SIZES), st.none() | st.text() | st.integers() | st.sampled_from(ABSURD) | st.lists(st.none())))
@example({"num_hidden_layers": 2 * 10**8})
@example({"num_hidden_layers": 2**32 - 1})
@example(dict.fromkeys(SIZES, 1024))
def test_a_config_of_any_values_is_planned_for_or_refused(fields: dict[str, Any]) -> None:
    """At once: a list for each of two hundred million layers takes all memory."""
    with contextlib.suppress(InvalidModel):
        shape = shape_of({"model_type": "llama", **fields}, ARCHITECTURES["llama"], "config.json")
        assert choose(plan_of(1, "24Gi"), shape, 0.1).memory.total > 0 < shape.parameters
