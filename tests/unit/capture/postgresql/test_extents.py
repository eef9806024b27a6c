"""A message that comes a piece at a time ends where it ends, wherever its first piece does."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.sources.postgresql import frames
from capture.sources.postgresql.extents import Extent, copy_tuple, log_message
from runtime.spool import Spool
from schemas.errors import ErrorKind, TailraceError

HEADER = b"w" + bytes(24)
SIGNATURE = b"PGCOPY\n\xff\r\n\0" + pack(">ii", 0, 3) + b"ext"
VALUES = st.lists(st.none() | st.binary(max_size=9), max_size=4)


def _in_log(values: list[bytes | None]) -> bytes:
    columns = [
        b"nu"[i % 2 :][:1] if v is None else b"bt"[i % 2 :][:1] + pack(">i", len(v)) + v for i, v in enumerate(values)
    ]
    return pack(">h", len(values)) + b"".join(columns)


def _in_copy(values: list[bytes | None]) -> bytes:
    columns = [pack(">i", -1) if value is None else pack(">i", len(value)) + value for value in values]
    return pack(">h", len(values)) + b"".join(columns)


def _messages(old: list[bytes | None], new: list[bytes | None], content: bytes) -> Sequence[tuple[Extent, bytes]]:
    oid, was, now = pack(">I", 0x4E4E4E4E), _in_log(old), _in_log(new)
    said = b"M\1" + bytes(8) + b"tailrace\0" + pack(">i", len(content)) + content
    in_log = [
        b"I" + oid + b"N" + now,
        b"U" + oid + b"N" + now,
        b"U" + oid + b"K" + was + b"N" + now,
        b"U" + oid + b"O" + was + b"N" + now,
        b"D" + oid + b"K" + was,
        b"D" + oid + b"O" + was,
        said,
    ]
    in_copy = [_in_copy(new), SIGNATURE + _in_copy(new)]
    return [*((log_message, HEADER + m) for m in in_log), *((copy_tuple, m) for m in in_copy)]


def _kept(extent: Extent, message: bytes, first: int, behind: bytes) -> tuple[bytes, bytes]:
    """Return what is kept of a message whose first piece has so many bytes, and what is left of what comes then."""
    rest = message[first:] + behind

    def more(count: int) -> bytes:
        nonlocal rest
        # As libpq: up to so many bytes.
        piece, rest = rest[: min(count, 3)], rest[min(count, 3) :]
        return piece

    filing = frames.Filing(None, extent)
    filing.put_by_pieces(message[:first], more)
    found = filing.pop()
    assert found is not None
    return bytes(found), rest


@given(VALUES, VALUES, st.binary(max_size=9), st.data())
def test_a_message_ends_where_it_ends(
    old: list[bytes | None], new: list[bytes | None], content: bytes, data: st.DataObject
) -> None:
    for extent, message in _messages(old, new, content):
        first = data.draw(st.integers(1, len(message)))
        assert _kept(extent, message, first, b"next") == (message, b"next")


def test_a_long_prefix_is_not_looked_through_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = Spool.read

    def count(spool: Spool, begin: int, size: int) -> bytes:
        reads.append(size)
        return read(spool, begin, size)

    monkeypatch.setattr(Spool, "read", count)
    message = HEADER + b"M\1" + bytes(8) + b"p" * 100_000 + b"\0" + pack(">i", 3) + b"abc"
    assert _kept(log_message, message, len(message) - 2, b"next") == (message, b"next")
    assert len(reads) < 9


@pytest.mark.parametrize(
    ("message", "first", "said"),
    [
        (HEADER + b"I" + bytes(4) + b"N" + _in_log([b"abc"])[:-1], 30, "ends before its end"),
        (HEADER + b"I" + bytes(4) + b"N" + _in_log([b"abc"]) + b"!", 42, "goes on behind its end"),
        (HEADER + b"R" + bytes(99), 60, "unknown kind"),
    ],
)
def test_what_is_no_such_message_is_refused(message: bytes, first: int, said: str) -> None:
    with pytest.raises(TailraceError, match=said) as caught:
        _kept(log_message, message, first, b"")
    assert caught.value.kind is ErrorKind.DECODE
