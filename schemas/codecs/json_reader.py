"""Reading JSON, plain and with Connect's schema around it, by generated functions. The other half of `json.py`.

A reader parses no further than the rows: our own envelopes have the source behind them. Of the rest it looks at the
end, so that nothing is read that was cut.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from schemas import envelope
from schemas.changes import Row
from schemas.codecs.codec import Decoder, Facts, Functions
from schemas.codecs.facts import Places, facts_reader
from schemas.codecs.generate import arrange, compile_functions, compile_staged, guarded, guarded_many, indent, names
from schemas.codecs.record_twin import Read, rows, staged
from schemas.format import Format
from schemas.row_forms import StagedForm
from schemas.table import TableSchema
from schemas.twin import built
from schemas.types.forms import FORMS

_SOURCE = b',"source":{"version":'
"""What stands behind the rows. No string can hold it (its quotes would be escaped), nor can a row."""

_ENDS = (b"null}", b"}}")
"""How our envelopes end: with the transaction, if there is one. Whatever ends otherwise is parsed as a whole."""

_SEQ = b',"seq":'

_PAYLOAD = b'"payload":{"op":'
"""Where the envelope begins behind a schema."""

loads = orjson.loads


def decoder(table: TableSchema, format_: Format) -> Decoder:
    """Return the decoder of a table version."""
    return Decoder(table, format_, lambda: _decoder_functions(table, format_))


def _decoder_functions(table: TableSchema, format_: Format) -> Functions:
    indexes = {name: i for i, name in enumerate(table.column_names)}
    wrapped = format_ is Format.JSON_WITH_SCHEMA
    text = _decoder_text(table, wrapped=wrapped)
    made = compile_functions(
        text,
        f"{format_} decoder",
        {
            "loads": loads,
            "SOURCE": _SOURCE,
            "PAYLOAD": _PAYLOAD,
            "ENDS": tuple(end + b"}" for end in _ENDS) if wrapped else _ENDS,
            "SIMPLE": frozenset("rcu"),
        },
    )
    row_of, key_of = made["row_of"], made["key_of"]

    def arranged(document: dict[str, Any]) -> tuple[str, Row | None, Row | None]:
        op = document["op"]
        if op not in envelope.OPERATIONS:
            raise ValueError
        before, after = document["before"], document["after"]
        return arrange(
            table,
            op,
            None if before is None else row_of(before),
            None if after is None else row_of(after),
            [indexes[name] for name in document.get("unavailable") or ()],
        )

    whole = _payload if wrapped else loads
    # Another writer's envelope may have its fields in another order: then what stands before the source is not enough.
    made["rare"] = lambda d, b: arranged(d if {"op", "before", "after"} <= d.keys() else whole(b))

    def rows_by_twin(find: Callable[[str], Any] = built) -> Read:
        return rows(table, format_, made["decode_many"], find)

    def by_python(form: StagedForm) -> Read:
        title = f"{format_} stager"
        return compile_staged(form, _staged_lines(table, form, wrapped=wrapped), title, made)

    def by_twin(form: StagedForm, find: Callable[[str], Any] = built) -> Read | None:
        return staged(table, format_, form, partial(by_python, form), find)

    facts_by = partial(facts_reader, lambda b: _facts(whole(b)), _places, _sequence, True)
    return {
        "source_text": sys.intern(text),
        "decode": guarded(table, "a value", lambda b: arranged(whole(b))),
        "decode_many": guarded_many(table, rows_by_twin()),
        "rows_by_python": made["decode_many"],
        "rows_by_twin": rows_by_twin,
        "staged": lambda form: guarded_many(table, by_twin(form) or by_python(form)),
        "staged_by_python": by_python,
        "staged_by_twin": by_twin,
        "decode_key": guarded(table, "a key", lambda b: key_of(whole(b))),
        "facts": guarded(table, "a value", lambda b: _facts(whole(b))),
        "facts_many": guarded_many(table, facts_by()),
        "facts_by": facts_by,
    }


def _places(value: bytes) -> Places:
    source = value.index(_SOURCE)
    seq = value.index(_SEQ, source) + len(_SEQ)
    return Places(source, seq, value.index(b",", seq))


def _sequence(digits: bytes) -> int | None:
    # Zeros before a number are no JSON.
    return int(digits) if digits.isdigit() and not digits.startswith(b"0") else None


def _payload(value: bytes) -> Any:
    return loads(value)["payload"]


def _read_columns(table: TableSchema, null: str = "") -> list[str]:
    """Return the lines that read a row's columns; `null` is what to do where one is null."""
    lines = []
    for i, column in enumerate(table.columns):
        read = FORMS[column.type.family].json_read(f"v{i}")
        lines += [f"v{i} = a[{column.name!r}]", f"if v{i} is not None:", *indent(read)]
        lines += [f"else: {null}"] if null else []
    return lines


