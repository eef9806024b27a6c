"""Reads the documents of a collection back, for `tailrace verify`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from bson import Decimal128
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS

from apply.sink_kinds.folding import fitting
from apply.sinks.mongodb.client import Client, told
from apply.sinks.mongodb.documents import MICROSECONDS, Documents
from apply.sinks.mongodb.values import MS_PER_DAY
from schemas.changes import Row
from schemas.endpoints.mongodb import MongodbTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.types import Family, LogicalType
from schemas.types.numbers import EXACT, NAN
from schemas.types.plain import canonical

Decode = Callable[[Any, int], Any]
"""From a field and its microseconds beyond the milliseconds to a canonical value."""

_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


class MongodbReader:
    """See `apply.row_reader.RowReader`. Documents that are the JSON of a text cannot be told back to it."""

    def __init__(self, target: MongodbTarget) -> None:
        self._target = target
        self._client = Client(target)

    def rows(self, table: TableSchema) -> Iterator[Row]:
        """Yield each row. Raises TARGET_SCHEMA where columns of text were nested."""
        documents = Documents(table, self._target)
        if documents.nests or documents.field_names != table.column_names:
            message = "texts of it are nested in its documents: it is not compared"
            raise TailraceError(ErrorKind.TARGET_SCHEMA, message, table=str(table.name))
        columns = [(column.name, _decoder(column.type)) for column in table.columns]
        collection = self._client.collection(documents.database, documents.collection).with_options(_OPTIONS)
        with told(f"reading the collection of {table.name}"):
            for document in collection.find():
                rest = document.get(MICROSECONDS, {})
                found = ((document.get(name), rest.get(name, 0), decode) for name, decode in columns)
                yield tuple(None if value is None else decode(value, us) for value, us, decode in found)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _decoder(type_: LogicalType) -> Decode:
    family, form = type_.family, fitting(canonical(type_))

    def decode(value: Any, us: int) -> Any:
        if isinstance(value, DatetimeMS):
            ms = int(value)
            return ms // MS_PER_DAY if family is Family.DATE else ms * 1000 + us
        if isinstance(value, Decimal128):
            number = value.to_decimal()
            if family is Family.DECIMAL:
                return NAN if number.is_nan() else int(number.scaleb(type_.scale or 0, EXACT))
            return int(number) if family is Family.UINT64 else number
        if isinstance(value, dict | list):
            return json.dumps(value, default=_json_number, ensure_ascii=False)
        return form(value) if isinstance(value, str) else value

    return decode


def _json_number(value: Decimal128) -> int | float:
    """Return a number of nested JSON that is neither a 64-bit integer nor a double."""
    number = value.to_decimal()
    return int(number) if number == number.to_integral_value() and number.adjusted() < 50 else float(number)
