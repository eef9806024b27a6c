"""Lines: the fields of a row as `copy … (format binary)` has them, made by functions generated per table.

A line is everything of a row but what precedes its first field: the count of fields, and the number of the part in a
staging table. So the same lines go into the table itself and into the staging table. A row without nulls, the common
case, goes through a few wide `struct` packs; any other column by column. Format: COPY, "Binary Format", in the
PostgreSQL manual.

For a table (bigint, text, numeric(12,2)) the lines that make a line are

    if full:
        x1 = v1.encode()
        if v2 < 0: x2, y2 = 16384, -v2
        else: x2, y2 = 0, v2
        if not y2 < 10000000000: full = False
    if full:
        line = join((pack_iqi(8, v0, len(x1)), x1, pack_iHhHHHHH(14, 3, 1, x2, 2, y2 // 1000000, …)))
    else:
        line = join((NULL if v0 is None else one_q(8, v0), NULL if v1 is None else framed(v1.encode()), …))

They stand in the encoder of rows, and in decoders that make lines of records without a row in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from struct import Struct
from typing import Any, ClassVar

from apply.sinks.postgresql.numeric import FIXED_LETTERS, fixed_lines, fixed_values
from apply.sinks.postgresql.types import Wire, function
from schemas.changes import Row
from schemas.large_values import STAND_IN_BYTES, Buffer, LargeValue, may_be_large
from schemas.types import Family, LogicalType

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, no flags, no header extension."""
TRAILER = b"\xff\xff"
LARGE_BYTES = 1 << 20
"""A line of so many bytes is not copied to stand with others."""
BLOCK_BYTES = 1 << 18
"""About so many bytes of lines are joined at once: they are still in the processor's cache when they are sent."""
GATHERED_BYTES = 1 << 16
"""Pieces are put together up to so many bytes: a small copy is one message, and a block is not copied again."""

Encode = Callable[[Iterable[Row]], list[bytes]]
"""From rows to their lines."""

Field = tuple[int, Wire] | None
"""Where a field's value stands in the row, and how it is sent; None for a field that is always null."""

_LENGTH = Struct(">i").pack
_COUNT = Struct(">h").pack
_COUNT_AND_PART = Struct(">hiq").pack
_STAND_IN = _LENGTH(STAND_IN_BYTES)


def counted(lines: Sequence[bytes], field_count: int) -> Iterator[bytes]:
    """Yield the rows of these lines, in pieces."""
    return _headed(lines, _COUNT(field_count))


def numbered(lines: Sequence[bytes], field_count: int, part: int) -> Iterator[bytes]:
    """Yield the rows of these lines for a staging table, whose first column is the part, in pieces."""
    return _headed(lines, _COUNT_AND_PART(field_count + 1, 8, part))


def each_numbered(lines: Sequence[bytes], field_count: int, first: int) -> bytes:
    """Return the same for parts of one row each, of which `first` is the first one."""
    return b"".join([_COUNT_AND_PART(field_count + 1, 8, part) + line for part, line in enumerate(lines, first)])


def _headed(lines: Sequence[bytes], head: bytes) -> Iterator[bytes]:
    if not lines:
        return
    count = 1
    if max(map(len, lines)) < LARGE_BYTES:
        count = 1 + BLOCK_BYTES * len(lines) // (1 + sum(map(len, lines)))
    for first in range(0, len(lines), count):
        yield head
        # One line is joined to nothing: it is not copied.
        yield head.join(lines[first : first + count])


def streamed(pieces: Iterable[bytes], values: Sequence[LargeValue]) -> Iterator[Buffer]:
    """Yield pieces of a copy with the values in the place of their stand-ins; see `LineForm.streams`."""
    for piece in pieces:
        places = sorted((begin, value) for value in values for begin in _places(piece, value.stand_in))
        at = 0
        for begin, value in places:
            # A byte may stand before the text (`Wire.lead`).
            lead = b"" if piece[begin - 4 : begin] == _STAND_IN else piece[begin - 1 : begin]
            yield piece[at : begin - len(lead) - 4] + _LENGTH(len(lead) + value.size) + lead
            yield from value.pieces()
            at = begin + STAND_IN_BYTES
        yield memoryview(piece)[at:]


