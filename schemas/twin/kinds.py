"""The kinds of columns that the compiled twin knows: how a value is read and written, as one small number each."""

from __future__ import annotations

from schemas.types import Family, LogicalType

BOOLEAN, INT16, INT32, INT64, UINT32, FLOAT32, FLOAT64, DATE, TIME, TIMESTAMP, ZONED = range(1, 12)
"""Numbers of a fixed length. ZONED: a TIMESTAMPTZ, which records hold as a text."""
DECIMAL = 12
"""A DECIMAL that a 64-bit number holds."""
UUID = 13
BYTES, TEXT, VERSIONED = range(14, 17)
"""Bytes of any length. VERSIONED: a text behind a version byte, as `jsonb_send` writes it."""
CALLED = 17
"""All others: a Python function of the column makes what is written."""
NARROW, LABEL, DOCUMENT = range(18, 21)
"""Of MySQL only. NARROW: a text in a charset that begins with ASCII; a function of the column has what goes beyond it.
LABEL: one of a few texts, by its number. DOCUMENT: binary JSON, written as its text."""
STAMP = 21
"""Of texts only: a time with a blank between date and clock, and no zone behind them."""

SIZES = bytes((0, 1, 2, 4, 8, 4, 4, 8, 4, 8, 8, 8, 0, 16, 0, 0, 0, 0))
"""The length of each kind's values in PostgreSQL's binary forms; 0: any."""

SIGNED, UNSIGNED, YEAR, BITS, GROUPS, DAY, MOMENT, SECONDS, PLAIN, PADDED, SKIPPED = range(1, 12)
"""How MySQL's row images hold values, beside their kinds. GROUPS: a DECIMAL, its digits by nine. DAY, MOMENT, SECONDS:
a DATE, DATETIME, TIMESTAMP. PLAIN: bytes as they are written. PADDED: bytes without the zeros at their end. SKIPPED: a
column that rows do not have."""

DIGITS_MAX = 18
"""Digits of a DECIMAL that 64 bits hold."""

_KINDS = {
    Family.BOOLEAN: BOOLEAN,
    Family.INT16: INT16,
    Family.INT32: INT32,
    Family.INT64: INT64,
    Family.UINT32: UINT32,
    Family.FLOAT32: FLOAT32,
    Family.FLOAT64: FLOAT64,
    Family.DATE: DATE,
    Family.TIME: TIME,
    Family.TIMESTAMP: TIMESTAMP,
    Family.TIMESTAMPTZ: ZONED,
    Family.UUID: UUID,
    Family.BYTES: BYTES,
}


def kind_of(type_: LogicalType) -> int:
    """Return the kind of a type's values. CALLED for texts, too: the engine knows whether they stand as they are."""
    if type_.family is Family.DECIMAL and (type_.precision or DIGITS_MAX + 1) <= DIGITS_MAX:
        return DECIMAL if 0 <= (type_.scale or 0) <= DIGITS_MAX else CALLED
    return _KINDS.get(type_.family, CALLED)
