"""Printing arrays, ranges, composites and domains from their binary form, by the printers of what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING

from capture.sources.postgresql.binary_text import BY_NAME, BY_SEND, Printer, plain
from schemas.errors import ErrorKind, TailraceError

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


class AnotherShape(TailraceError):
    """A composite's value has other attributes than its type is known to have."""

    def __init__(self, name: str) -> None:
        """`name` is the type's."""
        super().__init__(
            ErrorKind.DECODE,
            f"a value has attributes that its composite type {name} does not have, by the catalogue as it is now",
            remedy="if the type was dropped since, start capture again: it reads such values as text then. If it is "
            "there, this is a fault of Tailrace or of the server: keep the slot, and report it",
        )


def printer(types: Mapping[int, TypeInfo], oid: int, depth: int = 0, *, of_old: bool = False) -> Printer | None:
    """Return the function that prints a type's binary form as its output function would, or None.

    Of a composite's value it raises AnotherShape unless it has just the attributes of the type. With `of_old` it prints
    values from before the type had all of these, or had lost others, as the server would print them now.
    """
    info = types.get(oid)
    if info is None or depth > _DEPTH_MAX:
        return None
    if info.kind == "d":
        return printer(types, info.base, depth + 1, of_old=of_old)
    if info.kind == "e":
        return plain
    if info.kind == "c":
        fields = [printer(types, part, depth + 1, of_old=of_old) for _, part, _ in info.fields]
        known = [field for field in fields if field is not None]
        return _composite(info, known, of_old=of_old) if len(known) == len(fields) else None
    inner = info.element or info.subtype
    if inner:
        part = printer(types, inner, depth + 1, of_old=of_old)
        if part is None:
            return None
        if info.kind == "r":
            return _range(part)
        if info.kind == "m":
            return _multirange(part)
        return _vector(part) if info.name in ("oidvector", "int2vector") else _array(part, info.delimiter)
    return BY_NAME.get(info.name) if info.schema == "pg_catalog" else BY_SEND.get(info.send)


def holds_composites(types: Mapping[int, TypeInfo], oid: int, depth: int = 0) -> bool:
    """Tell whether a type is a composite, also an extension's, or may have values of one within its own."""
    info = types.get(oid)
    if info is None or depth > _DEPTH_MAX:
        return False
    parts = (info.element, info.base, info.subtype)
    return info.kind == "c" or any(part and holds_composites(types, part, depth + 1) for part in parts)


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


def _composite(info: TypeInfo, printers: Sequence[Printer], *, of_old: bool) -> Printer:
    """Mirror `record_send` and `record_out`."""
    special = set('"\\(),' + _SPACE)
    shape = [part for _, part, _ in info.fields]

    def quoted(text: str) -> str:
        if text and special.isdisjoint(text):
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'

    def composite(data: bytes) -> str:
        (count,) = _i4(data, 0)
        at = 4
        values: list[bytes | None] = []
        oids = []
        for _ in range(count):
            oid, length = _field(data, at)
            at += 8
            oids.append(oid)
            if length < 0:
                values.append(None)
                continue
            values.append(data[at : at + length])
            at += length
        if oids != shape:
            places = fitted(oids, info.attributes) if of_old else None
            if places is None:
                raise AnotherShape(f"{info.schema}.{info.name}")
            values = [None if place is None else values[place] for place in places]
        texts = ["" if v is None else quoted(p(v)) for v, p in zip(values, printers, strict=True)]
        return "(" + ",".join(texts) + ")"

    return composite


def fitted(oids: Sequence[int], attributes: Sequence[int]) -> list[int | None] | None:
    """Return where in an older value of a composite each attribute is that its type has now, None for one that it had
    not yet; None where it is no value of this type.

    `oids` are the types of the value's attributes, `attributes` those of `TypeInfo`. Attributes come at the end, and
    are never moved or given another type while a table has columns of them: a value has all from the first to the one
    that was the last then, save those that had been dropped. Where this can be read in more than one way the latest
    one is taken.
    """
    # By the count of attributes: how much of the value they may be. One that was dropped may be there or not.
    reached = [{0}]
    for attribute in attributes:
        before = reached[-1]
        taken = {at + 1 for at in before if at < len(oids) and attribute in (0, oids[at])}
        reached.append(taken if attribute else taken | before)
    end = max((count for count, ats in enumerate(reached) if len(oids) in ats), default=None)
    if end is None:
        return None
    places: list[int | None] = [None] * len(attributes)
    at = len(oids)
    for number in reversed(range(end)):
        if attributes[number] or at not in reached[number]:
            at -= 1
            places[number] = at
    return [place for place, attribute in zip(places, attributes, strict=True) if attribute]