def row_reader(table: TableSchema) -> list[str]:
    """Return the function `row_of(a)`: the row of a parsed object."""
    return [
        "def row_of(a):",
        *indent(_read_columns(table)),
        f"    return ({names('v', len(table.columns))})",
    ]


def _decoder_text(table: TableSchema, *, wrapped: bool) -> str:
    keys = []
    for i in table.key:
        keys += [f"v{i} = a[{table.columns[i].name!r}]", *FORMS[table.columns[i].type.family].json_read(f"v{i}")]
    lines = [
        *row_reader(table),
        "",
        "def key_of(a):",
        *indent(keys),
        f"    return ({''.join(f'v{i}, ' for i in table.key)})",
        "",
        "def decode_many(values, out):",
        *_locate("d.get('before') is not None or d.get('unavailable')", wrapped=wrapped),
        *indent(_read_columns(table), 2),
        f"        append((op, None, ({names('v', len(table.columns))})))",
        "",
    ]
    return "\n".join(lines)


def _locate(is_rare: str, *, wrapped: bool) -> list[str]:
    """Return the beginning of a loop over `values`: in `op` and `a` are the operation and row of the frequent cases,
    those with a new row that are not `is_rare`.
    """
    if wrapped:
        locate = [
            "j = b.find(PAYLOAD) + 10",
            "i = b.find(SOURCE, j) if j > 9 and b.endswith(ENDS) else 0",
            "d = loads(b[j:i] + b'}') if i > 0 else loads(b)['payload']",
        ]
    else:
        locate = ["i = b.find(SOURCE) if b.endswith(ENDS) else 0", "d = loads(b[:i] + b'}') if i > 0 else loads(b)"]
    return [
        "    append = out.append",
        "    for b in values:",
        *indent(locate, 2),
        "        op = d.get('op')",
        "        a = d.get('after')",
        f"        if a is None or op not in SIMPLE or {is_rare}:",
        "            append(rare(d, b))",
        "            continue",
    ]


def _staged_lines(table: TableSchema, form: StagedForm, *, wrapped: bool) -> list[str]:
    """Return the function `staged(values, out)`, which is `decode_many` with lines instead of most rows, without the
    old ones beside them.
    """
    return [
        "def staged(values, out):",
        *_locate("d.get('unavailable')", wrapped=wrapped),
        "        try:",
        "            full = True",
        *indent(_read_columns(table, "full = False"), 3),
        *indent(form.lines(()), 3),
        "            append((op, None, line))",
        "        except Exception: append(rare(d, b))",
    ]


def _facts(document: dict[str, Any]) -> Facts:
    source = document["source"]
    numbers = (source["seq"], document.get("ts_us") or 0, source["ts_us"], source["schema_version"])
    optional = (source.get("txId"), source.get("lsn"))
    if any(n.__class__ is not int for n in numbers) or any(n.__class__ not in {int, type(None)} for n in optional):
        raise ValueError
    snapshot = source["snapshot"]
    if snapshot.__class__ is not str:
        raise ValueError
    seq, ts_us, source_ts_us, version = numbers
    return Facts(seq, ts_us, source_ts_us, *optional, snapshot, version)
