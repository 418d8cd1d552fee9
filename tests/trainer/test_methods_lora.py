"""rsLoRA and DoRA are PEFT's, on NF4 and sharded too; and training goes on from an earlier adapter, or refuses it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from medfinetune_api.choices import Method, Sharding
from medfinetune_api.errors import InvalidManifest, InvalidModel, Refusal
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_tuning import InitialAdapterPlan
from medfinetune_trainer.artifacts.quarantined import SAYS
from medfinetune_trainer.data.batch import collate
from medfinetune_trainer.data.epochs import epoch_name
from medfinetune_trainer.data.packed import PackedRows
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.fingerprint import weights_sha256
from medfinetune_trainer.model.initial import initial_folder, require_initial
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.tuned import tuning_of
from medfinetune_trainer.stages.prepared import require_initial_as_prepared, require_prepared
from peft.tuners.lora.layer import LoraLayer
from safetensors.torch import load_file, save_file
from support.gang import gang
from support.models import CPU, Window, built, low_rank, relative, run_window, save_adapter, tiny
from support.plain import plain_adapter, plain_gradients
from support.plans import lora_plan, tuning_plan
from support.train import losses, small_run, train_here, validations
from support.tunings import answered, packed_logits, windows
from torch.nn import functional

VARIANTS: dict[str, dict[str, bool]] = {"rsLoRA": {"use_rslora": True}, "DoRA": {"use_dora": True}, "both": {"use_rslora": True, "use_dora": True}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("gemma3"), "gemma3", sliding_window=8)


def saved(base: Path, tuning: LowRank, folder: Path) -> Path:
    folder.mkdir()
    save_adapter(built(base, None, tuning=tuning), folder, "models/tiny")
    return folder


def assert_gradients(found: Window, loss: float, gradients: dict[str, torch.Tensor]) -> None:
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.gradients.keys() == gradients.keys()
    assert max(relative(found.gradients[name], gradient) for name, gradient in gradients.items()) < 1e-5
    assert found.digests[0] == found.digests[1]


@pytest.mark.parametrize(("method", "variant"), [(Method.QLORA, "rsLoRA"), (Method.LORA, "DoRA"), (Method.QLORA, "both")])
def test_gradients_are_those_of_plain_peft(base: Path, tmp_path: Path, method: Method, variant: str) -> None:
    tuning = low_rank(method, **VARIANTS[variant])
    adapter = saved(base, tuning, tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert {name: config[name] for name in ("use_rslora", "use_dora")} == {"use_rslora": False, "use_dora": False} | VARIANTS[variant]
    loss, gradients = plain_gradients(plain_adapter(base, adapter, method))
    assert any("magnitude" in name for name in gradients) is (variant != "rsLoRA")
    assert_gradients(run_window(0, base, Sharding.NONE, tuning=tuning, dropout=0.0), loss, gradients)
    if variant == "both":
        for found in (each for rank in gang(2, windows, base, tuning, True, 1) for each in rank):
            assert_gradients(found, loss, gradients)


def test_dora_starts_from_the_base_and_drops_inputs_as_peft_does(base: Path) -> None:
    """Its magnitudes are the norms of the weights as they are used, 4-bit ones too."""
    untrained = low_rank(moved=False, use_dora=True)
    model = built(base, None, tuning=untrained).eval()
    tuned = packed_logits(model)
    with untrained.disabled(model):
        torch.testing.assert_close(packed_logits(model), tuned, rtol=1e-5, atol=1e-5)
    dropping = low_rank(use_dora=True, dropout=0.3)
    plain, sharded = run_window(0, base, Sharding.NONE, tuning=dropping), gang(1, run_window, base, Sharding.FULL, torch.float32, False, 0.3, dropping)[0]
    assert max(relative(sharded.gradients[name], gradient) for name, gradient in plain.gradients.items()) < 1e-5


@pytest.mark.parametrize("method", [Method.LORA, Method.QLORA])
@pytest.mark.parametrize("variant", ["rsLoRA", "DoRA"])
def test_adapted_layers_keep_16_bits_under_autocast(base: Path, method: Method, variant: str) -> None:
    """A stream in fp32 takes twice the memory, and attention by documents has no kernel for it."""
    model = built(base, None, dtype=torch.bfloat16, tuning=low_rank(method, **VARIANTS[variant])).eval()
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    with autocast():
        assert {layer(torch.ones(1, 3, layer.in_features, dtype=torch.bfloat16)).dtype for layer in layers} == {torch.bfloat16}


@contextmanager
def autocast() -> Iterator[None]:
    """The CPU's, with CUDA's switch on too: PEFT asks for that one."""
    before = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", True)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            yield
    finally:
        torch.set_autocast_enabled("cuda", before)


@pytest.mark.parametrize("variant", ["rsLoRA", "DoRA"])
def test_each_variant_learns(base: Path, variant: str) -> None:
    before, after = answered(base, low_rank(moved=False, rank=16, alpha=64.0 if variant == "DoRA" else 32.0, **VARIANTS[variant]), 5e-3)
    assert (before <= 12, after) == (True, 24)


def test_it_learns_with_noise_on_its_embeddings(base: Path) -> None:
    before, after = answered(base, low_rank(moved=False, rank=16, alpha=32.0), 5e-3, noise=5.0)
    assert (before <= 12, after >= 20) == (True, True)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    """A run of DoRA whose adapter was copied into the models volume."""
    plan = small_run(tmp_path_factory.mktemp("earlier") / "run", tuning=continued(None))
    train_here(plan, Path(plan.mounts.output) / "agent")
    shutil.copytree(plan.folder.final, Path(plan.mounts.models) / "earlier")
    return plan


def continued(path: str | None, sha256: str | None = None, method: Method = Method.QLORA, **lora: Any) -> Any:
    initial = InitialAdapterPlan(path=path, sha256=sha256) if path else None
    return tuning_plan(method, lora=lora_plan(**({"use_dora": True} | lora)), initial_adapter=initial)


def test_training_goes_on_from_an_earlier_adapter(earlier: RunPlan, tmp_path: Path) -> None:
    folder = Path(earlier.mounts.models) / "earlier"
    plan = small_run(Path(earlier.mounts.models) / "second", tuning=continued("earlier", weights_sha256(folder)))
    base = Path(plan.mounts.models, plan.model.path)
    require_initial(plan, base)
    untouched = build(base, tuning_of(plan), torch.float32, CPU, None, packed=True, trained=initial_folder(plan))
    (tmp_path / "untouched").mkdir()
    save_adapter(untouched, tmp_path / "untouched", plan.model.path)
    assert {file.name: file.read_bytes() for file in (tmp_path / "untouched").iterdir()} == {file.name: file.read_bytes() for file in folder.iterdir()}
    train_here(plan, tmp_path / "agent")
    assert losses(plan)[0] == pytest.approx(plain_loss(plan, folder), rel=1e-5)
    assert losses(plan)[0] < losses(earlier)[0]
    assert losses(plan)[-1] < losses(plan)[0]
    assert validations(plan)[-1]["all"]["loss"] != validations(earlier)[-1]["all"]["loss"]


def plain_loss(plan: RunPlan, adapter: Path) -> float:
    """What plain PEFT's loss is on the rows of the first step."""
    rows, model = PackedRows(plan.folder.data, epoch_name(0)), plain_adapter(Path(plan.mounts.models, plan.model.path), adapter, Method.QLORA)
    packed = [collate([document]) for row in range(plan.rows_per_step) for document in rows.row(row)]
    with torch.no_grad():
        logits = [model(input_ids=each.input_ids).logits[0][each.loss_positions] for each in packed]
    return functional.cross_entropy(torch.cat(logits), torch.cat([each.targets for each in packed])).item()


