"""Values that Debezium takes apart, put together as PostgreSQL writes them; and times that it writes as text."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from schemas.types import Family
from schemas.types.calendar import date_text, time_text, zoned_of, zoned_text
from schemas.types.numbers import from_scaled, special_of

US_PER_DAY = 86_400_000_000


def bits_text(octets: bytes, length: int) -> str:
    """Return bits as digits, the highest first; Debezium has the lowest byte first. `length` 0: whole bytes."""
    return format(int.from_bytes(octets, "little"), f"0{length or len(octets) * 8}b")


def duration_text(us: int) -> str:
    """Return a number of microseconds as an ISO 8601 interval."""
    if us.__class__ is not int:
        raise TypeError
    whole, rest = divmod(abs(us), 1_000_000)
    return f"PT{'-' if us < 0 else ''}{whole}" + (f".{rest:06d}".rstrip("0") if rest else "") + "S"


def iso_date(text: str) -> int:
    """Return the days since 1970 of an ISO date, with or without a `Z`."""
    days, rest = divmod(zoned_of(f"{text.removesuffix('Z')}T00:00:00Z".encode()), US_PER_DAY)
    if rest:
        raise ValueError
    return days


def iso_time(text: str) -> int:
    """Return the microseconds since midnight of an ISO time, with or without a `Z`."""
    return zoned_of(f"1970-01-01T{text.removesuffix('Z')}Z".encode())


def iso_timestamp(text: str) -> int:
    """Return the microseconds since 1970 of an ISO timestamp, with or without a `Z`."""
    return zoned_of(f"{text.removesuffix('Z')}Z".encode())


def numeric_of(record: dict[str, Any], octets: Callable[[Any], bytes]) -> Decimal:
    """Return a VariableScaleDecimal. Without a byte it is one of ours that is no finite number."""
    content, scale = octets(record["value"]), record["scale"]
    return from_scaled(int.from_bytes(content, "big", signed=True), scale) if content else special_of(scale)


def point_text(point: dict[str, Any]) -> str:
    """Return a point as PostgreSQL writes it."""
    return f"({float(point['x'])!r},{float(point['y'])!r})"


def ewkb_text(geometry: dict[str, Any], octets: Callable[[Any], bytes]) -> str:
    """Return a geometry in PostGIS's notation: hexadecimal EWKB, with the reference system where there is one."""
    content, system = octets(geometry["wkb"]), geometry.get("srid")
    if system is None:
        return content.hex().upper()
    order: Literal["little", "big"] = "little" if content[0] else "big"
    kind = int.from_bytes(content[1:5], order) | 0x2000_0000
    return (content[:1] + kind.to_bytes(4, order) + int(system).to_bytes(4, order) + content[5:]).hex().upper()


def stored_geometry(geometry: dict[str, Any], octets: Callable[[Any], bytes]) -> bytes:
    """Return a geometry as MySQL stores it: the reference system in four bytes, then WKB."""
    return int(geometry.get("srid") or 0).to_bytes(4, "little") + octets(geometry["wkb"])


def list_text(values: list[Any], item: Callable[[Any], str]) -> str:
    """Return an array as PostgreSQL writes it. `item` returns an element's text."""
    if values.__class__ is not list:
        raise TypeError
    parts = []
    for value in values:
        if value is None:
            parts.append("NULL")
        elif value.__class__ is list:
            parts.append(list_text(value, item))
        else:
            text = item(value)
            if text == "" or text.upper() == "NULL" or not text.replace(".", "").replace("-", "").isalnum():
                text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            parts.append(text)
    return "{" + ",".join(parts) + "}"


def item_text(family: Family, scale: int | None) -> Callable[[Any], str]:
    """Return what writes a canonical value of a family within an array."""
    if family is Family.DECIMAL:
        return lambda value: f"{value}e-{scale or 0}"
    return _ITEM_TEXTS.get(family, str)


def _time(us: int) -> str:
    second, rest = divmod(us, 1_000_000)
    return f"{time_text(second)[1:]}{rest:06d}"


_ITEM_TEXTS: dict[Family, Callable[[Any], str]] = {
    Family.BOOLEAN: lambda value: "t" if value else "f",
    Family.FLOAT32: repr,
    Family.FLOAT64: repr,
    Family.BYTES: lambda value: "\\x" + value.hex(),
    Family.DATE: date_text,
    Family.TIME: _time,
    Family.TIMESTAMP: lambda value: zoned_text(value).removesuffix("Z"),
    Family.TIMESTAMPTZ: zoned_text,
}
