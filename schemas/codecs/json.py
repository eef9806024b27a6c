"""JSON, plain and with Connect's schema around it, by generated functions over `orjson`.

A row becomes a dict literal of its JSON forms, which `orjson` writes at once; the rest of an envelope is constant text
and the run's source block.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from schemas import envelope
from schemas.bundles import Pair
from schemas.codecs import row_twin
from schemas.codecs.codec import Block, Encoder, Functions, Registered
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
from schemas.codecs.json_reader import row_reader
from schemas.format import Format
from schemas.row_forms import LoggedLines
from schemas.table import Column, TableSchema
from schemas.types.forms import FORMS

dumps = orjson.dumps
loads = orjson.loads


def encoder(
    table: TableSchema, format_: Format, replication: str, connector: str, database: str, *, tells_moved: bool
) -> Encoder:
    """Return the encoder of a table version."""
    none = Registered(None, None)
    return Encoder(
        table,
        format_,
        none,
        none,
        lambda: _encoder_functions(table, format_, replication, connector, database, tells_moved),
    )


def _encoder_functions(
    table: TableSchema, format_: Format, replication: str, connector: str, database: str, tells_moved: bool
) -> Functions:
    columns = table.column_names
    key_head, value_head, close = b"", b"", b""
    if format_ is Format.JSON_WITH_SCHEMA:
        value_schema = envelope.value_schema(table, replication, connector, columns)
        key_head = b'{"schema":' + dumps(envelope.key_schema(table, replication, columns)) + b',"payload":'
        value_head = b'{"schema":' + dumps(value_schema) + b',"payload":'
        close = b"}"

    def enclose(
        op: str, before: bytes | None, after: bytes | None, missing: list[int], block: Block, seq: int
    ) -> bytes:
        return b'%b{"op":"%b","before":%b,"after":%b,"unavailable":%b%b%d%b' % (
            value_head,
            op.encode(),
            before or b"null",
            after or b"null",
            dumps([columns[i] for i in missing] or None),
            block.source,
            seq,
            block.tail,
        )

    text = _encoder_text(table)
    extra = {
        "join": b"".join,
        "dumps": dumps,
        "KEY": key_head,
        "CLOSE": close,
        "CREATE": value_head + b'{"op":"c","before":null,"after":',
        "UPDATE": value_head + b'{"op":"u","before":null,"after":',
        "READ": value_head + b'{"op":"r","before":null,"after":',
        "DELETE": value_head + b'{"op":"d","before":',
        "REPLACE": value_head + b'{"op":"u","before":',
        "AFTER": b',"after":',
    }
    made = compile_functions(text, f"{format_} encoder", extra)
    # The rare cases need the key and the body, and the generated `run` needs the rare cases.
    made["rare"] = RareCases(table, made["key"], made["body"], enclose, tells_moved=tells_moved).encode
    return made | {
        "source_text": sys.intern(text),
        "read_head": extra["READ"],
        "logged_by_twin": lambda form, module=None: row_twin.logged(
            table, form, _texts(extra, columns), made["rare"], module
        ),
        "copied_by_twin": lambda form, module=None: row_twin.copied(
            table, form, _texts(extra, columns), made["rows"], module
        ),
        "logged_by_python": lambda form: compile_logged(
            form,
            lambda lines: _logged_lines(table, lines),
            f"{format_} encoder of the log",
            made,
        ),
        "unbody": guarded(table, "a row", lambda b: made["row_of"](loads(b))),
        "truncate": lambda block, seq: enclose("t", None, None, [], block, seq),
        "make_block": _block_maker(table, replication, connector, database, close),
        "placed": _placer(close),
    }


def _texts(names: Mapping[str, Any], columns: Sequence[str]) -> row_twin.Texts:
    """Return what the compiled twin writes around values."""

    def write(column: Column) -> list[str]:
        form = FORMS[column.type.family]
        return [f"o = dumps({form.json_write('v') if form.json_write else 'v'})"]

    return row_twin.Texts(
        is_json=True,
        heads={"c": names["CREATE"], "u": names["UPDATE"], "d": names["DELETE"], "replace": names["REPLACE"]},
        null=b"null",
        between=names["AFTER"],
        after_delete=names["AFTER"] + b"null",
        key_head=names["KEY"],
        key_end=b"}" + names["CLOSE"],
        names=[dumps(name) + b":" for name in columns],
        write=write,
    )


def _placer(close: bytes) -> Callable[[Iterable[Pair], str, int, int], list[Pair]]:
    end = -len(b"null}" + close)

    def placed(pairs: Iterable[Pair], transaction: str, total: int, order: int) -> list[Pair]:
        # The transaction is an envelope's last field.
        start = b'{"id":' + dumps(transaction)
        out: list[Pair] = []
        for key, value in pairs:
            if value is not None:
                total += 1
                order += 1
                value = b'%b%b,"total_order":%d,"data_collection_order":%d}}%b' % (
                    value[:end],
                    start,
                    total,
                    order,
                    close,
                )
            out.append((key, value))
        return out

    return placed


def _block_maker(table: TableSchema, replication: str, connector: str, database: str, close: bytes) -> Any:
    def text(value: str) -> bytes:
        return dumps(value).replace(b"%", b"%%")

    # Filled in for each source transaction, which may be one row.
    source_of = b"".join(
        (
            b',"source":{"version":%b,"connector":%b,"name":%b,'
            % (text(envelope.VERSION), text(connector), text(replication)),
            b'"ts_ms":%d,"snapshot":%b,',
            b'"db":%b,"sequence":null,' % text(database),
            b'"ts_us":%d,"ts_ns":%d,',
            b'"schema":%b,"table":%b,' % (text(table.name.schema), text(table.name.table)),
            b'"txId":%b,"lsn":%d,"xmin":null,"seq":',
        )
    )

    @lru_cache(maxsize=1)
    def tail_of(now_us: int) -> bytes:
        times = dumps({"ts_ms": now_us // 1000, "ts_us": now_us, "ts_ns": now_us * 1000, "transaction": None})
        return b',"schema_version":%d},' % table.version + times[1:] + close

    def make(snapshot: str, position_lsn: int, ts_us: int, txid: int | None, now_us: int) -> Block:
        shown = b"null" if txid is None else b"%d" % txid
        times = ts_us // 1000, dumps(snapshot), ts_us, ts_us * 1000
        source = source_of % (*times, shown, position_lsn)
        return Block(b',"unavailable":null' + source, source, tail_of(now_us))

    return make


def _literal(table: TableSchema, columns: range | tuple[int, ...], *, as_key: bool = False) -> str:
    """Return the dict literal of some columns' JSON forms."""
    entries = []
    for i in columns:
        form = FORMS[table.columns[i].type.family]
        value = form.key.format(v=f"v{i}") if as_key else f"v{i}"
        entries.append(f"{table.columns[i].name!r}: {form.json_write(value) if form.json_write else value}")
    return "{" + ", ".join(entries) + "}"


