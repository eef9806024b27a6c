"""Making the bytes that a PostgreSQL server sends, for tests without one."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from capture.sources.postgresql.types import TypeInfo

EPOCH_US = 946_684_800_000_000

INT8, TEXT, NUMERIC, BOOL, TIMESTAMPTZ, UUID, INT4, JSONB = 20, 25, 1700, 16, 1184, 2950, 23, 3802


def _type(oid: int, name: str) -> TypeInfo:
    return TypeInfo(oid, "pg_catalog", name, "b", f"{name}send")


TYPES = {
    oid: _type(oid, name)
    for oid, name in (
        (INT8, "int8"),
        (TEXT, "text"),
        (NUMERIC, "numeric"),
        (BOOL, "bool"),
        (TIMESTAMPTZ, "timestamptz"),
        (UUID, "uuid"),
        (INT4, "int4"),
        (JSONB, "jsonb"),
    )
}


def binary(value: bytes | None) -> bytes:
    """Return a column of a tuple in binary form."""
    return b"n" if value is None else b"b" + pack(">i", len(value)) + value


def text(value: str | None) -> bytes:
    """Return a column of a tuple in text form."""
    return b"n" if value is None else b"t" + pack(">i", len(value.encode())) + value.encode()


def row(*columns: bytes) -> bytes:
    """Return a tuple."""
    return pack(">h", len(columns)) + b"".join(columns)


def data(message: bytes) -> bytes:
    """Wrap a message in its XLogData header."""
    return b"w" + pack(">qqq", 1, 2, 3) + message


def begin(final_lsn: int, xid: int, stamp_us: int = EPOCH_US) -> bytes:
    """Return a begin message."""
    return data(b"B" + pack(">qqI", final_lsn, stamp_us - EPOCH_US, xid))


def commit(lsn: int, end_lsn: int) -> bytes:
    """Return a commit message."""
    return data(b"C" + pack(">Bqqq", 0, lsn, end_lsn, 0))


def relation(
    oid: int, name: str, columns: Sequence[tuple[str, int, int, bool]], identity: str = "d", schema: str = "public"
) -> bytes:
    """Return a relation message; a column is name, type, type modifier, and whether it is of the key."""
    body = b"R" + pack(">I", oid) + schema.encode() + b"\0" + name.encode() + b"\0" + identity.encode()
    body += pack(">h", len(columns))
    for column, kind, typmod, is_key in columns:
        body += bytes([is_key]) + column.encode() + b"\0" + pack(">Ii", kind, typmod)
    return data(body)


def insert(oid: int, new: bytes) -> bytes:
    """Return an insert message."""
    return data(b"I" + pack(">I", oid) + b"N" + new)


def update(oid: int, new: bytes, old: bytes = b"", kind: bytes = b"K") -> bytes:
    """Return an update message."""
    return data(b"U" + pack(">I", oid) + (kind + old if old else b"") + b"N" + new)


def delete(oid: int, old: bytes, kind: bytes = b"K") -> bytes:
    """Return a delete message."""
    return data(b"D" + pack(">I", oid) + kind + old)


def truncate(*oids: int) -> bytes:
    """Return a truncate message."""
    return data(b"T" + pack(">IB", len(oids), 0) + b"".join(pack(">I", oid) for oid in oids))


def message(prefix: str, content: bytes, *, in_transaction: bool = True) -> bytes:
    """Return a logical message."""
    return data(b"M" + pack(">Bq", in_transaction, 0) + prefix.encode() + b"\0" + pack(">I", len(content)) + content)


def keepalive(end_lsn: int, *, wants_reply: bool = False) -> bytes:
    """Return a keepalive."""
    return b"k" + pack(">qqB", end_lsn, 0, wants_reply)


def numeric(unscaled: int, scale: int) -> bytes:
    """Return a numeric as `numeric_send` writes it."""
    sign, digits = (0x4000 if unscaled < 0 else 0), abs(unscaled)
    # The point stands between groups of four digits.
    pad = -scale % 4
    digits *= 10**pad
    groups: list[int] = []
    while digits:
        digits, group = divmod(digits, 10_000)
        groups.append(group)
    groups.reverse()
    weight = len(groups) - 1 - (scale + pad) // 4
    while groups and groups[-1] == 0:
        groups.pop()
    return pack(">hhHH", len(groups), weight if groups else 0, sign, scale) + b"".join(pack(">H", g) for g in groups)
