"""Bounds of a key range as an operator writes them: literals that must be right before a source is asked with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from schemas.table import TableSchema
from schemas.types.logical import Family


def refusal(table: TableSchema, bound: Sequence[str]) -> str | None:
    """Return in words what is wrong with a bound of a table's key; None if nothing is. Repeats no value of it."""
    keys = [table.columns[i] for i in table.key]
    if not keys:
        return "the table has no key: it can only be reloaded whole"
    if len(bound) != len(keys):
        return f"a bound has {len(keys)} parts, for {', '.join(column.name for column in keys)}"
    for column, text in zip(keys, bound, strict=True):
        check = _CHECKS.get(column.type.family)
        if check is None:
            return f"ranges of {column.type.family} keys ({column.name}) are not supported"
        try:
            right = check(text)
        except (ValueError, InvalidOperation):
            right = False
        if not right:
            return f"the bound of {column.name} is no {column.type.family}"
    return None


def _integer(lowest: int, highest: int) -> Callable[[str], bool]:
    return lambda text: _is_plain(text) and lowest <= int(text) <= highest


def _is_plain(text: str) -> bool:
    """Tell whether a number has no digits of other scripts, nor underscores: some servers take these, and some cut the
    number off there.
    """
    return text.isascii() and "_" not in text


def _decimal(text: str) -> bool:
    return _is_plain(text) and Decimal(text).is_finite()


UUID_TEXT = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


_CHECKS: dict[Family, Callable[[str], bool]] = {
    Family.INT16: _integer(-(1 << 15), (1 << 15) - 1),
    Family.INT32: _integer(-(1 << 31), (1 << 31) - 1),
    Family.INT64: _integer(-(1 << 63), (1 << 63) - 1),
    Family.UINT32: _integer(0, (1 << 32) - 1),
    Family.UINT64: _integer(0, (1 << 64) - 1),
    Family.DECIMAL: _decimal,
    Family.NUMERIC: _decimal,
    Family.STRING: lambda text: "\0" not in text,
    Family.UUID: lambda text: UUID_TEXT.fullmatch(text) is not None,
    Family.DATE: lambda text: date.fromisoformat(text).year > 0,
    Family.TIMESTAMP: lambda text: datetime.fromisoformat(text).tzinfo is None,
    Family.TIMESTAMPTZ: lambda text: datetime.fromisoformat(text).tzinfo is not None,
}
