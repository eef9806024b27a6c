"""The reference page of the records on a replication's own topics: each made by the code that writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from apply.error_handling.parking import PARK, headers_of
from capture import checkpoints
from capture.full_load.state import LoadState, TableLoad
from capture.publishing.schemas_topic import Catalogue
from capture.source import Chunk
from schemas import status
from schemas.codecs import Format, compile_encoder
from schemas.ddl import ddl_record
from schemas.parts import HEADER, PART_BYTES_MAX, reference
from schemas.position import Position, first_sequence
from schemas.registry import NOOP_KEY
from schemas.settings import parse
from schemas.signals import Signal, encode
from schemas.table import Column, TableName, TableSchema
from schemas.topics import (
    checkpoints_topic,
    ddl_topic,
    dead_letters_topic,
    parts_topic,
    schemas_topic,
    signals_topic,
    status_topic,
    transactions_topic,
)
from schemas.transactions import Mark, begin_record, end_record, mark_record
from schemas.types import Family, LogicalType

Example = tuple[str, bytes | None, bytes | None]
"""In words what it says, the key, the value."""


class Topic(NamedTuple):
    """One topic's section."""

    name: str
    content: str
    examples: list[Example]
    members: tuple[tuple[str, status.Members], ...] = ()
    """Of documents that no example holds whole: in words whose they are, and what they mean."""


_TABLE = TableSchema(
    TableName("public", "orders"),
    (Column("id", LogicalType(Family.INT64), "bigint", nullable=False),),
    (0,),
)
_SEQ = first_sequence(1) + 42
_TIME_US = 1_795_953_600_000_000
_POSITION = Position(0x16B3748)


def records_page() -> str:
    """Return the page, as Markdown."""
    lines = ["# Records of Tailrace's own topics", ""]
    lines.append(
        "Made by the code that writes them (`control/record_page.py`); do not edit. For a replication named `shop`"
    )
    lines.append("with one table, `public.orders`. Keys stand before the arrow, values behind it.")
    for topic, what, examples, tables in (
        _checkpoints(),
        _schemas(),
        _registry(),
        _transactions(),
        _ddl(),
        _parts(),
        _signals(),
        _status(),
        _letters(),
    ):
        lines += ["", f"## `{topic}`", "", what]
        for words, key, value in examples:
            lines += ["", f"{words}:", "", "```json", f"{_text(key)} → {_text(value)}", "```"]
        for words, members in tables:
            lines += ["", f"{words}:", "", "| member | says |", "|---|---|"]
            lines += [f"| `{name}` | {meaning} |" for name, meaning in members.items()]
    return "\n".join(lines) + "\n"


def _checkpoints() -> Topic:
    chunks = [Chunk(0, None, ("500",)), Chunk(1, ("500",), None)]
    load = TableLoad(_TABLE, state=LoadState.LOADING, chunks=chunks, done={0}, row_count=500)
    identity = {"system": "7291", "database": "shop"}
    examples = [
        _example(
            "The position, and the last commit sequence",
            checkpoints.position_record(identity, _POSITION, _SEQ, [], ["public.*"]),
        ),
        _example("The versions in force", checkpoints.tables_record({_TABLE.name: 1}, {_TABLE.name: "16412.16413"})),
        _example(
            "The same, where an applier has altered a table of late (`loopback_prevention`)",
            checkpoints.tables_record({_TABLE.name: 1}, {_TABLE.name: "16412.16413"}, {_TABLE.name}),
        ),
        _example("The plan of a full load", checkpoints.plan_record(load)),
        _example("Its progress", checkpoints.progress_record(load)),
    ]
    return Topic(
        checkpoints_topic("shop"), "Where capture goes on, in the Kafka transaction of what it is about.", examples
    )


def _schemas() -> Topic:
    catalogue = Catalogue(schemas_topic("shop"), "_schemas")
    examples = [
        _example("A version of a table; the ids are those of its Avro schemas", _additions()[-1]),
        _example(
            "All rows of a full load stand before these offsets, by partition",
            catalogue.announce_loaded(_TABLE, 1, {0: 120, 1: 131})[1:],
        ),
        _example("The source has the table no more", catalogue.announce_dropped(_TABLE, {0: 240, 1: 262})[1:]),
    ]
    return Topic(schemas_topic("shop"), "Every version of every table, compacted and kept for ever.", examples)


