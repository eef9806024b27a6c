"""Looking up values that a row image left out: of inserts, whose columns had their default, and of key changes.

An insert lacks no value but a literal default, or null: expressions are logged. It is looked up all the same, since the
catalogue that a version was read from may be later than the insert. Where nothing is left to look up, the version's
default stands: what the row is deleted by, or its column dropped by, follows in the log; but a target takes no null for
a column that has none, and would have parked the row. In a row whose key was changed nobody can tell what such a
column held: where it has no default, anything that its type takes stands for it.

A transaction stands in the log before others can see it. So rows are looked up only when theirs can surely be seen:
else one would seem to be gone, or be the one that had its key before. What a snapshot saw every later statement sees as
well, so one is enough for all that the log held when it began: of a capture that is behind, for very much.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any

from capture.source import RELOAD
from capture.sources.mysql.catalog import Catalog, quoted
from capture.sources.mysql.connection import Connection, identifier
from capture.sources.mysql.literals import key_condition
from capture.sources.mysql.natives import GEOMETRIES, parse_native
from capture.sources.mysql.position import Place
from capture.sources.mysql.rows import compile_cells
from capture.sources.mysql.types import reader, selected
from runtime.clock import monotonic
from runtime.lifecycle import pause
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableSchema
from schemas.types import Family
from schemas.types.blank import BLANK

ROWS_PER_QUERY = 100
"""Each row that is found is compared with so many keys."""

VISIBLE_S = 60.0
"""How long a transaction of the log may take until it can be seen; semi-synchronous replication may hold it up."""
PAUSE_S = 0.01

LOOKS_MAX = 5
"""So often a table is looked at that is altered meanwhile."""

BeginSnapshot = Callable[[Connection], Place]
"""Begins a consistent snapshot; returns a place in the log that it sees everything before."""

_PLACE = identifier("tailrace: place")


class Completion:
    """Replaces UNCHANGED in new rows; see `Source.complete`."""

    def __init__(self, connected: Callable[[], Connection], begin_snapshot: BeginSnapshot, zero_dates: str) -> None:
        self._connected, self._begin_snapshot = connected, begin_snapshot
        self._zero_dates = zero_dates
        self._visible_at: Connection | None = None
        self._visible = 0
        """How far the log is surely visible at the server that this connection leads to."""

    def complete(self, changes: RowChanges) -> None:
        """Replace UNCHANGED in new rows of inserts and key changes by the source's present values, in place.

        Those of a row that is gone become what the columns have by default: its delete follows in the log. Raises
        SOURCE_CONNECTION where it cannot be seen in time whether it is gone.
        """
        table = changes.table
        wanted: dict[str, list[int]] = defaultdict(list)
        for i, (before, after) in enumerate(zip(changes.before, changes.after, strict=True)):
            if after is None or UNCHANGED not in after or (before is None and changes.ops[i] != "c"):
                continue
            if any(after[k] is UNCHANGED for k in table.key) or not table.key:
                raise TailraceError(
                    ErrorKind.PREREQUISITE,
                    "the log has an insert without its key's values",
                    remedy="set global binlog_row_image = 'FULL'",
                    table=str(table.name),
                )
            wanted[key_condition(table, after)].append(i)
        if not wanted:
            return
        connection = self._connected()
        self._wait_until_visible(connection, changes.txn)
        conditions = [*wanted]
        found: dict[str, Row] = {}
        for start in range(0, len(conditions), ROWS_PER_QUERY):
            part = conditions[start : start + ROWS_PER_QUERY]
            rows = _look_up(connection, table, part, self._zero_dates)
            found |= {part[place]: row for place, row in rows.items()}
        for condition, places in wanted.items():
            row = found.get(condition)
            for i in places:
                after, values = changes.after[i] or (), row or _defaults(table, self._zero_dates)
                if UNCHANGED in values:
                    values = _without_columns(changes, i, values, self._zero_dates)
                changes.after[i] = tuple(v if a is UNCHANGED else a for a, v in zip(after, values, strict=True))

    def _wait_until_visible(self, connection: Connection, txn: Transaction) -> None:
        if self._visible_at is connection and txn.commit <= self._visible:
            return
        deadline = monotonic() + VISIBLE_S
        while (place := self._begin_snapshot(connection)).size < txn.commit:
            connection.run("commit")
            if monotonic() > deadline:
                raise TailraceError(
                    ErrorKind.SOURCE_CONNECTION,
                    f"transaction {txn.id} is in the log, and has not become visible for {VISIBLE_S:.0f} s",
                    remedy="see whether the server waits for a semi-synchronous replica",
                )
            pause(PAUSE_S, "a transaction that is in the log is not visible")
        connection.run("commit")
        self._visible_at, self._visible = connection, place.size


def _look_up(connection: Connection, table: TableSchema, conditions: Sequence[str], zero_dates: str) -> dict[int, Row]:
    """Return the rows that meet conditions, by the place of the condition. One row may meet several: collations.

    Columns that the table no longer has, or whose values are no longer of their type, are UNCHANGED, and so are all
    where the key is among them. Of a table that is gone there are no rows: the log goes on to say so.
    """
    gone: frozenset[str] = frozenset()
    for left in reversed(range(LOOKS_MAX)):
        try:
            return _query(connection, table, conditions, zero_dates, gone)
        except TailraceError as error:
            # The table has changed since its rows were logged, or between two looks.
            if error.kind is not ErrorKind.SOURCE_SCHEMA or not left:
                raise
        present = {name.lower(): native for name, native in Catalog(lambda: connection).natives(table.name).items()}
        if not present:
            return {}
        gone = frozenset(column.name for column in table.columns if column.native != present.get(column.name.lower()))
        if not gone.isdisjoint(table.key_names):
            return dict.fromkeys(range(len(conditions)), (UNCHANGED,) * len(table.columns))
    raise AssertionError("unreachable")


def _query(
    connection: Connection, table: TableSchema, conditions: Sequence[str], zero_dates: str, gone: Collection[str]
) -> dict[int, Row]:
    columns = ", ".join("null" if c.name in gone else selected(c.native, c.name) for c in table.columns)
    places = " union all ".join(f"select {place} as {_PLACE}" for place in range(len(conditions)))
    meets = " ".join(f"when {place} then {condition}" for place, condition in enumerate(conditions))
    query = (
        f"select {_PLACE}, {columns} from {quoted(table.name)} join ({places}) as places"
        f" where ({' or '.join(f'({condition})' for condition in conditions)}) and case {_PLACE} {meets} end"
    )
    read = compile_cells([reader("int", zero_dates), *(reader(c.native, zero_dates) for c in table.columns)])
    packets = connection.packets(query)
    try:
        found = {row[0]: row[1:] for row in map(read, map(bytes, packets))}
    except (ValueError, OverflowError) as error:
        for _ in packets:
            pass  # The session goes on.
        raise TailraceError(ErrorKind.SOURCE_SCHEMA, "values are no longer of their columns' types") from error
    if not gone:
        return found
    columns_gone = [column.name in gone for column in table.columns]
    return {
        place: tuple(UNCHANGED if is_gone else value for is_gone, value in zip(columns_gone, row, strict=True))
        for place, row in found.items()
    }


def _without_columns(changes: RowChanges, place: int, values: Row, zero_dates: str) -> Row:
    """Return the values of a row whose table has lost columns since. They may have been renamed, not dropped: only of
    an insert it is known what they held.
    """
    if changes.ops[place] != "c":
        raise TailraceError(
            ErrorKind.SOURCE_SCHEMA,
            "a key was changed in a row of which the log does not have all values, and a column of it is gone since, "
            "or of another type",
            remedy=f"{RELOAD}; with binlog_row_image = FULL nothing is to be looked up",
            table=str(changes.table.name),
        )
    defaults = _defaults(changes.table, zero_dates)
    return tuple(default if v is UNCHANGED else v for v, default in zip(values, defaults, strict=True))


def _defaults(table: TableSchema, zero_dates: str) -> Row:
    return tuple(_standing(c, zero_dates) for c in table.columns)


def _standing(column: Column, zero_dates: str) -> Any:
    """Return what stands for a value that is nowhere left to be looked up; None where nothing does."""
    value = _default_value(column.type.family, column.native, column.default or "", zero_dates)
    return _blank(column.type.family, column.native) if value is None and not column.nullable else value


@lru_cache(maxsize=4096)
def _blank(family: Family, native_text: str) -> Any:
    """Return a value that a column takes which takes no null; None for shapes other than points."""
    native = parse_native(native_text)
    if native.base == "enum":
        return native.values[0]
    if native.base == "bit":
        return False if native.length == 1 else "0" * native.length
    if native.base in GEOMETRIES:
        return _POINT if native.base in ("geometry", "point") else None
    if native.base in _WIDTHS:
        return bytes(_WIDTHS[native.base] * native.length)
    return _ADDRESSES.get(native.base, BLANK.get(family))


@lru_cache(maxsize=4096)
def _default_value(family: Family, native: str, default: str, zero_dates: str) -> Any:
    """Return the value of a literal default; None of any other."""
    if bits := _BITS.fullmatch(default):
        cell = int(bits[1], 2).to_bytes(8, "big")
    elif _NUMBER.fullmatch(default):
        cell = default.encode()
    elif _HEXADECIMAL.fullmatch(default):
        cell = bytes.fromhex(default[2:].strip("'"))
    elif default.startswith("_binary '"):
        cell = _unquoted(default.removeprefix("_binary ")).encode()
    elif default[:1] != "'":
        return None
    elif family is Family.STRING:
        return _unquoted(default)
    else:
        cell = _unquoted(default).encode()
    try:
        (value,) = compile_cells([reader(native, zero_dates)])(b"\xfe" + len(cell).to_bytes(8, "little") + cell)
    except (ValueError, TailraceError):
        # Not as the server prints values.
        return None
    return value


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'")


_WIDTHS = {"binary": 1, "vector": 4}
"""Bytes of each unit of a type's length."""
_ADDRESSES = {"inet4": "0.0.0.0", "inet6": "::"}  # noqa: S104 - a value
_POINT = bytes.fromhex("00000000 01 01000000") + bytes(16)
"""Zero, zero, as the log has it: the reference system, the byte order, the shape."""

_BITS = re.compile("b'([01]+)'")
_HEXADECIMAL = re.compile("0x[0-9A-Fa-f]*|x''")
"""Bytes, as the catalogue has them of MySQL; of MariaDB they are `_binary '…'`."""
_NUMBER = re.compile(r"-?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)
