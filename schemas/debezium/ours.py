"""Plain JSON that a capture of ours writes where it goes on in a connector's topics.

Such records say by themselves whose they are: their `source` names the capture, the table and the version of its
schema, which is on that capture's own schemas topic. So nothing is guessed from a value: each column is read in the
form of the type that the version says, and becomes what `source.types`, or the look of Debezium's records, had made of
it before. Columns that look otherwise with Debezium than with us must be stated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from struct import Struct, unpack
from typing import Any, NamedTuple

import orjson

from schemas.debezium.columns import PRECISION_MAX, Kind, kind_of
from schemas.debezium.stated import Stated, stated_type
from schemas.errors import ErrorKind, TailraceError
from schemas.position import epoch_of
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family
from schemas.types.form import ConnectSchema
from schemas.types.forms import FORMS

EXTENSIONS = ("hstore", "vector", "halfvec", "sparsevec", "geometry", "geography")
"""Types of PostgreSQL's extensions that Debezium takes apart."""

_SHAPES = ("geometry", "geomcollection", "point", "linestring", "polygon", "multi", "vector")
"""How the types of MySQL begin that are bytes with us alone."""


class Author(NamedTuple):
    """Who wrote a record."""

    replication: str
    """The capture's name."""
    table: TableName
    version: int
    """Of the table's schema."""
    epoch: int
    """Of the capture's sequence: a reset begins a higher one, and counts versions anew."""

    def key(self) -> list[str | int]:
        """Return what tells it from any other."""
        return [self.replication, *self.table, self.version, self.epoch]


def author_of(envelope: Mapping[str, Any]) -> Author | None:
    """Return the capture of ours that wrote a change; None for any other writer."""
    source = envelope.get("source")
    if not isinstance(source, dict):
        return None
    version, sequence = source.get("schema_version"), source.get("seq")
    if version.__class__ is not int or sequence.__class__ is not int:
        return None
    table = TableName(str(source.get("schema")), str(source.get("table")))
    return Author(str(source.get("name")), table, version, epoch_of(sequence))


def fields_of(version: TableSchema, connector: str, stated: Stated, table: str) -> tuple[ConnectSchema, ...]:
    """Return the columns of a version as `stated.fields_of` has those of Debezium's records.

    Raises CONFIGURATION that names the columns that must be stated, or whose types are not what is stated.
    """
    of_table = stated.types.get(table, {})
    fields: list[ConnectSchema] = []
    unstated: list[str] = []
    wrong: list[str] = []
    for column in _plainly(version):
        field = stated_type(of_table[column.name], stated) if column.name in of_table else _look(column)
        fields.append({**field, "optional": True, "field": column.name})
        if column.name not in of_table:
            unstated += [f"{column.name} ({column.native})"] * (not looks_alike(column, connector, stated))
        elif not _fits(column, kind_of(field, connector), connector, stated):
            wrong.append(f"{column.name} (stated {of_table[column.name]}, captured {column.native})")
    if unstated:
        raise _refused(table, f"and its plain JSON shows these columns otherwise: {', '.join(unstated)}")
    if wrong:
        raise _refused(table, f"whose columns cannot be what is stated: {', '.join(wrong)}")
    return tuple(fields)


def _refused(table: str, why: str) -> TailraceError:
    return TailraceError(
        ErrorKind.CONFIGURATION,
        f"a capture goes on in the connector's topic, {why}",
        table=table,
        remedy="state their types under `source.types`, as the connector's database has them; or let an applier of the "
        "capture's own replication take the table over",
    )


def kinds_of(version: TableSchema, fields: tuple[ConnectSchema, ...], connector: str) -> list[Kind]:
    """Return how the columns of a version are read. `fields` are those that `fields_of` returned. Raises DECODE."""
    kinds = []
    for column, field in zip(_plainly(version), fields, strict=True):
        theirs = kind_of(field, connector)
        lines = _lines(column, theirs)
        if lines is None:
            raise TailraceError(ErrorKind.DECODE, f"column {column.name!r} cannot be read", table=str(version.name))
        kinds.append(Kind(theirs.type, theirs.native, lines))
    return kinds


