"""The same questions with their options in other orders: what a model knows does not depend on the letter under which an answer stands.

Models prefer letters whatever the options say (Zheng et al. 2024, ICLR, arXiv 2309.03882, section 2: mostly a bias for the token itself), so an accuracy in one
order mixes knowledge with the chance that the right answers stand under the preferred letter. Orders are rotations of the options, as that paper's section 4
takes them for their cost: over all n rotations every option stands once under every letter, and a model that always says the same letter scores exactly 1/n.
Which rotations, is drawn for each question; from the n-th order on, rotations of further drawn arrangements follow, each block of n balanced like the first.

The headline accuracy stays that of the file's own order, which is the one that others report.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from math import factorial
from typing import Any

import numpy as np
from medfinetune_api.results_evaluation import Orders, Score

from medfinetune_trainer.data.formats.prompts import lettered
from medfinetune_trainer.data.records import Message, Record
from medfinetune_trainer.evaluation.statistics import wilson_interval

Order = tuple[int, ...]
"""Which of the file's options stands under A, B, ..."""


def option_orders(options: int, wanted: int, seed: int, question: str) -> list[Order]:
    """`wanted` different orders of 2 to 26 options, the file's own first; all there are where they are fewer. The same for the same seed and question."""
    random = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(question.encode()).digest()[:8])])
    return list(islice(_orders(options, random), min(wanted, factorial(options))))


def _orders(options: int, random: np.random.Generator) -> Iterator[Order]:
    """All orders, in blocks of rotations: rotations of an arrangement whose first option is option 0 are those of no other such arrangement."""
    arrangement, seen = tuple(range(options)), set[Order]()
    while True:
        seen.add(arrangement)
        shifts = random.permutation(options).tolist() if len(seen) > 1 else [0, *(1 + random.permutation(options - 1)).tolist()]
        yield from ((*arrangement[shift:], *arrangement[:shift]) for shift in shifts)
        if len(seen) == factorial(options - 1):
            return
        while arrangement in seen:
            arrangement = (0, *(1 + random.permutation(options - 1)).tolist())


def reordered(record: Record, order: Order) -> Record:
    """The question with its options in `order`: prompt, options and answer."""
    options = tuple(record.options[index] for index in order)
    before, _, after = record.prompt.rpartition(lettered(record.options))
    answer = order.index(record.answer)
    turns = Message("user", before + lettered(options) + after), Message("assistant", record.choices[answer])
    return replace(record, options=options, answer=answer, messages=turns)


def in_other_orders(asked: Iterable[Record], orders: int, seed: int) -> tuple[list[Record], list[Order]]:
    """Every question in all its orders but the file's, and for each of these its order."""
    pairs = [(reordered(record, order), order) for record in asked for order in option_orders(len(record.options), orders, seed, record.prompt)[1:]]
    return [record for record, _ in pairs], [order for _, order in pairs]


def orders_summary(orders: int, in_file: Iterable[Mapping[str, Any]], in_others: Iterable[Mapping[str, Any]]) -> Orders:
    """What answers in several orders show, from the samples of the file's order and of the others.

    The interval counts each question once: its answers in several orders depend on one another.
    """
    right, options = defaultdict[str, list[bool]](list), defaultdict[str, set[int]](set)
    letters, most = list[int](), 0
    for sample in chain(in_file, in_others):
        doc, likelihoods = sample["doc"], [float(likelihood) for likelihood, _ in sample["filtered_resps"]]
        letter = likelihoods.index(max(likelihoods))
        letters.append(letter)
        most = max(most, len(likelihoods))
        right[doc["where"]].append(sample["acc"] == 1.0)
        options[doc["where"]].add(doc["order"][letter] if "order" in doc else letter)
    consistent = sum(len(chosen) == 1 for chosen in options.values()) / len(options)
    shares = np.bincount(letters, minlength=most) / len(letters)
    return Orders(orders=orders, accuracy=_mean_score(list(right.values())), consistent=consistent, chosen_letters=tuple(shares.tolist()))


def _mean_score(right: Sequence[Sequence[bool]]) -> Score:
    accuracy = sum(sum(one) / len(one) for one in right) / len(right)
    low, high = wilson_interval(accuracy * len(right), len(right))
    return Score(n=len(right), accuracy=accuracy, low=low, high=high)
