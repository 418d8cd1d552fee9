"""Comparisons against statsmodels, scipy and published examples; their properties; what they claim, tried on simulated examinations."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import comb

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from medfinetune_trainer.evaluation.comparison import compare, compare_means, corrected, holm, mcnemar, mean
from medfinetune_trainer.evaluation.power import ALPHA, smallest_difference, smallest_mean_difference
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as published_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12)
FEW = settings(max_examples=40, deadline=None)


def test_mcnemar_of_the_prime_ministers_ratings() -> None:
    """Agresti (2013, Categorical Data Analysis, table 11.1): 86 and 150 of 1,600 changed their minds, z^2 = 17.36, p below 0.0001."""
    assert mcnemar(86, 150) == pytest.approx(published_mcnemar([[794, 150], [86, 570]], exact=True).pvalue, rel=1e-9)
    assert mcnemar(86, 150) == pytest.approx(3.716e-5, rel=1e-3)


def exact_binomial_test(gained: int, lost: int) -> float:
    """In whole numbers: twice the chance of as few or fewer among 2^n, at most 1. scipy says 0 of 15 against 1,060, which is 1.03e-290."""
    changed = gained + lost
    return float(min(Fraction(1), Fraction(2 * sum(comb(changed, k) for k in range(min(gained, lost) + 1)), 2**changed)))


@given(st.integers(0, 2000), st.integers(0, 2000))
@example(15, 1060)
@example(0, 1100)  # 2^-1099 is no float any more
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    assert mcnemar(gained, lost) == pytest.approx(exact_binomial_test(gained, lost), rel=1e-8, abs=5e-324)
    assert 0 <= mcnemar(gained, lost) == mcnemar(lost, gained) <= 1


def test_holm_is_statsmodels() -> None:
    for ps in ([0.01, 0.04, 0.03, 0.005], [0.5], [1.0, 1.0, 0.0], np.random.default_rng(0).random(20).tolist()):
        assert holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_raises_every_p_and_keeps_their_order(ps: list[float]) -> None:
    found = holm(ps)
    assert all(p <= better <= 1 for p, better in zip(ps, found, strict=True))
    ordered = sorted(range(len(ps)), key=lambda index: (ps[index], found[index]))
    assert [found[index] for index in ordered] == sorted(found)


def test_a_difference_that_one_task_would_show_is_noise_among_twenty() -> None:
    real = compare([False] * 8 + [True] * 52, [True] * 8 + [False] + [True] * 51)
    assert (round(real.p, 4), real.beyond_noise, real.verdict) == (0.0391, True, "beyond noise")
    family = corrected({"real": real} | {f"other-{number}": compare([True], [True]) for number in range(19)})
    assert (round(family["real"].p_holm, 4), family["real"].beyond_noise, family["real"].verdict) == (0.7812, False, "within noise")
    assert corrected({"alone": real})["alone"] == real


@FEW
@given(PAIRS, st.randoms())
def test_a_comparison_depends_on_no_order_and_turns_its_sign_with_its_sides(pairs: list[tuple[bool, bool]], random: object) -> None:
    before, after = zip(*pairs, strict=True)
    found = compare(before, after, seed=3)
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert compare(*zip(*shuffled, strict=True), seed=3) == found
    turned = compare(after, before, seed=3)
    assert (turned.gained, turned.lost, turned.p) == (found.lost, found.gained, found.p)
    assert (-turned.difference, -turned.high, -turned.low) == pytest.approx((found.difference, found.low, found.high), abs=1e-12)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert 0 <= found.p <= 1
    assert 0 < found.smallest <= 1


@settings(max_examples=15, deadline=None)
@given(SCORES, st.randoms())
def test_so_do_a_mean_and_a_comparison_of_means(pairs: list[tuple[float, float]], random: object) -> None:
    before, after = zip(*pairs, strict=True)
    found, turned = compare_means(before, after), compare_means(after, before)
    assert (-turned.difference, -turned.high, -turned.low, turned.p) == pytest.approx((found.difference, found.low, found.high, found.p), abs=1e-9)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert found.gained + found.lost <= found.n == len(pairs)
    whole, shuffled = mean(after), list(after)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert 0 <= whole.low <= whole.mean <= whole.high <= 1
    again = mean(shuffled)
    assert (again.n, again.low, again.high, again.mean) == pytest.approx((whole.n, whole.low, whole.high, whole.mean), abs=1e-12)


def test_of_many_answers_interval_and_p_are_scipys() -> None:
    random = np.random.default_rng(0)
    before, after = random.random(1500) < 0.55, random.random(1500) < 0.6
    found = compare(before.tolist(), after.tolist())
    expected = stats.bootstrap((after * 1.0 - before,), np.mean, n_resamples=10_000, method="percentile", rng=1, batch=500).confidence_interval
    assert (found.low, found.high) == pytest.approx(expected, abs=0.003)
    worse, better = random.beta(2, 3, 400), random.beta(2.4, 3, 400)
    means = compare_means(worse.tolist(), better.tolist())
    assert means.p == pytest.approx(stats.ttest_rel(better, worse).pvalue, abs=0.01)
    assert (means.low, means.high) == pytest.approx(stats.ttest_rel(better, worse).confidence_interval(), abs=0.004)
    one = mean(worse.tolist())
    assert (one.low, one.high) == pytest.approx(stats.ttest_1samp(worse, 0).confidence_interval(), abs=0.004)


@pytest.mark.parametrize(("n", "gain", "loss"), [(20, 0.04, 0.0), (60, 0.15, 0.1), (200, 0.02, 0.1)])
def test_intervals_hold_the_true_difference_in_nineteen_runs_of_twenty(n: int, gain: float, loss: float) -> None:
    """Of 20 answers, one in 25 of which is gained, the plain bootstrap holds it in 55 %: where no answer changed its interval has no width."""
    drawn = np.random.default_rng(1).multinomial(n, [gain, loss, 1 - gain - loss], size=250)
    held = [_holds(gained, lost, rest, gain - loss) for gained, lost, rest in drawn.tolist()]
    assert 0.93 <= np.mean(held) <= 1


def _holds(gained: int, lost: int, rest: int, truth: float) -> bool:
    found = compare([False] * gained + [True] * (lost + rest), [True] * gained + [False] * lost + [True] * rest)
    return found.low <= truth <= found.high


@pytest.mark.parametrize(("n", "discordance"), [(40, 0.3), (100, 0.05), (435, 0.2), (1273, 0.3)])
def test_the_smallest_difference_is_shown_in_four_runs_of_five(n: int, discordance: float) -> None:
    """Half of it in fewer than two of five."""
    delta = smallest_difference(n, discordance)
    assert 0.77 <= _power(n, max(discordance, delta), delta) <= 0.95
    assert _power(n, max(discordance, delta), delta / 2) < 0.4
    assert smallest_difference(2 * n, discordance) < delta


def _power(n: int, discordance: float, delta: float) -> float:
    """Share of 4,000 simulated examinations in which the exact test finds `delta`."""
    test = cache(mcnemar)
    chances = [(discordance + delta) / 2, (discordance - delta) / 2, 1 - discordance]
    drawn = np.random.default_rng(2).multinomial(n, np.clip(chances, 0, 1), size=4000)
    return float(np.mean([test(gained, lost) <= ALPHA for gained, lost, _ in drawn.tolist()]))


def test_the_smallest_difference_of_means_is_that_of_a_paired_t_test() -> None:
    assert smallest_mean_difference(400, 0.3) == pytest.approx(0.3 * TTestPower().solve_power(nobs=400, alpha=0.05, power=0.8), rel=0.01)
    assert smallest_mean_difference(1, 0.9) == 1.0


@pytest.mark.parametrize("right", [True, False])
def test_one_answer_shows_nothing(right: bool) -> None:
    for found in (compare([not right], [right]), compare_means([float(not right)], [float(right)]), compare_means([0.5], [0.5])):
        assert (found.low, found.high, found.smallest, found.beyond_noise) == (-1, 1, 1, False)
    assert (mean([float(right)]).low, mean([float(right)]).high) == (0, 1)


def test_answers_that_are_all_right_or_did_not_change_are_not_certain() -> None:
    alike = compare([True] * 30, [True] * 30)
    assert (alike.difference, alike.p, alike.beyond_noise) == (0, 1, False)
    assert alike.low == -alike.high == pytest.approx(-2 / 30)
    assert mean([1.0] * 30).low == pytest.approx(1 - 3 / 30)  # the rule of three
    assert mean([1.0] * 30).high == 1


def test_nothing_is_compared_with_nothing_or_with_another_number() -> None:
    for call in (lambda: compare([], []), lambda: compare_means([], []), lambda: mean([]), lambda: compare([True], []), lambda: compare_means([1], [])):
        with pytest.raises(ValueError, match=r"no discordance|no answers|shorter"):
            call()