def looks_alike(column: Column, connector: str, stated: Stated) -> bool:
    """Tell whether plain JSON shows a column's values as Debezium's does, under the connector's modes."""
    family, native = column.type.family, column.native
    if family in (Family.DECIMAL, Family.NUMERIC):
        return stated.decimals == "precise"
    if family is Family.BYTES:
        if connector != "postgresql" and native.startswith(_SHAPES):
            return False
        return stated.binary in ("bytes", "base64")
    if family is Family.DATE:
        return stated.times != "isostring"
    if family in (Family.TIME, Family.TIMESTAMP):
        return _has_microseconds(native, family, connector, stated.times)
    if family is Family.TEXT:
        is_apart = "[]" in native or native.rpartition(".")[2].startswith(EXTENSIONS)
        return not is_apart and re.match(r"(?:money|bit|point)\b", native) is None
    # With a zone Debezium writes as many digits as there are, or are declared, and times of day in UTC.
    return family not in (Family.INTERVAL, Family.UINT64, Family.TIMESTAMPTZ, Family.TIMETZ)


def _plainly(version: TableSchema) -> list[Column]:
    """Return the columns, those of domains with what the domain is over as their native types."""
    domains = {_bare(f"{t.schema}.{t.name}"): t.definition for t in version.user_types if t.kind == "domain"}
    found = []
    for column in version.columns:
        native, depth = column.native, 0
        while _bare(native) in domains and depth < len(domains):
            native, depth = _MORE_OF_DOMAIN.split(domains[_bare(native)], maxsplit=1)[0], depth + 1
        found.append(replace(column, native=native))
    return found


def _bare(name: str) -> str:
    """Return a name without quotation marks: the server prints them where a name needs them."""
    return name.replace('"', "")


_MORE_OF_DOMAIN = re.compile(r" (?:collate|default|not null|constraint|check)\b")
"""What follows the type in a domain's definition."""


def _has_microseconds(native: str, family: Family, connector: str, times: str) -> bool:
    if times == "microseconds" or (times == "adaptive_time_microseconds" and family is Family.TIME):
        return True
    found = re.match(r"(?:time|timestamp|datetime)\b(?:\((\d)\))?", native)
    if found is None or not times.startswith("adaptive"):
        return False
    digits = 6 if connector == "postgresql" else 0
    return int(found[1] or digits) > 3


def _look(column: Column) -> ConnectSchema:
    """Return what `stated` infers from the values of a column."""
    schema = FORMS[column.type.family].connect(column.type)
    return {"type": _LOOKS[schema["type"]]}


_LOOKS = {
    "boolean": "boolean",
    **dict.fromkeys(("int16", "int32", "int64"), "int64"),
    **dict.fromkeys(("float", "double"), "double"),
    **dict.fromkeys(("string", "bytes"), "string"),
    "struct": "map",
}
"""What values show of a Connect type."""

_TEXTS = frozenset(
    {
        *(Family.STRING, Family.TEXT, Family.ENUM, Family.UUID, Family.JSON, Family.XML),
        *(Family.TIMETZ, Family.INTERVAL),
    }
)
"""Families whose canonical values, and JSON forms, are one and the same text."""

_WHOLE = frozenset({Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.UINT64})
"""Families whose canonical values are whole numbers."""


_NUMBERED = frozenset({Family.DATE, Family.TIME, Family.TIMESTAMP})
"""Families whose JSON form is a number that says nothing of its unit."""


def _fits(column: Column, theirs: Kind, connector: str, stated: Stated) -> bool:
    """Tell whether a column can be what is stated. What only names the look must not hide that the looks differ."""
    if _lines(column, theirs) is None:
        return False
    if theirs.type.family not in (Family.STRING, Family.INT64) or looks_alike(column, connector, stated):
        return True
    family = column.type.family
    return family in (Family.UINT64, Family.TIMESTAMPTZ) or (
        family in _TEXTS and re.match(r"(?:money|bit)\b", column.native) is None
    )


