"""Reading Avro in the Confluent wire format, by generated functions. The other half of `avro.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from schemas import envelope
from schemas.changes import UNCHANGED, Row
from schemas.codecs import wire
from schemas.codecs.codec import Decoder, Facts, Functions
from schemas.codecs.facts import Places, facts_reader
from schemas.codecs.generate import (
    arrange,
    compile_functions,
    compile_staged,
    guarded,
    guarded_many,
    indent,
    names,
    whole_before,
)
from schemas.codecs.record_twin import Read, rows, staged
from schemas.format import Format
from schemas.row_forms import StagedForm
from schemas.table import TableSchema
from schemas.twin import built
from schemas.types.forms import FORMS
from schemas.types.varints import bytes_at, long_at

_PADDING = b"\0" * 8
"""A reader may look eight bytes ahead. In an envelope more than that follows a row."""


DELETE = b"\2d\2"
"""How an envelope of a delete with an old row begins, behind the schema id."""
WITH_OLD_ROW = {b"\2" + op.encode() + b"\2": op for op in "rcu"}
"""The same of other changes that have one, by the operation."""


def decoder(table: TableSchema) -> Decoder:
    """Return the decoder of a table version."""
    return Decoder(table, Format.AVRO, lambda: _decoder_functions(table))


def _decoder_functions(table: TableSchema) -> Functions:
    indexes = {name: i for i, name in enumerate(envelope.avro_names(table.column_names))}
    text = _decoder_text(table)
    made = compile_functions(
        text,
        "avro decoder",
        {
            "HEADS": {b"\2" + op.encode() + b"\0\2": op for op in "rcu"},
            "WITH_OLD_ROW": WITH_OLD_ROW,
            "UNCHANGED": UNCHANGED,
        },
    )
    row_at = made["row_at"]

    def parse(b: bytes) -> tuple[str, Row | None, Row | None, int]:
        if b[0] != wire.MAGIC:
            raise ValueError
        p, e = bytes_at(b, wire.HEADER_BYTES)
        op, p = b[p:e].decode(), e
        if op not in envelope.OPERATIONS:
            raise ValueError
        before, p = _optional_row(row_at, b, p)
        after, p = _optional_row(row_at, b, p)
        missing, p = _unavailable(b, p, indexes)
        return *arrange(table, op, before, after, missing), p

    made["rare"] = lambda b: parse(b)[:3]

    def read_facts(b: bytes) -> Facts:
        return _facts(b, parse(b)[3])

    def rows_by_twin(find: Callable[[str], Any] = built) -> Read:
        return rows(table, Format.AVRO, made["decode_many"], find)

    def by_python(form: StagedForm) -> Read:
        title = "avro stager"
        return compile_staged(form, _staged_lines(table, form), title, made)

    def by_twin(form: StagedForm, find: Callable[[str], Any] = built) -> Read | None:
        return staged(table, Format.AVRO, form, partial(by_python, form), find)

    facts_by = partial(facts_reader, read_facts, lambda b: _places(b, parse(b)[3]), _sequence, False)
    return {
        "source_text": sys.intern(text),
        "decode": guarded(table, "a value", lambda b: parse(b)[:3]),
        "decode_many": guarded_many(table, rows_by_twin()),
        "rows_by_python": made["decode_many"],
        "rows_by_twin": rows_by_twin,
        "staged": lambda form: guarded_many(table, by_twin(form) or by_python(form)),
        "staged_by_python": by_python,
        "staged_by_twin": by_twin,
        "decode_key": guarded(table, "a key", whole(made["key_at"], wire.HEADER_BYTES)),
        "facts": guarded(table, "a value", read_facts),
        "facts_many": guarded_many(table, facts_by()),
        "facts_by": facts_by,
    }


def _read_columns(table: TableSchema, utf8: Collection[int] = (), null: str = "None") -> list[str]:
    """Return the lines that read a row's columns; `null` is what is assigned for null."""
    lines = []
    for i, column in enumerate(table.columns):
        form = FORMS[column.type.family]
        reader = form.avro_read_utf8 if i in utf8 and form.avro_read_utf8 else form.avro_read
        read = reader(f"v{i}", 1)
        lines += ["x = b[p]", "if x == 2:", *indent(read), "elif x: wrong()", f"else: v{i} = {null}; p += 1"]
    return lines


def row_reader(table: TableSchema) -> list[str]:
    """Return the function `row_at(b, p)`: the row that begins at `p` of a buffer, and where it ends."""
    return [
        "def row_at(b, p):",
        *indent(_read_columns(table)),
        f"    return ({names('v', len(table.columns))}), p",
    ]


