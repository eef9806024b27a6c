"""The messages of PostgreSQL's `pgoutput` plug-in, and functions that read rows, generated per relation.

Protocol: PostgreSQL documentation, "Logical Replication Message Formats", protocol version 1, with the option `binary`
(14+). Every message here still has its 25 bytes of XLogData header (`w`, start, end, server time) in front: cutting
them off would copy the message. In binary mode a value that has a send function comes as `b`, any other as `t`; null
is `n`, an unchanged TOAST value `u`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, NamedTuple

from capture.sources.postgresql.rows import LOG_BINARY, LOG_TEXT, column_lines, row_expression
from capture.sources.postgresql.temporals import EPOCH_US
from capture.sources.postgresql.types import Reader
from schemas.changes import UNCHANGED, Row

HEADER_BYTES = 25
"""Length of the XLogData header in front of a message."""
TUPLE_AT = HEADER_BYTES + 1 + 4 + 1 + 2
"""Where the first tuple's first column begins, behind the message's kind, oid, tuple kind and count of columns."""

BEGIN, COMMIT, ORIGIN, RELATION, TYPE = b"BCORY"
INSERT, UPDATE, DELETE, TRUNCATE, MESSAGE = b"IUDTM"
NEW_TUPLE, KEY_TUPLE, OLD_TUPLE = b"NKO"

_begin = Struct(">qqI").unpack_from
_commit = Struct(">Bqqq").unpack_from
_u4 = Struct(">I").unpack_from
_i2 = Struct(">h").unpack_from
_column = Struct(">Ii").unpack_from
_message = Struct(">Bq").unpack_from


class RelationColumn(NamedTuple):
    """One column as a relation message announces it."""

    name: str
    oid: int
    typmod: int
    is_key: bool
    """Part of the replica identity; with `full`, every column is."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the log describes it, at this place of the log."""

    oid: int
    schema: str
    table: str
    identity: str
    """`relreplident`: d primary key, n nothing, f full, i index."""
    columns: tuple[RelationColumn, ...]


class BeginMessage(NamedTuple):
    """A transaction's changes follow."""

    final_lsn: int
    """Where its commit record begins."""
    commit_ts_us: int
    xid: int


def parse_begin(m: bytes) -> BeginMessage:
    """Read a begin message."""
    lsn, stamp, xid = _begin(m, HEADER_BYTES + 1)
    return BeginMessage(lsn, stamp + EPOCH_US, xid)


def parse_commit(m: bytes) -> int:
    """Read a commit message: the LSN after the transaction's commit record."""
    _, _, end_lsn, _ = _commit(m, HEADER_BYTES + 1)
    return int(end_lsn)


def parse_relation(m: bytes) -> Relation:
    """Read a relation message."""
    (oid,) = _u4(m, HEADER_BYTES + 1)
    schema, at = _cstring(m, HEADER_BYTES + 5)
    table, at = _cstring(m, at)
    identity = chr(m[at])
    (count,) = _i2(m, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        flags = m[at]
        name, at = _cstring(m, at + 1)
        type_oid, typmod = _column(m, at)
        at += 8
        columns.append(RelationColumn(name, type_oid, typmod, bool(flags & 1)))
    _check_end(m, at)
    # An empty namespace stands for pg_catalog (`logicalrep_write_namespace` in `proto.c`).
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def parse_truncate(m: bytes) -> list[bytes]:
    """Read a truncate message: the oids of the tables, as the four bytes they come in."""
    (count,) = _u4(m, HEADER_BYTES + 1)
    at = HEADER_BYTES + 6
    _check_end(m, at + 4 * count)
    return [m[i : i + 4] for i in range(at, at + 4 * count, 4)]


def parse_message(m: bytes) -> tuple[bool, str, bytes]:
    """Read a logical message: whether it belongs to the transaction, its prefix and its content."""
    flags, _ = _message(m, HEADER_BYTES + 1)
    prefix, at = _cstring(m, HEADER_BYTES + 10)
    (length,) = _u4(m, at)
    _check_end(m, at + 4 + length)
    return bool(flags & 1), prefix, m[at + 4 :]


@dataclass(frozen=True, slots=True)
class RowReaders:
    """The functions that read a relation's tuples."""

    new: Callable[[bytes, int], Row]
    """The last tuple of a message, from the first column's offset on."""
    old: Callable[[bytes, int], tuple[Row, int]]
    """A tuple that another may follow: the row and where it ended."""
    key_only: Callable[[Row], Row]
    """A key tuple's row with UNCHANGED where the log held nothing."""
    source_text: str


def compile_readers(readers: Sequence[Reader], key: Sequence[bool], *, binary: bool) -> RowReaders:
    """Generate the readers of a relation; `key` tells which columns a key tuple holds."""
    names: dict[str, Any] = {}
    body = [
        f" if m[p - 2:p] != {len(readers).to_bytes(2, 'big')!r}: bad('a tuple with another count of columns')",
        " n = len(m)",
        *column_lines(readers, LOG_BINARY if binary else LOG_TEXT, names),
    ]
    row = row_expression(len(readers))
    lines = [
        "def new(m, p):",
        *body,
        " if p != n: bad('a message that is longer or shorter than its tuple')",
        f" return {row}",
        "def old(m, p):",
        *body,
        f" return {row}, p",
        "def key_only(r):",
        " return (" + "".join(f"r[{i}], " if is_key else "U, " for i, is_key in enumerate(key)) + ")",
    ]
    text = "\n".join(lines)
    names["U"] = UNCHANGED
    names["bad"] = _bad
    exec(compile(text, "<pgoutput row readers>", "exec"), names)
    return RowReaders(names["new"], names["old"], names["key_only"], text)


def _cstring(m: bytes, at: int) -> tuple[str, int]:
    end = m.index(0, at)
    return m[at:end].decode(), end + 1


def _check_end(m: bytes, at: int) -> None:
    if at != len(m):
        _bad("a message that is longer or shorter than its content")


def _bad(what: str) -> None:
    raise ValueError(what)