def _lines(column: Column, theirs: Kind) -> tuple[str, ...] | None:
    """Return the fragment that makes one of `theirs` of a column's value in our form; None where there is none."""
    form, family, wanted = FORMS[column.type.family], column.type.family, theirs.type.family
    is_as_it_looks = {
        Family.STRING: form.connect(column.type)["type"] in ("string", "bytes"),
        Family.INT64: family in _NUMBERED,
        Family.JSON: family is Family.NUMERIC,
    }
    if is_as_it_looks.get(wanted):
        return theirs.lines
    then = _then(column, theirs)
    return None if then is None else (*form.json_read("{v}"), *then)


def _then(column: Column, theirs: Kind) -> tuple[str, ...] | None:
    """Return what makes one of `theirs` of a canonical value."""
    family, wanted, scale = column.type.family, theirs.type.family, theirs.type.scale or 0
    if family is Family.TEXT and re.match(r"money\b", column.native):
        return {
            Family.NUMERIC: ("{v} = money_of({v})",),
            Family.DECIMAL: (f"{{v}} = int(money_of({{v}}).scaleb({scale}))",) if scale >= 2 else None,
        }.get(wanted)
    if family is Family.TEXT and wanted is Family.BOOLEAN and re.match(r"bit\(1\)", column.native):
        return ("{v} = BITS[{v}]",)
    if family in _TEXTS and wanted in _TEXTS:
        return ()
    if family in _WHOLE and wanted in _WHOLE:
        return tuple(FORMS[wanted].json_read("{v}"))
    if family in _WHOLE:
        return {Family.NUMERIC: ("{v} = Decimal({v})",), Family.DECIMAL: (f"{{v}} *= {10**scale}",)}.get(wanted)
    if family is Family.DECIMAL:
        return _of_decimal(column.type.scale or 0, wanted, scale)
    if family is Family.FLOAT32 and wanted is Family.FLOAT64:
        return ("{v} = shortest({v})",)
    if family is Family.FLOAT64 and wanted is Family.FLOAT32:
        return ()
    if family is Family.BYTES and theirs.native == "vector":
        return ("{v} = vector_text({v})",)
    return () if family is wanted else None


def _of_decimal(own: int, wanted: Family, scale: int) -> tuple[str, ...] | None:
    if wanted is Family.NUMERIC:
        return (f"{{v}} = from_scaled({{v}}, {own}) if {{v}} is not NAN else Decimal('NaN')",)
    if wanted is not Family.DECIMAL or scale < own or scale > PRECISION_MAX:
        return None
    return () if scale == own else (f"if {{v}} is not NAN: {{v}} *= {10 ** (scale - own)}",)


def money_of(text: str) -> Decimal:
    """Return the amount of a `money` that PostgreSQL prints in the C locale. Raises ValueError."""
    if not _MONEY.fullmatch(text):
        raise ValueError
    return Decimal(text.replace("$", "").replace(",", ""))


_MONEY = re.compile(r"-?\$[\d,]+\.\d\d")
_single = Struct("<f")


def shortest(value: float) -> float:
    """Return the double with the shortest text that is this 32-bit float: as Debezium's JSON has it."""
    if value - value != 0:
        return value
    packed = _single.pack(value)
    texts = (float(f"{value:.{digits}g}") for digits in range(6, 10))
    return next(text for text in texts if _single.pack(text) == packed)


def vector_text(content: bytes) -> str:
    """Return MySQL's vector, 32-bit floats, as a JSON list. Raises struct.error."""
    return orjson.dumps([shortest(value) for value in unpack(f"<{len(content) // 4}f", content)]).decode()


NAMES: dict[str, Any] = {
    "BITS": {"0": False, "1": True},
    "money_of": money_of,
    "shortest": shortest,
    "vector_text": vector_text,
}
"""What fragments call, besides those of `columns`."""
