"""The formats of files. Each turns changes into a chunk that can be cut from the front, and chunks into a file."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, cast

import orjson

from apply.sink_kinds.row_files.shape import Shape, column_text
from schemas.changes import UNCHANGED, Row
from schemas.codecs.plain_rows import plain_fields, plan
from schemas.endpoints.files import RowFiles
from schemas.errors import ErrorKind, TailraceError
from schemas.twin import built, kinds
from schemas.types import Family, LogicalType
from schemas.types.plain import Form, plain

Chunk = Any
"""Encoded rows: it has a length, and `chunk[n:]` is a chunk without the first `n`."""

Faults = dict[int, str]
"""By index: why a row does not go into a file of this format."""

GZIP_LEVEL = 6


class RowFormat(Protocol):
    """How a file's content is made. One per shape."""

    extension: str
    content_type: str

    def encode(self, rows: Sequence[Row]) -> tuple[Chunk, Faults]:
        """Return a chunk of the rows, in order, without those that cannot be written, and why these cannot."""
        ...

    def size(self, chunk: Chunk) -> int:
        """Return about how many bytes a chunk will take, before compression."""
        ...

    def content(self, chunks: Sequence[Chunk]) -> bytes:
        """Return the file."""
        ...


def format_of(shape: Shape, settings: RowFiles) -> RowFormat:
    """Return the format that the settings ask for. Raises PREREQUISITE if its library is missing."""
    if settings.data_format == "parquet":
        return cast("RowFormat", parquet_library().ParquetFormat(shape, settings))
    return (CsvFormat if settings.data_format == "csv" else JsonLinesFormat)(shape, settings)


def parquet_library() -> ModuleType:
    """Return the module for Parquet. Raises PREREQUISITE if what it needs is not installed."""
    try:
        return import_module("apply.sink_kinds.row_files.parquet")
    except ModuleNotFoundError as error:
        raise TailraceError(
            ErrorKind.PREREQUISITE,
            f"Parquet files need a library that is not installed: {error.name}",
            remedy="pip install 'tailrace[files]'",
        ) from error


class _LinesFormat:
    """What formats of lines share: a chunk is a list of encoded lines."""

    name: str
    content_type: str

    def __init__(self, shape: Shape, settings: RowFiles) -> None:
        self._compresses = settings.compression_type == "gzip"
        self.extension = f".{self.name}.gz" if self._compresses else f".{self.name}"
        if self._compresses:
            self.content_type = "application/gzip"

    def size(self, chunk: Chunk) -> int:
        """See `RowFormat`."""
        return sum(map(len, chunk))

    def content(self, chunks: Sequence[Chunk]) -> bytes:
        """See `RowFormat`. The same chunks give the same bytes: no time is in them."""
        lines = b"".join([self.head, *(line for chunk in chunks for line in chunk)])
        return gzip.compress(lines, GZIP_LEVEL, mtime=0) if self._compresses else lines

    head = b""


class CsvFormat(_LinesFormat):
    """Comma-separated values by RFC 4180, with a text for null and one for what is not known."""

    name = "csv"
    content_type = "text/csv"

    def __init__(self, shape: Shape, settings: RowFiles, find: Callable[[str], ModuleType | None] = built) -> None:
        """`find` stands for what finds the compiled twin in tests."""
        super().__init__(shape, settings)
        self._null, self._unknown = settings.csv_null_value, settings.csv_no_sup_value
        self._delimiter, self._end = settings.csv_delimiter, settings.csv_row_delimiter
        self._special = {settings.csv_delimiter, *settings.csv_row_delimiter, '"', "\n", "\r"}
        self._forms = [_csv_form(type_) for type_ in shape.types]
        module = find("plain")
        self._line = self._line_by_python if module is None else module.CsvLines(self._plan(shape)).line
        if settings.add_column_name:
            names = self._delimiter.join(self._quoted(name) for name in shape.names)
            self.head = (names + self._end).encode()

    def encode(self, rows: Sequence[Row]) -> tuple[Chunk, Faults]:
        """See `RowFormat`. Every value has a form."""
        return [*map(self._line, rows)], {}

    def _plan(self, shape: Shape) -> dict[str, Any]:
        """Return what the twin must know, which writes times as files of CSV have them."""
        found = plan(list(zip(shape.names, shape.types, strict=True)), self._forms)
        times = {kinds.TIMESTAMP: kinds.STAMP, kinds.ZONED: kinds.STAMP}
        return found | {
            "kinds": bytes(
                kinds.CALLED if type_.family is Family.BOOLEAN else times.get(kind, kind)
                for type_, kind in zip(shape.types, found["kinds"], strict=True)
            ),
            "null": self._null,
            "unknown": self._unknown,
            "delimiter": self._delimiter,
            "end": self._end,
            "special": self._special,
        }

    def _line_by_python(self, row: Row) -> bytes:
        texts = [self._text(form, value) for form, value in zip(self._forms, row, strict=True)]
        return (self._delimiter.join(texts) + self._end).encode()

    def _text(self, form: Form, value: Any) -> str:
        if value is None:
            return self._null
        return self._unknown if value is UNCHANGED else self._quoted(str(form(value)))

    def _quoted(self, text: str) -> str:
        if text in (self._null, self._unknown) or not self._special.isdisjoint(text):
            doubled = text.replace('"', '""')
            return f'"{doubled}"'
        return text


def _csv_form(type_: LogicalType) -> Form:
    if type_.family in (Family.TIMESTAMP, Family.TIMESTAMPTZ):
        return column_text
    return {True: "true", False: "false"}.__getitem__ if type_.family is Family.BOOLEAN else plain(type_)


class JsonLinesFormat(_LinesFormat):
    """One object a line. What is not known is not there."""

    name = "json"
    content_type = "application/x-ndjson"

    def __init__(self, shape: Shape, settings: RowFiles) -> None:
        super().__init__(shape, settings)
        self._fields = plain_fields(list(zip(shape.names, shape.types, strict=True)))

    def encode(self, rows: Sequence[Row]) -> tuple[Chunk, Faults]:
        """See `RowFormat`. Every value has a form."""
        dumps, newline = orjson.dumps, orjson.OPT_APPEND_NEWLINE
        return [dumps(fields, option=newline) for fields in map(self._fields, rows)], {}
