"""Whether the compiled twin can write a table's records of its source's rows, and all that it needs to know for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import orjson

from schemas.bundles import Bundle, Pair
from schemas.changes import Row
from schemas.codecs.codec import Block, Encoded
from schemas.codecs.generate import compile_function, whole_before
from schemas.row_forms import CopiedForm, LoggedForm, WrittenForm
from schemas.table import Column, TableSchema
from schemas.twin import WRITERS, built, kinds
from schemas.types.forms import is_loose

Logged = Callable[[list[bytes], Block, int, bool], tuple[list[Pair], int]]
"""`(messages, block, seq, tombstones)` to the records and the last sequence, as `Encoder.records` calls it."""

_CALLING = frozenset({kinds.CALLED, kinds.NARROW, kinds.DOCUMENT})
"""Kinds whose values a function may have to make."""

Copied = Callable[[list[bytes]], Bundle]
"""`(packets)` to keys and bodies, as `Encoder.loaded` calls it."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What stands around values in one format."""

    is_json: bool
    heads: Mapping[str, bytes]
    """What precedes the first row, by operation; `replace`: that of an update with its old row."""
    null: bytes
    between: bytes
    """Between an old row and a new one."""
    after_delete: bytes
    key_head: bytes
    key_end: bytes
    names: Sequence[bytes] = ()
    """JSON: what precedes each column's value, but for the brace or comma."""
    write: Callable[[Column], Sequence[str]] = lambda _: ()
    """The lines that put a value `v` into bytes `o`, for kinds that only Python writes."""


def logged(
    table: TableSchema, form: LoggedForm, texts: Texts, rare: Callable[..., int], module: ModuleType | None = None
) -> Logged | None:
    """Return the function that writes the records of messages, or None where the twin is not built or cannot.

    `rare` is `RareCases.encode`; `module` stands for the built one in tests.
    """
    writer = _writer(table, form, texts, module)
    if writer is None:
        return None

    def run(messages: list[bytes], block: Block, seq: int, tombstones: bool) -> tuple[list[Pair], int]:
        def careful(message: bytes, at: int, pairs: list[Pair]) -> int:
            return rare(*form.read(message), block, at, pairs.append, tombstones)

        made: tuple[list[Pair], int] = writer.run(messages, block.plain, block.tail, seq, tombstones, careful)
        return made

    return run


def copied(
    table: TableSchema,
    form: CopiedForm,
    texts: Texts,
    rows: Callable[[Sequence[Row]], Encoded],
    module: ModuleType | None = None,
) -> Copied | None:
    """The same for the keys and bodies of rows that a chunk's read was sent."""
    writer = _writer(table, form, texts, module)
    if writer is None:
        return None

    def careful(packet: bytes) -> tuple[bytes | None, bytes]:
        (key,), (body,) = rows(form.read([packet]))
        return key, body

    def run(packets: list[bytes]) -> Bundle:
        return Bundle(writer.bundle_rows(packets, careful), len(packets))

    return run


def _writer(table: TableSchema, form: WrittenForm, texts: Texts, module: ModuleType | None) -> Any:
    plan = _plan(table, form, texts)
    if plan is None:
        return None
    module = module or built(WRITERS[form.writer])
    return None if module is None else getattr(module, form.writer)(plan)


def _plan(table: TableSchema, form: WrittenForm, texts: Texts) -> dict[str, Any] | None:
    """Return what a writer must know of a table's rows; None if it cannot write them."""
    columns = range(len(table.columns))
    kinds_ = [form.kind(i) for i in columns]
    # (The brace of a JSON row comes with its first column.)
    if not kinds_ or None in kinds_ or any(is_loose(table.columns[i].type.family) for i in table.key):
        return None
    found = bytes(_in_format(kind or 0, texts) for kind in kinds_)
    more = dict(form.plan())
    labels: Mapping[int, Sequence[str]] = more.pop("labels", {})
    whole = whole_before(table)
    return more | {
        "is_json": texts.is_json,
        "is_whole": whole,
        "kinds": found,
        "scales": bytes(min(column.type.scale or 0, 255) for column in table.columns),
        "calls": {i: _call(table.columns[i], form.value(i), texts) for i in columns if found[i] in _CALLING},
        "labels": {i: _labels(table.columns[i], labels[i], texts) for i in columns if found[i] == kinds.LABEL},
        "key_columns": tuple(table.key),
        "names": _named(texts.names, columns) if texts.is_json else [],
        "key_names": _named(texts.names, table.key) if texts.is_json else [],
        "null": texts.null,
        "key_head": texts.key_head,
        "key_end": texts.key_end,
        "heads": _heads(texts.heads, is_whole=whole),
        "between": texts.between,
        "after_delete": texts.after_delete,
    }


def _in_format(kind: int, texts: Texts) -> int:
    # The shortest text of a float is a science of its own.
    return kinds.CALLED if texts.is_json and kind in (kinds.FLOAT32, kinds.FLOAT64) else kind


def _heads(heads: Mapping[str, bytes], *, is_whole: bool) -> dict[int, bytes]:
    return {ord("I"): heads["c"], ord("U"): heads["replace" if is_whole else "u"], ord("D"): heads["d"]}


def _named(names: Sequence[bytes], columns: Sequence[int]) -> list[bytes]:
    return [(b"," if place else b"{") + names[i] for place, i in enumerate(columns)]


def _call(column: Column, read: Callable[[bytes, int, int], Any], texts: Texts) -> Callable[[bytes, int, int], bytes]:
    """Return the function that makes a value's bytes, from `p` to `q` of a message, in Python."""
    lines = [
        "def call(m, p, q):",
        "    v = read(m, p, q)",
        *(f"    {line}" for line in texts.write(column)),
        "    return o",
    ]
    return compile_function("\n".join(lines), "value of a column", {"read": read, "dumps": orjson.dumps})


def _labels(column: Column, labels: Sequence[str], texts: Texts) -> list[bytes]:
    """Return what is written for each label of a column."""
    write = _call(column, lambda m, p, _: m[p], texts)
    return [write(labels, number, 0) for number in range(len(labels))]  # type: ignore[arg-type]  # as the lines have it
