"""Records that are larger than Kafka takes: they travel in parts, beside their topic.

The parts are slices of the record's value, one after the other on the replication's parts topic. In the record's place
stands one that says the same without its large values: they are null, and named in `unavailable`. Its header says where
the parts are, and their digest. Who does not know of parts reads a record that leaves these columns as they are.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson

from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import Decoder, Encoder
from schemas.errors import ErrorKind, TailraceError

HEADER = "tailrace.parts"

PART_BYTES_MAX = 900_000
"""Less than brokers and clients take by default."""

LARGE_BYTES = (16_384, 1_024, 0)
"""Values from this size on are left out of the record that stands for the whole one; from the next one, if it would
still be too large. At last all that are not of the key, of whatever type."""


class Reference(NamedTuple):
    """Where the parts of a value are: so many records of the parts topic's only partition, from `first` on."""

    first: int
    part_count: int
    byte_count: int
    sha256: str

    def to_header(self) -> bytes:
        """Return the header's content."""
        return orjson.dumps(self._asdict())

    @classmethod
    def of_header(cls, content: bytes | str) -> Reference:
        """Read a header. Raises DECODE."""
        try:
            found = orjson.loads(content)
            return cls(int(found["first"]), int(found["part_count"]), int(found["byte_count"]), str(found["sha256"]))
        except (ValueError, KeyError, TypeError):
            raise TailraceError(ErrorKind.DECODE, f"the header {HEADER} of a record cannot be read") from None

    def joined(self, parts: Iterable[bytes]) -> bytes:
        """Return the value. Raises DECODE if these are not its parts."""
        value = Joining(self)
        for part in parts:
            value.add(part)
        return value.take()


class Joining:
    """A value that is put together of its parts. It is held once, whatever its size."""

    def __init__(self, where: Reference) -> None:
        self.where = where
        self.part_count = 0
        """The parts that are there."""
        self._digest = hashlib.sha256()
        self._value = io.BytesIO()

    @property
    def next(self) -> int:
        """The offset of the next part."""
        return self.where.first + self.part_count

    @property
    def is_whole(self) -> bool:
        """Whether all parts are there."""
        return self.part_count >= self.where.part_count

    def add(self, part: bytes) -> None:
        """Add the next part."""
        self.part_count += 1
        self._digest.update(part)
        self._value.write(part)

    def take(self) -> bytes:
        """Return the value, once. Raises DECODE if these are not its parts."""
        value, self._value = self._value, io.BytesIO()
        if value.tell() != self.where.byte_count or self._digest.hexdigest() != self.where.sha256:
            raise self.lost()
        # What the buffer itself holds, without a copy.
        return value.getvalue()

    def lost(self) -> TailraceError:
        """Return the error of a value whose parts are not there."""
        where = self.where
        return TailraceError(
            ErrorKind.DECODE,
            f"{self.part_count} of {where.part_count} parts of a record of {where.byte_count:,} bytes are there",
            remedy="load the table again; the parts topic must keep records as long as the topics of tables do",
        )


def reference(value: bytes, first: int, part_bytes: int) -> Reference:
    """Return what says where a value is whose first part gets the offset `first`."""
    part_count = -(-len(value) // part_bytes)
    return Reference(first, part_count, len(value), hashlib.sha256(value).hexdigest())


def parts(value: bytes, part_bytes: int) -> Iterator[bytes]:
    """Yield the slices."""
    for begin in range(0, len(value), part_bytes):
        yield value[begin : begin + part_bytes]


def reduced(encoder: Encoder, decoder: Decoder, value: bytes, bytes_max: int) -> bytes:
    """Return the record that stands in the place of a large one. (`transaction` is in the whole one only.)

    Large old values of updates are null in it. It has more than `bytes_max` only if its key alone has. Raises DECODE.
    """
    small = b""
    for least in LARGE_BYTES:
        small = _reduced(encoder, decoder, value, least)
        if len(small) <= bytes_max:
            break
    return small


def _reduced(encoder: Encoder, decoder: Decoder, value: bytes, least: int) -> bytes:
    op, before, after = decoder.decode(value)
    facts = decoder.facts(value)
    lost = None if op == "u" else UNCHANGED
    changes = RowChanges(
        encoder.table,
        Transaction("", 0, facts.lsn or 0, facts.source_ts_us),
        [op],
        [_without_large(encoder, before, lost, least)],
        [_without_large(encoder, after, UNCHANGED, least)],
    )
    block = encoder.block(
        snapshot=facts.snapshot,
        position_lsn=facts.lsn or 0,
        ts_us=facts.source_ts_us,
        txid=facts.txid,
        now_us=facts.ts_us,
    )
    pairs, _ = encoder.run(changes, block, facts.seq - 1, False)
    return pairs[0][1] or b""


def _without_large(encoder: Encoder, row: Row | None, lost: object, least: int) -> Row | None:
    if row is None:
        return None
    key = encoder.table.key
    return tuple(
        lost if i not in key and (not least or (isinstance(v, str | bytes) and len(v) >= least)) else v
        for i, v in enumerate(row)
    )
