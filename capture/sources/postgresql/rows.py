"""Generating the functions that turn a row's wire bytes into a tuple: straight-line source text per table.

The two wire forms differ only in what stands before a value: `pgoutput` has a kind byte and a length, COPY a length.
Columns of fixed length that stand side by side are read, with the header of the next one, by one `struct` call, on the
guess that none is null; where the guess fails, each column of the group is read for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from struct import Struct, calcsize
from typing import Any

from capture.sources.postgresql.types import NAMES, Reader
from schemas.changes import UNCHANGED
from schemas.twin.kinds import TEXT, VERSIONED, kind_of

_GROUP_MAX = 16
"""Most columns in one struct: a null costs reading a group twice."""

_AS_BYTES = "s.encode()"
"""The text form of a column that is read as bytes."""

_KIND_BINARY, _KIND_TEXT, _KIND_NULL, _KIND_UNCHANGED = b"btnu"


@dataclass(frozen=True, slots=True)
class Form:
    """A wire form: what stands before a value."""

    has_kind: bool
    """`pgoutput`: a kind byte before the length."""
    is_binary: bool
    casts_text: bool
    """COPY: columns of family TEXT were cast to text by the query."""

    @property
    def header_bytes(self) -> int:
        """Length of what stands before a value."""
        return 5 if self.has_kind else 4


LOG_BINARY = Form(has_kind=True, is_binary=True, casts_text=False)
LOG_TEXT = Form(has_kind=True, is_binary=False, casts_text=False)
COPY_BINARY = Form(has_kind=False, is_binary=True, casts_text=True)


def column_lines(readers: Sequence[Reader], form: Form, names: dict[str, Any], utf8: Collection[int] = ()) -> list[str]:
    """Return the lines that read all columns from `m` at `p` into `v0`, `v1`, …; `n` is the length of `m`.

    The texts of the columns in `utf8`, which `reads_utf8`, are read as bytes. What the lines need is added to `names`;
    `odd0(m, p, i)` reads whatever is neither null nor in the usual form.
    """
    names.update(NAMES)
    readers = [_undecoded(reader) if i in utf8 else reader for i, reader in enumerate(readers)]
    for reader in readers:
        names.update(reader.names)
    names["odd0"] = _odd_reader(readers) if form.has_kind else _nothing_odd
    lines: list[str] = []
    for group in _groups(readers, form):
        lines += _group_lines(readers, group, form, names)
    return lines


def key_column_lines(
    readers: Sequence[Reader], key: Sequence[bool], form: Form, names: dict[str, Any], utf8: Collection[int] = ()
) -> list[str]:
    """The same for a tuple in which only the columns of the key are not null; for any other the lines raise."""
    names.update(NAMES)
    names["odd0"] = _nothing_odd
    lines: list[str] = []
    nulls = 0
    for i, is_key in enumerate([*key, True]):
        if not is_key:
            nulls += 1
            continue
        if nulls:
            names[f"nulls{i}"] = bytes([_KIND_NULL]) * nulls
            lines += [f" if m[p:p + {nulls}] != nulls{i}: odd0(m, p, {i})", f" p += {nulls}"]
            nulls = 0
        if i < len(readers):
            reader = _undecoded(readers[i]) if i in utf8 else readers[i]
            names.update(reader.names)
            lines += [line[1:] for line in _single_lines(reader, i, form)]  # By themselves, not in an else.
    return lines


def reads_utf8(reader: Reader, form: Form) -> bool:
    """Tell whether a column's text can be had as UTF-8 bytes, as it stands."""
    if form.is_binary:
        return reader.utf8 is not None or (form.casts_text and reader.is_text)
    return reader.text == "s"


def twin_kind(reader: Reader, form: Form) -> int | None:
    """Return how the compiled twin reads a column; None if its binary form does not come, or cannot be read."""
    if form.casts_text and reader.is_text:
        return TEXT
    if not form.is_binary or not reader.reads_binary or not reader.is_sent:
        return None
    if reader.utf8 is None:
        return kind_of(reader.type)
    return VERSIONED if reader.skips_version else TEXT


def value_reader(reader: Reader) -> Callable[[bytes, int, int], Any]:
    """Return the function that reads a value in binary form between two offsets."""
    names = NAMES | reader.names
    if reader.code is None:
        return eval(f"lambda m, p, q: {reader.binary}", names)  # type: ignore[no-any-return]  # noqa: S307 - ours
    names["unpack"] = Struct(f">{reader.code}").unpack
    # Raises unless the length is right.
    return eval(f"lambda m, p, q: (lambda x: {reader.post.format(x='x')})(*unpack(m[p:q]))", names)  # type: ignore[no-any-return]  # noqa: S307 - ours


def _undecoded(reader: Reader) -> Reader:
    return replace(reader, binary=reader.utf8 or "m[p:q]", text=_AS_BYTES)


def row_expression(count: int) -> str:
    """Return the tuple of the columns that `column_lines` read."""
    return "(" + "".join(f"v{i}, " for i in range(count)) + ")"


