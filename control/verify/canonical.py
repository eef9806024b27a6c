"""The comparison across engines: rows are read as capture reads them, and brought to one form before they are hashed.

Each side's own reader gives canonical values of its own types. The form depends on the source's type only: a number is
a number whatever its scale, a moment is microseconds in UTC, a span of hours is microseconds, a JSON document is what
it means and not how it is written. So each value that the mapping keeps has the same form on both sides. Here rows
travel, and each step of a comparison reads the table once.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from hashlib import md5
from ipaddress import ip_address
from itertools import islice
from typing import Any, NamedTuple

from apply.sinks.mysql.arrays import array_json, array_reader
from capture.sources import open_snapshot_reader, open_source
from control.verify.side import Key, Sum
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.expressions import Headers
from schemas.mappings.mapped_table import Change, MappedTable
from schemas.settings import Settings
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family
from schemas.types.numbers import NAN

CHUNK_ROWS = 50_000
BATCH_ROWS = 2_000
DAY_US = 86_400_000_000

Form = Callable[[Any], Any]
"""A canonical value, not null, to what is compared."""


class Shape(NamedTuple):
    """A table as one side has it."""

    table: TableSchema
    forms: tuple[tuple[int, Form], ...]
    """Where each of the source's columns stands in this side's rows, and its form."""
    key: tuple[int, ...]
    """Which of `forms` are the key."""
    only: tuple[tuple[int, Any], ...] = ()
    """Which of `forms` have one value in all rows that are compared: others are of other tables of the source."""


class Made(NamedTuple):
    """What table mappings make of a table. It is compared as they have it, under its name at the source."""

    mapped: MappedTable
    is_shared: bool
    """Whether the target's table has rows of other tables, too."""
    changes_rows: bool
    """Whether it is more than a name, or filters choose rows."""


class RowsSide(ABC):
    """A side whose rows are read, all of them at each step. Implements `control.verify.side.Side` but for `shape`."""

    made: Mapping[TableName, Made] = {}
    """Tables that rules change."""
    by_debezium = False
    """Whether a connector of Debezium's stands between: it keeps of a time with its zone only the time in UTC."""

    def _shape(self, table: TableSchema, schema: TableSchema, columns: Sequence[tuple[int, Column]]) -> Shape:
        """Return the shape of a table whose columns, in the order of `schema`, stand at places of this side."""
        made = self.made.get(schema.name)
        unsteady = made.mapped.unsteady if made is not None else frozenset()
        kept = [i for i in range(len(columns)) if i not in unsteady]
        forms = tuple((columns[i][0], self._form(schema.columns[i], columns[i][1])) for i in kept)
        only: tuple[tuple[int, Any], ...] = ()
        if made is not None and made.is_shared:
            constants = made.mapped.constants
            only = tuple((kept.index(i), form_of(schema.columns[i], schema.columns[i])(v)) for i, v in constants)
        return Shape(table, forms, tuple(kept.index(i) for i in schema.key), only)

    def _form(self, source: Column, own: Column) -> Form:
        return _moment if self.by_debezium and source.type.family is Family.TIMETZ else form_of(source, own)

    @abstractmethod
    def read(self, shape: Shape, on_piece: Callable[[float], None] | None) -> Iterator[Row]:
        """Yield every row of a table, in the order of this side's columns."""

    def buckets(self, shape: Shape, count: int, on_piece: Callable[[float], None] | None = None) -> dict[int, Sum]:
        """Return the checksums of the table's buckets."""
        sums: dict[int, Sum] = {}
        for key, checksum in self._checksums(shape, on_piece):
            bucket = _bucket(key, count)
            old = sums.get(bucket, Sum(0, 0))
            sums[bucket] = Sum(old.rows + 1, old.total + int(checksum[:15], 16))
        return sums

    def keys(self, shape: Shape, count: int, buckets: Sequence[int], rows_max: int) -> dict[Key, tuple[str, ...]]:
        """Return the keys of some buckets with their rows' checksums."""
        chosen = frozenset(buckets)
        return self._grouped(shape, lambda key: _bucket(key, count) in chosen, rows_max)

    def rows(self, shape: Shape, keys: Sequence[Key]) -> dict[Key, tuple[str, ...]]:
        """Return the checksums of the rows with these keys."""
        wanted: Container[Key] = frozenset(keys)
        return self._grouped(shape, lambda key: key in wanted, None)

    def _grouped(self, shape: Shape, takes: Callable[[Key], bool], rows_max: int | None) -> dict[Key, tuple[str, ...]]:
        found: dict[Key, tuple[str, ...]] = {}
        row_count = 0
        for key, checksum in self._checksums(shape, None):
            if takes(key) and (rows_max is None or row_count < rows_max):
                found[key] = tuple(sorted((*found.get(key, ()), checksum)))
                row_count += 1
        return found

    def _checksums(self, shape: Shape, on_piece: Callable[[float], None] | None) -> Iterator[tuple[Key, str]]:
        return filter(None, (_checksum(shape, row) for row in self.read(shape, on_piece)))


