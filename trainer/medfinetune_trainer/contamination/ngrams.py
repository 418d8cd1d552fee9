"""n-grams: which texts share most of their wording. Jaccard similarity of the sets of n-grams (Broder 1997, On the resemblance and containment of documents).

Which n-grams was measured on MedQA and KorMedMCQA (docs/decisions/contamination.md): pairs of words where words stand apart, triples of characters in Korean,
Chinese and Japanese, where spacing varies or is absent and a word carries its particles; longer runs of characters in other languages without spaces or with
long compound words.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from medfinetune_api.results_screening import Unit
from numpy.typing import NDArray

Shingles = NDArray[np.uint32]
"""Sorted hashes of a text's n-grams, each once: (K,)."""

SYLLABIC = frozenset(["ko", "ja", "zh", "yue", "wuu", "hak", "nan", "lzh"])
UNSPACED = frozenset(["th", "lo", "km", "my", "bo", "dz"])
AGGLUTINATIVE = frozenset(
    ["fi", "et", "hu", "tr", "az", "kk", "ky", "uz", "ug", "tk", "tt", "eu", "ka", "ta", "te", "kn", "ml", "mn", "qu", "sw", "zu", "xh", "kl", "iu"]
)


class Grams(NamedTuple):
    """What n-grams a language is compared by."""

    unit: Unit
    n: int
    least: int
    """n-grams below which a text is compared as a whole only: short questions of one form ("What are the symptoms of X?") differ in a word alone."""
    run: int = 16
    """Characters in a row, white space left out, by which longer texts are searched for a question: three or four words."""


def primary(language: str) -> str:
    """A BCP 47 tag's language without script and region: pt-BR and pt are compared as one."""
    return language.split("-")[0].lower()


def grams_of(language: str) -> Grams:
    """The n-grams of a language, by its BCP 47 tag."""
    tag = primary(language)
    if tag in SYLLABIC:
        return Grams(Unit.CHARACTERS, 3, 30, run=8)
    return Grams(Unit.CHARACTERS, 5, 60) if tag in UNSPACED | AGGLUTINATIVE else Grams(Unit.WORDS, 2, 12)


def shingles(lines: Iterable[str], grams: Grams) -> Shingles:
    """The n-grams of each line as `normalise` leaves it, hashed to 32 bits by CRC-32; a line shorter than n is one n-gram. Empty where there are fewer than
    `grams.least`."""
    hashes = {zlib.crc32(gram.encode()) for line in lines for gram in _grams(line, grams)}
    return np.fromiter(sorted(hashes), np.uint32, len(hashes)) if len(hashes) >= grams.least else np.empty(0, np.uint32)


def _grams(text: str, grams: Grams) -> Iterator[str]:
    units = text.split() if grams.unit is Unit.WORDS else list(text.replace(" ", ""))
    joint = " " if grams.unit is Unit.WORDS else ""
    if units:
        yield from (joint.join(units[at : at + grams.n]) for at in range(max(1, len(units) - grams.n + 1)))


def jaccard(one: Shingles, other: Shingles) -> float:
    """Size of the intersection over that of the union, 0 to 1; 0 where both are empty."""
    together = len(one) + len(other)
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (together - common) if together else 0.0


def containment(inner: Shingles, outer: Shingles) -> float:
    """Share of the n-grams of `inner` that `outer` has, 0 to 1; 0 where `inner` is empty."""
    return len(np.intersect1d(inner, outer, assume_unique=True)) / len(inner) if len(inner) else 0.0
