"""Generating the functions that turn a row event into tuples: straight-line source text per table and row image.

A row image is a null bitmap for the columns that it holds, then their values. Columns of fixed size that stand side
by side are read by one `struct` call where the row has no null; a row with nulls is read column by column. Columns
that nobody asks for (the old row of an update, but for its key; virtual columns) are skipped, not decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from struct import Struct, calcsize
from typing import Any

from capture.sources.mysql.partial_json import PARTIAL_JSON, patched_text
from capture.sources.mysql.types import NAMES, Reader
from schemas.changes import UNCHANGED, Row
from schemas.types import Family

_GROUP_MAX = 24
_PATCHING = {"patched_text": patched_text}

Rows = Callable[[bytes, int, int], tuple[list[Row | None], list[Row | None]]]
"""(event, where its rows begin, where they end) -> old rows, new rows."""

Cells = Callable[[bytes], Row]
"""A row of a query's result."""


@dataclass(frozen=True, slots=True)
class MappedReader:
    """One column of the log's table, in the log's order."""

    reader: Reader
    place: int | None
    """Where its value stands in the row; None: it is skipped."""
    prefix: int
    """Bytes of the length before a value; 0 where the size is fixed."""


@dataclass(frozen=True, slots=True)
class Image:
    """Which columns of the log's table a row image holds."""

    present: frozenset[int]


def compile_rows(
    columns: Sequence[MappedReader],
    width: int,
    key: Sequence[int],
    before: Image | None,
    after: Image | None,
    *,
    whole_before: bool,
    is_partial: bool = False,
) -> tuple[Rows, str]:
    """Generate the reader of a row event, and return it with its source text.

    `before`/`after` are the images that each row has: an insert has only the latter, a delete only the former. Of old
    rows the key is read, with UNCHANGED elsewhere, or everything (`whole_before`): what an image lacks is null
    there, and UNCHANGED in a table without a key, which needs it. What the new image of an update
    lacks is taken from the old one, and is UNCHANGED where that lacks it too. With `is_partial` a JSON value may stand
    there as the changes that make it of the old one. Raises ValueError for images that hold nothing: how many such
    rows an event has, it does not say.
    """
    if not any(image.present for image in (before, after) if image is not None):
        raise ValueError("rows without columns")
    names: dict[str, Any] = {**NAMES, **_PATCHING, "U": UNCHANGED}
    for column in columns:
        names.update(column.reader.names)
    lines = ["def rows(m, p, n):", " before = []; after = []", " while p < n:"]
    filled = set() if after is None else {columns[i].place for i in after.present} - {None}
    is_update = before is not None and after is not None
    wanted = set(range(width)) if whole_before else set(key)
    lost: set[int] = set()
    if before is not None:
        needed = wanted | (set(range(width)) - filled if is_update else set())
        if is_partial:
            needed |= {column.place for column in columns if column.place is not None and _is_json(column)}
        have = {columns[i].place for i in before.present} - {None}
        lines += _image_lines(columns, before, needed, "b", names)
        lines += [f"  b{place} = U" for place in sorted(needed - have)]
        lost = wanted - have if key else lost
    if after is not None:
        if is_partial:
            columns, begin = _partly(columns)
            lines += begin
        lines += _image_lines(columns, after, set(range(width)), "a", names)
        lines += [f"  a{place} = {f'b{place}' if is_update else 'U'}" for place in range(width) if place not in filled]
    old = "(" + "".join("None, " if i in lost else f"b{i}, " if i in wanted else "U, " for i in range(width)) + ")"
    new = "(" + "".join(f"a{i}, " for i in range(width)) + ")"
    if before is None:
        old = "None"
    elif is_update and not whole_before:
        same = " and ".join(f"a{i} == b{i}" for i in key) or "True"
        old = f"None if {same} else {old}"
    lines.append(f"  before.append({old})")
    lines.append(f"  after.append({new if after is not None else 'None'})")
    lines += [" if p != n: bad()", " return before, after"]
    text = "\n".join(lines)
    names["bad"] = _bad
    exec(compile(text, "<binlog row reader>", "exec"), names)
    rows: Rows = names["rows"]
    return rows, text


def compile_cells(readers: Sequence[Reader]) -> Cells:
    """Generate the reader of a row of a query's result in text form: lengths and values, 0xFB for null."""
    names: dict[str, Any] = dict(NAMES)
    for reader in readers:
        names.update(reader.names)
    lines = ["def cells(m):", " p = 0"]
    for i, reader in enumerate(readers):
        lines += [
            " l = m[p]; p += 1",
            f" if l == 251: v{i} = None",
            " else:",
            "  if l > 251:",
            "   k = 2 if l == 252 else 3 if l == 253 else 8",
            "   l = int_of(m[p:p + k], 'little'); p += k",
            f"  x = m[p:p + l]; p += l; v{i} = {reader.text}",
        ]
    lines += [" if p != len(m): bad()", " return (" + "".join(f"v{i}, " for i in range(len(readers))) + ")"]
    names["bad"] = _bad
    exec(compile("\n".join(lines), "<result row reader>", "exec"), names)
    cells: Cells = names["cells"]
    return cells