def config(**changes: Any) -> Callable[[Path], object]:
    """Change fields of the adapter's config."""

    def change(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    """Change the adapter's weights."""

    def changed(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return changed


def nothing(_: Path) -> None:
    """Leave the adapter as it is."""


REFUSED: dict[str, tuple[dict[str, Any], Callable[[Path], object], type[Refusal], str]] = {
    "rank": ({"rank": 8}, nothing, InvalidManifest, "spec.tuning.lora.rank: found 8, while the initial adapter has r 4"),
    "alpha": ({"alpha": 16.0}, nothing, InvalidManifest, "spec.tuning.lora.alpha: .*lora_alpha 8"),
    "rsLoRA": ({"use_rslora": True}, nothing, InvalidManifest, "spec.tuning.lora.useRslora: .*use_rslora false"),
    "no DoRA": ({"use_dora": False}, nothing, InvalidManifest, "spec.tuning.lora.useDora"),
    "fewer targets": ({"target_modules": ("q_proj",)}, nothing, InvalidModel, "36 of 42 weights that differ.*targetModules"),
    "another method": ({}, config(peft_type="PREFIX_TUNING"), InvalidManifest, 'spec.tuning.method: found QLoRA, while .* peft_type "PREFIX_TUNING"'),
    "no numbers": (
        {},
        weights(lambda held: held[min(held)].fill_(float("nan"))),
        InvalidModel,
        "adapter_model.safetensors: found NaN or infinite",
    ),
    "ranks by layer": ({}, config(rank_pattern={"q_proj": 8}), InvalidManifest, "spec.tuning.initialAdapter.path: .*rank_pattern"),
    "another hash": ({"sha256": "0" * 64}, nothing, InvalidModel, "spec.tuning.initialAdapter.sha256: found weights with hash"),
    "another base": (
        {},
        weights(lambda held: held.update({name: value[:, :-1].contiguous() for name, value in held.items() if "q_proj.lora_A" in name})),
        InvalidModel,
        "2 of 42.*4 x 127",
    ),
    "trained biases": ({}, weights(lambda held: held.update({"base_model.model.lm_head.weight": torch.zeros(2)})), InvalidModel, "1 of 43.*there none"),
    "torn": ({}, lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"torn"), InvalidModel, "a file that cannot be read"),
    "no config": ({}, lambda folder: (folder / "adapter_config.json").unlink(), InvalidModel, "cannot be read .FileNotFoundError"),
    "a list for the config": ({}, lambda folder: (folder / "adapter_config.json").write_text("[]"), InvalidModel, "no JSON object"),
    "a link out of the volume": ({}, lambda folder: (folder / "link").symlink_to("/etc/passwd"), InvalidModel, "outside the models volume"),
    "stopped by a gate": ({}, lambda folder: (folder / "README.md").write_text(f"# {SAYS} a gate"), InvalidModel, "found what a gate has stopped"),
    "not there": ({}, shutil.rmtree, InvalidModel, "spec.tuning.initialAdapter.path: found no 'earlier' in the volume"),
}


@pytest.mark.parametrize(("changes", "damage", "refusal", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_an_adapter_that_does_not_fit_is_refused_before_a_gpu_is_asked_for(
    earlier: RunPlan, tmp_path: Path, changes: dict[str, Any], damage: Callable[[Path], object], refusal: type[Refusal], words: str
) -> None:
    models = shutil.copytree(earlier.mounts.models, tmp_path / "models", ignore=shutil.ignore_patterns("run", "second"))
    damage(models / "earlier")
    plan = earlier.model_copy(update={"tuning": continued("earlier", **changes), "mounts": earlier.mounts.model_copy(update={"models": str(models)})})
    with pytest.raises(refusal, match=words):
        require_initial(plan, models / plan.model.path)


def test_an_adapter_that_changed_since_prepare_is_refused(earlier: RunPlan, tmp_path: Path) -> None:
    plan = earlier.model_copy(update={"tuning": continued("earlier")})
    prepared = require_prepared(earlier).model_copy(update={"initial_adapter_sha256": "0" * 64})
    with pytest.raises(InvalidModel, match="as when the run was prepared"):
        require_initial_as_prepared(plan, prepared)
