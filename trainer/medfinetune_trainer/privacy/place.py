"""Place: where in a text something was found, and how places that overlap become one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from medfinetune_api.results_privacy import PersonalData


class Place(NamedTuple):
    """Characters [start, end) of a text that seem to be personal data."""

    start: int
    end: int
    type: PersonalData
    score: float = 1.0
    """0 to 1: how sure the recogniser is."""


def merged(found: Iterable[Place]) -> list[Place]:
    """Places in order and apart: those that overlap become one, of the type with the highest score (the longest one's where scores are equal).

    So redacting leaves no end of a weaker finding behind.
    """
    apart: list[list[Place]] = []
    reached = -1
    for place in sorted(found):
        if place.start < reached:
            apart[-1].append(place)
        else:
            apart.append([place])
        reached = max(reached, place.end)
    return [_union(places) for places in apart]


def _union(places: list[Place]) -> Place:
    best = max(places, key=lambda place: (place.score, place.end - place.start))
    return Place(places[0].start, max(place.end for place in places), best.type, best.score)
