"""Whether the compiled twin can read a table's records for a sink's form, and all that it needs to know for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import orjson

from schemas.changes import StagedForm
from schemas.codecs.generate import compile_function
from schemas.format import Format
from schemas.table import TableSchema
from schemas.twin import WRITERS, built, kinds
from schemas.types.forms import FORMS

Stage = Callable[[list[bytes], list[Any]], None]
"""`(values, out)`: appends to `out` what is staged of records, a `Staged` each."""


def staged(
    table: TableSchema,
    format_: Format,
    form: StagedForm,
    careful: Callable[[], Stage],
    find: Callable[[str], ModuleType | None] = built,
) -> Stage | None:
    """Return what stages records for a form, or None where the twin is not built or cannot.

    `careful` makes the generated function that does the same; `find` stands for what finds built modules in tests.
    """
    module = find(WRITERS[form.writer])
    fields = form.plan([column.type for column in table.columns])
    if module is None or fields is None:
        return None
    is_json = format_ is not Format.AVRO
    found = bytes(_in_format(kind, is_json=is_json) for kind, _ in fields)
    call = _json_call if is_json else _avro_call
    writer = getattr(module, form.writer)(
        {
            "is_json": is_json,
            "is_wrapped": format_ is Format.JSON_WITH_SCHEMA,
            "kinds": found,
            "sizes": bytes(size for _, size in fields),
            "scales": bytes(
                (column.type.scale or 0) if kind == kinds.DECIMAL else 0
                for column, kind in zip(table.columns, found, strict=True)
            ),
            "names": _names(table.column_names) if is_json else [],
            "calls": {i: call(table, i, form.field(i)) for i, kind in enumerate(found) if kind == kinds.CALLED},
        }
    )
    # Compiled when the first record needs it: many tables have none such.
    rare = cache(careful)
    return lambda values, out: writer.run(values, out, lambda some, to: rare()(some, to))  # noqa: PLW0108 - compiled when it is called


def _in_format(kind: int, *, is_json: bool) -> int:
    # The text of a float is a science of its own.
    return kinds.CALLED if is_json and kind in {kinds.FLOAT32, kinds.FLOAT64} else kind


def _names(names: Sequence[str]) -> list[bytes]:
    return [(b"," if i else b"{") + orjson.dumps(name) + b":" for i, name in enumerate(names)]


def _avro_call(table: TableSchema, column: int, field: Callable[[Any], bytes]) -> Callable[..., tuple[bytes, int]]:
    """Return the function that reads a value at `p` of a record, and makes its field in Python."""
    return _compiled(table, column, FORMS[table.columns[column].type.family].avro_read("v", 0), "p", field)


def _json_call(table: TableSchema, column: int, field: Callable[[Any], bytes]) -> Callable[..., tuple[bytes, int]]:
    """The same for a value from `p` to `q`. A null that is not written as ours is the careful way's."""
    read = FORMS[table.columns[column].type.family].json_read("v")
    return _compiled(table, column, ["v = loads(b[p:q])", "if v is None: wrong()", *read], "q", field)


def _compiled(
    table: TableSchema, column: int, read: Sequence[str], end: str, field: Callable[[Any], bytes]
) -> Callable[..., tuple[bytes, int]]:
    lines = ["def call(b, p, q):", *(f"    {line}" for line in read), f"    return field(v), {end}"]
    return compile_function("\n".join(lines), "field of a column", {"field": field, "loads": orjson.loads})
