"""Turns source text into functions, and holds what both formats need around it: the rare cases and the errors.

The frequent case is straight-line generated code that tests nothing. Whatever it cannot do makes Python raise in it,
and then `RareCases` has the change: deletes and key changes, columns that are UNCHANGED, and values that are wrong.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from types import CodeType
from typing import Any, TypeVar

from schemas.bundles import Pair
from schemas.changes import UNCHANGED, Row
from schemas.codecs.codec import Block
from schemas.errors import ErrorKind, TailraceError
from schemas.row_forms import LoggedForm, LoggedLines, StagedForm
from schemas.table import TableSchema
from schemas.types.forms import NAMES

Result = TypeVar("Result")

Envelope = Callable[[str, bytes | None, bytes | None, list[int], Block, int], bytes]
"""`(op, before, after, unavailable columns, block, seq)` to a value; rows are encoded bodies."""


_TOP_LEVEL = re.compile(r"\n\n(?=\S)")
"""Between two functions of generated source."""

CODE_MAX = 500
"""Compiled functions that are kept for further tables: of thousands of tables many have the same columns."""

CODE_TEXT_MAX = 20_000
"""Longer functions, those of very wide tables, are not kept: all that are have 10 MB of text at most, and their code
takes two to three times as much."""


def indent(lines: Iterable[str], levels: int = 1) -> list[str]:
    """Return the lines, moved to the right."""
    return [" " * (4 * levels) + line for line in lines]


def names(prefix: str, count: int) -> str:
    """Return `prefix0, prefix1, …,`: a tuple's inside for any count."""
    return "".join(f"{prefix}{i}, " for i in range(count))