def _decoder_text(table: TableSchema) -> str:
    keys = []
    for i in table.key:
        keys += FORMS[table.columns[i].type.family].avro_read(f"v{i}", 0)
    lines = [
        *row_reader(table),
        "",
        "def key_at(b, p):",
        *indent(keys),
        f"    return ({''.join(f'v{i}, ' for i in table.key)}), p",
        "",
        *_delete_reader(table),
        "",
        "def decode_many(values, out):",
        "    append = out.append",
        "    for b in values:",
        "        op = HEADS.get(b[5:9])",
        "        if op is None:",
        "            append(deleted(b))",
        "            continue",
        "        p = 9",
        *indent(_read_columns(table), 2),
        "        if b[p]: append(rare(b))",
        f"        else: append((op, None, ({names('v', len(table.columns))})))",
        "",
    ]
    return "\n".join(lines)


def _delete_reader(table: TableSchema) -> list[str]:
    """Return the function `deleted(b)`: the delete of a row of which no more than the key is known."""
    key_only = "".join(f"v{i}, " if i in table.key else "UNCHANGED, " for i in range(len(table.columns)))
    return [
        "def deleted(b):",
        f"    if b[5:8] != {DELETE!r} or {whole_before(table)}: return rare(b)",
        "    p = 8",
        *indent(_read_columns(table)),
        "    if b[p] or b[p + 1]: return rare(b)",
        f"    return 'd', ({key_only}), None",
    ]


def _staged_lines(table: TableSchema, form: StagedForm) -> list[str]:
    """Return the function `staged(values, out)`, which is `decode_many` with lines instead of most rows, without the
    old ones beside them.
    """
    families = [FORMS[column.type.family] for column in table.columns]
    utf8 = {i for i, family in enumerate(families) if family.avro_read_utf8 is not None and form.takes_utf8(i)}
    return [
        "def staged(values, out):",
        "    append = out.append",
        "    for b in values:",
        "        p, op = 9, HEADS.get(b[5:9])",
        "        if op is None:",
        "            p, op = 0, WITH_OLD_ROW.get(b[5:8])",
        "            if op is None:",
        "                append(deleted(b))",
        "                continue",
        "        try:",
        "            if not p:",
        "                _, p = row_at(b, 8)",
        "                if b[p] != 2: wrong()",
        "                p += 1",
        "            full = True",
        *indent(_read_columns(table, utf8, "full = None"), 3),
        "            if not b[p]:",
        *indent(form.lines(utf8), 4),
        "                append((op, None, line))",
        "                continue",
        "        except Exception: pass",
        "        append(rare(b))",
    ]


def whole(read: Callable[[bytes, int], tuple[Row, int]], start: int = 0) -> Callable[[bytes], Row]:
    """Return a reader of bytes that hold one row, or key, and nothing else."""

    def checked(b: bytes) -> Row:
        if start and b[0] != wire.MAGIC:
            raise ValueError
        row, p = read(b + _PADDING, start)
        if p != len(b):
            raise ValueError
        return row

    return checked


def _optional_row(row_at: Callable[[bytes, int], tuple[Row, int]], b: bytes, p: int) -> tuple[Row | None, int]:
    if b[p] == 0:
        return None, p + 1
    if b[p] != 2:
        raise ValueError
    return row_at(b, p + 1)


def _unavailable(b: bytes, p: int, indexes: dict[str, int]) -> tuple[list[int], int]:
    if b[p] == 0:
        return [], p + 1
    if b[p] != 2:
        raise ValueError
    missing: list[int] = []
    p += 1
    while True:
        count, p = long_at(b, p)
        if count < 0:
            # Avro 1.12, "Arrays": a negative count is followed by the block's size in bytes.
            count, (_, p) = -count, long_at(b, p)
        if count == 0:
            return missing, p
        if count + len(missing) > len(indexes):
            raise ValueError
        for _ in range(count):
            p, e = bytes_at(b, p)
            missing.append(indexes[b[p:e].decode()])
            p = e


def _facts(b: bytes, p: int) -> Facts:
    found: dict[str, Any] = {}
    for name, type_, optional in envelope.source_fields():
        if optional:
            if b[p] == 0:
                found[name], p = None, p + 1
                continue
            if b[p] != 2:
                raise ValueError
            p += 1
        if type_ == "string":
            p, e = bytes_at(b, p)
            found[name], p = b[p:e].decode(), e
        else:
            found[name], p = long_at(b, p)
    times = []
    for _ in range(3):
        if b[p] not in {0, 2}:
            raise ValueError
        n, p = long_at(b, p + 1) if b[p] else (0, p + 1)
        times.append(n)
    return Facts(
        found["seq"],
        times[1],
        found["ts_us"],
        found["txId"],
        found["lsn"],
        found["snapshot"],
        found["schema_version"],
    )


def _places(b: bytes, p: int) -> Places:
    """Return where the source at `p` has its commit sequence. It has been read: it is one."""
    source = p
    for name, type_, optional in envelope.source_fields():
        if optional:
            p += 1
            if b[p - 1] == 0:
                continue
        end = bytes_at(b, p)[1] if type_ == "string" else long_at(b, p)[1]
        if name == "seq":
            return Places(source, p, end)
        p = end
    raise ValueError


def _sequence(varint: bytes) -> int | None:
    try:
        seq, end = long_at(varint, 0)
    except (ValueError, IndexError):
        return None
    return seq if end == len(varint) else None
