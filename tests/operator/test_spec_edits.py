"""A stored run's spec is immutable but for runPolicy: every field of the schema added, removed and changed on the real API server.

Three runs have every field of the schema between them, none at its default; they differ where a rule lets only one of two fields stand.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from medfinetune_api.immutable import MUTABLE
from medfinetune_api.schema import crd
from support.malformed import ABSENT, put
from support.manifests import MINIMAL
from support.schema_values import KEY, Place, example, places, scalars
from support.server_side import Refusals, ServerSide

SPEC = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
TOP = list(SPEC["properties"])
FIELDS = Path(__file__).parents[1] / "api" / "fields.txt"
TASK, GATE = "spec.evaluation.tasks[0]", "spec.evaluation.gates[0]"
EVERYWHERE = {
    f"{TASK}.name": "exam",
    "spec.data.sources[0].format": "Exam",
    f"{TASK}.format": "Exam",
    "spec.data.mixture.ratio": {"en": 2},
    "spec.scheduling.tolerations[0].effect": "NoExecute",
    "spec.runPolicy.cancel": False,
    "spec.pods.env[0].name": "TZ",
}


def full(differences: Mapping[str, Any]) -> dict[str, Any]:
    """A run with every field, but for the differences."""
    manifest = {**MINIMAL, "spec": example(SPEC)}
    for path, value in {**EVERYWHERE, **differences}.items():
        put(manifest, path, value)
    return manifest


BY_LETTER = {
    **{f"{TASK}.{field}": ABSENT for field in ("metrics", "repeats", "scoring")},
    **{f"{GATE}.{field}": ABSENT for field in ("language", "maximum", "maxDrop", "against")},
    **{f"{TASK}.optionOrders": 2, f"{GATE}.task": "exam", f"{GATE}.metric": "F1"},
}
"""Examinations by letter, a gate from below."""
IN_LETTERS_WRITTEN = {
    **{f"{TASK}.{field}": ABSENT for field in ("metrics", "repeats", "optionOrders", "seen")},
    **{f"{GATE}.{field}": ABSENT for field in ("task", "subject", "maximum", "minimum")},
    **{
        f"{TASK}.scoring": "Generation",
        f"{TASK}.path": "asked",
        f"{TASK}.language": "en",
        f"{GATE}.language": "en",
        f"{GATE}.metric": "F1",
        f"{GATE}.against": "run-01234567",
    },
}
"""Examinations answered in words, a gate against another run."""
IN_WORDS = {
    **{f"{TASK}.{field}": ABSENT for field in ("columns", "optionOrders")},
    **{f"{GATE}.{field}": ABSENT for field in ("language", "minimum", "maxDrop", "against")},
    **{f"{TASK}.format": "QuestionAnswer", f"{TASK}.metrics": ["Consistency"], f"{TASK}.repeats": 2, f"{GATE}.task": "exam", f"{GATE}.metric": "CodeMixing"},
}
"""Questions without options, a gate from above."""


def tuned(method: str, *others: str) -> dict[str, Any]:
    """The differences of a method: it, without the shapes of the others."""
    return {"spec.tuning.method": method, **{f"spec.tuning.{other}": ABSENT for other in others}}


HELD_OUT = full(
    {
        **tuned("QLoRA", "prefix", "bottleneck", "quantization"),
        **BY_LETTER,
        "spec.data.validation.fraction": 0.5,
        "spec.data.validation.sources": ABSENT,
        "spec.output.volume.claimTemplate": ABSENT,
        "spec.scheduling.tolerations[0].value": ABSENT,
    }
)
OF_OWN_FILES = {
    "spec.data.validation.fraction": ABSENT,
    "spec.data.validation.stratifyBy": ABSENT,
    "spec.data.validation.sources[0].name": "held",
    "spec.data.validation.sources[0].path": "held",
    "spec.data.validation.sources[0].format": "Exam",
    "spec.output.volume.persistentVolumeClaim": ABSENT,
    "spec.output.merge": ABSENT,
    "spec.scheduling.tolerations[0].operator": "Equal",
}
OWN_FILES = full({**OF_OWN_FILES, **tuned("Bottleneck", "lora", "prefix"), **IN_LETTERS_WRITTEN})
PREFIXED = full(
    {
        **OF_OWN_FILES,
        **tuned("PrefixTuning", "lora", "bottleneck"),
        **IN_WORDS,
        "spec.data.packing": "None",
        **{f"spec.training.{field}": ABSENT for field in ("layerDecay", "gradualUnfreezing", "activationCheckpointing")},
    }
)


def fields(top: str) -> dict[str, tuple[dict[str, Any], Place]]:
    """Every place at and below `spec.<top>`, with a run that has it."""
    found = {place.path: (run, place) for run in (PREFIXED, OWN_FILES, HELD_OUT) for place in places(SPEC, run["spec"], "spec")}
    return {path: each for path, each in found.items() if f"{path}.".startswith(f"spec.{top}.")}


def without(manifest: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The manifest without one field."""
    return changed(manifest, path, ABSENT)


