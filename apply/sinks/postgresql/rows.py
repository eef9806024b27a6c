"""Row encoders: functions generated per table that turn canonical tuples into `copy … (format binary)` data.

A row without nulls, the common case, goes through a few wide `struct` packs; any other column by column. Format: COPY,
"Binary Format", in the PostgreSQL manual.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from apply.sinks.postgresql.types import Wire, function
from schemas.changes import Row

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, no flags, no header extension."""
TRAILER = b"\xff\xff"

Encode = Callable[[Iterable[Row], int], list[bytes]]
"""(rows, part) -> pieces to be joined. `part` stands in the first field where the encoder has one."""

Field = tuple[int, Wire] | None
"""Where a field's value stands in the row, and how it is sent; None for a field that is always null."""


def row_encoder(fields: Sequence[Field], *, with_part: bool, width: int) -> Encode:
    """Return the encoder of rows of `width` values into `fields`; with a number of the part first if `with_part`.

    The encoder raises struct.error, TypeError, ValueError, OverflowError or AttributeError for a value that its
    column's family does not have.
    """
    return _compiled(tuple(fields), with_part, width)[0]


def source_text(fields: Sequence[Field], *, with_part: bool, width: int) -> str:
    """Return the source text of the encoder that `row_encoder` would return."""
    return _compiled(tuple(fields), with_part, width)[1]


@lru_cache(maxsize=4096)
def _compiled(fields: tuple[Field, ...], with_part: bool, width: int) -> tuple[Encode, str]:
    namespace: dict[str, Any] = {"NULL": b"\xff\xff\xff\xff", "framed": _framed}
    fast, fast_before = _fast_path(fields, with_part, namespace)
    slow = _slow_path(fields, with_part, namespace)
    used = [field[0] for field in fields if field is not None]
    if width and len(used) == width and used == list(range(width)):
        unpack = [f"        {', '.join(f'v{i}' for i in range(width))}, = row"]
    else:
        unpack = [f"        v{i} = row[{i}]" for i in sorted(set(used))]
    lines = [
        "def encode(rows, part):",
        "    out = []",
        "    for row in rows:",
        *unpack,
        "        if None not in row:",
        *(f"            {line}" for line in fast_before),
        f"            out += ({', '.join(fast)},)",
        "        else:",
        f"            out += ({', '.join(slow)},)",
        "    return out",
    ]
    text = "\n".join(lines) + "\n"
    for name in set(re.findall(r"\b(unscaled_\d+|\w+_field|encode_decimal)\(", text)):
        namespace[name] = function(name)
    exec(compile(text, "<row encoder>", "exec"), namespace)
    encode: Encode = namespace["encode"]
    return encode, text


def _head(fields: tuple[Field, ...], with_part: bool) -> tuple[str, list[str]]:
    """Return the format and the values that open each row: the field count, and the part's field."""
    count = str(len(fields) + with_part)
    return ("hiq", [count, "8", "part"]) if with_part else ("h", [count])


def _fast_path(fields: tuple[Field, ...], with_part: bool, namespace: dict[str, Any]) -> tuple[list[str], list[str]]:
    pieces: list[str] = []
    before: list[str] = []
    letters, values = _head(fields, with_part)

    def close() -> None:
        nonlocal letters, values
        if letters:
            name = f"pack{len(pieces)}"
            namespace[name] = Struct(">" + letters).pack
            pieces.append(f"{name}({', '.join(values)})")
            letters, values = "", []

    for field in fields:
        if field is None:
            letters += "i"
            values.append("-1")
            continue
        index, wire = field
        expression = wire.expression.format(v=f"v{index}")
        if wire.fixed:
            letters += "i" + wire.fixed
            values += [str(wire.size), expression]
        elif wire.framed:
            close()
            pieces.append(expression)
        else:
            before.append(f"x{index} = {expression}")
            letters += "i"
            values.append(f"len(x{index})")
            close()
            pieces.append(f"x{index}")
    close()
    return pieces, before


def _slow_path(fields: tuple[Field, ...], with_part: bool, namespace: dict[str, Any]) -> list[str]:
    letters, values = _head(fields, with_part)
    namespace["head"] = Struct(">" + letters).pack
    pieces = [f"head({', '.join(values)})"]
    for field in fields:
        if field is None:
            pieces.append("NULL")
            continue
        index, wire = field
        expression = wire.expression.format(v=f"v{index}")
        if wire.fixed:
            name = "one_" + wire.fixed.replace("?", "bool")
            namespace[name] = Struct(">i" + wire.fixed).pack
            expression = f"{name}({wire.size}, {expression})"
        elif not wire.framed:
            expression = f"framed({expression})"
        pieces.append(f"NULL if v{index} is None else {expression}")
    return pieces


_LENGTH = Struct(">i").pack


def _framed(octets: bytes) -> bytes:
    return _LENGTH(len(octets)) + octets
