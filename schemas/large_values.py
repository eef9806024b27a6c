"""Large values beside their rows: in the row a short stand-in takes the place of each.

Rows, records and whatever is made of them are small then, and pass through the same functions as all others. Where the
bytes of a record are needed in the end, its pieces are those around the stand-ins, and those of the values: the whole
is never in memory.
"""

from __future__ import annotations

import secrets
from binascii import b2a_base64
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, overload

import orjson

from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.types import Family
from schemas.types.varints import long

if TYPE_CHECKING:
    from schemas.settings import Settings

Buffer = bytes | bytearray | memoryview

PIECE_BYTES = 1 << 20
"""Values are handed on in pieces of so many bytes."""

STAND_IN_BYTES = 48
"""A multiple of three: in base64 it stands by itself."""

_PREFIX = b"tailrace.large.."


_FAMILIES = frozenset({Family.STRING, Family.TEXT, Family.BYTES, Family.JSON, Family.XML, Family.ENUM})


def least_bytes(settings: Settings) -> int:
    """Return from where on a single value is more than Kafka takes: then it is kept beside its row."""
    return int(settings.kafka.get("message.max.bytes", 1_000_000))


class LargeValue(NamedTuple):
    """A value that is not in its row."""

    stand_in: bytes
    """What the row has instead, of bytes as of texts: a random one, which no value holds by chance."""
    is_text: bool
    """Its pieces are UTF-8 then, cut anywhere."""
    size: int
    """Its bytes."""
    pieces: Callable[[], Iterable[Buffer]]
    """Return the pieces, from the first one on, each time."""


class FiledMessage(Protocol):
    """A message of so many bytes that it is in a file; whoever asks for them gets them like those of `bytes`."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, at: int, /) -> int: ...
    @overload
    def __getitem__(self, at: slice, /) -> bytes: ...
    def __getitem__(self, at: int | slice, /) -> int | bytes: ...
    def __bytes__(self) -> bytes: ...
    def pieces(self, begin: int, size: int) -> Iterable[Buffer]:
        """Return bytes from a place on, a piece at a time."""
        ...


class Place(NamedTuple):
    """Where the bytes of a value stand in a record."""

    offset: int
    size: int
    is_text: bool


def may_be_large(family: Family) -> bool:
    """Tell whether values of a family may be beside their rows: those which records hold as texts or bytes."""
    return family in _FAMILIES


def new_stand_in() -> bytes:
    """Return another stand-in."""
    return _PREFIX + secrets.token_hex((STAND_IN_BYTES - len(_PREFIX)) // 2).encode()


def value_of(content: memoryview, *, is_text: bool) -> LargeValue:
    """Return a value that is in memory, as a part of something else; it is not copied."""
    return LargeValue(new_stand_in(), is_text, len(content), partial(sliced, content))


def value_in(message: FiledMessage, begin: int, size: int, *, is_text: bool) -> LargeValue:
    """Return a value that is a part of a message in a file."""
    return LargeValue(new_stand_in(), is_text, size, partial(message.pieces, begin, size))


def sliced(content: Buffer) -> Iterator[memoryview]:
    """Yield the pieces of what is in memory."""
    view = memoryview(content)
    for begin in range(0, len(view), PIECE_BYTES):
        yield view[begin : begin + PIECE_BYTES]


class WholeRecord:
    """A record in pieces: the bytes around its large values, and theirs."""

    def __init__(self, record: bytes, format_: Format, values: Sequence[LargeValue] = ()) -> None:
        """Those of the `values` count whose stand-ins are in the record: one may be in the old row and in the new."""
        self._format = format_
        self._parts: list[tuple[bytes, LargeValue]] = []
        at = 0
        places = [(*place, value) for value in values for place in _found(record, format_, value)]
        for begin, end, found in sorted(places):
            self._parts.append((record[at:begin] + _head(found, format_), found))
            at = end
        self._tail = memoryview(record)[at:]

    @property
    def stand_ins(self) -> frozenset[bytes]:
        """Those that the record has."""
        return frozenset(value.stand_in for _, value in self._parts)

    def places(self) -> tuple[Place, ...]:
        """Return where the values stand as they are; none, where the format writes them otherwise."""
        found: list[Place] = []
        at = 0
        for before, value in self._parts if self._format is Format.AVRO else ():
            at += len(before)
            found.append(Place(at, value.size, value.is_text))
            at += value.size
        return tuple(found)

    def pieces(self) -> Iterator[Buffer]:
        """Yield the record's bytes. Raises DECODE for a text that is none, where it is to be JSON."""
        for before, value in self._parts:
            yield before
            if self._format is Format.AVRO:
                yield from value.pieces()
            else:
                yield from _json_text(value.pieces()) if value.is_text else _base64(value.pieces())
        yield from sliced(self._tail)


def with_stand_ins(
    read: Callable[[int, int], bytes],
    size: int,
    places: Sequence[Place],
    pieces: Callable[[int, int], Iterable[Buffer]],
) -> tuple[bytes, list[LargeValue]]:
    """Return an Avro record with stand-ins for the values at these places, and the values: `WholeRecord` undone.

    `read` and `pieces` return the bytes of the record from an offset on, so many. Raises DECODE where no values stand.
    """
    parts: list[bytes] = []
    values: list[LargeValue] = []
    at = 0
    for offset, length, is_text in sorted(places):
        head = long(length)
        begin = offset - len(head)
        if begin < at or offset + length > size or read(begin, len(head)) != head:
            raise TailraceError(ErrorKind.DECODE, "a large value is not where the record's header says")
        value = LargeValue(new_stand_in(), is_text, length, partial(pieces, offset, length))
        values.append(value)
        parts += [read(at, begin - at), long(STAND_IN_BYTES), value.stand_in]
        at = offset + length
    return b"".join([*parts, read(at, size - at)]), values


def lacks(record: bytes, format_: Format, values: Iterable[LargeValue]) -> bool:
    """Tell whether a record has stand-ins for some of these values."""
    return any(_mark(value, format_) in record for value in values)


def _found(record: bytes, format_: Format, value: LargeValue) -> Iterator[tuple[int, int]]:
    mark = _mark(value, format_)
    end = 0
    while (begin := record.find(mark, end)) >= 0:
        end = begin + len(mark)
        yield begin, end


def _mark(value: LargeValue, format_: Format) -> bytes:
    """Return what a record has in the place of a value."""
    if format_ is Format.AVRO:
        return long(STAND_IN_BYTES) + value.stand_in
    return value.stand_in if value.is_text else b2a_base64(value.stand_in, newline=False)


def _head(value: LargeValue, format_: Format) -> bytes:
    return long(value.size) if format_ is Format.AVRO else b""


def _base64(pieces: Iterable[Buffer]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        content = rest + piece if rest else piece
        end = len(content) // 3 * 3
        rest = bytes(content[end:])
        yield b2a_base64(content[:end], newline=False)
    if rest:
        yield b2a_base64(rest, newline=False)


def _json_text(pieces: Iterable[Buffer]) -> Iterator[bytes]:
    decoder = getincrementaldecoder("utf-8")()
    try:
        for piece in pieces:
            yield orjson.dumps(decoder.decode(piece))[1:-1]
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise TailraceError(ErrorKind.DECODE, "a large text is not UTF-8") from error
