"""Records that are larger than Kafka takes: they travel in parts, beside their topic.

The parts are slices of the record's value, one after the other on the replication's parts topic. In the record's place
stands one that says the same without its large values: they are null, and named in `unavailable`. Its header says where
the parts are, and their digest. Who does not know of parts reads a record that leaves these columns as they are.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

import orjson

from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import Decoder, Encoder
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import Place, WholeRecord

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
    places: tuple[Place, ...] = ()
    """Where large values stand in it as they are; not all of them need be named."""

    def to_header(self) -> bytes:
        """Return the header's content."""
        found = self._asdict()
        if places := found.pop("places"):
            found["places"] = [list(place) for place in places]
        return orjson.dumps(found)

    @classmethod
    def of_header(cls, content: bytes | str) -> Reference:
        """Read a header. Raises DECODE."""
        try:
            found = orjson.loads(content)
            first, part_count, byte_count = (int(found[name]) for name in ("first", "part_count", "byte_count"))
            places = tuple(Place(int(begin), int(size), bool(text)) for begin, size, text in found.get("places", ()))
            return cls(first, part_count, byte_count, str(found["sha256"]), places)
        except (ValueError, KeyError, TypeError):
            raise TailraceError(ErrorKind.DECODE, f"the header {HEADER} of a record cannot be read") from None

    def joined(self, parts: Iterable[bytes]) -> bytes:
        """Return the value. Raises DECODE if these are not its parts."""
        value = Joining(self)
        for part in parts:
            value.add(part)
        return value.take()


class Joining:
    """A value that is put together of its parts. It is held once, whatever its size; or not at all."""

    def __init__(self, where: Reference, write: Callable[[bytes], object] | None = None) -> None:
        """`write` is given each part instead of keeping it."""
        self.where = where
        self.part_count = 0
        """The parts that are there."""
        self._digest = hashlib.sha256()
        self._size = 0
        self._value = io.BytesIO()
        self._write = self._value.write if write is None else write

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
        self._size += len(part)
        self._digest.update(part)
        self._write(part)

    def check(self) -> None:
        """Raise DECODE if these are not its parts."""
        if self._size != self.where.byte_count or self._digest.hexdigest() != self.where.sha256:
            raise self.lost()

    def take(self) -> bytes:
        """Return the value, once, where it was kept. Raises DECODE if these are not its parts."""
        self.check()
        value, self._value = self._value, io.BytesIO()
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


class Slicing:
    """Cuts a record into its parts, and sums up what they are."""

    def __init__(self, record: WholeRecord, part_bytes: int) -> None:
        self._record = record
        self._part_bytes = part_bytes
        self._digest = hashlib.sha256()
        self._count = self._size = 0

    def parts(self) -> Iterator[bytes]:
        """Yield the slices, once."""
        part = bytearray()
        for piece in self._record.pieces():
            at = 0
            while at < len(piece):
                taken = piece[at : at + self._part_bytes - len(part)]
                part += taken
                at += len(taken)
                if len(part) == self._part_bytes:
                    yield self._counted(part)
                    part.clear()
        if part:
            yield self._counted(part)

    def reference(self, first: int) -> Reference:
        """Return what says where the record is, once all parts are made; the first one has the offset `first`."""
        return Reference(first, self._count, self._size, self._digest.hexdigest(), self._record.places())

    def behind(self, end: int) -> Reference:
        """The same, by the offset that follows the last part."""
        return self.reference(end - self._count)

    def _counted(self, part: bytearray) -> bytes:
        self._count += 1
        self._size += len(part)
        self._digest.update(part)
        return bytes(part)


def reference(value: bytes, first: int, part_bytes: int) -> Reference:
    """Return what says where a value is whose first part gets the offset `first`."""
    part_count = -(-len(value) // part_bytes)
    return Reference(first, part_count, len(value), hashlib.sha256(value).hexdigest())


def parts(value: bytes, part_bytes: int) -> Iterator[bytes]:
    """Yield the slices."""
    for begin in range(0, len(value), part_bytes):
        yield value[begin : begin + part_bytes]


def reduced(
    encoder: Encoder, decoder: Decoder, value: bytes, bytes_max: int, stand_ins: Collection[bytes] = ()
) -> bytes:
    """Return the record that stands in the place of a large one. (`transaction` is in the whole one only.)

    Large old values of updates and creates are null in it, and so are all values that `stand_ins` are for. It has more
    than `bytes_max` only if its key alone has. Raises DECODE.
    """
    absent = {*stand_ins, *(name.decode() for name in stand_ins)}
    small = b""
    for least in LARGE_BYTES:
        small = _reduced(encoder, decoder, value, least, absent)
        if len(small) <= bytes_max:
            break
    return small


def _reduced(encoder: Encoder, decoder: Decoder, value: bytes, least: int, absent: Collection[object]) -> bytes:
    op, before, after = decoder.decode(value)
    facts = decoder.facts(value)
    key = encoder.table.key

    def without_large(row: Row | None, lost: object) -> Row | None:
        if row is None:
            return None
        return tuple(lost if i not in key and _is_large(v, least, absent) else v for i, v in enumerate(row))

    changes = RowChanges(
        encoder.table,
        Transaction("", 0, facts.lsn or 0, facts.source_ts_us),
        [op],
        [without_large(before, UNCHANGED if op == "d" else None)],
        [without_large(after, UNCHANGED)],
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


def _is_large(value: object, least: int, absent: Collection[object]) -> bool:
    return not least or (isinstance(value, str | bytes) and (len(value) >= least or value in absent))
