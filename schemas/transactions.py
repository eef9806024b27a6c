"""The records of the transactions topic: marks, and BEGIN and END as Debezium writes them.

A mark says, for one partition of nothing but marks, what the tables' topics hold of the source's history: everything up
to a commit sequence, and how many records of each topic that is since the mark before. So whoever reads all partitions
can tell when he has everything, although Kafka shows the partitions of one transaction at different moments, and
although most partitions are silent most of the time.

BEGIN and END are Debezium's (its documentation, "PostgreSQL connector > Transaction metadata"), with our `seq`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from schemas.errors import ErrorKind, TailraceError

Record = tuple[bytes, bytes]

MARK_KEY = b'{"id":"tailrace.mark"}'
"""All marks have one key: readers that know only transactions see one that never ends."""


class Mark(NamedTuple):
    """How far the topics hold the source's history."""

    after: int
    """The commit sequence of the mark before: the counts are of what lies between."""
    seq: int
    """Everything up to this commit sequence is published, in the Kafka transaction of this mark or before."""
    whole: bool
    """Whether no source transaction is cut here."""
    counts: Mapping[str, int]
    """Records with a value, by topic."""

    @property
    def record_count(self) -> int:
        """Records with a value, of all topics."""
        return sum(self.counts.values())


def mark_record(mark: Mark, now_us: int) -> Record:
    """Return the record of a mark."""
    document = {
        "status": "MARK",
        "after": mark.after,
        "seq": mark.seq,
        "whole": mark.whole,
        "ts_ms": now_us // 1000,
        "topics": mark.counts,
    }
    return MARK_KEY, orjson.dumps(document)


def mark_of(key: bytes | None, value: bytes | None) -> Mark | None:
    """Return the mark that a record of the transactions topic is; None for BEGIN and END. Raises DECODE."""
    if key != MARK_KEY:
        return None
    try:
        document = orjson.loads(value or b"")
        counts = {str(topic): int(count) for topic, count in document["topics"].items()}
        return Mark(int(document["after"]), int(document["seq"]), bool(document["whole"]), counts)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TailraceError(
            ErrorKind.DECODE,
            f"a mark of {len(value or b'')} bytes on the transactions topic is not readable ({type(error).__name__})",
            remedy="only `tailrace capture` may write this topic; if a newer release did, upgrade this one",
        ) from error


def begin_record(transaction: str, ts_us: int) -> Record:
    """Return the record that a source transaction has begun."""
    document = {
        "status": "BEGIN",
        "id": transaction,
        "event_count": None,
        "data_collections": None,
        "ts_ms": ts_us // 1000,
    }
    return _key(transaction), orjson.dumps(document)


def end_record(transaction: str, ts_us: int, counts: Mapping[str, int], seq: int) -> Record:
    """Return the record that a source transaction is complete; `counts` are its events by table."""
    collections: list[dict[str, Any]] = [
        {"data_collection": table, "event_count": count} for table, count in counts.items()
    ]
    document = {
        "status": "END",
        "id": transaction,
        "event_count": sum(counts.values()),
        "data_collections": collections,
        "ts_ms": ts_us // 1000,
        "seq": seq,
    }
    return _key(transaction), orjson.dumps(document)


def _key(transaction: str) -> bytes:
    return orjson.dumps({"id": transaction})
