"""The examples: their manifests resolve, those with a GPU fit it, and what is called unseen was never trained on.

That the minimal one learns: `test_run`. That a cluster takes all of them: tests/operator/test_examples_admitted.py.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from medfinetune_api.choices import Method
from medfinetune_api.plan import RunPlan
from medfinetune_cli.planning import planned
from medfinetune_trainer.data.formats.registry import read_source
from medfinetune_trainer.memory.choose import choose
from medfinetune_trainer.memory.projection import published_shape
from medfinetune_trainer.memory.published import LLAMA_2_7B, LLAMA_3_70B, MEDGEMMA_4B

EXAMPLES = Path(__file__).parents[2] / "examples"


METHODS = sorted((EXAMPLES / "09-methods").glob("*.yaml"))
WITH_DATA = [EXAMPLES / "01-minimal" / "manifest.yaml", EXAMPLES / "08-gates" / "manifest.yaml"]
ON_GPUS = {
    "02-bilingual/manifest.yaml": MEDGEMMA_4B,
    "03-two-nodes/manifest.yaml": MEDGEMMA_4B,
    "04-seventy-billion/manifest.yaml": LLAMA_3_70B,
    "05-med42/lora.yaml": LLAMA_2_7B,
    "05-med42/full.yaml": LLAMA_2_7B,
    "06-kueue/manifest.yaml": MEDGEMMA_4B,
    "07-air-gapped/manifest.yaml": MEDGEMMA_4B,
}


def plan_of(manifest: Path) -> RunPlan:
    return planned(manifest, manifest.parent, EXAMPLES / "01-minimal" / "data", manifest.parent)


@pytest.fixture(params=WITH_DATA, ids=lambda path: path.parent.name)
def plan(request: pytest.FixtureRequest) -> RunPlan:
    return plan_of(request.param)


@pytest.mark.parametrize("example", ON_GPUS)
def test_what_needs_a_gpu_fits_the_one_that_it_names(example: str) -> None:
    """By the memory plan of the published shape, where every token of a record may carry loss."""
    plan = plan_of(EXAMPLES / example)
    fit = choose(plan, published_shape(ON_GPUS[example]), 1.0)
    assert fit.memory.limit is not None
    assert fit.fits, fit


def test_every_example_says_its_purpose_and_stands_in_the_table() -> None:
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    manifests = [*EXAMPLES.glob("0[1-8]-*/manifest.yaml"), *EXAMPLES.glob("05-med42/*.yaml")]
    assert {path.parent.name[:2] for path in manifests} == {f"0{number}" for number in range(1, 9)}
    assert {str(path.relative_to(EXAMPLES)) for path in manifests} == {*ON_GPUS, *(str(path.relative_to(EXAMPLES)) for path in WITH_DATA)}
    for path in manifests:
        assert path.read_text(encoding="utf-8").startswith("# ")
        assert f"({path.parent.name}/)" in table


@pytest.mark.parametrize("manifest", METHODS, ids=lambda path: path.stem)
def test_every_method_has_a_manifest_that_resolves_on_the_minimal_example(manifest: Path) -> None:
    plan = planned(manifest, manifest.parent, EXAMPLES / "01-minimal" / "data", manifest.parent)
    assert plan.identity.name == manifest.stem
    assert f"[{manifest.stem}]({manifest.name})" in (manifest.parent / "README.md").read_text(encoding="utf-8")
    for source in (*plan.data.sources, *plan.data.validation.sources, *plan.evaluation.tasks):
        assert Path(plan.mounts.data, source.path).exists()


def test_every_method_and_variant_is_among_the_examples() -> None:
    plans = [planned(manifest, manifest.parent, manifest.parent, manifest.parent) for manifest in METHODS]
    assert {plan.tuning.method for plan in plans} == set(Method)
    assert {name for plan in plans if plan.tuning.lora for name in ("use_rslora", "use_dora") if getattr(plan.tuning.lora, name)} == {"use_rslora", "use_dora"}
    assert any(plan.output.merge for plan in plans)
    assert any(plan.tuning.initial_adapter for plan in plans)


def questions(plan: RunPlan, names: set[str]) -> set[str]:
    sources = (*plan.data.sources, *plan.data.validation.sources, *plan.evaluation.tasks)
    return {record.question for source in sources if source.name in names for record in read_source(source, Path(plan.mounts.data))}


def test_what_is_called_unseen_was_never_trained_on(plan: RunPlan) -> None:
    trained = questions(plan, {source.name for source in plan.data.sources})
    held_out = questions(plan, {source.name for source in plan.data.validation.sources})
    seen = questions(plan, {task.name for task in plan.evaluation.tasks if task.name.startswith("seen-")})
    unseen = questions(plan, {task.name for task in plan.evaluation.tasks if task.name.startswith("unseen-")})
    assert seen == trained
    assert unseen
    assert not unseen & (trained | held_out)
    assert not held_out & trained


def test_no_letter_answers_more_than_its_share(plan: RunPlan) -> None:
    """So that chance is one in four or five, whichever letter a model prefers."""
    for task in plan.evaluation.tasks:
        records = list(read_source(task, Path(plan.mounts.data)))
        letters = Counter(record.answer for record in records)
        assert max(letters.values()) - min(letters.values()) <= 1
        assert all(len(set(record.options)) == len(record.options) for record in records)
