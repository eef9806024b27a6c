"""Printing arrays, ranges, composites and domains from their binary form, by the printers of what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING

from capture.sources.postgresql.binary_text import BY_NAME, BY_SEND, Printer, plain

if TYPE_CHECKING:
    from capture.sources.postgresql.types import TypeInfo

_SPACE = " \t\n\r\v\f"
_DEPTH_MAX = 32
"""How deep types may be nested."""

_i4 = Struct(">i").unpack_from
_header = Struct(">iii").unpack_from
_dimension = Struct(">ii").unpack_from
_field = Struct(">Ii").unpack_from
_EMPTY, _LOWER_INCLUSIVE, _UPPER_INCLUSIVE, _LOWER_INFINITE, _UPPER_INFINITE = 1, 2, 4, 8, 16
"""Flags of a range (`rangetypes.h`)."""


def printer(types: Mapping[int, TypeInfo], oid: int, depth: int = 0) -> Printer | None:
    """Return the function that prints a type's binary form as its output function would, or None."""
    info = types.get(oid)
    if info is None or depth > _DEPTH_MAX:
        return None
    if info.kind == "d":
        return printer(types, info.base, depth + 1)
    if info.kind == "e":
        return plain
    if info.kind == "c":
        fields = [printer(types, part, depth + 1) for _, part, _ in info.fields]
        known = [field for field in fields if field is not None]
        return _composite(known) if len(known) == len(fields) else None
    inner = info.element or info.subtype
    if inner:
        part = printer(types, inner, depth + 1)
        if part is None:
            return None
        if info.kind == "r":
            return _range(part)
        if info.kind == "m":
            return _multirange(part)
        return _vector(part) if info.name in ("oidvector", "int2vector") else _array(part, info.delimiter)
    return BY_NAME.get(info.name) if info.schema == "pg_catalog" else BY_SEND.get(info.send)


def _array(element: Printer, delimiter: str) -> Printer:
    """Mirror `array_send` and `array_out`."""
    special = set('"\\{}' + delimiter + _SPACE)

    def quoted(text: str) -> str:
        if text and text.upper() != "NULL" and special.isdisjoint(text):
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def nested(items: Sequence[str], sizes: Sequence[int]) -> str:
        if len(sizes) == 1:
            return "{" + delimiter.join(items) + "}"
        step = len(items) // sizes[0]
        parts = [nested(items[i * step : (i + 1) * step], sizes[1:]) for i in range(sizes[0])]
        return "{" + delimiter.join(parts) + "}"

    def array(data: bytes) -> str:
        sizes, lowers, values = _elements(data)
        if not sizes:
            return "{}"
        items = ["NULL" if value is None else quoted(element(value)) for value in values]
        bounds = ""
        if any(lower != 1 for lower in lowers):
            bounds = "".join(f"[{low}:{low + size - 1}]" for low, size in zip(lowers, sizes, strict=True)) + "="
        return bounds + nested(items, sizes)

    return array


def _elements(data: bytes) -> tuple[list[int], list[int], list[bytes | None]]:
    """Return an array's dimensions, lower bounds and elements."""
    count, _, _ = _header(data, 0)
    sizes, lowers = [], []
    at = 12
    for _ in range(count):
        size, lower = _dimension(data, at)
        sizes.append(size)
        lowers.append(lower)
        at += 8
    values: list[bytes | None] = []
    while at < len(data):
        (length,) = _i4(data, at)
        at += 4
        if length < 0:
            values.append(None)
        else:
            values.append(data[at : at + length])
            at += length
    return sizes, lowers, values


def _vector(element: Printer) -> Printer:
    return lambda data: " ".join(element(value) for value in _elements(data)[2] if value is not None)


def _range(bound: Printer) -> Printer:
    """Mirror `range_send` and `range_out`."""
    special = set('"\\()[],' + _SPACE)

    def quoted(text: str) -> str:
        if text and special.isdisjoint(text):
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'

    def print_range(data: bytes) -> str:
        flags = data[0]
        if flags & _EMPTY:
            return "empty"
        at = 1
        texts = []
        for infinite in (_LOWER_INFINITE, _UPPER_INFINITE):
            if flags & infinite:
                texts.append("")
                continue
            (length,) = _i4(data, at)
            texts.append(quoted(bound(data[at + 4 : at + 4 + length])))
            at += 4 + length
        left = "[" if flags & _LOWER_INCLUSIVE else "("
        right = "]" if flags & _UPPER_INCLUSIVE else ")"
        return f"{left}{texts[0]},{texts[1]}{right}"

    return print_range


def _multirange(print_range: Printer) -> Printer:
    def multirange(data: bytes) -> str:
        (count,) = _i4(data, 0)
        at = 4
        texts = []
        for _ in range(count):
            (length,) = _i4(data, at)
            texts.append(print_range(data[at + 4 : at + 4 + length]))
            at += 4 + length
        return "{" + ",".join(texts) + "}"

    return multirange


def _composite(fields: Sequence[Printer]) -> Printer:
    """Mirror `record_send` and `record_out`."""
    special = set('"\\(),' + _SPACE)

    def quoted(text: str) -> str:
        if text and special.isdisjoint(text):
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'

    def composite(data: bytes) -> str:
        (count,) = _i4(data, 0)
        if count != len(fields):
            raise ValueError("a composite with another count of fields")
        at = 4
        texts = []
        for field in fields:
            _, length = _field(data, at)
            at += 8
            if length < 0:
                texts.append("")
                continue
            texts.append(quoted(field(data[at : at + length])))
            at += length
        return "(" + ",".join(texts) + ")"

    return composite
