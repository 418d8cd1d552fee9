"""What trainer, executors and people rely on: exit codes, reasons, results that fit a termination message, refusals that cross processes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_api import errors, plan, results, spec, spec_data, spec_training, status
from medfinetune_api.base import Contract
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason
from medfinetune_api.exits import EXITS, Exit, exit_of
from medfinetune_api.results import MAX_RESULT_BYTES, StageResult

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


def test_every_exit_has_its_condition_reason() -> None:
    assert {meaning.reason for meaning in EXITS.values()} <= set(ConditionReason)


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_crosses_processes_whole(kind: type[errors.Refusal]) -> None:
    refusal = kind("file:1", found="a", expected="b", remedy="Do c.")
    again = pickle.loads(pickle.dumps(refusal))
    assert (type(again), str(again), again.reason) == (kind, "file:1: found a; expected b. Do c.", EXITS[kind.exit].reason)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=2000) | st.just("\x01\\\U0001f600" * 700), st.dictionaries(st.text(max_size=200), st.floats(), max_size=60))
def test_a_stage_result_fits_the_termination_message(message: str, numbers: dict[str, float]) -> None:
    result = StageResult.of(Stage.TRAIN, Exit.DIVERGED, message, numbers)
    assert len(result.to_json().encode()) <= MAX_RESULT_BYTES
    assert StageResult.model_validate_json(result.to_json()) == result
    assert "\n" not in result.to_json()
