"""What a table was cut into: the order of chunks, and that a plan stays as small as a record may be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import orjson

from capture.full_load.state import TableLoad
from capture.source import Chunk
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.segments import Segment

PLAN_BYTES_MAX = 900_000
"""Of a plan, which is one Kafka record: they are 1 MB by default, and clients measure them before they compress."""

Piece = tuple[tuple[str, ...] | None, tuple[str, ...] | None, Segment | None]
"""The bounds of a chunk, and its segment."""


def by_turns(cuts: Sequence[Sequence[Piece]]) -> list[Chunk]:
    """Return the chunks of several segments, by turns: so several segments are being read at once."""
    pieces = [piece for pieces in zip_longest(*cuts) for piece in pieces if piece is not None]
    return [Chunk(number, *piece) for number, piece in enumerate(pieces)]


def fit(load: TableLoad, bytes_max: int = PLAN_BYTES_MAX) -> None:
    """Let neighbouring chunks of a load that was just cut be one, until its plan is small enough.

    Raises CONFIGURATION where its segments alone are too many.
    """
    while len(orjson.dumps(load.plan_document())) > bytes_max:
        count = len(load.chunks)
        load.chunks = _halved(load.chunks)
        if len(load.chunks) == count:
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"parallel-load cuts the table into {count:,} segments, and what is kept of them is more than "
                f"{bytes_max:,} bytes: it is one record",
                remedy="cut it into fewer: partitions of a higher level, or fewer boundaries (with each of a text "
                "column all that precede it are kept)",
                table=str(load.name),
            )


def _halved(chunks: Sequence[Chunk]) -> list[Chunk]:
    of_segments: dict[Segment | None, list[Chunk]] = {}
    for chunk in chunks:
        of_segments.setdefault(chunk.segment, []).append(chunk)
    cuts = []
    for segment, found in of_segments.items():
        pairs = [found[place : place + 2] for place in range(0, len(found), 2)]
        cuts.append([(pair[0].lower, pair[-1].upper, segment) for pair in pairs])
    return by_turns(cuts)
