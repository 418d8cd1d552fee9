"""Containment: questions that stand whole in a longer text, such as one of several in a conversation, or after an instruction.

The Jaccard similarity of a question and a text many times as long is low though the text holds all of it; the share of the question's n-grams that the text
holds is not (Broder 1997, On the resemblance and containment of documents). Candidates are questions of which the text holds one of the rarest n-grams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from medfinetune_trainer.contamination.ngrams import Shingles

CONTAINED = 0.9
"""Share of a question's n-grams from which a text holds it: a break of lines and a changed word or two."""
ANCHORS = 4
"""n-grams by which a question is looked up: those that the fewest questions have."""


class Containment:
    """The questions' texts, each with n-grams, ready to be looked for in longer ones."""

    def __init__(self, texts: Sequence[Shingles]) -> None:
        self._texts = texts
        known, counts = np.unique(np.concatenate([*texts, np.empty(0, np.uint32)]), return_counts=True)
        rarest = [text[np.argsort(counts[np.searchsorted(known, text)], kind="stable")[:ANCHORS]] for text in texts]
        anchors = np.concatenate([*rarest, np.empty(0, np.uint32)])
        order = np.argsort(anchors, kind="stable")
        self._anchors, self._owners = anchors[order], np.repeat(np.arange(len(texts)), [len(each) for each in rarest])[order]

    def held(self, text: Shingles) -> Iterator[tuple[int, float]]:
        """Questions that `text` holds, by their place, with the share of their n-grams that it holds."""
        first, last = (np.searchsorted(self._anchors, text, side) for side in ("left", "right"))
        owners = {int(owner) for at in np.flatnonzero(last > first) for owner in self._owners[first[at] : last[at]]}
        for owner in sorted(owners):
            asked = self._texts[owner]
            share = len(np.intersect1d(asked, text, assume_unique=True)) / len(asked)
            if share >= CONTAINED:
                yield owner, share
