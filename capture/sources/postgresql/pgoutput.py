"""The messages of PostgreSQL's `pgoutput` plug-in, and functions that read rows, generated per relation.

Protocol: PostgreSQL documentation, "Logical Replication Message Formats", protocol version 1, with the option `binary`
(14+). Every message here still has its 25 bytes of XLogData header (`w`, start, end, server time) in front: cutting
them off would copy the message. In binary mode a value that has a send function comes as `b`, any other as `t`; null
is `n`, an unchanged TOAST value `u`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from struct import Struct
from struct import error as struct_error
from typing import Any, NamedTuple

from capture.cutting import Cutting
from capture.sources.postgresql.cutting import cut_tuple, takeable
from capture.sources.postgresql.rows import (
    LOG_BINARY,
    LOG_TEXT,
    column_lines,
    key_column_lines,
    reads_utf8,
    row_expression,
    twin_kind,
    value_reader,
)
from capture.sources.postgresql.temporals import EPOCH_US
from capture.sources.postgresql.types import Reader
from schemas.changes import UNCHANGED, Row, Transaction
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import FiledMessage, LargeValue

HEADER_BYTES = 25
"""Length of the XLogData header in front of a message."""
TUPLE_AT = HEADER_BYTES + 1 + 4 + 1 + 2
"""Where the first tuple's first column begins, behind the message's kind, oid, tuple kind and count of columns."""

BEGIN, COMMIT, ORIGIN, RELATION, TYPE = b"BCORY"
INSERT, UPDATE, DELETE, TRUNCATE, MESSAGE = b"IUDTM"
NEW_TUPLE, KEY_TUPLE, OLD_TUPLE = b"NKO"

_ONE_READING = ((b"I", b"N"), (b"U", b"N"), (b"U", b"O"), (b"D", b"K"), (b"D", b"O"))

_begin = Struct(">qqI").unpack_from
_commit = Struct(">Bqqq").unpack_from
_u4 = Struct(">I").unpack_from
_i2 = Struct(">h").unpack_from
_column = Struct(">Ii").unpack_from
_message = Struct(">Bq").unpack_from


class TextNeeded(Exception):
    """A value has no binary form, or one that cannot be read: the stream must be opened anew in text form."""


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


def parse_begin(m: bytes) -> Transaction:
    """Read a begin message. It tells where the transaction's commit record begins."""
    lsn, stamp_us, xid = facts_of(m)
    return Transaction(str(xid), xid, lsn, stamp_us)


def facts_of(m: bytes) -> tuple[int, int, int]:
    """Read a begin message as plain numbers: `commit`, `commit_ts_us`, `xid`."""
    lsn, stamp, xid = _begin(m, HEADER_BYTES + 1)
    return lsn, stamp + EPOCH_US, xid


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


class TableForm:
    """How the log holds a relation's row changes: a `LoggedForm` with its lines, and the functions that read its
    tuples, compiled when first needed.
    """

    writer = "LogWriter"
    op_lines = ("op = OPS[m[25]]",)
    end_lines = ("if p != n: bad('a message that is longer or shorter than its tuple')",)

    def __init__(self, readers: Sequence[Reader], key: Sequence[bool], *, binary: bool) -> None:
        """`key` tells which columns a key tuple holds."""
        self.names: dict[str, Any] = {"OPS": {INSERT: "c", UPDATE: "u", DELETE: "d"}, "bad": _bad}
        self._readers = readers
        self._key = key
        self._form = LOG_BINARY if binary else LOG_TEXT

    @cached_property
    def new(self) -> Callable[[bytes, int], Row]:
        """Read the last tuple of a message, from the first column's offset on."""
        return self._compile("new", self.row_lines(()), "")  # type: ignore[no-any-return]

    @cached_property
    def old(self) -> Callable[[bytes, int], tuple[Row, int]]:
        """Read a tuple that another may follow: the row and where it ended."""
        return self._compile("old", [*self._first_lines(), *self._tuple_lines(())], ", p")  # type: ignore[no-any-return]

    def key_only(self, row: Row) -> Row:
        """Return a key tuple's row with UNCHANGED where the log held nothing."""
        return tuple(value if is_key else UNCHANGED for value, is_key in zip(row, self._key, strict=True))

    def heads(self, oid: bytes, *, whole: bool) -> frozenset[bytes]:
        """Return what bytes 25 to 30 of the relation's messages are, but for an update with the key's old tuple; unless
        old tuples are `whole`, for any that has one.
        """
        return frozenset(kind + oid + old for kind, old in _ONE_READING if whole or old == b"N")

    @property
    def lines(self) -> TableForm:
        """See `LoggedForm`."""
        return self

    def plan(self) -> dict[str, Any]:
        """See `LoggedForm`."""
        return {"is_logged": True}

    def reads_utf8(self, column: int) -> bool:
        """See `LoggedLines`."""
        return reads_utf8(self._readers[column], self._form)

    def row_lines(self, utf8: Collection[int]) -> list[str]:
        """See `LoggedLines`."""
        return [*self._first_lines(), *self._tuple_lines(utf8), *self.end_lines]

    def old_lines(self, utf8: Collection[int]) -> list[str]:
        """See `LoggedLines`."""
        return [f"if m[30] != {OLD_TUPLE}: bad('another old row')", *self._first_lines(), *self._tuple_lines(utf8)]

    def next_lines(self, utf8: Collection[int]) -> list[str]:
        """See `LoggedLines`."""
        begin = [f"if m[p] != {NEW_TUPLE}: bad('an update without a new row')", "p += 3", self._count_line]
        return [*begin, *self._tuple_lines(utf8), *self.end_lines]

    def key_lines(self, utf8: Collection[int]) -> list[str]:
        """See `LoggedLines`."""
        lines = key_column_lines(self._readers, self._key, self._form, self.names, utf8)
        return [*self._first_lines(), *(line[1:] for line in lines), *self.end_lines]

    def kind(self, column: int) -> int | None:
        """See `LoggedForm`."""
        return twin_kind(self._readers[column], self._form)

    def value(self, column: int) -> Callable[[bytes, int, int], Any]:
        """See `LoggedForm`."""
        return value_reader(self._readers[column])

    def read(self, message: bytes) -> tuple[str, Row | None, Row | None]:
        """Read a message that `heads` has. Raises DECODE."""
        kind = message[HEADER_BYTES]
        try:
            if kind == DELETE:
                return "d", read_deleted(message, self), None
            if message[HEADER_BYTES + 5] == NEW_TUPLE:
                return "c" if kind == INSERT else "u", None, self.new(message, TUPLE_AT)
            return "u", *read_updated(message, self, ())
        except UNREADABLE as error:
            raise unreadable(error) from error

    def take_out(self, message: bytes | FiledMessage, least: int) -> tuple[bytes, list[LargeValue]]:
        """See `LoggedForm`."""
        cutting = Cutting(message, least)
        columns, count = takeable(self._readers, self._form), len(self._readers)
        try:
            end = cut_tuple(cutting, TUPLE_AT, columns, count, has_kind=True)
            if message[HEADER_BYTES] == UPDATE and message[HEADER_BYTES + 5] != NEW_TUPLE:
                # Behind the kind and the count of columns.
                cut_tuple(cutting, end + 3, columns, count, has_kind=True)
        except UNREADABLE as error:
            raise unreadable(error) from error
        return cutting.cut()

    @property
    def _count_line(self) -> str:
        count = len(self._readers).to_bytes(2, "big")
        return f"if m[p - 2:p] != {count!r}: bad('a tuple with another count of columns')"

    def _first_lines(self) -> list[str]:
        return [f"p = {TUPLE_AT}", self._count_line, "n = len(m)"]

    def _tuple_lines(self, utf8: Collection[int]) -> list[str]:
        return [line[1:] for line in column_lines(self._readers, self._form, self.names, utf8)]

    def _compile(self, name: str, lines: list[str], rest: str) -> Any:
        # The offset is the caller's, not where a first tuple begins.
        body = [f" {line}" for line in lines[1:]]
        text = "\n".join([f"def {name}(m, p):", *body, f" return {row_expression(len(self._readers))}{rest}"])
        names = dict(self.names)
        exec(compile(text, "<pgoutput row reader>", "exec"), names)
        return names[name]


