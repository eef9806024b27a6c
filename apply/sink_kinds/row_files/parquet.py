"""Parquet files by pyarrow: typed where Parquet has a type that fits the column, text where it has none.

A value that its column's type cannot hold (NaN of a decimal, an infinite date) is refused: nothing stands in for it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from apply.sink_kinds.folding import MISFIT, fitting
from apply.sink_kinds.row_files.formats import Chunk, Faults
from apply.sink_kinds.row_files.shape import Shape
from schemas.changes import UNCHANGED, Row, Unchanged
from schemas.endpoints.files import RowFiles
from schemas.types import Family, LogicalType
from schemas.types.calendar import INFINITY_US, MINUS_INFINITY_US, WRAPPED_BELOW_US
from schemas.types.numbers import EXACT, NAN
from schemas.types.plain import INFINITE_DAY, MINUS_INFINITE_DAY, Form, canonical, plain

UNAVAILABLE = "tailrace_unavailable"
"""The last column of files of changes: the names of columns that the log did not hold. They are null here."""

_VERSIONS = {"parquet-1-0": "1.0", "parquet-2-0": "2.6"}
DECIMAL_DIGITS_MAX = 76
"""Of pyarrow's decimal256. Beyond it a decimal is text."""

_TYPES: dict[Family, pa.DataType] = {
    Family.BOOLEAN: pa.bool_(),
    Family.INT16: pa.int16(),
    Family.INT32: pa.int32(),
    Family.INT64: pa.int64(),
    Family.UINT32: pa.uint32(),
    Family.UINT64: pa.uint64(),
    Family.FLOAT32: pa.float32(),
    Family.FLOAT64: pa.float64(),
    Family.BYTES: pa.binary(),
    Family.DATE: pa.date32(),
    Family.TIMESTAMP: pa.timestamp("us"),
    Family.TIMESTAMPTZ: pa.timestamp("us", tz="UTC"),
}
"""All other families are text in their plain form."""


_HIVE_TYPES: dict[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.uint32(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.binary(): "binary",
    pa.date32(): "date",
    pa.string(): "string",
}


def arrow_type(type_: LogicalType) -> pa.DataType:
    """Return the type of a column."""
    if type_.family is Family.DECIMAL:
        digits, scale = type_.precision or 0, type_.scale or 0
        if 0 < digits <= DECIMAL_DIGITS_MAX and 0 <= scale <= digits:
            return pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)
        return pa.string()
    return _TYPES.get(type_.family, pa.string())


def hive_type(type_: LogicalType) -> str | None:
    """Return what Hive calls the type of a column; None: it has none that holds the values."""
    found = arrow_type(type_)
    if pa.types.is_decimal128(found):
        return f"decimal({found.precision},{found.scale})"
    if pa.types.is_timestamp(found):
        return "timestamp"
    return _HIVE_TYPES.get(found)


class ParquetFormat:
    """One file's rows as record batches."""

    extension = ".parquet"
    content_type = "application/vnd.apache.parquet"

    def __init__(self, shape: Shape, settings: RowFiles) -> None:
        fields = [pa.field(name, arrow_type(t)) for name, t in zip(shape.names, shape.types, strict=True)]
        if not shape.loads:
            fields.append(pa.field(UNAVAILABLE, pa.list_(pa.string())))
        self._schema = pa.schema(fields)
        self._names = None if shape.loads else shape.names
        self._forms = [_form(t) for t in shape.types]
        self._group_rows = settings.row_group_length
        self._options = {
            "compression": "gzip" if settings.compression_type == "gzip" else "none",
            "write_statistics": settings.enable_statistics,
            "version": _VERSIONS[settings.parquet_version],
            "use_dictionary": settings.encoding_type != "plain",
            "dictionary_pagesize_limit": settings.dict_page_size_limit,
            "data_page_size": settings.data_page_size,
        }

    def encode(self, rows: Sequence[Row]) -> tuple[Chunk, Faults]:
        """See `RowFormat`."""
        try:
            return self._batch(rows), {}
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            faults: Faults = {}
        for index, row in enumerate(rows):
            try:
                self._batch([row])
            except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
                faults[index] = f"a Parquet file cannot hold one of its values ({type(error).__name__})"
        return self._batch([row for index, row in enumerate(rows) if index not in faults]), faults

    def size(self, chunk: Chunk) -> int:
        """See `RowFormat`."""
        return int(chunk.nbytes)

    def content(self, chunks: Sequence[Chunk]) -> bytes:
        """See `RowFormat`."""
        out = io.BytesIO()
        with pq.ParquetWriter(out, self._schema, **self._options) as writer:
            writer.write_table(pa.Table.from_batches(chunks, self._schema), row_group_size=self._group_rows)
        return out.getvalue()

    def _batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        columns: list[Any] = []
        some_unknown = False
        for form, values in zip(self._forms, zip(*rows, strict=True), strict=True):
            # Of a column at once: one look at each value less, for most of them.
            is_known = Unchanged not in set(map(type, values))
            some_unknown = some_unknown or not is_known
            if is_known:
                columns.append(values if form is _same else [None if v is None else form(v) for v in values])
            else:
                columns.append([None if v is None or v is UNCHANGED else form(v) for v in values])
        columns = columns or [[] for _ in self._forms]
        if (names := self._names) is not None:
            columns.append(
                [[n for n, v in zip(names, row, strict=True) if v is UNCHANGED] or None for row in rows]
                if some_unknown
                else [None] * len(rows)
            )
        return pa.record_batch(
            [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)],
            schema=self._schema,
        )


