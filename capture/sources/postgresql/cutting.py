"""Large values in the tuples that PostgreSQL sends: where they are, and whether they are as records have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct

from capture.cutting import Cutting
from capture.sources.postgresql.rows import Form, reads_utf8
from capture.sources.postgresql.types import Reader
from schemas.large_values import STAND_IN_BYTES, may_be_large
from schemas.types import Family

_LENGTH = Struct(">i")
_HEAD = _LENGTH.pack(STAND_IN_BYTES)
_TEXT, _BINARY = b"tb"


def takeable(readers: Sequence[Reader], form: Form) -> dict[int, bool]:
    """Return the columns whose values stand in messages as they do in records; and of each, whether it is a text."""
    found: dict[int, bool] = {}
    for column, reader in enumerate(readers):
        if not may_be_large(reader.type.family):
            # Numbers come as texts in a log that is one.
            continue
        if reads_utf8(reader, form) and not reader.skips_version:
            found[column] = True
        elif form.is_binary and reader.type.family is Family.BYTES:
            found[column] = False
    return found


def cut_tuple(cutting: Cutting, at: int, columns: Mapping[int, bool], column_count: int, *, has_kind: bool) -> int:
    """Go through a tuple whose first column begins at `at`; return where it ends.

    Takes large values out, of those `columns` that are `takeable`. With a kind byte before each length, or without.
    Raises IndexError, ValueError or struct.error for what is none.
    """
    m, least = cutting.message, cutting.least
    for column in range(column_count):
        kind = _BINARY
        if has_kind:
            kind = m[at]
            at += 1
            if kind not in (_TEXT, _BINARY):
                continue
        (length,) = _LENGTH.unpack(m[at : at + _LENGTH.size])
        begin = at + _LENGTH.size
        end = begin + max(length, 0)
        if end > len(m):
            raise ValueError("a value that goes beyond its message")
        # (Bytes that come as text are digits.)
        if length >= least and column in columns and (columns[column] or kind == _BINARY):
            cutting.take(at, begin, end, _HEAD, is_text=columns[column])
        at = end
    return at
