"""Looking up values that a row image left out: of inserts, whose columns had their default, and of key changes.

An insert lacks no value but a literal default, null, or what the server takes where there is neither: expressions are
logged. It is looked up all the same, since the catalogue that a version was read from may be later than the insert.
Where nothing is left to look up, the version's default stands: what the row is deleted by, or its column dropped by,
follows in the log. What a row held whose key was changed, and which is gone since, nobody can tell: it stays UNCHANGED.
So does the value of a column that is gone, or became another one; but there the row may be, and its table is loaded
again.

A transaction stands in the log before others can see it. So rows are looked up only when theirs can surely be seen:
else one would seem to be gone, or be the one that had its key before. What a snapshot saw every later statement sees as
well, so one is enough for all that the log held when it began: of a capture that is behind, for very much.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from capture.sources.mysql.catalog import Catalog, quoted
from capture.sources.mysql.connection import PATIENCE, Connection
from capture.sources.mysql.literals import key_condition
from capture.sources.mysql.natives import GEOMETRIES, Native, parse_native
from capture.sources.mysql.position import Place
from capture.sources.mysql.quoting import identifier
from capture.sources.mysql.rows import compile_cells
from capture.sources.mysql.types import logical_type, reader, selected
from runtime.clock import monotonic
from runtime.lifecycle import pause
from runtime.logging import get_logger
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family
from schemas.types.blank import BLANK

ROWS_PER_QUERY = 100
"""Each row that is found is compared with so many keys."""

VISIBLE_S = 60.0
"""How long a transaction of the log may take until it can be seen; semi-synchronous replication may hold it up."""
PAUSE_S = 0.01

IDLE_S = 30
"""How long the server waits for us in the middle of a look: whoever alters the table waits for its end."""
_END = f"set session autocommit = 1, {PATIENCE}"

log = get_logger(__name__)

BeginSnapshot = Callable[[Connection], Place]
"""Begins a consistent snapshot; returns a place in the log that it sees everything before."""

_PLACE = identifier("tailrace: place")

Fits = Callable[[Any], bool]
"""Tells whether a value, or null, is one of a type."""

_WHOLE = frozenset({Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.UINT64})
"""Whole numbers are read alike."""
_SEVERAL: Row = ()
"""Rows whose dates `zero_dates` makes the same: it is not known which of them it was."""
_ONE_KEY = "source.zero_dates makes the keys of several rows the same: targets have one of them"
_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}


class Completion:
    """Replaces UNCHANGED in new rows; see `Source.complete`."""

    def __init__(self, connected: Callable[[], Connection], begin_snapshot: BeginSnapshot, zero_dates: str) -> None:
        self._connected, self._begin_snapshot = connected, begin_snapshot
        self._zero_dates = zero_dates
        self._visible_at: Connection | None = None
        self._visible = 0
        """How far the log is surely visible at the server that this connection leads to."""
        self._plans: dict[TableName, tuple[TableSchema, dict[str, str], _Plan | None]] = {}
        """With what each was made of."""
        self._untold: set[TableName] = set()
        self._of_one_key: set[TableName] = set()
        """Tables of which it was said that several rows have one key: any part of the log may have such rows."""

    def take_untold(self) -> Collection[TableName]:
        """See `Source.untold`."""
        untold, self._untold = self._untold, set()
        return untold

    def complete(self, changes: RowChanges) -> None:
        """Replace UNCHANGED in new rows of inserts and key changes by the source's present values, in place.

        Of an insert whose row is gone they become what the columns have by default, of a changed key they stay: the
        row's delete follows in the log. So it is with columns that are gone: they may have been renamed, not dropped,
        so of a changed key the table is `untold`; and with rows that cannot be told from others. Raises
        SOURCE_CONNECTION where it cannot be seen in time whether a row is gone.
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
            wanted[key_condition(table, after, self._zero_dates)].append(i)
        if not wanted:
            return
        connection = self._connected()
        self._wait_until_visible(connection, changes.txn)
        found = self._look_up(connection, table, [*wanted])
        for condition, places in wanted.items():
            row = found.get(condition)
            for i in places:
                after, is_insert = changes.after[i] or (), changes.ops[i] == "c"
                values = _merged(after, row) if row else after
                if is_insert:
                    values = _merged(values, _defaults(table, self._zero_dates))
                elif row is not None and UNCHANGED in values:
                    if row == _SEVERAL and table.name not in self._of_one_key:
                        self._of_one_key.add(table.name)
                        log.warning(_ONE_KEY, table=str(table.name), remedy="correct these dates, or the setting")
                    self._untold.add(table.name)
                changes.after[i] = values

    def visible_end(self, txn: Transaction) -> int:
        """Wait until a transaction of the log can be seen; return up to where all surely can.

        Raises SOURCE_CONNECTION where that takes too long.
        """
        self._wait_until_visible(self._connected(), txn)
        return self._visible

    def _look_up(self, connection: Connection, table: TableSchema, conditions: Sequence[str]) -> dict[str, Row]:
        """Return the rows that meet conditions. One row may meet several: collations.

        Columns that the table no longer has, or whose values are not of their type, are UNCHANGED, and so are all
        where the key is among them. Of a table that is gone there are no rows: the log goes on to say so.
        """
        found: dict[str, Row] = {}
        connection.run(f"set session autocommit = 0, net_write_timeout = {IDLE_S}, wait_timeout = {IDLE_S}")
        try:
            # A transaction that has opened a table keeps it as it is until its end: what the catalogue says from here
            # on holds for the rows. Else values would be read by types that they are no longer of.
            connection.run(f"select 1 from {quoted(table.name)} limit 0")
            plan = self._plan(connection, table)
            if plan is None:
                return dict.fromkeys(conditions, (UNCHANGED,) * len(table.columns))
            for start in range(0, len(conditions), ROWS_PER_QUERY):
                part = conditions[start : start + ROWS_PER_QUERY]
                packets = connection.packets(_query(table, plan, part))
                try:
                    for place, *values in map(plan.read, map(bytes, packets)):
                        found[part[place]] = _SEVERAL if part[place] in found else plan.fitting(values)
                finally:
                    for _ in packets:
                        pass  # The session goes on.
        except TailraceError as error:
            if error.kind is not ErrorKind.SOURCE_SCHEMA or Catalog(lambda: connection).natives(table.name):
                raise
        finally:
            if not connection.is_closed:
                connection.run(_END)
        return found

    def _plan(self, connection: Connection, table: TableSchema) -> _Plan | None:
        """Return the plan for the table as it is, made once for as long as it stays so."""
        natives = Catalog(lambda: connection).natives(table.name)
        known = self._plans.get(table.name)
        if known is None or known[0] is not table or known[1] != natives:
            present = {name.lower(): native for name, native in natives.items()}
            known = self._plans[table.name] = (table, natives, _plan(table, present, self._zero_dates))
        return known[2]

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


