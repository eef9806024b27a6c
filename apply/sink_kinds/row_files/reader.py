"""Reads files of changes back, in the layout of `apply.sink_kinds.row_files.sink`: what their tables have now."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from apply.sink_kinds.folding import Form, Told, fitting, folded
from apply.sink_kinds.row_files.formats import parquet_library
from apply.sink_kinds.row_files.shape import LETTERS, OPERATION, SCHEMA, TABLE, shape_of
from apply.sink_kinds.row_files.store import Store
from schemas.changes import Row
from schemas.endpoints.files import RowFiles
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.types import Family, LogicalType
from schemas.types.plain import canonical

OPS = {letter: op for op, letter in LETTERS.items()}

_NAME = re.compile(
    r"(?:LOAD|\d{8}-\d{9}-)(?P<seq>[0-9A-F]{16})-(?P<partition>\d+)(?:-[0-9A-F]{16})?\.(?P<format>csv|json|parquet)(?:\.gz)?"
)

Record = dict[str, Any]
"""Canonical values by column, and the operation's letter under `Op`, where there is one."""


class FilesReader:
    """Implements `apply.row_reader.RowReader`."""

    def __init__(self, store: Store, settings: RowFiles) -> None:
        self._store = store
        self._settings = settings

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """See `RowReader`."""
        if self._settings.cdc_inserts_only or self._settings.cdc_inserts_and_updates:
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA, "files without deletes do not say which rows are left", table=str(table.name)
            )
        if self._settings.preserve_transactions:
            return folded(table, self._ordered(table))
        return folded(table, self._changes(table))

    def close(self) -> None:
        """See `RowReader`."""
        self._store.close()

    def _changes(self, table: TableSchema) -> Iterator[Told]:
        paths = sorted(filter(None, map(_place, self._store.paths(tuple(table.name)))))
        if not paths:
            raise TailraceError(ErrorKind.TARGET_SCHEMA, "there are no files of the table", table=str(table.name))
        for partition, _, path in paths:
            for record in _records(path, self._store.read(path), table, self._settings):
                yield Told(OPS[record.pop(OPERATION, "I")], record, partition)

    def _ordered(self, table: TableSchema) -> Iterator[Told]:
        """Yield loaded rows, then changes from the files of all tables, with the sequences that tell their order."""
        column = self._settings.sequence_column_name
        if column is None:
            message = "with preserve_transactions only `sequence_column_name` tells loaded rows from later ones"
            raise TailraceError(ErrorKind.TARGET_SCHEMA, message, table=str(table.name))
        for _, __, path in sorted(filter(None, map(_place, self._store.paths(tuple(table.name))))):
            for record in _records(path, self._store.read(path), table, self._settings, column):
                yield Told(OPS[record.pop(OPERATION, "I")], record, 0, record.pop(column))
        for path in sorted(self._store.paths(tuple(self._settings.cdc_path.strip("/").split("/")))):
            for record in _of_transactions(path, self._store.read(path), table, self._settings, column):
                yield Told(OPS[record.pop(OPERATION)], record, 0, record.pop(column))


def _place(path: str) -> tuple[int, int, str] | None:
    """Return partition and first commit sequence of a file: in this order a key's changes are in theirs."""
    found = _NAME.fullmatch(path.rpartition("/")[2])
    return found and (int(found["partition"]), int(found["seq"], 16), path)


def _records(
    path: str, content: bytes, table: TableSchema, settings: RowFiles, sequence: str | None = None
) -> Iterator[Record]:
    """Yield what stands in a file of the table's columns, and of that with the commit sequence, if it is named. Raises
    TARGET_SCHEMA for what is none of ours.
    """
    types = {column.name: column.type for column in table.columns}
    with _readable(path, table, is_named=settings.add_column_name):
        path, content = _unzipped(path, content)
        match path.rpartition(".")[2]:
            case "csv":
                # By their places columns are those of one version.
                loads = path.rpartition("/")[2].startswith("LOAD")
                names = None if settings.add_column_name else shape_of(table, settings, loads=loads).names
                yield from _csv(content.decode(), names, _text_forms(table, sequence), settings)
            case "json":
                yield from _json(content, types)
            case _:
                yield from _parquet(content, types)


