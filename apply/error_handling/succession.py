"""Versions of one row within a batch: which of them a refusal concerns, when each version has a segment of its own.

A change of a part of a row is written only where what precedes it is: on an older state it would make a row that the
source never had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from apply.batching.batch import Batch, Segment
from apply.sink import Rejection

Rejected = tuple[Segment, Rejection]
Place = tuple[int, str, int]


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


def barred(batch: Batch, segment: Segment, rejected: Sequence[Rejected]) -> set[int]:
    """Return which of a segment's updates must not be written yet: an earlier version of their rows was refused."""
    refused = refused_before(batch, segment, rejected) if segment.net.updates else set()
    return {i for i, key in enumerate(segment.net.updates) if key in refused}


def refused_before(batch: Batch, segment: Segment, rejected: Sequence[Rejected]) -> set[Any]:
    """Return the encoded keys whose rows were refused in earlier segments of a table, and not written whole since."""
    if not rejected:
        return set()
    segments = batch.segments[segment.topic]
    refused: set[Any] = set()
    for other in segments:
        if other is segment:
            break
        refused -= other.net.upserts.keys() | other.net.deletes.keys()
        refused.update(keys_of([one for one in rejected if one[0] is other]))
    return refused


def still_refused(batch: Batch, rejected: Sequence[Rejected]) -> list[Rejected]:
    """Leave out rows that are written whole, or deleted, by a later segment: as if the two were one net change."""
    return [
        one
        for one, later in zip(rejected, _later(batch, rejected), strict=True)
        if all(key in segment.net.updates for segment, key in later)
    ]


def followers(batch: Batch, rejected: Sequence[Rejected], left: Sequence[Rejected]) -> list[Rejected]:
    """Return the next version of each row that is no longer `left`: barred until now, as if refused for the same."""
    refused = places(left)
    return [
        (after, Rejection(one.table, "updates", list(after.net.updates).index(key), one.error))
        for (segment, one), later in zip(rejected, _later(batch, rejected), strict=True)
        for after, key in later[:1]
        if (id(segment), one.kind, one.index) not in refused
    ]


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


def places(rejected: Sequence[Rejected]) -> set[Place]:
    """Return which rows of which segments these are."""
    return {(id(segment), rejection.kind, rejection.index) for segment, rejection in rejected}
