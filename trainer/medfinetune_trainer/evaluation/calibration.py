"""Whether a model is right as often as it is sure, and what is left where it keeps silent when it is not sure.

Confidence is the probability of the chosen letter among the choices: the softmax over the log-likelihoods that lm-evaluation-harness records. The expected
calibration error is that of Naeini et al. (2015, AAAI) and Guo et al. (2017, ICML, equation 3), over BINS bins of equal width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from medfinetune_api.results_calibration import AbstentionPoint, Calibration, CalibrationBin

from medfinetune_trainer.evaluation.bootstrap import CONFIDENCE

BINS, THRESHOLDS = 10, 20
RESAMPLES = 2_000
_AT_ONCE = 1 << 22
"""Answers that are held in memory at a time."""

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.intp]


def confidence(log_likelihoods: Sequence[float]) -> float:
    """Probability of the likeliest choice among the choices, 1 / choices to 1."""
    likelihoods = np.asarray(log_likelihoods)
    return min(1.0, float(1 / np.exp(likelihoods - likelihoods.max()).sum()))


def calibration(confidences: Sequence[float], right: Sequence[bool], seed: int = 0) -> Calibration:
    """Reliability of answers of which `confidences[i]` were sure, `right[i]` were right; depends on `seed` through the interval alone.

    The interval is the symmetric bootstrap's (Hall 1988, JRSS B 50:35): resampling raises a calibration error that is near 0, and an interval of the resamples'
    quantiles could leave out what was measured. It begins at 0 where chance alone puts a calibrated model as far off in one of twenty resamples (their gaps
    about the measured ones: Davison and Hinkley 1997, section 4.4). Drawn from are the answers and two more, one sure and wrong, one unsure
    and right, so that few answers show that they are few (`bootstrap`). Raises ValueError where there are no answers.
    """
    if not confidences:
        raise ValueError("no answers to calibrate")
    sure, correct = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    places = _places(sure)
    gaps = _gaps(places[None], (correct - sure)[None])
    error, drawn = float(np.abs(gaps).sum()), _resampled(sure, correct, seed)
    half, by_chance = (float(np.quantile(off, CONFIDENCE)) for off in (np.abs(np.abs(drawn).sum(1) - error), np.abs(drawn - gaps).sum(1)))
    bins = tuple(_bin(sure[places == place], correct[places == place]) for place in range(BINS))
    return Calibration(error=min(1.0, error), low=0.0 if error <= by_chance else max(0.0, error - half), high=min(1.0, error + half), bins=bins)


def abstention(confidences: Sequence[float], right: Sequence[bool]) -> tuple[AbstentionPoint, ...]:
    """What is answered, and how often rightly, where answers below a threshold are withheld, for thresholds from 0 to 1 (El-Yaniv and Wiener 2010, JMLR 11)."""
    sure, correct = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    return tuple(_point(step / THRESHOLDS, sure, correct) for step in range(THRESHOLDS + 1)) if confidences else ()


def _point(threshold: float, sure: Floats, correct: Floats) -> AbstentionPoint:
    kept = correct[sure >= threshold]
    return AbstentionPoint(threshold=threshold, answered=len(kept) / len(sure), accuracy=float(kept.mean()) if len(kept) else None)


def _bin(sure: Floats, correct: Floats) -> CalibrationBin:
    if not len(sure):
        return CalibrationBin(n=0, confidence=0, accuracy=0)
    return CalibrationBin(n=len(sure), confidence=min(1.0, float(sure.mean())), accuracy=float(correct.mean()))


def _places(sure: Floats) -> Indexes:
    """The bin of each confidence: [0, 0.1), [0.1, 0.2), ... [0.9, 1]."""
    return np.minimum((sure * BINS).astype(np.intp), BINS - 1)


def _gaps(places: Indexes, gaps: Floats) -> Floats:
    """Accuracy less confidence by bin, times the bin's share of the answers, of each row of answers: (rows, BINS). Both arguments: (rows, answers)."""
    rows, answers = gaps.shape
    of_bins = np.bincount((places + BINS * np.arange(rows)[:, None]).ravel(), gaps.ravel(), minlength=rows * BINS)
    return np.asarray(of_bins.reshape(rows, BINS) / answers, np.float64)


def _resampled(sure: Floats, correct: Floats, seed: int) -> Floats:
    """`_gaps` of RESAMPLES resamples; the answers are ordered first, so that their order decides nothing."""
    pool_sure, pool_correct = np.append(sure, [1.0, 0.0]), np.append(correct, [0.0, 1.0])
    order = np.lexsort((pool_correct, pool_sure))
    places, gaps = _places(pool_sure)[order], (pool_correct - pool_sure)[order]
    random, rows = np.random.default_rng(seed), max(1, _AT_ONCE // len(sure))
    sizes = [(min(rows, RESAMPLES - first), len(sure)) for first in range(0, RESAMPLES, rows)]
    return np.concatenate([_gaps(places[drawn], gaps[drawn]) for drawn in (random.integers(len(order), size=size) for size in sizes)])