def changed(manifest: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The manifest with `value` at `path`."""
    copied = copy.deepcopy(dict(manifest))
    put(copied, path, value)
    return copied


def as_designed(refused: Refusals, top: str) -> bool:
    """Whether an edit below `spec.<top>` fared as it should: accepted under runPolicy, elsewhere refused in the words that say what to do."""
    if top == MUTABLE:
        return not refused
    return f"expected {top} as it was when the run was created: only runPolicy may change." in refused.get(f"spec.{top}", "")


class Runs:
    """Stored runs, and what becomes of edits of them."""

    def __init__(self, server: ServerSide) -> None:
        self.server, self._metadata = server, {}

    def edit(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> Refusals:
        """Why the stored run `before` may not become `after`."""
        content = repr(before)
        if content not in self._metadata:
            self._metadata[content] = self.server.store({**before, "metadata": {"name": f"run-{len(self._metadata)}"}})["metadata"]
        return self.server.replace({**after, "metadata": self._metadata[content]})


@pytest.fixture(scope="module")
def runs(control_plane: ControlPlane) -> Iterator[Runs]:
    with control_plane.namespace() as namespace:
        yield Runs(ServerSide(control_plane.kubeconfig, namespace))


@pytest.mark.parametrize("top", TOP)
def test_a_change_of_any_value_is_refused_but_under_run_policy(runs: Runs, top: str) -> None:
    others = {path: (run, next(value for value in scalars(place.schema) if value != place.value)) for path, (run, place) in fields(top).items() if place.leaf}
    outcomes = {path: runs.edit(run, changed(run, path, other)) for path, (run, other) in others.items()}
    assert {path: refused for path, refused in outcomes.items() if not as_designed(refused, top)} == {}
    assert outcomes


@pytest.mark.parametrize("top", TOP)
def test_a_removal_of_any_field_is_refused_but_under_run_policy(runs: Runs, top: str) -> None:
    outcomes = {path: (place, runs.edit(run, without(run, path))) for path, (run, place) in fields(top).items()}
    wrong = {path: refused for path, (place, refused) in outcomes.items() if not (set(refused) == {path} if place.required else as_designed(refused, top))}
    assert wrong == {}


@pytest.mark.parametrize("top", TOP)
def test_an_addition_of_any_field_is_refused_but_under_run_policy(runs: Runs, top: str) -> None:
    lacking = {path: (without(run, path), run) for path, (run, _) in fields(top).items()}
    outcomes = {path: runs.edit(before, after) for path, (before, after) in lacking.items() if not runs.server.create(before)}
    assert {path: refused for path, refused in outcomes.items() if not as_designed(refused, top)} == {}
    assert outcomes or top in SPEC["required"]


def test_writing_out_what_a_default_fills_is_no_change(runs: Runs) -> None:
    assert runs.edit(MINIMAL, MINIMAL) == {}
    for top, schema in SPEC["properties"].items():
        if "default" in schema:
            assert runs.edit(MINIMAL, changed(MINIMAL, f"spec.{top}", schema["default"])) == {}


def test_cancel_cannot_be_taken_back(runs: Runs) -> None:
    cancelled = changed(MINIMAL, "spec.runPolicy", {"cancel": True, "maxRestarts": 5})
    assert runs.edit(cancelled, changed(cancelled, "spec.runPolicy.maxRestarts", 1)) == {}
    for after in (changed(cancelled, "spec.runPolicy.cancel", False), without(cancelled, "spec.runPolicy.cancel"), MINIMAL):
        assert "Create a MedFineTune of another name to train again." in runs.edit(cancelled, after)["spec.runPolicy.cancel"]


def test_every_field_of_the_schema_is_edited() -> None:
    tried = {re.sub(r"\[0\]", "[]", path).replace(f".{KEY}", ".*").replace(".ratio.en", ".ratio.*") for top in TOP for path in fields(top)}
    surface = FIELDS.read_text(encoding="utf-8").split("\n")
    assert tried == {line.split()[0] for line in surface if line.startswith("spec.")}