def _is_json(column: MappedReader) -> bool:
    return column.reader.type.family is Family.JSON


def _partly(columns: Sequence[MappedReader]) -> tuple[list[MappedReader], list[str]]:
    """Return the columns of a new image whose JSON values may be lists of changes, and the lines that begin it.

    It begins with options, and a bit for each JSON column of the table, whether or not the image holds it.
    """
    count = sum(map(_is_json, columns))
    size = (count + 7) // 8
    lines = [
        "  o = m[p]; p += 1; w = 0",
        f"  if o & {PARTIAL_JSON}: w = int_of(m[p:p + {size}], 'little'); p += {size}",
    ]
    found = []
    bit = 1
    for column in columns:
        if _is_json(column):
            reader = column.reader
            log = f"patched_text(b{column.place}, x) if w & {bit} else {reader.log}"
            column = replace(column, reader=replace(reader, log=log))
            bit <<= 1
        found.append(column)
    return found, lines


def _image_lines(
    columns: Sequence[MappedReader], image: Image, needed: set[int], prefix: str, names: dict[str, Any]
) -> list[str]:
    """Return the lines that read one image into `b0`, `b1`, … or `a0`, `a1`, …"""
    present = sorted(image.present)
    size = (len(present) + 7) // 8
    mask = (1 << len(present)) - 1
    targets = [_target(columns[i], needed, prefix) for i in present]
    lines = [
        f"  z = int_of(m[p:p + {size}], 'little') & {mask}; p += {size}",
        "  if not z:",
        *(f"   {line}" for line in _group_lines(columns, present, targets, names) or ["pass"]),
        "  else:",
    ]
    slow = []
    for bit, (i, target) in enumerate(zip(present, targets, strict=True)):
        column = columns[i]
        read = _single_lines(column, target, names)
        slow.append(f"if z & {1 << bit}: {f'{target} = None' if target else 'pass'}")
        slow.append(f"else: {'; '.join(read)}")
    return lines + [f"   {line}" for line in slow or ["pass"]]


def _target(column: MappedReader, needed: set[int], prefix: str) -> str | None:
    return f"{prefix}{column.place}" if column.place is not None and column.place in needed else None


def _group_lines(
    columns: Sequence[MappedReader], present: Sequence[int], targets: Sequence[str | None], names: dict[str, Any]
) -> list[str]:
    """Return the lines that read an image without nulls: columns of fixed size by groups, then one of any size."""
    lines: list[str] = []
    codes = ""
    values: list[str] = []
    posts: list[str] = []

    def close() -> None:
        nonlocal codes, values, posts
        if codes:
            size = calcsize("<" + codes)
            if values:
                name = f"g{len(names)}"
                names[name] = Struct("<" + codes).unpack_from
                lines.append(f"{', '.join(values)}, = {name}(m, p); p += {size}")
                lines.extend(posts)
            else:
                lines.append(f"p += {size}")
        codes, values, posts = "", [], []

    for i, target in zip(present, targets, strict=True):
        column = columns[i]
        if column.prefix:
            close()
            lines.append("; ".join(_single_lines(column, target, names)))
            continue
        code = column.reader.code
        if target is None:
            codes += f"{calcsize('<' + code)}x"
        else:
            codes += code
            values.append(target)
            if column.reader.log != "x":
                posts.append(f"x = {target}; {target} = {column.reader.log}")
        if len(values) >= _GROUP_MAX:
            close()
    close()
    return lines


def _single_lines(column: MappedReader, target: str | None, names: dict[str, Any]) -> list[str]:
    """Return the statements that read one value, or skip it."""
    if column.prefix:
        length = (
            f"q = p + {column.prefix} + m[p]"
            if column.prefix == 1
            else f"q = p + {column.prefix} + int_of(m[p:p + {column.prefix}], 'little')"
        )
        if target is None:
            return [length, "p = q"]
        return [length, f"x = m[p + {column.prefix}:q]", f"{target} = {column.reader.log}", "p = q"]
    code = column.reader.code
    size = calcsize("<" + code)
    if target is None:
        return [f"p += {size}"]
    name = f"u_{code}"
    names[name] = Struct("<" + code).unpack_from
    return [f"x, = {name}(m, p)", f"{target} = {column.reader.log}", f"p += {size}"]


def _bad() -> None:
    raise ValueError("an event that is longer or shorter than its rows")
