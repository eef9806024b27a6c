"""Whether the compiled twin can read a table's records for a sink's form, and all that it needs to know for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import orjson

from schemas.changes import UNCHANGED
from schemas.codecs.generate import compile_function, whole_before
from schemas.format import Format
from schemas.row_forms import StagedForm
from schemas.table import TableSchema
from schemas.twin import WRITERS, built, kinds
from schemas.types import LogicalType
from schemas.types.forms import FORMS

CALLED_SHARE = 3
"""Where more than one column in so many has values that only Python reads, generated code reads rows faster: it has no
calls. (Eleven columns, doubles in JSON: 2.1 µs instead of 2.6 with three of them, 2.8 instead of 2.7 with five.)"""

Read = Callable[[list[bytes], list[Any]], None]
"""`(values, out)`: appends to `out` what is read of records, a `Decoded` or `Staged` each."""


def staged(
    table: TableSchema,
    format_: Format,
    form: StagedForm,
    careful: Callable[[], Read],
    find: Callable[[str], ModuleType | None] = built,
) -> Read | None:
    """Return what stages records for a form, or None where the twin is not built or cannot.

    `careful` makes the generated function that does the same; `find` stands for what finds built modules in tests.
    """
    module = find(WRITERS[form.writer])
    fields = form.plan([column.type for column in table.columns])
    if module is None or not fields:
        # A row without columns has no field whose end could be the line's.
        return None
    plan = _plan(table, format_, [kind for kind, _ in fields], form.field)
    reader = _reader(table, format_, find)
    plan |= {"sizes": bytes(size for _, size in fields), "rows": None if reader is None else reader()}
    writer = getattr(module, form.writer)(plan)
    # Compiled when the first record needs it: many tables have none such.
    rare = cache(careful)
    return lambda values, out: writer.run(values, out, lambda some, to: rare()(some, to))  # noqa: PLW0108 - compiled when it is called


def rows(table: TableSchema, format_: Format, careful: Read, find: Callable[[str], ModuleType | None] = built) -> Read:
    """Return what reads the rows of records: `careful`, the generated function, or the twin, which leaves the rest to
    it.
    """
    reader = _reader(table, format_, find)
    return careful if reader is None else lambda values, out: reader().run(values, out, careful)


def _reader(table: TableSchema, format_: Format, find: Callable[[str], ModuleType | None]) -> Callable[[], Any] | None:
    """Return what makes the twin's reader of rows when the first record comes, as generated functions are made; None
    where it is not built, or slower than these.
    """
    module = find("record_rows")
    kinds_ = [_in_format(_kind_of_value(column.type), format_) for column in table.columns]
    if module is None or kinds_.count(kinds.CALLED) * CALLED_SHARE > len(kinds_):
        return None
    old = range(len(kinds_)) if whole_before(table) else table.key

    @cache
    def reader() -> Any:
        plan = _plan(table, format_, kinds_, lambda _: _itself)
        return module.RowReader(plan | {"old_columns": tuple(old), "unchanged": UNCHANGED})

    return reader


def _plan(
    table: TableSchema, format_: Format, kinds_: Sequence[int], made: Callable[[int], Callable[[Any], Any]]
) -> dict[str, Any]:
    """Return what readers of records know; `made`: by column, the function of its value for kinds that only Python
    knows.
    """
    is_json = format_ is not Format.AVRO
    found = bytes(_in_format(kind, format_) for kind in kinds_)
    call = _json_call if is_json else _avro_call
    return {
        "is_json": is_json,
        "is_wrapped": format_ is Format.JSON_WITH_SCHEMA,
        "kinds": found,
        "scales": bytes(
            (column.type.scale or 0) if kind == kinds.DECIMAL else 0
            for column, kind in zip(table.columns, found, strict=True)
        ),
        "names": _names(table.column_names) if is_json else [],
        "calls": {i: call(table, i, made(i)) for i, kind in enumerate(found) if kind == kinds.CALLED},
    }


def _kind_of_value(type_: LogicalType) -> int:
    # Readers take any text for a UUID's.
    return kinds.TEXT if FORMS[type_.family].avro_read_utf8 is not None else kinds.kind_of(type_)


def _itself(value: Any) -> Any:
    return value


def _in_format(kind: int, format_: Format) -> int:
    # The text of a float is a science of its own.
    return kinds.CALLED if format_ is not Format.AVRO and kind in {kinds.FLOAT32, kinds.FLOAT64} else kind


def _names(names: Sequence[str]) -> list[bytes]:
    return [(b"," if i else b"{") + orjson.dumps(name) + b":" for i, name in enumerate(names)]


def _avro_call(table: TableSchema, column: int, field: Callable[[Any], Any]) -> Callable[..., tuple[Any, int]]:
    """Return the function that reads a value at `p` of a record, and makes its field in Python."""
    return _compiled(table, column, FORMS[table.columns[column].type.family].avro_read("v", 0), "p", field)


def _json_call(table: TableSchema, column: int, field: Callable[[Any], Any]) -> Callable[..., tuple[Any, int]]:
    """The same for a value from `p` to `q`. A null that is not written as ours is the careful way's."""
    read = FORMS[table.columns[column].type.family].json_read("v")
    return _compiled(table, column, ["v = loads(b[p:q])", "if v is None: wrong()", *read], "q", field)


def _compiled(
    table: TableSchema, column: int, read: Sequence[str], end: str, field: Callable[[Any], Any]
) -> Callable[..., tuple[Any, int]]:
    lines = ["def call(b, p, q):", *(f"    {line}" for line in read), f"    return field(v), {end}"]
    return compile_function("\n".join(lines), "field of a column", {"field": field, "loads": orjson.loads})
