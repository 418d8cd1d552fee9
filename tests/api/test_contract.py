"""What trainer, executors and people rely on: exit codes, reasons, results that fit a termination message, refusals that cross processes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api import errors, plan, results, spec, spec_data, spec_training, status
from medfinetune_api.base import Contract
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason
from medfinetune_api.exits import EXITS, Exit, exit_of
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import MAX_RESULT_BYTES, Prepared, StageResult
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_api.spec import MedFineTune
from medfinetune_api.status import FineTuneStatus
from pydantic import ValidationError
from support.manifests import minimal_manifest, plan_for

REFUSALS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Refusal)]


def test_exit_codes_are_unique_and_outside_the_reserved_ranges() -> None:
    assert set(EXITS) == set(Exit)
    assert len({meaning.reason for meaning in EXITS.values()}) == len(Exit)
    ours = set(Exit) - {Exit.SUCCEEDED, Exit.INTERNAL_ERROR, Exit.USAGE}
    assert all(2 < code < 126 for code in ours)


@pytest.mark.parametrize("code", [-9, 3, 126, 137, 255])
def test_a_signal_or_crash_is_an_internal_error(code: int) -> None:
    assert exit_of(code) is Exit.INTERNAL_ERROR


def test_every_field_of_the_contract_is_documented() -> None:
    models = [model for module in (plan, results, status, spec, spec_data, spec_training) for model in vars(module).values() if isinstance(model, type)]
    fields = [(model.__name__, name, field) for model in models if issubclass(model, Contract) for name, field in model.model_fields.items()]
    assert [(model, name) for model, name, field in fields if not field.description] == []


def unbounded(schema: dict[str, Any], node: dict[str, Any], path: str) -> Iterator[str]:
    """Every string, array, map and number at or below `node` without a bound; numbers need a lower one."""
    node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")] | {key: value for key, value in node.items() if key != "$ref"} if "$ref" in node else node
    for branch in node.get("anyOf", ()):
        yield from unbounded(schema, branch, path)
    for name, part in node.get("properties", {}).items():
        yield from unbounded(schema, part, f"{path}.{name}")
    if "items" in node:
        yield from unbounded(schema, node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from unbounded(schema, node["additionalProperties"], f"{path}.*")
    if not set(node) & BOUNDS.get(node.get("type", ""), set(node)) or ("additionalProperties" in node and not map_is_bounded(node)):
        yield path


def map_is_bounded(node: dict[str, Any]) -> bool:
    return node["additionalProperties"] is False or ("maxProperties" in node and "maxLength" in node["propertyNames"])


NUMBER = {"minimum", "exclusiveMinimum"}
BOUNDS = {"string": {"maxLength", "enum", "const", "format"}, "array": {"maxItems"}, "integer": NUMBER, "number": NUMBER}
ANY_NUMBER = ["StageResult.numbers.*"]


def test_every_string_list_map_and_number_of_the_contract_is_bounded() -> None:
    roots = [MedFineTune, RunPlan, StageResult, Prepared, EvaluationSummary, FineTuneStatus]
    schemas = {root.__name__: root.model_json_schema() for root in roots}
    assert [path for name, schema in schemas.items() for path in unbounded(schema, schema, name)] == ANY_NUMBER


def test_a_plan_cannot_be_changed_and_survives_json_pickling_and_copying() -> None:
    plan = plan_for(minimal_manifest(data={"mixture": {"by": "Language", "ratio": {"en": 1}}}), Path("/m"), Path("/d"), Path("/o"))
    assert plan.data.mixture
    sha256, ratio = plan.sha256, {"en": 9.0}
    for changed in (plan.data.mixture, plan.data.mixture.model_copy(update={"ratio": ratio})):
        with pytest.raises(TypeError):
            changed.ratio["en"] = 2  # type: ignore[index]  # the point
    mixture = plan.data.mixture.model_copy(update={"ratio": ratio})
    ratio["en"] = 1
    assert mixture.ratio == {"en": 9}
    for again in (RunPlan.model_validate_json(plan.to_json()), pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan), plan.model_copy(deep=True)):
        assert (again, again.sha256) == (plan, sha256)


@pytest.mark.parametrize(("part", "field", "value"), [("training", "epochs", -5), ("data", "maxLength", 0), ("model", "path", "../x")])
def test_a_plan_is_as_strict_as_a_manifest(part: str, field: str, value: Any) -> None:
    plan = plan_for(minimal_manifest(), Path("/m"), Path("/d"), Path("/o")).model_dump(mode="json", by_alias=True)
    plan[part][field] = value
    with pytest.raises(ValidationError, match=field):
        RunPlan.model_validate(plan, strict=False)


def test_every_exit_has_its_condition_reason() -> None:
    assert {meaning.reason for meaning in EXITS.values()} <= set(ConditionReason)


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_crosses_processes_whole(kind: type[errors.Refusal]) -> None:
    refusal = kind("file:1", found="a", expected="b", remedy="Do c.")
    again = pickle.loads(pickle.dumps(refusal))
    assert (type(again), str(again), again.reason) == (kind, "file:1: found a; expected b. Do c.", EXITS[kind.exit].reason)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=2000) | st.just("\x01\\\U0001f600" * 700), st.dictionaries(st.text(max_size=300), st.floats(), max_size=60))
def test_a_stage_result_fits_the_termination_message(message: str, numbers: dict[str, float]) -> None:
    result = StageResult.of(Stage.TRAIN, Exit.DIVERGED, message, numbers)
    assert len(result.to_json().encode()) <= MAX_RESULT_BYTES
    assert StageResult.model_validate_json(result.to_json()) == result
    assert "\n" not in result.to_json()