def _groups(readers: Sequence[Reader], form: Form) -> list[range]:
    """Cut the columns: some of fixed length, then one of any length."""
    groups = []
    start = 0
    for i, reader in enumerate(readers):
        if not _is_fixed(reader, form) or i - start + 1 >= _GROUP_MAX:
            groups.append(range(start, i + 1))
            start = i + 1
    if start < len(readers):
        groups.append(range(start, len(readers)))
    return groups


def _is_fixed(reader: Reader, form: Form) -> bool:
    return form.is_binary and reader.code is not None


def _group_lines(readers: Sequence[Reader], group: range, form: Form, names: dict[str, Any]) -> list[str]:
    """Return the lines that read one group: the guess, and the columns one by one."""
    codes = ">"
    targets: list[str] = []
    tests: list[str] = []
    values: list[str] = []
    dummies: list[int | bytes] = []
    size = 0
    for i in group:
        reader = readers[i]
        if _is_fixed(reader, form):
            assert reader.code is not None
            length = calcsize(f">{reader.code}")
            codes += (f"{form.header_bytes}s" if form.has_kind else "i") + reader.code
            targets += [f"h{i}", f"x{i}"]
            header = f"H{length}" if form.has_kind else str(length)
            if form.has_kind:
                names[header] = bytes([_KIND_BINARY]) + length.to_bytes(4, "big")
            tests.append(f"h{i} == {header}")
            values.append(f"v{i} = {_post(reader, i)}")
            dummies += [b"", 0] if form.has_kind else [-1, 0]
            size += form.header_bytes + length
        else:
            codes += "Bi" if form.has_kind else "i"
            targets += [f"k{i}", f"l{i}"] if form.has_kind else [f"l{i}"]
            tests.append(f"k{i} == {_kind(form)}" if form.has_kind else f"l{i} >= 0")
            dummies += [0, 0] if form.has_kind else [-1]
            size += form.header_bytes
    last = group[-1]
    first = group[0]
    names[f"g{first}"] = Struct(codes).unpack_from
    names[f"d{first}"] = tuple(dummies)
    if _is_fixed(readers[last], form):
        values.append(f"p += {size}")
    else:
        values.append(f"p += {size}; q = p + l{last}; {_value(readers[last], last, form)}; p = q")
    lines = [
        f" {', '.join(targets)}, = g{first}(m, p) if p + {size} <= n else d{first}",
        f" if {' and '.join(tests)}:",
        *(f"  {value}" for value in values),
        " else:",
    ]
    for i in group:
        lines += _single_lines(readers[i], i, form)
    return lines


def _single_lines(reader: Reader, i: int, form: Form) -> list[str]:
    """Return the lines that read one column for itself."""
    if _is_fixed(reader, form):
        length = calcsize(f">{reader.code}")
        read = f"x{i}, = u_{reader.code}(m, p); v{i} = {_post(reader, i)}; p += {length}"
    else:
        read = f"{_value(reader, i, form)}; p = q"
    if not form.has_kind:
        return ["  l, = u_i(m, p); p += 4", f"  if l >= 0: q = p + l; {read}", f"  else: v{i} = None"]
    return [
        "  k = m[p]",
        f"  if k == {_kind(form)}: q = p + 5 + u_i(m, p + 1)[0]; p += 5; {read}",
        f"  elif k == {_KIND_NULL}: v{i} = None; p += 1",
        f"  else: v{i}, p = odd0(m, p, {i})",
    ]


def _value(reader: Reader, i: int, form: Form) -> str:
    """Return the statement that reads the value between `p` and `q`."""
    if form.casts_text and reader.is_text:
        return f"v{i} = {reader.binary if reader.text == _AS_BYTES else 'm[p:q].decode()'}"
    if reader.text == _AS_BYTES and not form.is_binary:
        return f"v{i} = m[p:q]"
    if form.is_binary:
        return f"v{i} = {reader.binary}"
    return f"s = m[p:q].decode(); v{i} = {reader.text}"


def _post(reader: Reader, i: int) -> str:
    return reader.post.format(x=f"x{i}")


def _kind(form: Form) -> int:
    return _KIND_BINARY if form.is_binary else _KIND_TEXT


def _odd_reader(readers: Sequence[Reader]) -> Callable[[bytes, int, int], tuple[Any, int]]:
    """Return what reads an unchanged value, or one in text form within a binary row."""
    texts: dict[int, Callable[[str], Any]] = {}
    length = Struct(">i").unpack_from

    def odd(m: bytes, p: int, i: int) -> tuple[Any, int]:
        if m[p] == _KIND_UNCHANGED:
            return UNCHANGED, p + 1
        if m[p] != _KIND_TEXT:
            raise ValueError("a value of an unknown form")
        if i not in texts:
            texts[i] = eval(f"lambda s: {readers[i].text}", NAMES | readers[i].names)  # noqa: S307 - ours
        end = p + 5 + length(m, p + 1)[0]
        return texts[i](m[p + 5 : end].decode()), end

    return odd


def _nothing_odd(_m: bytes, _p: int, _i: int) -> tuple[Any, int]:
    raise ValueError("no such value belongs here")