class CanonicalSide(RowsSide):
    """One of the two databases, read by its engine's own reader, as capture reads it: behind filters and its rules."""

    def __init__(self, role: str, settings: Settings) -> None:
        """Connect to the source that `settings` name, in the role of `source` or `target`."""
        self.role = role
        self._missing = ErrorKind.SOURCE_SCHEMA if role == "source" else ErrorKind.TARGET_SCHEMA
        self._source = open_source(settings)
        self._reader = open_snapshot_reader(settings)
        # A copy of a table without a key needs no replica identity, and could not be captured.
        self._tables = {table.name: table for table in self._source.readable()}

    def position(self) -> int:
        """Return the end of the server's log."""
        return self._source.current_position().commit

    def shape(self, name: TableName, schema: TableSchema) -> Shape:
        """Look a table up; see `Side.shape`."""
        table = self._tables.get(name)
        if table is None:
            raise TailraceError(self._missing, f"the {self.role} has no such table", table=str(name))
        places = {column.name: place for place, column in enumerate(table.columns)}
        if missing := [column for column in schema.column_names if column not in places]:
            raise TailraceError(
                self._missing, f"the {self.role}'s table has no column {', '.join(missing)}", table=str(name)
            )
        return self._shape(table, schema, [(places[name], table.columns[places[name]]) for name in schema.column_names])

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()
        self._source.close()

    def read(self, shape: Shape, on_piece: Callable[[float], None] | None) -> Iterator[Row]:
        """Yield every row, chunk by chunk."""
        chunks = self._reader.plan(shape.table, CHUNK_ROWS)
        for chunk in chunks:
            for batch in self._reader.read(shape.table, chunk, BATCH_ROWS):
                yield from batch
            if on_piece is not None:
                on_piece(1 / len(chunks))


class MappedSide(CanonicalSide):
    """The source of a comparison whose rows are made as the rules of a target have them."""

    def shape(self, name: TableName, schema: TableSchema) -> Shape:
        """Look a table up; `schema` is what is made of it."""
        made = self.made[name]
        own = self._tables.get(name)
        if own is None:
            raise TailraceError(self._missing, f"the {self.role} has no such table", table=str(name))
        return self._shape(own, schema, list(enumerate(made.mapped.table.columns)))

    def read(self, shape: Shape, on_piece: Callable[[float], None] | None) -> Iterator[Row]:
        """Yield every row as it is to be at the target. Raises ROW_REJECTED for one that cannot be."""
        mapped = self.made[shape.table.name].mapped
        rows = super().read(shape, on_piece)
        if mapped.rows is None:
            yield from rows
            return
        while batch := list(islice(rows, BATCH_ROWS)):
            try:
                yield from mapped.rows(batch, [_NO_CHANGE] * len(batch))
            except ValueError as error:
                message = f"the source has rows that the table mappings cannot make, which are parked: {error}"
                raise TailraceError(ErrorKind.ROW_REJECTED, message, table=str(shape.table.name)) from None


_NO_CHANGE = Change(Headers(None, "1970-01-01 00:00:00", 0, None))
"""Columns that are made of changes are not compared."""


