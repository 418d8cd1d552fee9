"""Calibration and abstention: a hand-computed example, scipy's softmax, properties, and what the interval claims on simulated models."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medfinetune_trainer.evaluation.calibration import BINS, abstention, calibration, confidence
from scipy.special import softmax

ANSWERS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80)


@given(st.lists(st.floats(-800, 0), min_size=1, max_size=26))
def test_confidence_is_the_softmax_over_the_choices(likelihoods: list[float]) -> None:
    assert confidence(likelihoods) == pytest.approx(softmax(likelihoods).max())
    assert 1 / len(likelihoods) - 1e-12 <= confidence(likelihoods) <= 1


def test_the_error_of_ten_answers_by_hand() -> None:
    """Bins: [0.2, 0.3) holds 0.25 and 0.28, one right; [0.5, 0.6) holds 0.5, 0.55, 0.59, none right; [0.9, 1] holds 0.9, 0.95, 1, 1 and 0.95, four right.

    |1 - 0.53| / 10 + |0 - 1.64| / 10 + |4 - 4.8| / 10 = 0.047 + 0.164 + 0.08.
    """
    sure = [0.25, 0.28, 0.5, 0.55, 0.59, 0.9, 0.95, 1.0, 1.0, 0.95]
    right = [True, False, False, False, False, True, True, True, False, True]
    found = calibration(sure, right)
    assert found.error == pytest.approx(0.291)
    assert {number: (one.n, round(one.confidence, 4), round(one.accuracy, 4)) for number, one in enumerate(found.bins) if one.n} == {
        2: (2, 0.265, 0.5),
        5: (3, 0.5467, 0.0),
        9: (5, 0.96, 0.8),
    }
    assert found.low < 0.291 < found.high
    points = {point.threshold: (point.answered, point.accuracy) for point in abstention(sure, right)}
    assert (points[0.0], points[0.5], points[0.95]) == ((1.0, 0.5), (0.8, 0.5), (0.4, 0.75))
    assert points[1.0] == (0.2, 0.5)
    assert abstention([0.4], [True])[-1].accuracy is None


@settings(max_examples=40, deadline=None)
@given(ANSWERS, st.randoms())
def test_it_lies_within_its_interval_and_depends_on_no_order(answers: list[tuple[float, bool]], random: object) -> None:
    found = calibration(*map(list, zip(*answers, strict=True)), seed=5)  # type: ignore[misc]  # confidences, then outcomes
    assert 0 <= found.low <= found.error <= found.high <= 1
    assert (len(found.bins), sum(one.n for one in found.bins)) == (BINS, len(answers))
    assert found.error == pytest.approx(sum(one.n * abs(one.accuracy - one.confidence) for one in found.bins) / len(answers), abs=1e-9)
    shuffled = list(answers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    again = calibration(*map(list, zip(*shuffled, strict=True)), seed=5)  # type: ignore[misc]  # confidences, then outcomes
    assert (again.low, again.error, again.high) == pytest.approx((found.low, found.error, found.high), abs=1e-9)


@given(ANSWERS)
def test_a_higher_threshold_answers_fewer(answers: list[tuple[float, bool]]) -> None:
    points = abstention(*map(list, zip(*answers, strict=True)))  # type: ignore[arg-type]  # confidences, then outcomes
    shares = [point.answered for point in points]
    assert (shares[0], points[0].accuracy) == (1, pytest.approx(sum(right for _, right in answers) / len(answers)))
    assert shares == sorted(shares, reverse=True)
    assert all((point.accuracy is None) == (point.answered == 0) for point in points)


@pytest.mark.parametrize("overconfidence", [0.0, 0.05, 0.2])
def test_the_interval_holds_the_true_error_of_simulated_models(overconfidence: float) -> None:
    """Confidences of a model that is right less often than it is sure, by the same share everywhere: its true error is that share."""
    random = np.random.default_rng(7)
    held = 0
    for seed in range(100):
        sure = random.uniform(0.3, 1.0, 300)
        right = random.random(300) < sure - overconfidence
        found = calibration(sure.tolist(), right.tolist(), seed)
        held += found.low <= overconfidence <= found.high
    assert held >= 93


def test_one_answer_says_nothing_of_calibration_and_none_is_refused() -> None:
    one = calibration([0.7], [True])
    assert (one.error, one.low, one.high) == (pytest.approx(0.3), 0, 1)
    assert abstention([], []) == ()
    with pytest.raises(ValueError, match="no answers"):
        calibration([], [])
