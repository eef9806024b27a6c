"""Row encoders: functions generated per table that turn canonical tuples into lines of `load data`, or into literals.

A row without nulls, the common case, is one formatted string; any other one goes value by value. The fields of `load
data` are parted by tabs, lines by newlines, and a backslash escapes ("LOAD DATA", Field and Line Handling).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from apply.sinks.mysql.types import Wire, function
from schemas.changes import Row

Encode = Callable[[Iterable[Row], int], list[str]]
"""(rows, part) -> a line for each row. Part and place of the row stand first where the encoder has them."""

Field = tuple[int, Wire]
"""Where a field's value stands in the row, and how it is sent."""

_SPECIAL = re.compile("[\\\\\t\n\0]").search
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\0": "\\0"})


def escape(text: str) -> str:
    """Return a text as a field of `load data`."""
    return text.translate(_ESCAPES) if _SPECIAL(text) else text


def quote(text: str) -> str:
    """Return a text as it stands between a literal's quotes."""
    return text.replace("'", "''")


@dataclass(frozen=True, slots=True)
class _Form:
    null: str
    escape: str
    begin: str
    between: str
    end: str
    quoted: bool


LINES = _Form("\\N", "escape", "", "\t", "\n", quoted=False)
"""For `load data`."""
LITERALS = _Form("null", "quote", "(", ",", ")", quoted=True)
"""For `insert … values`."""


def row_encoder(fields: Sequence[Field], form: _Form, *, with_part: bool, width: int) -> Encode:
    """Return the encoder of rows of `width` values into `fields`; with the part and a count first if `with_part`.

    The encoder raises TypeError, ValueError, OverflowError, AttributeError or ArithmeticError for a value that its
    column's family, or the target, does not have.
    """
    return _compiled(tuple(fields), form, with_part, width)[0]


def source_text(fields: Sequence[Field], form: _Form, *, with_part: bool, width: int) -> str:
    """Return the source text of the encoder that `row_encoder` would return."""
    return _compiled(tuple(fields), form, with_part, width)[1]


def literal_of(wire: Wire, expression: str) -> str:
    """Return the source text of a value's literal in SQL."""
    text = wire.expression.format(v=expression)
    if wire.is_free:
        text = f"quote({text})"
    if wire.number and wire.sql == "{v}":
        return f"{{{text}}}"
    return wire.sql.format(v=f"'{{{text}}}'")


@lru_cache(maxsize=4096)
def _compiled(fields: tuple[Field, ...], form: _Form, with_part: bool, width: int) -> tuple[Encode, str]:
    namespace: dict[str, Any] = {"escape": escape, "quote": quote}
    head = ["{part}", "{place}"] if with_part else []
    fast = list(head)
    for index, wire in fields:
        text = wire.expression.format(v=f"v{index}")
        if form.quoted:
            whole = literal_of(wire, f"v{index}")
        else:
            whole = f"{{{form.escape}({text})}}" if wire.is_free else f"{{{text}}}"
        fast.append(whole)
    used = [index for index, _ in fields]
    if width and used == list(range(width)):
        unpack = [f"        {', '.join(f'v{i}' for i in range(width))}, = row"]
    else:
        unpack = [f"        v{i} = row[{i}]" for i in sorted(set(used))]
    single = [
        f"def f{index}(v{index}):\n    return f{_quoted(whole)}"
        for (index, _), whole in zip(fields, fast[len(head) :], strict=True)
    ]
    lines = [
        *single,
        "def encode(rows, part):",
        "    out = []",
        "    for place, row in enumerate(rows):",
        *unpack,
        "        if None not in row:",
        f"            out.append(f{_quoted(form.begin + form.between.join(fast) + form.end)})",
        "        else:",
        f"            out.append({_value_by_value(head, fields, form)})",
        "    return out",
    ]
    text = "\n".join(lines) + "\n"
    for name in set(re.findall(r"\b(unscaled_\w+|array_\w+|days|stamp|clock|span|unreal|numeric|year)\b", text)):
        namespace[name] = function(name)
    exec(compile(text, "<row encoder>", "exec"), namespace)
    encode: Encode = namespace["encode"]
    return encode, text


def _value_by_value(head: list[str], fields: tuple[Field, ...], form: _Form) -> str:
    parts = ["str(part)", "str(place)"] if head else []
    parts += [f"{form.null!r} if v{index} is None else f{index}(v{index})" for index, _ in fields]
    return f"{form.begin!r} + {form.between!r}.join(({', '.join(parts)},)) + {form.end!r}"


def _quoted(text: str) -> str:
    """Return a formatted string's text in triple quotes, which no fragment holds."""
    return '"""' + text.replace("\t", "\\t").replace("\n", "\\n") + '"""'