def _key_checks(table: TableSchema) -> list[str]:
    return [f"if v{i} is None: wrong()" for i in table.key]


def _key_expression(table: TableSchema) -> str:
    return f"KEY + dumps({_literal(table, table.key, as_key=True)}) + CLOSE" if table.key else "None"


def _encoder_text(table: TableSchema) -> str:
    count = len(table.columns)
    everything = _literal(table, range(count))
    unpack = f"({names('v', count)}) = "
    lines = [
        "def body(row):",
        f"    {unpack}row",
        *indent(_key_checks(table)),
        f"    return dumps({everything})",
        "",
        "def rows(rows):",
        "    keys, bodies = [], []",
        "    for row in rows:",
        f"        {unpack}row",
        *indent(_key_checks(table), 2),
        f"        keys.append({_key_expression(table)})",
        f"        bodies.append(dumps({everything}))",
        "    return keys, bodies",
        "",
        "def key(row):",
        *indent(f"v{i} = row[{i}]" for i in table.key),
        *indent(_key_checks(table)),
        f"    return {_key_expression(table)}",
        "",
        *row_reader(table),
        "",
        "def read(body, block, seq):",
        "    return join((READ, body, block.plain, b'%d' % seq, block.tail))",
        "",
        "def read_many(rows, block, seq):",
        "    out = []",
        "    plain, tail = block.plain, block.tail",
        "    for key, body in rows:",
        "        seq += 1",
        "        out.append((key, join((READ, body, plain, b'%d' % seq, tail))))",
        "    return out, seq",
        "",
        *_run(table),
        "",
    ]
    return "\n".join(lines)