def _checksum(shape: Shape, row: Row) -> tuple[Key, str] | None:
    try:
        values = [None if row[place] is None else form(row[place]) for place, form in shape.forms]
    except _NONE_OF_ITS_TYPE:
        values = [None if row[place] is None else _formed(form, row[place]) for place, form in shape.forms]
    if any(values[i] != value for i, value in shape.only):
        return None
    checksum = md5(repr(values).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    if not shape.key:
        return (checksum,), checksum
    return tuple(None if values[place] is None else str(values[place]) for place in shape.key), checksum


def _formed(form: Form, value: Any) -> Any:
    """Return a value's form; its text where the column has another type at the source by now: it differs, and may have
    to follow yet.
    """
    try:
        return form(value)
    except _NONE_OF_ITS_TYPE:
        return str(value)


_NONE_OF_ITS_TYPE = (ValueError, TypeError, ArithmeticError, KeyError)


def _bucket(key: Key, count: int) -> int:
    digest = md5(repr(key).encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % count


def form_of(source: Column, own: Column) -> Form:
    """Return how values of a column are compared: by the source's type, from a value of this side's own type."""
    family = source.type.family
    if family in _NUMBERS:
        return _number(own)
    if family is Family.TEXT and re.fullmatch(r"money|bit(\(1\))?", source.native):
        # What others than us have as numbers.
        return _number(own) if own.type.family in _NUMBERS else _amount
    if source.native == "inet6":
        # MariaDB writes `::` for a single zero, too; PostgreSQL and RFC 5952 (section 4.2.2) do not.
        return lambda value: str(ip_address(_address(value)))
    if family in (Family.FLOAT32, Family.FLOAT64):
        # Whether zero is negative is not kept by every engine.
        return lambda value: repr(float(value) + 0.0)
    if family is Family.JSON or (family is Family.TEXT and source.native.endswith("[]")):
        is_array = own.type.family is Family.TEXT and own.native.endswith("[]")
        to_json = array_json(array_reader(own.native)) if is_array else str
        return lambda value: _document(to_json(value))
    return _FORMS.get(family, str)


_NUMBERS = frozenset(
    {
        *(Family.BOOLEAN, Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.UINT64),
        *(Family.DECIMAL, Family.NUMERIC),
    }
)


def _number(own: Column) -> Form:
    scale = own.type.scale or 0

    def form(value: Any) -> str:
        if value is NAN:
            return "NaN"
        if isinstance(value, Decimal):
            return _shortest(value) if value.is_finite() else str(value)
        number = Decimal(int(value))
        return _shortest(number.scaleb(-scale, _EXACT) if own.type.family is Family.DECIMAL else number)

    return form


def _shortest(value: Decimal) -> str:
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


_EXACT = Context(prec=200_000, Emax=999_999, Emin=-999_999)


def _document(text: str) -> str:
    # As the servers see it: names once, the last one counts; numbers with a fraction as doubles.
    return json.dumps(json.loads(text), sort_keys=True)


_SPAN = re.compile(r"PT(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d+))?S)?")


def _span(value: Any) -> str:
    """Return a span of hours in microseconds; one with days or months, and a time with its zone, as they are."""
    found = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return str(value)
    hours, minutes, sign, seconds, fraction = found.groups()
    us = int(seconds or 0) * 1_000_000 + int((fraction or "").ljust(6, "0"))
    return str((int(hours or 0) * 3600 + int(minutes or 0) * 60) * 1_000_000 + (-us if sign else us))


def _amount(text: Any) -> str:
    """Return the number in a text with a currency; a text that somebody has put in its place as it is."""
    try:
        return _shortest(Decimal(re.sub(r"[^0-9.-]", "", str(text))))
    except InvalidOperation:
        return str(text)


_ZONED = re.compile(r"(\d+:\d+(?::\d+(?:\.\d+)?)?)(?:([+-])(\d+(?::\d+){0,2})|Z)?")


def _moment(text: Any) -> str:
    """Return a time with its zone as the time in UTC; a text that somebody has put in its place as it is."""
    found = _ZONED.fullmatch(str(text))
    if found is None:
        return str(text)
    time, sign, zone = found.groups()
    moment_us = _clock_us(time) - (-1 if sign == "-" else 1) * _clock_us(zone or "0")
    return str(moment_us if time.startswith("24") else moment_us % DAY_US)


def _clock_us(text: str) -> int:
    hours, minutes, seconds, *_ = (*text.split(":"), "0", "0")
    return (int(hours) * 3600 + int(minutes) * 60) * 1_000_000 + int(Decimal(seconds).scaleb(6))


def _octets(value: Any) -> bytes:
    # Of a number `bytes` would make as many zeros.
    return bytes(memoryview(value))


def _address(value: Any) -> str:
    return re.sub(r"/(32|128)$", "", str(value))


_FORMS: dict[Family, Form] = {
    Family.TIME: _span,
    Family.INTERVAL: _span,
    Family.TEXT: _address,
    Family.BYTES: _octets,
}