def _of_transactions(
    path: str, content: bytes, table: TableSchema, settings: RowFiles, sequence: str
) -> Iterator[Record]:
    """Yield the table's rows of a file of several tables. Raises TARGET_SCHEMA for what is none of ours."""
    heads = [head.name for head in shape_of(table, settings, loads=False).heads]
    mine = tuple(map(heads.index, (TABLE, SCHEMA)))
    forms = _text_forms(table, sequence)
    with _readable(path, table):
        path, content = _unzipped(path, content)
        for row in _csv_rows(content.decode(), settings):
            if (row[mine[1]][0], row[mine[0]][0]) == table.name:
                record = _valued(table.column_names, row[len(heads) :], forms, settings)
                record[OPERATION] = row[heads.index(OPERATION)][0]
                record[sequence] = int(row[heads.index(sequence)][0])
                yield record


@contextmanager
def _readable(path: str, table: TableSchema, *, is_named: bool = True) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, ArithmeticError, IndexError) as error:
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"{path} cannot be read as a file of the table ({type(error).__name__})",
            table=str(table.name),
            remedy=None if is_named else "CSV of several versions of a table can be read with `add_column_name`",
        ) from error


def _unzipped(path: str, content: bytes) -> tuple[str, bytes]:
    return (path.removesuffix(".gz"), gzip.decompress(content)) if path.endswith(".gz") else (path, content)


def _json(content: bytes, types: dict[str, LogicalType]) -> Iterator[Record]:
    forms = {name: fitting(canonical(type_)) for name, type_ in types.items()}
    for line in content.splitlines():
        said = orjson.loads(line)
        record = {n: None if said[n] is None else form(said[n]) for n, form in forms.items() if n in said}
        if OPERATION in said:
            record[OPERATION] = said[OPERATION]
        yield record


def _csv(text: str, names: Sequence[str] | None, forms: dict[str, Form], settings: RowFiles) -> Iterator[Record]:
    """Yield the rows of a CSV file, whose columns are `names`, or are named in its first line."""
    rows = _csv_rows(text, settings)
    columns = names or [value for value, _ in next(rows)]
    for row in rows:
        yield _valued(columns, row, forms, settings)


def _valued(
    names: Sequence[str], row: Sequence[tuple[str, bool]], forms: dict[str, Form], settings: RowFiles
) -> Record:
    """Return a row's values, of the columns that have forms; what the log did not hold is left out."""
    return {
        name: None if value == settings.csv_null_value and not is_quoted else forms[name](value)
        for name, (value, is_quoted) in zip(names, row, strict=True)
        if name in forms and (is_quoted or value != settings.csv_no_sup_value)
    }


def _csv_rows(text: str, settings: RowFiles) -> Iterator[list[tuple[str, bool]]]:
    """Yield rows of values, each with whether it stood in quotes (RFC 4180)."""
    delimiter, end = re.escape(settings.csv_delimiter), re.escape(settings.csv_row_delimiter)
    value = re.compile(rf'(?:"((?:[^"]|"")*)"|((?:(?!{delimiter}|{end}).)*))({delimiter}|{end})', re.DOTALL)
    row: list[tuple[str, bool]] = []
    place = 0
    while place < len(text):
        found = value.match(text, place)
        if found is None:
            raise ValueError
        quoted, plain, separator = found.groups()
        row.append((plain, False) if quoted is None else (quoted.replace('""', '"'), True))
        place = found.end()
        if separator == settings.csv_row_delimiter:
            yield row
            row = []


def _text_forms(table: TableSchema, sequence: str | None) -> dict[str, Form]:
    """Return what reads the values of CSV files: of the table's columns, the operation, and the commit sequence."""
    forms: dict[str, Form] = {column.name: fitting(_text_form(column.type)) for column in table.columns}
    return forms | {OPERATION: str} | ({} if sequence is None else {sequence: int})


def _text_form(type_: LogicalType) -> Form:
    """Return what reads a value as CSV files have it."""
    form = canonical(type_)
    match type_.family:
        case Family.BOOLEAN:
            return {"true": True, "false": False}.__getitem__
        case Family.INT16 | Family.INT32 | Family.INT64 | Family.UINT32:
            return int
        case Family.FLOAT32 | Family.FLOAT64:
            return float
        case Family.TIMESTAMP:
            return lambda text: form(text.replace(" ", "T"))
        case Family.TIMESTAMPTZ:
            return lambda text: form(text if text.endswith("infinity") else text.replace(" ", "T") + "Z")
    return form


def _parquet(content: bytes, types: dict[str, LogicalType]) -> Iterator[Record]:
    for record, unavailable in parquet_library().read_parquet(content, types, OPERATION):
        for name in unavailable:
            record.pop(name, None)
        yield record