def gathered(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    """Yield small pieces together, and large ones as they are."""
    waiting: list[Buffer] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > GATHERED_BYTES:
            if waiting:
                yield b"".join(waiting)
                waiting, size = [], 0
            if len(piece) > GATHERED_BYTES:
                yield piece
                continue
        waiting.append(piece)
        size += len(piece)
    if waiting:
        yield b"".join(waiting)


def _places(piece: bytes, stand_in: bytes) -> Iterator[int]:
    begin = piece.find(stand_in)
    while begin >= 0:
        yield begin
        begin = piece.find(stand_in, begin + STAND_IN_BYTES)


@dataclass(frozen=True)
class LineForm:
    """How rows become lines. Implements `schemas.row_forms.StagedForm`. Forms of the same fields are equal."""

    fields: tuple[Field, ...]
    writer: ClassVar[str] = "CopyLines"

    @cached_property
    def names(self) -> Mapping[str, Any]:
        """See `StagedForm`."""
        names: dict[str, Any] = {"NULL": b"\xff\xff\xff\xff", "framed": _framed, "join": b"".join}
        text = "\n".join((*_full_line(self.fields, (), names), _line_with_nulls(self.fields, (), names)))
        _full_line(self.fields, self._utf8, names)
        for name in set(re.findall(r"\b(unscaled_\d+|\w+_field|encode_decimal)\(", text)):
            names[name] = function(name)
        return names

    def takes_utf8(self, column: int) -> bool:
        """See `StagedForm`."""
        return column in self._utf8

    def lines(self, utf8: Collection[int]) -> list[str]:
        """See `StagedForm`."""
        *before, line = _full_line(self.fields, utf8, {})
        return [
            *(["if full:", *(f"    {line}" for line in before)] if before else []),
            f"if full: {line}",
            "else:",
            f"    {_line_with_nulls(self.fields, utf8, {})}",
        ]

    def plan(self, types: Sequence[LogicalType]) -> list[tuple[int, int]] | None:
        """See `StagedForm`."""
        wires = [field[1] for place, field in enumerate(self.fields) if field is not None and field[0] == place]
        if not len(wires) == len(self.fields) == len(types):
            return None
        return [(wire.kind(type_), wire.size) for wire, type_ in zip(wires, types, strict=True)]

    def field(self, column: int) -> Callable[[Any], bytes]:
        """See `StagedForm`."""
        wires = [field[1] for field in self.fields if field is not None and field[0] == column]
        encode = line_encoder([(0, wires[0])], width=1)
        return lambda value: encode([(value,)])[0]

    def streams(self, families: Sequence[Family]) -> bool:
        """Tell whether fields of columns of these families hold texts and bytes as they are."""
        wires = [(families[field[0]], field[1]) for field in self.fields if field is not None]
        return all(
            wire.expression == "{v}" and not wire.framed if family is Family.BYTES else wire.is_text
            for family, wire in wires
            if may_be_large(family)
        )

    @property
    def _utf8(self) -> set[int]:
        return {field[0] for field in self.fields if field is not None and field[1].is_text}


def line_encoder(fields: Sequence[Field], *, width: int) -> Encode:
    """Return the encoder of rows of `width` values into `fields`.

    The encoder raises struct.error, TypeError, ValueError, OverflowError or AttributeError for a value that its
    column's family does not have.
    """
    return _compiled(tuple(fields), width)


@lru_cache(maxsize=4096)
def _compiled(fields: tuple[Field, ...], width: int) -> Encode:
    form = LineForm(fields)
    used = [field[0] for field in fields if field is not None]
    if width and len(used) == width and used == list(range(width)):
        unpack = [f"        {', '.join(f'v{i}' for i in range(width))}, = row"]
    else:
        unpack = [f"        v{i} = row[{i}]" for i in sorted(set(used))]
    lines = [
        "def encode(rows):",
        "    out = []",
        "    append = out.append",
        "    for row in rows:",
        *unpack,
        "        full = None not in row",
        *(f"        {line}" for line in form.lines(())),
        "        append(line)",
        "    return out",
    ]
    namespace = dict(form.names)
    exec(compile("\n".join(lines) + "\n", "<row encoder>", "exec"), namespace)
    encode: Encode = namespace["encode"]
    return encode


def _full_line(fields: Sequence[Field], utf8: Collection[int], names: dict[str, Any]) -> list[str]:
    """Return the lines for a row without nulls; what they call is added to `names`."""
    pieces: list[str] = []
    before: list[str] = []
    letters, values = "", list[str]()

    def close() -> None:
        nonlocal letters, values
        if letters:
            name = f"pack_{letters.replace('?', 'bool')}"
            names[name] = Struct(">" + letters).pack
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
        elif wire.scale is not None:
            before += fixed_lines(f"v{index}", wire.scale, str(index))
            letters += FIXED_LETTERS
            values += fixed_values(wire.scale, str(index))
        elif wire.framed:
            close()
            pieces.append(expression)
        else:
            content = f"v{index}" if index in utf8 else f"x{index}"
            if index not in utf8:
                before.append(f"{content} = {expression}")
            letters += "i" if wire.lead is None else "iB"
            values += [f"len({content})"] if wire.lead is None else [f"len({content}) + 1", str(wire.lead)]
            close()
            pieces.append(content)
    close()
    return [*before, f"line = join(({''.join(f'{piece}, ' for piece in pieces)}))"]


def _line_with_nulls(fields: Sequence[Field], utf8: Collection[int], names: dict[str, Any]) -> str:
    pieces: list[str] = []
    for field in fields:
        if field is None:
            pieces.append("NULL")
            continue
        index, wire = field
        expression = f"v{index}" if index in utf8 else wire.expression.format(v=f"v{index}")
        if wire.fixed:
            name = "one_" + wire.fixed.replace("?", "bool")
            names[name] = Struct(">i" + wire.fixed).pack
            expression = f"{name}({wire.size}, {expression})"
        elif not wire.framed:
            lead = "" if wire.lead is None else f"{bytes([wire.lead])!r} + "
            expression = f"framed({lead}{expression})"
        pieces.append(f"NULL if v{index} is None else {expression}")
    return f"line = join(({''.join(f'{piece}, ' for piece in pieces)}))"


def _framed(octets: bytes) -> bytes:
    return _LENGTH(len(octets)) + octets