class _Plan(NamedTuple):
    """How the rows of a version are looked up in the table as it is."""

    columns: str
    read: Callable[[bytes], Row]
    fits: Sequence[Fits | None]
    """By column what tells whether the version has such a value; None: it has."""

    def fitting(self, values: Sequence[Any]) -> Row:
        """Return a row with UNCHANGED where a value is none of the version's."""
        pairs = zip(values, self.fits, strict=True)
        return tuple(v if fits is None or fits(v) else UNCHANGED for v, fits in pairs)


def _plan(table: TableSchema, present: Mapping[str, str], zero_dates: str) -> _Plan | None:
    """Return how to look rows up; None where they cannot be found by their key any more."""
    then = [parse_native(column.native) for column in table.columns]
    now = [_supported(present.get(column.name.lower())) for column in table.columns]
    if not all(_compares(then[i], now[i]) for i in table.key):
        return None
    expressions, readers = [_PLACE], [reader("int", zero_dates)]
    fits: list[Fits | None] = []
    for column, earlier, later in zip(table.columns, then, now, strict=True):
        if later is None or not _reads_alike(earlier, later):
            expressions.append("null")
            readers.append(reader("int", zero_dates))
            fits.append(_never)
        else:
            expressions.append(selected(later.text(), column.name))
            readers.append(reader(later.text(), zero_dates))
            fits.append(None if earlier == later else _fits(earlier))
    return _Plan(", ".join(expressions), compile_cells(readers), fits)


def _supported(native: str | None) -> Native | None:
    """Return a type that the table has now; None where its values cannot be read."""
    try:
        found = None if native is None else parse_native(native)
        if found is not None:
            logical_type(found)
    except ValueError:
        return None
    return found


def _compares(then: Native, now: Native | None) -> bool:
    """Tell whether a key's value is equal to itself in the column as it is, and to no other."""
    if now is None or then == now:
        return now is not None
    if "binary" in (then.base, now.base):
        # Zeros that fill a value up are part of it.
        return False
    return _reads_alike(then, now) or {_family(then), _family(now)} <= {*_WHOLE, Family.DECIMAL}


def _reads_alike(then: Native, now: Native) -> bool:
    """Tell whether what a column holds now may be a value of the type that it had."""
    if then == now:
        return True
    earlier, later = logical_type(then), logical_type(now)
    if {earlier.family, later.family} <= _WHOLE:
        return True
    if earlier.family is Family.TEXT or "binary" in (then.base, now.base):
        # Printed, or filled up, by their length.
        return False
    return (earlier.family, earlier.scale) == (later.family, later.scale)


def _family(native: Native) -> Family:
    return logical_type(native).family


def _fits(then: Native) -> Fits | None:
    """Return what tells whether a value of a type like it is one of this type, too."""
    if then.base == "enum":
        return {*then.values, "", None}.__contains__
    if then.base == "set":
        labels = {*then.values, ""}
        return lambda value: value is None or labels.issuperset(value.split(","))
    if then.base == "year":
        return lambda value: not value or 1901 <= value <= 2155
    if then.base in _BYTES:
        least, count = (0 if then.unsigned else -(256 ** _BYTES[then.base] // 2)), 256 ** _BYTES[then.base]
        return lambda value: value is None or least <= value < least + count
    return None


def _never(_value: Any) -> bool:
    return False


def _query(table: TableSchema, plan: _Plan, conditions: Sequence[str]) -> str:
    places = " union all ".join(f"select {place} as {_PLACE}" for place in range(len(conditions)))
    meets = " ".join(f"when {place} then {condition}" for place, condition in enumerate(conditions))
    return (
        f"select {plan.columns} from {quoted(table.name)} join ({places}) as places"
        f" where ({' or '.join(f'({condition})' for condition in conditions)}) and case {_PLACE} {meets} end"
    )


def _merged(row: Row, values: Row) -> Row:
    return tuple(v if a is UNCHANGED else a for a, v in zip(row, values, strict=True))


def _defaults(table: TableSchema, zero_dates: str) -> Row:
    return tuple(_standing(c, zero_dates) for c in table.columns)


def _standing(column: Column, zero_dates: str) -> Any:
    """Return what an insert that does not name it gives a column; None where nothing does."""
    value = _default_value(column.type.family, column.native, column.default or "", zero_dates)
    return _blank(column.type.family, column.native) if value is None and not column.nullable else value


@lru_cache(maxsize=4096)
def _blank(family: Family, native_text: str) -> Any:
    """Return what a column without a default has, about as the server fills it; None for shapes other than points."""
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
