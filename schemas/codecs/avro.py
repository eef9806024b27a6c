"""Avro in the Confluent wire format, by generated functions.

An envelope is put together of four parts: the operation and the union bytes (constant), the row, the run's source
block, and the commit sequence. Within an epoch a sequence is of fixed width; its low 13 bits are the first two bytes
and come from a table, the rest changes every 8,192 records.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from schemas import envelope
from schemas.bundles import Pair
from schemas.codecs import row_twin, wire
from schemas.codecs.avro_reader import row_reader, whole
from schemas.codecs.codec import Block, Encoder, Functions, Registered, SchemaIds
from schemas.codecs.generate import (
    RareCases,
    compile_functions,
    compile_logged,
    guarded,
    has_one_row,
    indent,
    names,
    whole_before,
)
from schemas.format import Format
from schemas.registry import avro_schema, canonical_text, schema_id_of
from schemas.row_forms import LoggedLines
from schemas.table import TableSchema
from schemas.types.forms import FORMS, is_loose
from schemas.types.varints import CONTINUED, long, unsigned

LOW_BITS = 13
LOW = CONTINUED[::2]
"""The first two bytes of a sequence, by its low 13 bits (a positive number's zig-zag form is its double)."""


def encoder(
    table: TableSchema,
    replication: str,
    connector: str,
    database: str,
    ids: SchemaIds | None = None,
    *,
    tells_moved: bool,
) -> Encoder:
    """Return the encoder of a table version."""
    columns = envelope.avro_names(table.column_names)
    key_text = canonical_text(avro_schema(envelope.key_schema(table, replication, columns))) if table.key else None
    value_schema = avro_schema(envelope.value_schema(table, replication, connector, columns))
    value_text = canonical_text({**value_schema, "tailrace.version": table.version})
    ids = ids or SchemaIds(schema_id_of(key_text) if key_text else None, schema_id_of(value_text))
    keys, values = Registered(ids.key, key_text), Registered(ids.value, value_text)
    return Encoder(
        table,
        Format.AVRO,
        keys,
        values,
        lambda: _encoder_functions(table, keys, values, replication, connector, database, tells_moved),
    )


def _encoder_functions(
    table: TableSchema,
    keys: Registered,
    values: Registered,
    replication: str,
    connector: str,
    database: str,
    tells_moved: bool,
) -> Functions:
    columns = envelope.avro_names(table.column_names)
    assert values.schema_id is not None
    head = wire.header(values.schema_id)

    def enclose(
        op: str, before: bytes | None, after: bytes | None, missing: list[int], block: Block, seq: int
    ) -> bytes:
        unavailable = b"\0"
        if missing:
            unavailable = b"\2" + long(len(missing)) + b"".join(_string(columns[i]) for i in missing) + b"\0"
        rows = (b"\0" if row is None else b"\2" + row for row in (before, after))
        return b"".join((head, _string(op), *rows, unavailable, block.source, LOW[seq & 8191], turn(block, seq)))

    text = _encoder_text(table)
    extra = {
        "join": b"".join,
        "NULL": b"\0",
        "KEY": wire.header(keys.schema_id) if keys.schema_id else b"",
        "LOW": LOW,
        "turn": turn,
        "CREATE": head + b"\2c\0\2",
        "UPDATE": head + b"\2u\0\2",
        "READ": head + b"\2r\0\2",
        "DELETE": head + b"\2d\2",
        "REPLACE": head + b"\2u\2",
        "FILLED": b"\2",
    }
    made = compile_functions(text, "avro encoder", extra)
    # The rare cases need the key and the body, and the generated `run` needs the rare cases.
    made["rare"] = RareCases(table, made["key"], made["body"], enclose, tells_moved=tells_moved).encode
    return made | {
        "source_text": sys.intern(text),
        "read_head": extra["READ"],
        "logged_by_twin": lambda form, module=None: row_twin.logged(table, form, _texts(extra), made["rare"], module),
        "copied_by_twin": lambda form, module=None: row_twin.copied(table, form, _texts(extra), made["rows"], module),
        "logged_by_python": lambda form: compile_logged(
            form,
            lambda lines: _logged_lines(table, lines),
            "avro encoder of the log",
            made,
        ),
        "unbody": guarded(table, "a row", whole(made["row_at"])),
        "truncate": lambda block, seq: enclose("t", None, None, [], block, seq),
        "make_block": _block_maker(table, replication, connector, database),
        "placed": _placed,
    }


def _texts(names: Mapping[str, Any]) -> row_twin.Texts:
    """Return what the compiled twin writes around values."""
    return row_twin.Texts(
        is_json=False,
        heads={"c": names["CREATE"], "u": names["UPDATE"], "d": names["DELETE"], "replace": names["REPLACE"]},
        null=names["NULL"],
        between=names["FILLED"],
        after_delete=names["NULL"],
        key_head=names["KEY"],
        key_end=b"",
        write=lambda column: FORMS[column.type.family].avro_write("v", "o"),
    )


def turn(block: Block, seq: int) -> bytes:
    """Return what follows the low bits of `seq`."""
    high = seq >> LOW_BITS
    if block.high != high:
        block.high = high
        block.end = unsigned(high) + block.tail
    return block.end


def _placed(pairs: Iterable[Pair], transaction: str, total: int, order: int) -> list[Pair]:
    """The transaction is an envelope's last field: its null is the last byte."""
    start = b"\2" + _string(transaction)
    out: list[Pair] = []
    for key, value in pairs:
        if value is not None:
            total += 1
            order += 1
            value = b"".join((value[:-1], start, long(total), long(order)))
        out.append((key, value))
    return out


def _string(text: str) -> bytes:
    content = text.encode()
    return long(len(content)) + content


def _block_maker(table: TableSchema, replication: str, connector: str, database: str) -> Any:
    origin = b"".join(_string(text) for text in (envelope.VERSION, connector, replication))
    where = _string(table.name.schema) + _string(table.name.table)
    version = long(table.version)
    in_database = _string(database) + b"\0"

    # The changes of a poll are handled at one time, and each source transaction has a block.
    @lru_cache(maxsize=1)
    def tail_of(now_us: int) -> bytes:
        return b"".join((version, *(b"\2" + long(n) for n in (now_us // 1000, now_us, now_us * 1000)), b"\0"))

    def make(snapshot: str, position_lsn: int, ts_us: int, txid: int | None, now_us: int) -> Block:
        source = b"".join(
            (
                origin,
                long(ts_us // 1000),
                _string(snapshot),
                in_database,
                long(ts_us),
                long(ts_us * 1000),
                where,
                b"\0" if txid is None else b"\2" + long(txid),
                b"\2" + long(position_lsn),
                b"\0",
            )
        )
        return Block(b"\0" + source, source, tail_of(now_us))

    return make


def _write_columns(table: TableSchema, columns: range | tuple[int, ...], utf8: Collection[int] = ()) -> list[str]:
    lines = []
    for i in columns:
        form = FORMS[table.columns[i].type.family]
        writer = form.avro_write_utf8 if i in utf8 and form.avro_write_utf8 else form.avro_write
        write = writer(f"v{i}", f"o{i}")
        # A key is never null; None where one should be raises in the fragment.
        lines += write if i in table.key else [f"if v{i} is None: o{i} = NULL", "else:", *indent(write)]
        if i in table.key and is_loose(table.columns[i].type.family):
            lines += [f"u{i} = {form.key.format(v=f'v{i}')}", *form.avro_write(f"u{i}", f"k{i}")]
    return lines


def _key_expression(table: TableSchema) -> str:
    if not table.key:
        return "None"
    parts = [f"{'k' if is_loose(table.columns[i].type.family) else 'o'}{i}[1:]" for i in table.key]
    return f"KEY + {parts[0]}" if len(parts) == 1 else f"join((KEY, {', '.join(parts)}))"


def _key_only_body(table: TableSchema) -> str:
    """Return the parts of a body in which only the key's columns are not null."""
    return "".join(f"o{i}, " if i in table.key else "NULL, " for i in range(len(table.columns)))


def _encoder_text(table: TableSchema) -> str:
    count = len(table.columns)
    columns = _write_columns(table, range(count))
    key_columns = [f"v{i} = row[{i}]" for i in table.key] + _write_columns(table, table.key)
    lines = [
        "def body(row):",
        f"    ({names('v', count)}) = row",
        *indent(columns),
        f"    return join(({names('o', count)}))",
        "",
        "def rows(rows):",
        "    keys, bodies = [], []",
        "    for row in rows:",
        f"        ({names('v', count)}) = row",
        *indent(columns, 2),
        f"        keys.append({_key_expression(table)})",
        f"        bodies.append(join(({names('o', count)})))",
        "    return keys, bodies",
        "",
        "def key(row):",
        *indent(key_columns),
        f"    return {_key_expression(table)}",
        "",
        *row_reader(table),
        "",
        "def read(body, block, seq):",
        "    return join((READ, body, block.plain, LOW[seq & 8191], turn(block, seq)))",
        "",
        "def read_many(rows, block, seq):",
        "    out = []",
        "    plain = block.plain",
        "    for key, body in rows:",
        "        seq += 1",
        "        out.append((key, join((READ, body, plain, LOW[seq & 8191], turn(block, seq)))))",
        "    return out, seq",
        "",
        "def run(changes, block, seq, tombstones):",
        "    out = []",
        "    append = out.append",
        "    plain = block.plain",
        "    end = turn(block, seq + 1)",
        "    for op, before, after in zip(changes.ops, changes.before, changes.after):",
        "        seq += 1",
        "        i = seq & 8191",
        "        if not i: end = turn(block, seq)",
        "        try:",
        "            if before is None:",
        f"                ({names('v', count)}) = after",
        *indent(columns, 4),
        "                append((",
        f"                    {_key_expression(table)},",
        f"                    join((CREATE if op == 'c' else UPDATE, {names('o', count)}plain, LOW[i], end)),",
        "                ))",
        "                continue",
    ]
    if not whole_before(table):
        lines += [
            "            if op == 'd':",
            *indent([*(f"v{i} = before[{i}]" for i in table.key), *_append_delete(table)], 4),
        ]
    lines += [
        "        except Exception: pass",
        "        seq = rare(op, before, after, block, seq, append, tombstones)",
        "        end = turn(block, seq)",
        "    return out, seq",
        "",
    ]
    return "\n".join(lines)


def _logged_lines(table: TableSchema, form: LoggedLines) -> list[str]:
    texts = [FORMS[column.type.family].avro_write_utf8 is not None for column in table.columns]
    utf8 = {i for i, is_text in enumerate(texts) if is_text and form.reads_utf8(i)}
    count = len(table.columns)
    return [
        "def run(messages, block, seq, tombstones):",
        "    out = []",
        "    append = out.append",
        "    plain = block.plain",
        "    end = turn(block, seq + 1)",
        "    for m in messages:",
        "        seq += 1",
        "        i = seq & 8191",
        "        if not i: end = turn(block, seq)",
        "        try:",
        *indent(form.op_lines, 3),
        f"            if {has_one_row(table)}:",
        *indent([*form.row_lines(utf8), *_write_columns(table, range(count), utf8)], 4),
        "                append((",
        f"                    {_key_expression(table)},",
        f"                    join((CREATE if op == 'c' else UPDATE, {names('o', count)}plain, LOW[i], end)),",
        "                ))",
        "                continue",
        *indent(_logged_whole(table, form, utf8) if whole_before(table) else _logged_delete(table, form, utf8), 3),
        "        except Exception: pass",
        "        seq = rare(*read(m), block, seq, append, tombstones)",
        "        end = turn(block, seq)",
        "    return out, seq",
    ]


def _logged_delete(table: TableSchema, form: LoggedLines, utf8: Collection[int]) -> list[str]:
    return [*form.key_lines(utf8), *_append_delete(table, utf8)]


def _logged_whole(table: TableSchema, form: LoggedLines, utf8: Collection[int]) -> list[str]:
    """Return the lines for updates and deletes that hold the whole old row."""
    columns = names("o", len(table.columns))
    write = _write_columns(table, range(len(table.columns)), utf8)
    return [
        *form.old_lines(utf8),
        *write,
        f"old, k = join(({columns})), {_key_expression(table)}",
        "if op == 'd':",
        *indent(form.end_lines),
        "    append((k, join((DELETE, old, NULL, plain, LOW[i], end))))",
        "    if tombstones and k is not None: append((k, None))",
        "    continue",
        *form.next_lines(utf8),
        *write,
        # Another key makes it two records.
        f"if k != {_key_expression(table)}: wrong()",
        f"append((k, join((REPLACE, old, FILLED, {columns}plain, LOW[i], end))))",
        "continue",
    ]


def _append_delete(table: TableSchema, utf8: Collection[int] = ()) -> list[str]:
    return [
        *_write_columns(table, table.key, utf8),
        f"k = {_key_expression(table)}",
        f"append((k, join((DELETE, {_key_only_body(table)}NULL, plain, LOW[i], end))))",
        "if tombstones: append((k, None))",
        "continue",
    ]
