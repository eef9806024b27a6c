"""Versions of one row within a batch: which of them a refusal concerns, when each version has a segment of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from apply.batch import Batch, Segment
from apply.sink import Rejection

Rejected = tuple[Segment, Rejection]


def keys_of(rejected: Sequence[Rejected]) -> list[Any]:
    """Return the encoded key of each row that was refused; None where every change is kept."""
    lists: dict[tuple[int, str], list[bytes]] = {}
    keys: list[Any] = []
    for segment, rejection in rejected:
        if rejection.kind == "sequence":
            keys.append(None)
            continue
        place = (id(segment), rejection.kind)
        if place not in lists:
            lists[place] = segment.net.keys_of(rejection.kind)
        keys.append(lists[place][rejection.index])
    return keys


def standing(batch: Batch, rejected: Sequence[Rejected]) -> list[Rejected]:
    """Leave out rows that are written whole, or deleted, by a later segment: as if the two were one net change."""
    return [
        one
        for one, later in zip(rejected, _later(batch, rejected), strict=True)
        if all(key in segment.net.updates for segment, key in later)
    ]


def followers(batch: Batch, rejected: Sequence[Rejected], left: Sequence[Rejected]) -> list[Rejected]:
    """Return what must be written once more, in order: later changes of parts of rows that were written after them."""
    open_places = {_place(*one) for one in left}
    found: dict[tuple[int, str, int], Rejected] = {}
    numbers: dict[int, dict[Any, int]] = {}
    for (segment, rejection), later in zip(rejected, _later(batch, rejected), strict=True):
        if _place(segment, rejection) in open_places:
            continue
        for other, key in later:
            if id(other) not in numbers:
                numbers[id(other)] = {k: i for i, k in enumerate(other.net.updates)}
            one = Rejection(rejection.table, "updates", numbers[id(other)][key], rejection.error)
            if _place(other, one) not in open_places:
                found[_place(other, one)] = (other, one)
    order = {id(s): i for segments in batch.segments.values() for i, s in enumerate(segments)}
    return sorted(found.values(), key=lambda one: (one[0].topic, order[id(one[0])]))


def _later(batch: Batch, rejected: Sequence[Rejected]) -> Iterator[list[tuple[Segment, Any]]]:
    """Yield for each row the later segments that have its key, too."""
    for (segment, _), key in zip(rejected, keys_of(rejected), strict=True):
        segments = batch.segments[segment.topic]
        at = next(i for i, other in enumerate(segments) if other is segment)
        yield [
            (other, key)
            for other in segments[at + 1 :]
            if key is not None and (key in other.net.upserts or key in other.net.updates or key in other.net.deletes)
        ]


def _place(segment: Segment, rejection: Rejection) -> tuple[int, str, int]:
    return id(segment), rejection.kind, rejection.index