def _registry() -> Topic:
    what = "Avro schemas, as a Confluent registry keeps them. Not with `registry`, nor without Avro."
    examples = [
        _example("A schema of keys", _additions()[0]),
        _example("Nothing, behind the end of a transaction, so that registries find the topic's end", (NOOP_KEY, None)),
    ]
    return Topic("_schemas", what, examples)


def _transactions() -> Topic:
    name, counts = "731:23803720", {"public.orders": 2}
    mark = Mark(_SEQ - 2, _SEQ, True, {"shop.public.orders": 2})
    examples = [
        _example(
            "Up to `seq` everything is published: so many records behind `after`; `whole`: no transaction is cut",
            mark_record(mark, _TIME_US),
        ),
        _example("A transaction of the source has begun", begin_record(name, _TIME_US)),
        _example("It is over", end_record(name, _TIME_US, counts, _SEQ)),
    ]
    what = "Marks, in every Kafka transaction with rows; BEGIN and END with `topics.transaction_metadata`."
    return Topic(transactions_topic("shop"), what, examples)


def _ddl() -> Topic:
    place: dict[str, Any] = {"position": "0/16B3748", "seq": _SEQ, "ts_us": _TIME_US}
    altered = {"table": ["public", "orders"], "table_version": 2}
    text = {"tag": "ALTER TABLE", "statement": "alter table orders add note text", "objects": ["public.orders"]}
    examples = [
        _example("A table got a new version", ddl_record("shop", "altered", altered, **place)),
        _example("A statement's text, with the event trigger", ddl_record("shop", "statement", text, **place)),
    ]
    what = "Schema changes, in order; `event` is `created`, `altered`, `dropped`, `left` or `statement`."
    return Topic(ddl_topic("shop"), what, examples)


def _parts() -> Topic:
    header = reference(bytes(1_000_000), 17, PART_BYTES_MAX).to_header()
    what = (
        "Slices of records that are too large for their topics, under the records' keys. In a record's place stands a "
    )
    what += f"small one, whose header `{HEADER}` says where the slices are: `{header.decode()}`."
    return Topic(parts_topic("shop"), what, [])


def _signals() -> Topic:
    pause = Signal("c1", "pause", at="0/16B3748")
    resume = Signal("c2", "resume", target="replica")
    reload = Signal("c3", "reload", table="public.orders", lower=("1000",), upper=("2000",))
    examples = [
        _example("Capture goes on to a position and stands still", encode(pause)),
        _example("A target's appliers go on", encode(resume)),
        _example("A range of keys is read again", encode(reload)),
    ]
    return Topic(signals_topic("shop"), "Commands to services; any producer may write them.", examples)


def _status() -> Topic:
    members = (
        ("All documents", status.EVERY),
        ("A capture's, besides", status.CAPTURE),
        ("A table of a capture (the last five of its full load, where it has one)", status.CAPTURE_TABLE),
        ("An applier's, besides", status.APPLY),
        ("A table of an applier", status.APPLY_TABLE),
    )
    what = "What every component says of itself, about once a second. Readers pass over members that they do not know."
    return Topic(status_topic("shop"), what, [], members)


def _letters() -> Topic:
    about = headers_of(PARK, "shop.public.orders", 3, 17, error="row-rejected", message="…", sink="replica")
    said = ", ".join(f"`{name}`: {text!s}" for name, text in about)
    what = f"Parked records of a target, with their own keys and values. Headers: {said}."
    return Topic(dead_letters_topic("shop", "replica"), what, [])


def _example(words: str, record: Sequence[Any]) -> Example:
    key, value = record
    return words, key, value


def _additions() -> list[tuple[bytes, bytes]]:
    settings = parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "localhost:9092"},
            "source": {"database": "shop", "user": "shop", "tables": ["public.*"]},
        }
    )
    catalogue = Catalogue.of(settings, {})
    encoder = compile_encoder(_TABLE, Format.AVRO, replication="shop", connector="postgresql", database="shop")
    return [(addition.key, addition.value) for addition in catalogue.add(encoder, "shop.public.orders")]


def _text(content: bytes | None) -> str:
    if content is None:
        return "null"
    try:
        return json.dumps(json.loads(content), ensure_ascii=False)
    except ValueError:
        return content.decode()
