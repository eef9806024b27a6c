"""A value for what nobody can tell any more, where null is not allowed."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from schemas.types.logical import Family

DAY = 10_957
"""2000-01-01: 1970 is before what a timestamp of MySQL may be, in some zones."""
_US = DAY * 86_400_000_000

BLANK: dict[Family, Any] = {
    Family.BOOLEAN: False,
    **dict.fromkeys((Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.UINT64), 0),
    **dict.fromkeys((Family.FLOAT32, Family.FLOAT64), 0.0),
    Family.DECIMAL: 0,
    Family.NUMERIC: Decimal(0),
    Family.STRING: "",
    Family.BYTES: b"",
    Family.DATE: DAY,
    Family.TIME: 0,
    Family.TIMETZ: "00:00:00+00:00",
    **dict.fromkeys((Family.TIMESTAMP, Family.TIMESTAMPTZ), _US),
    Family.INTERVAL: "PT0S",
    Family.UUID: "00000000-0000-0000-0000-000000000000",
    Family.JSON: "null",
    Family.XML: "",
}
"""By family, in canonical form. What is missing depends on the native type."""

_TAKES_NO_BYTES = re.compile(r"bytea|(tiny|medium|long)?blob|(var)?binary")


def blank(family: Family, native: str) -> Any:
    """Return a value that every column of a type takes; None where there is none, or not for all engines."""
    if native.endswith("[]"):
        return "{}"
    if family is Family.BYTES and not _TAKES_NO_BYTES.match(native):
        # A shape, or a vector.
        return None
    return BLANK.get(family)