def _run(table: TableSchema) -> list[str]:
    return [
        "def run(changes, block, seq, tombstones):",
        "    out = []",
        "    append = out.append",
        "    plain, tail = block.plain, block.tail",
        "    for op, before, after in zip(changes.ops, changes.before, changes.after):",
        "        seq += 1",
        "        try:",
        "            if before is None:",
        f"                ({names('v', len(table.columns))}) = after",
        *indent(_append_row(table), 4),
        *([] if whole_before(table) else _delete_by_key(table)),
        "        except Exception: pass",
        "        seq = rare(op, before, after, block, seq, append, tombstones)",
        "    return out, seq",
    ]


def _logged_lines(table: TableSchema, form: LoggedLines) -> list[str]:
    return [
        "def run(messages, block, seq, tombstones):",
        "    out = []",
        "    append = out.append",
        "    plain, tail = block.plain, block.tail",
        "    for m in messages:",
        "        seq += 1",
        "        try:",
        *indent(form.op_lines, 3),
        f"            if {has_one_row(table)}:",
        *indent([*form.row_lines(()), *_append_row(table)], 4),
        *indent(_logged_whole(table, form) if whole_before(table) else _logged_delete(table, form), 3),
        "        except Exception: pass",
        "        seq = rare(*read(m), block, seq, append, tombstones)",
        "    return out, seq",
    ]


def _logged_delete(table: TableSchema, form: LoggedLines) -> list[str]:
    return [*form.key_lines(()), *_append_delete(table)]


def _logged_whole(table: TableSchema, form: LoggedLines) -> list[str]:
    """Return the lines for updates and deletes that hold the whole old row."""
    row = _literal(table, range(len(table.columns)))
    return [
        *form.old_lines(()),
        *_key_checks(table),
        f"old, k = dumps({row}), {_key_expression(table)}",
        "if op == 'd':",
        *indent(form.end_lines),
        "    append((k, join((DELETE, old, b',\"after\":null', plain, b'%d' % seq, tail))))",
        "    if tombstones and k is not None: append((k, None))",
        "    continue",
        *form.next_lines(()),
        *_key_checks(table),
        # Another key makes it two records.
        f"if k != {_key_expression(table)}: wrong()",
        f"append((k, join((REPLACE, old, AFTER, dumps({row}), plain, b'%d' % seq, tail))))",
        "continue",
    ]


def _append_row(table: TableSchema) -> list[str]:
    return [
        *_key_checks(table),
        "append((",
        f"    {_key_expression(table)},",
        "    join((",
        "        CREATE if op == 'c' else UPDATE,",
        f"        dumps({_literal(table, range(len(table.columns)))}),",
        "        plain, b'%d' % seq, tail,",
        "    )),",
        "))",
        "continue",
    ]


def _delete_by_key(table: TableSchema) -> list[str]:
    return [
        "            if op == 'd':",
        *indent((f"v{i} = before[{i}]" for i in table.key), 4),
        *indent(_append_delete(table), 4),
    ]


def _append_delete(table: TableSchema) -> list[str]:
    only_key = ", ".join(
        f"{column.name!r}: {_form(table, i) if i in table.key else None}" for i, column in enumerate(table.columns)
    )
    return [
        *_key_checks(table),
        f"k = {_key_expression(table)}",
        f"old = dumps({{{only_key}}})",
        "append((k, join((DELETE, old, b',\"after\":null', plain, b'%d' % seq, tail))))",
        "if tombstones: append((k, None))",
        "continue",
    ]


def _form(table: TableSchema, i: int) -> str:
    write = FORMS[table.columns[i].type.family].json_write
    return write(f"v{i}") if write else f"v{i}"