def read_parquet(
    content: bytes, types: Mapping[str, LogicalType], operation: str
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield each row of a file, in canonical values, with the columns that it does not know; others are left out.

    What stands in columns of other types than these would have is MISFIT.
    """
    with pq.ParquetFile(io.BytesIO(content)) as file:
        there = set(file.schema_arrow.names)
        names = [name for name in (operation, *types, UNAVAILABLE) if name in there]
        for batch in file.iter_batches(columns=names):
            columns = {
                name: _canonical(batch.column(name), types[name]) if name in types else batch.column(name).to_pylist()
                for name in names
            }
            unavailable = columns.pop(UNAVAILABLE, None)
            for place, row in enumerate(zip(*columns.values(), strict=True)):
                yield dict(zip(columns, row, strict=True)), (unavailable[place] if unavailable else None) or []


_ALIKE = (pa.types.is_integer, pa.types.is_decimal)
"""Tests of types whose values are read alike, whatever their sizes: tables are changed so without a rewriting, too."""


def _canonical(column: Any, type_: LogicalType) -> list[Any]:
    """Return a column's canonical values. Times are read as numbers: Python's own calendar ends with the year 9999."""
    wanted = arrow_type(type_)
    if column.type != wanted and not any(is_one(column.type) and is_one(wanted) for is_one in _ALIKE):
        return [None if value is None else MISFIT for value in column.to_pylist()]
    if pa.types.is_date32(wanted):
        return list(column.cast(pa.int32()).to_pylist())
    if pa.types.is_timestamp(wanted):
        return list(column.cast(pa.int64()).to_pylist())
    values = column.to_pylist()
    if pa.types.is_decimal(wanted):
        return [None if value is None else int(value.scaleb(type_.scale or 0, EXACT)) for value in values]
    if not pa.types.is_string(wanted):
        return list(values)
    form = fitting(canonical(type_))
    return [None if value is None else form(value) for value in values]


def _form(type_: LogicalType) -> Form:
    """Return what makes a canonical value one that pyarrow takes; it raises for what the column's type cannot hold."""
    family = type_.family
    if family is Family.DECIMAL and not pa.types.is_string(arrow_type(type_)):
        scale = type_.scale or 0
        return lambda v: _refuse() if v is NAN else Decimal(v).scaleb(-scale, EXACT)
    if family is Family.DATE:
        return _unless({INFINITE_DAY, MINUS_INFINITE_DAY}.__contains__)
    if family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        return _unless(lambda v: v in (INFINITY_US, MINUS_INFINITY_US) or v < WRAPPED_BELOW_US)
    return _same if family in _TYPES else plain(type_)


def _same(value: Any) -> Any:
    return value


def _unless(forbidden: Callable[[Any], bool]) -> Form:
    return lambda v: _refuse() if forbidden(v) else v


def _refuse() -> Any:
    raise ValueError