def compile_functions(text: str, title: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Execute generated source; return its names. `title` is what tracebacks call it.

    Each function is compiled when it is first called: of a codec's few are, and a replication may have thousands of
    tables. And one by one: a syntax tree is a hundred times larger than what it stands for, and that of a very wide
    table would set the memory of the whole process.
    """
    namespace = {**NAMES, **extra}
    line = 0
    for part in map(sys.intern, _TOP_LEVEL.split(text)):
        # (Interned: tables of equal columns share the text of what is never called.)
        name = _name_of(part)
        # Each at its own line, for tracebacks.
        namespace[name] = _late(name, partial(_code_of, part, line, title), namespace)
        line += part.count("\n") + 2
    return namespace


def compile_function(text: str, title: str, extra: Mapping[str, Any]) -> Callable[..., Any]:
    """Execute the source of one function, and return it itself: it is called for each value, where a detour counts."""
    namespace = {**NAMES, **extra}
    exec(_code_of(text, 0, title), namespace)
    found: Callable[..., Any] = namespace[_name_of(text)]
    return found


def _late(name: str, code: Callable[[], CodeType], namespace: dict[str, Any]) -> Callable[..., Any]:
    """Return what stands for a function until it is called. Others of the namespace then call it without a detour."""

    def first(*arguments: Any) -> Any:
        if namespace[name] is first:
            exec(code(), namespace)
        return namespace[name](*arguments)

    return first


def _name_of(part: str) -> str:
    return part[: part.index("(")].removeprefix("def ")


def _code_of(part: str, line: int, title: str) -> CodeType:
    return (_kept_code if len(part) <= CODE_TEXT_MAX else _code)(part, line, title)


def _code(part: str, line: int, title: str) -> CodeType:
    return compile("\n" * line + part, f"<{title}>", "exec")


_kept_code = lru_cache(CODE_MAX)(_code)


def compile_logged(
    form: LoggedForm, write: Callable[[LoggedLines], list[str]], title: str, made: Mapping[str, Any]
) -> Callable[[list[bytes], Block, int, bool], tuple[list[Pair], int]] | None:
    """Return the function `run(messages, block, seq, tombstones)` of generated lines that read and write in one go.

    None for a form that has no lines; `write` makes those of the whole function.
    """
    if form.lines is None:
        return None
    # First: lines bring names of their own as they are written.
    text = "\n".join(write(form.lines))
    return compile_functions(text, title, {**made, **form.lines.names, "read": form.read})["run"]  # type: ignore[no-any-return]


def compile_staged(
    form: StagedForm, lines: list[str], title: str, made: Mapping[str, Any]
) -> Callable[[list[bytes], list[Any]], None]:
    """Return the function `staged(values, out)` of generated lines that read and stage in one go."""
    return compile_functions("\n".join(lines), title, {**made, **form.names})["staged"]  # type: ignore[no-any-return]


def whole_before(table: TableSchema) -> bool:
    """Tell whether `before` is a whole row, not only the key."""
    return table.full_before or not table.key


def has_one_row(table: TableSchema) -> str:
    """Return the condition for a message that holds a new row and no old one."""
    return "op == 'c'" if whole_before(table) else "op != 'd'"


class RareCases:
    """Encodes one change at a time, slowly, and right in every case."""

    def __init__(
        self,
        table: TableSchema,
        key: Callable[[Row], bytes | None],
        body: Callable[[Row], bytes],
        envelope: Envelope,
        *,
        tells_moved: bool,
    ) -> None:
        """`tells_moved`: the create of a changed key has the old row, too."""
        self._tells_moved = tells_moved
        self._table = table
        self._key = key
        self._body = body
        self._envelope = envelope

    def encode(
        self,
        op: str,
        before: Row | None,
        after: Row | None,
        block: Block,
        seq: int,
        append: Callable[[Pair], None],
        tombstones: bool,
    ) -> int:
        """Append the records of a change, whose first has the sequence `seq`; return the last sequence."""
        try:
            if op == "d" and before is not None:
                self._delete(before, block, seq, append, tombstones)
            elif op in "cru" and after is not None:
                after = self._with_key(before, after)
                old, new = self._key(before) if before is not None and self._table.key else None, self._key(after)
                if op == "u" and old is not None and old != new:
                    assert before is not None
                    self._delete(before, block, seq, append, tombstones)
                    seq += 1
                    op, before = "c", before if self._tells_moved else None
                elif op == "u" and not whole_before(self._table):
                    before = None
                self._write(op, before, new, after, block, seq, append)
            else:
                raise ValueError
        except Exception as error:  # noqa: BLE001 - generated code: any exception means a wrong value
            raise TailraceError(
                ErrorKind.INVARIANT,
                f"a change ({op}) holds a value that is not of its column's type, or lacks a row or a key"
                f" ({type(error).__name__})",
                table=str(self._table.name),
            ) from None
        return seq

    def _with_key(self, before: Row | None, after: Row) -> Row:
        """Take key values that the log left out, since they did not change, from the old row."""
        if before is None or all(after[i] is not UNCHANGED for i in self._table.key):
            return after
        return tuple(
            before[i] if value is UNCHANGED and i in self._table.key else value for i, value in enumerate(after)
        )

    def _write(
        self,
        op: str,
        before: Row | None,
        key: bytes | None,
        after: Row,
        block: Block,
        seq: int,
        append: Callable[[Pair], None],
    ) -> None:
        # What is not known of it is null: `unavailable` speaks of the new row.
        old = self._body(self._old(before)[0]) if before is not None else None
        row, missing = _without_unchanged(after)
        append((key, self._envelope(op, old, self._body(row), missing, block, seq)))

    def _delete(self, before: Row, block: Block, seq: int, append: Callable[[Pair], None], tombstones: bool) -> None:
        key = self._key(before)
        row, missing = self._old(before)
        append((key, self._envelope("d", self._body(row), None, missing, block, seq)))
        if tombstones and key is not None:
            append((key, None))

    def _old(self, row: Row) -> tuple[Row, list[int]]:
        """Return what is published of an old row, and which of its columns are not known where whole ones are."""
        if whole_before(self._table):
            return _without_unchanged(row)
        return tuple(v if i in self._table.key else None for i, v in enumerate(row)), []


def _without_unchanged(row: Row) -> tuple[Row, list[int]]:
    missing = [i for i, value in enumerate(row) if value is UNCHANGED]
    return (tuple(None if value is UNCHANGED else value for value in row), missing) if missing else (row, missing)


def with_unchanged(row: Row, columns: Iterable[int]) -> Row:
    """Return a row with UNCHANGED in the given columns."""
    values = list(row)
    for i in columns:
        values[i] = UNCHANGED
    return tuple(values)


def arrange(
    table: TableSchema, op: str, before: Row | None, after: Row | None, missing: list[int]
) -> tuple[str, Row | None, Row | None]:
    """Return a decoded change, with UNCHANGED where it belongs. Raises ValueError if a row is missing."""
    if before is not None and not whole_before(table):
        before = with_unchanged(before, set(range(len(before))) - set(table.key))
    if op == "d":
        if before is None:
            raise ValueError
        return op, with_unchanged(before, missing) if missing else before, after
    if op != "t" and after is None:
        raise ValueError
    return op, before, with_unchanged(after, missing) if missing and after is not None else after


def guarded(table: TableSchema, what: str, read: Callable[[bytes], Result]) -> Callable[[bytes], Result]:
    """Return `read` with DECODE as its only error. The cause is left out: it may quote a cell."""

    def checked(value: bytes) -> Result:
        try:
            return read(value)
        except Exception as error:  # noqa: BLE001 - generated code: any exception means wrong bytes
            raise decode_error(table, what, len(value), error) from None

    return checked


def guarded_many(
    table: TableSchema, read: Callable[[list[bytes], list[Any]], None]
) -> Callable[[list[bytes]], list[Any]]:
    """The same for a function that appends what it reads to a list."""

    def checked(values: list[bytes]) -> list[Any]:
        out: list[Any] = []
        try:
            read(values, out)
        except Exception as error:  # noqa: BLE001 - as above
            value = values[len(out)] if len(out) < len(values) else None
            raise decode_error(table, f"value {len(out)} of a batch", len(value or b""), error) from None
        return out

    return checked


def decode_error(table: TableSchema, what: str, length: int, error: Exception) -> TailraceError:
    """Return the error for bytes that are no record of a table."""
    return TailraceError(
        ErrorKind.DECODE,
        f"{what}, {length} bytes long, cannot be read as version {table.version} of the table ({type(error).__name__})",
        remedy="the topic holds records that Tailrace did not write, or `topics.format` was changed; see where the"
        " record came from, or reset the replication",
        table=str(table.name),
    )
