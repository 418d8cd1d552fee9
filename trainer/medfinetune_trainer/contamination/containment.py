"""Containment: questions that stand in a longer text: one of several in a conversation, after an instruction, amid an article.

As large a text has little in common with a short one by Jaccard similarity, though it holds all of it; how much of the question it holds is its containment
(Broder 1997, On the resemblance and containment of documents). Candidates come from an inverted index of the questions' rarest runs of characters, as GPT-3's
authors looked for 13 words in a row (Brown et al. 2020, appendix C); who asks measures them. Memory is bounded by the number of questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medfinetune_trainer.contamination.items import Text

Runs = NDArray[np.uint64]
"""Hashes of runs of characters."""
DRAWN = 128
"""Runs of a question among which the rarest are sought: those of the lowest hash, so that the same text has the same (bottom-k sketch, Broder 1997)."""
ANCHORS = 16
"""Runs of a question that are kept: those that the fewest questions share."""
COMMON = 2
"""How many times as many questions may share a run as share the question's rarest: an instruction that all of them begin with is not what one is known by."""
NEEDED = 0.25
"""Share of these that a text must have: 14 of 100 words changed leave more than half."""
SLOTS = 22
"""Bits of a hash by which most runs of a record are seen to be no question's, in a table of 4 MiB, before they are searched for."""
_FACTOR = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


class Containment:
    """The questions' texts, ready to be looked for."""

    def __init__(self, texts: Sequence[Text]) -> None:
        drawn = [_drawn(text) for text in texts]
        owners = np.repeat(np.arange(len(drawn)), [len(each) for each in drawn])
        hashes, of, shared = np.unique(np.concatenate([np.empty(0, np.uint64), *drawn]), return_inverse=True, return_counts=True)
        rarest = np.full(len(drawn), len(owners) + 1)
        np.minimum.at(rarest, owners, shared[of])
        order = np.lexsort((of, shared[of], owners))
        order = order[shared[of[order]] <= COMMON * rarest[owners[order]]]
        kept = order[_place_within(owners[order]) < ANCHORS]
        kept = kept[np.argsort(of[kept], kind="stable")]
        self._hashes, self._owners = hashes[of[kept]], owners[kept]
        self._needed = np.ceil(NEEDED * np.bincount(self._owners, minlength=len(drawn)))
        self._table = np.zeros(1 << SLOTS, bool)
        self._table[_slots(self._hashes)] = True

    def candidates(self, texts: Sequence[Text]) -> Iterator[tuple[int, int]]:
        """Pairs (place in `texts`, question text) that share enough of the question's runs."""
        if not len(self._hashes):
            return
        for at, text in enumerate(texts):
            owners, counts = np.unique(self._owners[self._anchors(text)], return_counts=True)
            for owner in owners[counts >= self._needed[owners]].tolist():
                yield at, owner

    def _anchors(self, text: Text) -> NDArray[np.int64]:
        """Entries of the index whose run stands in `text`, each once."""
        hashes = runs(text.compact, text.run)
        hashes = np.unique(hashes[self._table[_slots(hashes)]])
        first, last = (np.searchsorted(self._hashes, hashes, side) for side in ("left", "right"))
        sizes = last - first
        entries: NDArray[np.int64] = np.repeat(first, sizes) + _place_within(np.repeat(np.arange(len(sizes)), sizes))
        return entries


def least_share(threshold: float) -> float:
    """Share of a question's n-grams from which a text holds it: what two texts of one length hold of each other at the Jaccard similarity `threshold`.

    For 0.5 that is two thirds; PaLM's authors took 0.7 (Chowdhery et al. 2022, section 8).
    """
    return 2 * threshold / (1 + threshold)


def runs(text: str, width: int) -> Runs:
    """A hash of every `width` characters in a row, a power of two: (K,). Doubles the width of a polynomial hash until it has it."""
    hashes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64) * np.uint64(_FACTOR)
    reach, factor = 1, _FACTOR
    while reach < width:
        hashes = hashes[:-reach] * np.uint64(factor) + hashes[reach:]
        reach, factor = 2 * reach, factor * factor & _WORD
    return hashes


def stands_in(asked: Text, text: Text) -> bool:
    """Whether every line of `asked` stands in `text`, normalised and without white space, and splits no number of it."""
    return all(_stands(line, text.compact) for line in asked.compact.split("\n"))


def _stands(line: str, text: str) -> bool:
    if line not in text:
        return False
    before, after = r"(?<![\d.])" if line[0].isdigit() else "", r"(?!\.?\d)" if line[-1].isdigit() else ""
    return not (before or after) or re.search(before + re.escape(line) + after, text) is not None


def _drawn(text: Text) -> Runs:
    found = [runs(line, text.run) for line in text.compact.split("\n") if len(line) >= text.run]
    return np.unique(np.concatenate([np.empty(0, np.uint64), *found]))[:DRAWN]


def _slots(hashes: Runs) -> NDArray[np.int64]:
    slots: NDArray[np.int64] = (hashes >> np.uint64(64 - SLOTS)).astype(np.int64)
    return slots


def _place_within(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of sorted `groups` how many of the same stand before it."""
    places: NDArray[np.int64] = np.arange(len(groups)) - np.searchsorted(groups, groups, "left")
    return places
