"""Rows as the servers take them, by functions generated per table: lines of `load data`, or literals.

A row without nulls, the common case, is one formatted string; any other one goes value by value. The fields of `load
data` are parted by tabs, lines by newlines, and a backslash escapes ("LOAD DATA", Field and Line Handling). A line is
the same whether it goes into the table itself or into a staging table, where its place in the batch stands in front:
so decoders make lines of records, too, without a row in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, ClassVar

from apply.sinks.mysql.types import Wire, function
from schemas.changes import Row
from schemas.types import LogicalType

LineEncode = Callable[[Iterable[Row]], list[bytes]]
"""From rows to their lines."""

LiteralEncode = Callable[[Iterable[Row], int], list[str]]
"""(rows, part) -> literals of each row. Part and place of the row stand first where the encoder has them."""

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


def numbered(lines: Sequence[bytes]) -> bytes:
    """Return lines for a staging table: each with its place in front."""
    return b"".join(chain.from_iterable(zip(map(b"%d\t".__mod__, range(len(lines))), lines, strict=True)))


@dataclass(frozen=True)
class LineForm:
    """How rows become lines. Implements `schemas.row_forms.StagedForm`. Forms of the same fields are equal."""

    fields: tuple[Field, ...]
    writer: ClassVar[str] = "LoadLines"

    @cached_property
    def names(self) -> Mapping[str, Any]:
        """See `StagedForm`."""
        return _names("\n".join(self.lines()))

    def takes_utf8(self, column: int) -> bool:
        """See `StagedForm`. What is formatted is str."""
        return False

    def lines(self, utf8: Collection[int] = ()) -> list[str]:
        """See `StagedForm`."""
        return [
            f"if full: line = f{_quoted(_LINE.whole(self.fields))}.encode()",
            f"else: line = ({_LINE.by_value(self.fields)}).encode()",
        ]

    def plan(self, types: Sequence[LogicalType]) -> list[tuple[int, int]] | None:
        """See `StagedForm`."""
        if [index for index, _ in self.fields] != list(range(len(types))):
            return None
        return [(wire.kind(type_), 0) for (_, wire), type_ in zip(self.fields, types, strict=True)]

    def field(self, column: int) -> Callable[[Any], bytes]:
        """See `StagedForm`."""
        wire = next(wire for index, wire in self.fields if index == column)
        encode = line_encoder([(0, wire)], width=1)
        return lambda value: encode([(value,)])[0][:-1]


@dataclass(frozen=True, slots=True)
class _Form:
    null: str
    begin: str
    between: str
    end: str
    text: Callable[[Wire, str], str]
    """The formatted text of a value."""

    def whole(self, fields: Sequence[Field], head: Sequence[str] = ()) -> str:
        """Return the text, to be formatted, of a row without nulls."""
        return self.begin + self.between.join((*head, *self._texts(fields))) + self.end

    def by_value(self, fields: Sequence[Field], head: Sequence[str] = ()) -> str:
        """Return the expression of any row's text."""
        parts = [f"f{_quoted(text)}" for text in head]
        parts += [
            f"{self.null!r} if v{index} is None else f{_quoted(text)}"
            for (index, _), text in zip(fields, self._texts(fields), strict=True)
        ]
        return f"{self.begin!r} + {self.between!r}.join(({', '.join(parts)},)) + {self.end!r}"

    def _texts(self, fields: Sequence[Field]) -> list[str]:
        return [self.text(wire, f"v{index}") for index, wire in fields]


def _text_of(wire: Wire, expression: str) -> str:
    text = wire.expression.format(v=expression)
    return f"{{escape({text})}}" if wire.is_free else f"{{{text}}}"


def literal_of(wire: Wire, expression: str) -> str:
    """Return the source text of a value's literal in SQL."""
    text = wire.expression.format(v=expression)
    if wire.is_free:
        text = f"quote({text})"
    if wire.number and wire.sql == "{v}":
        return f"{{{text}}}"
    return wire.sql.format(v=f"'{{{text}}}'")


_LINE = _Form("\\N", "", "\t", "\n", _text_of)
"""For `load data`."""
_LITERALS = _Form("null", "(", ",", ")", literal_of)
"""For `insert … values`."""


def line_encoder(fields: Sequence[Field], *, width: int) -> LineEncode:
    """Return the encoder of rows of `width` values into lines of `fields`.

    The encoder raises TypeError, ValueError, OverflowError, AttributeError or ArithmeticError for a value that its
    column's family, or the target, does not have.
    """
    return _line_encoder(tuple(fields), width)


def literal_encoder(fields: Sequence[Field], *, width: int, with_part: bool) -> LiteralEncode:
    """Return the encoder of rows into literals; with the part and a count first if `with_part`. Raises the same."""
    return _literal_encoder(tuple(fields), width, with_part)


@lru_cache(maxsize=4096)
def _line_encoder(fields: tuple[Field, ...], width: int) -> LineEncode:
    lines = [
        "def encode(rows):",
        "    out = []",
        "    for row in rows:",
        *_unpacked(fields, width),
        "        full = None not in row",
        *(f"        {line}" for line in LineForm(fields).lines()),
        "        out.append(line)",
        "    return out",
    ]
    return _compiled(lines)  # type: ignore[no-any-return]


@lru_cache(maxsize=4096)
def _literal_encoder(fields: tuple[Field, ...], width: int, with_part: bool) -> LiteralEncode:
    head = ["{part}", "{place}"] if with_part else []
    lines = [
        "def encode(rows, part):",
        "    out = []",
        "    for place, row in enumerate(rows):",
        *_unpacked(fields, width),
        f"        if None not in row: out.append(f{_quoted(_LITERALS.whole(fields, head))})",
        f"        else: out.append({_LITERALS.by_value(fields, head)})",
        "    return out",
    ]
    return _compiled(lines)  # type: ignore[no-any-return]


def _unpacked(fields: Sequence[Field], width: int) -> list[str]:
    used = [index for index, _ in fields]
    if width and used == list(range(width)):
        return [f"        {', '.join(f'v{i}' for i in range(width))}, = row"]
    return [f"        v{i} = row[{i}]" for i in sorted(set(used))]


def _compiled(lines: Sequence[str]) -> Any:
    text = "\n".join(lines) + "\n"
    namespace = dict(_names(text))
    exec(compile(text, "<row encoder>", "exec"), namespace)
    return namespace["encode"]


def _names(text: str) -> dict[str, Any]:
    """Return what source text calls."""
    found = set(re.findall(r"\b(unscaled_\w+|array_\w+|days|stamp|clock|span|unreal|numeric|year)\b", text))
    return {"escape": escape, "quote": quote, **{name: function(name) for name in found}}


def _quoted(text: str) -> str:
    """Return a formatted string's text in triple quotes, which no fragment holds."""
    return '"""' + text.replace("\t", "\\t").replace("\n", "\\n") + '"""'