def read_updated(m: bytes, form: TableForm, key: tuple[int, ...]) -> tuple[Row | None, Row]:
    """Read an update that has an old row."""
    is_whole = m[30] == OLD_TUPLE
    if not is_whole and m[30] != KEY_TUPLE:
        raise ValueError("an update with an old row of an unknown kind")
    old, at = form.old(m, TUPLE_AT)
    if m[at] != NEW_TUPLE:
        raise ValueError("an update without a new row")
    after = form.new(m, at + 3)
    before = old if is_whole else form.key_only(old)
    if any(value is UNCHANGED for value in after):
        # Null says nothing where only the root of a partitioned table, not the leaf, has its whole rows logged.
        after = tuple(b if a is UNCHANGED and b is not None else a for a, b in zip(after, before, strict=True))
    if not is_whole and all(before[i] == after[i] for i in key):
        # An old key is logged too where the key is long and the change left it alone (TOAST).
        return None, after
    return before, after


def read_doubtful(
    m: bytes, form: TableForm, key: tuple[int, ...], narrow: Collection[frozenset[int]]
) -> tuple[str, Row | None, Row | None]:
    """Read a change of a partitioned table whose old rows may hold less than its identity promises.

    They have nulls instead: where a whole one has just the columns that some partition keeps (`narrow`), none of which
    takes a null, nothing is known of the others.
    """
    if m[30] == NEW_TUPLE or m[HEADER_BYTES] == DELETE:
        op, before, after = form.read(m)
    else:
        op, (before, after) = "u", read_updated(m, form, key)
    held = frozenset(i for i, v in enumerate(before or ()) if v is not None)
    if key and before and m[30] == OLD_TUPLE and held in narrow:
        before = tuple(value if i in key else UNCHANGED for i, value in enumerate(before))
        if after is not None and all(before[i] == after[i] for i in key):
            before = None
    return op, before, after


def read_deleted(m: bytes, form: TableForm) -> Row:
    """Read the old row of a delete."""
    old, at = form.old(m, TUPLE_AT)
    if at != len(m):
        raise ValueError("a delete that is longer than its tuple")
    if m[30] == OLD_TUPLE:
        return old
    if m[30] != KEY_TUPLE:
        raise ValueError("a delete of an unknown kind")
    return form.key_only(old)


UNREADABLE = (struct_error, IndexError, ValueError, KeyError, OverflowError, ArithmeticError)
"""What reading a message raises that is not what it should be."""


def unreadable(error: Exception, position: str | None = None) -> TailraceError:
    """Return the error for such a message."""
    return TailraceError(
        ErrorKind.DECODE,
        f"the log holds a message that cannot be read ({type(error).__name__})",
        position=position,
        remedy="this is a fault of Tailrace or of the server: keep the slot, and report it",
    )


def _cstring(m: bytes, at: int) -> tuple[str, int]:
    end = m.index(0, at)
    return m[at:end].decode(), end + 1


def _check_end(m: bytes, at: int) -> None:
    if at != len(m):
        _bad("a message that is longer or shorter than its content")


def _bad(what: str) -> None:
    raise ValueError(what)
