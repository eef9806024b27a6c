"""Golden topics: the bytes of what this release writes, kept so that every later one shows that it reads them.

`python -m tests.kit.golden` writes `tests/golden/VERSION`. Files of a release that is out are never written again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from apply.error_handling.parking import PARK, QUEUED, RETRY, headers_of
from capture import checkpoints
from capture.full_load.state import LoadState, TableLoad
from capture.publishing.transactions import Open
from capture.source import Chunk
from schemas import signals
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import Encoder, compile_decoder, compile_encoder
from schemas.format import Format
from schemas.parts import HEADER, parts, reduced, reference
from schemas.position import Position, first_sequence
from schemas.registry import TableVersion, table_record
from schemas.signals import RELOAD, Signal
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.transactions import Mark, begin_record, end_record, mark_record
from tests.conformance.sink_suite import INT64, STRING
from tests.kit.type_samples import SAMPLES

ROOT = Path(__file__).resolve().parent.parent / "golden"
TEXT_MAX = 120
"""Longer values are left out: they are other tests' business."""

TABLE = TableSchema(
    TableName("public", "everything"),
    (
        Column("id", SAMPLES[3].type, "bigint", nullable=False),
        *(Column(f"c{i}", sample.type, sample.native) for i, sample in enumerate(SAMPLES)),
    ),
    (0,),
    version=3,
    user_types=(UserType("public", "mood", "enum", labels=("sad", "ok", "happy")),),
)


def _row(number: int) -> Row:
    short = [[value for value in sample.values if len(repr(value)) <= TEXT_MAX] for sample in SAMPLES]
    return (number, *(values[number % len(values)] for values in short))


LARGE = "x" * 16_384
"""What is left out of the record in the place of a large one."""

NOTES = TableSchema(
    TableName("public", "notes"),
    (
        Column("id", INT64, "bigint", nullable=False),
        Column("title", STRING, "text"),
        Column("body", STRING, "text"),
    ),
    (0,),
    version=2,
)


def changes() -> RowChanges:
    """Return an insert, an update that leaves a column alone, a change of the key, and a delete."""
    changed = list(_row(2))
    changed[5] = UNCHANGED
    key_only: tuple[Any, ...] = tuple([2] + [UNCHANGED] * len(SAMPLES))
    run = RowChanges(TABLE, Transaction("777", 777, 98_765, 1_735_697_676_444_453))
    for op, before, after in (
        ("c", None, _row(1)),
        ("c", None, tuple([2] + [None] * len(SAMPLES))),
        ("u", None, tuple(changed)),
        ("u", key_only, _row(3)),
        ("d", (3, *key_only[1:]), None),
    ):
        run.ops.append(op)
        run.before.append(before)
        run.after.append(after)
    return run


def records(format_: Format) -> list[dict[str, str | None]]:
    """Return what a run of changes, rows of a load and a truncate are written as, and what is read from it."""
    encoder = _encoder(TABLE, format_)
    pairs, last = encoder.run(changes(), _block(encoder), first_sequence(1), True)
    snapshot = encoder.block(snapshot="true", position_lsn=99_000, ts_us=1, txid=None, now_us=1_735_697_676_500_002)
    loaded, last = encoder.read_many(
        [(encoder.key(_row(n)), encoder.body(_row(n))) for n in range(4, 9)], snapshot, last
    )
    pairs = [*pairs, *loaded, (None, encoder.truncate(_block(encoder), last + 1))]
    return [
        {
            "key": None if key is None else key.hex(),
            "value": None if value is None else value.hex(),
            "read": None if value is None else read(TABLE, format_, value),
        }
        for key, value in pairs
    ]


def _encoder(table: TableSchema, format_: Format) -> Encoder:
    return compile_encoder(table, format_, replication="shop", connector="postgresql", database="bench")


def _block(encoder: Encoder) -> Any:
    return encoder.block(snapshot="false", position_lsn=98_765, ts_us=1, txid=777, now_us=1_735_697_676_500_001)


def read(table: TableSchema, format_: Format, value: bytes) -> str:
    """Return in words what a record's value says."""
    decoder = compile_decoder(table, format_)
    return repr((tuple(decoder.decode(value)), tuple(decoder.facts(value))))


def documents() -> dict[str, list[list[str]]]:
    """Return keys and values of records on the replication's own topics, as text."""
    load = TableLoad(TABLE, generation=2, state=LoadState.LOADING)
    load.chunks, load.done = [Chunk(0, None, ("5",)), Chunk(1, ("5",), ("9",)), Chunk(2, ("9",), None)], {0, 2}
    load.row_count = 17
    earlier = [Transaction("5", 5, 70, 0)]
    position = checkpoints.position_record(
        {"engine": "postgresql", "system": "7"}, Position(98_765, 3), first_sequence(2) + 9, earlier, ["public.*"]
    )
    found: dict[str, list[tuple[bytes, bytes | None]]] = {
        "checkpoints": [
            (checkpoints.EPOCH_KEY, b'{"version":1,"epoch":2}'),
            position,
            checkpoints.tables_record({TABLE.name: 3}, {}),
            checkpoints.plan_record(load),
            checkpoints.progress_record(load),
            (checkpoints.SIGNALS_KEY, b'{"version":1,"next":2,"answers":{"a":"paused"}}'),
        ],
        "schemas": [
            (*table_record(TableVersion(TABLE, 11, 12)),),
            (b'["loaded","public","everything"]', b'{"generation":1,"version":3,"offsets":{"0":5}}'),
        ],
        "signals": [signals.encode(Signal("c0ffee", RELOAD, None, None, "public.everything", ("1",), ("9",)))],
    }
    return {
        topic: [[key.decode(), (value or b"").decode()] for key, value in records] for topic, records in found.items()
    }


def parked() -> list[dict[str, Any]]:
    """Return the headers of a parked row, of one that queues behind it, and of an operator's answer."""
    topic = "shop.public.everything"
    return [
        {"key": "6b", "headers": dict(headers_of(PARK, topic, 1, 40, error="row-rejected", message="no", sink="r"))},
        {"key": "6b", "headers": dict(headers_of(PARK, topic, 1, 44, error=QUEUED, message="", sink="r"))},
        {"key": "6b", "headers": dict(headers_of(RETRY, topic, 1, 40, sink="r"))},
    ]


def transactions() -> list[list[str]]:
    """Return a mark, one within a source transaction, and a transaction's BEGIN and END, as text."""
    sequence, topic = first_sequence(2), "shop.public.everything"
    found = (
        mark_record(Mark(sequence, sequence + 9, True, {topic: 7, "shop.public.other": 2}), 1_735_697_676_500_001),
        mark_record(Mark(sequence + 9, sequence + 12, False, {topic: 3}), 1_735_697_676_500_001),
        begin_record("777", 1_735_697_676_444_453),
        end_record("777", 1_735_697_676_444_453, {"public.everything": 3}, sequence + 12),
    )
    return [[key.decode(), value.decode()] for key, value in found]


def large() -> dict[str, Any]:
    """Return a record that travels in parts: the one in its place, its header, the parts, and what is read of both."""
    encoder = _encoder(NOTES, Format.JSON)
    txn = Transaction("777", 777, 98_765, 1_735_697_676_444_453)
    run = RowChanges(NOTES, txn, ["u"], [None], [(1, "small", LARGE)])
    ((_, value),), _ = encoder.run(run, _block(encoder), first_sequence(1), True)
    assert value is not None
    where = reference(value, 40, len(value) // 2)
    return {
        "table": NOTES.to_document(),
        "header": [HEADER, where.to_header().decode()],
        "parts": [part.hex() for part in parts(value, len(value) // 2)],
        "record": reduced(encoder, compile_decoder(NOTES, Format.JSON), value, len(value) // 2).decode(),
    }


def within() -> list[list[str]]:
    """Return the checkpoint of a capture of MySQL within a transaction whose END record it is to write."""
    position = Position(70, 3, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-70", "3e11fa47-71ca-11e1-9e33-c80aa9429562:71")
    counted = Open("71:70", 70, 3, {"public.everything": 3}).document()
    found = (
        checkpoints.position_record({"engine": "mysql"}, position, first_sequence(3) + 5, [], ["shop.*"], counted),
        checkpoints.tables_record({TABLE.name: 3}, {TABLE.name: "a mark"}),
    )
    return [[key.decode(), (value or b"").decode()] for key, value in found]


def topics() -> list[list[dict[str, Any]]]:
    """Return all that a small replication `shop` has on its topics: Kafka transactions, and the records of each.

    `public.notes` is loaded (1, 2, 3), changed, given a column, changed again, once with a record in parts. What only
    a server can say is 0 or empty: the table's number, and in the checkpoint the log's identity and the position.
    """
    first, published = replace(NOTES, columns=_numbered(NOTES)[:2], version=1), replace(NOTES, columns=_numbered(NOTES))
    sequence = first_sequence(1)
    found: list[list[dict[str, Any]]] = []

    def commit(table: TableSchema, make: Any, *more: dict[str, Any], in_parts: bool = False) -> None:
        nonlocal sequence
        before, encoder = sequence, _encoder(table, Format.JSON)
        pairs, sequence = make(encoder, before)
        records = [_said("public.notes", key, value) for key, value in pairs]
        if in_parts:
            ((key, value),) = pairs
            size = len(value) // 2
            small = reduced(encoder, compile_decoder(table, Format.JSON), value, size)
            records = [_said("tailrace.parts", key, part) for part in parts(value, size)]
            records.append(_said("public.notes", key, small, {HEADER: reference(value, 0, size).to_header().decode()}))
        mark = mark_record(Mark(before, sequence, True, {"shop.public.notes": len(pairs)}), 1_735_697_676_500_001)
        found.append([*more, *records, _said("tailrace.transactions", *mark)])

    def change(op: str, before: Row | None, after: Row | None, table: TableSchema = published) -> Any:
        run = RowChanges(table, Transaction("777", 777, 98_765, 1_735_697_676_444_453), [op], [before], [after])
        return lambda encoder, last: encoder.run(run, _block(encoder), last, False)

    def load(encoder: Encoder, last: int) -> Any:
        rows = [(1, "one"), (2, "two"), (3, "three")]
        block = encoder.block(snapshot="true", position_lsn=9, ts_us=1, txid=None, now_us=1_735_697_676_500_002)
        return encoder.read_many([(encoder.key(row), encoder.body(row)) for row in rows], block, last)

    commit(first, load, _version(first))
    loaded = b'{"generation":1,"version":1,"offsets":{"0":3}}'
    found.append([_said("tailrace.schemas", b'["loaded","public","notes"]', loaded)])
    commit(first, change("u", None, (1, "first"), first))
    commit(first, change("d", (2, UNCHANGED), None, first))
    commit(published, change("c", None, (4, "four", "body")), _version(published))
    commit(published, change("u", (3, UNCHANGED, UNCHANGED), (5, "three", "moved")))
    commit(published, change("u", None, (1, "first", LARGE)), in_parts=True)
    commit(published, change("u", None, (4, "fourth", UNCHANGED)))
    reload = Signal("c0ffee", RELOAD, None, None, "public.notes")
    found.append([_said("tailrace.signals", *signals.encode(reload))])
    done = TableLoad(published, state=LoadState.LOADED, row_count=3)
    checkpoint = (
        checkpoints.position_record({}, Position(0), sequence, [], ["public.*"]),
        checkpoints.tables_record({NOTES.name: NOTES.version}, {}),
        checkpoints.plan_record(done),
        checkpoints.progress_record(done),
        (checkpoints.SIGNALS_KEY, b'{"version":1,"next":1,"answers":{"c0ffee":"refused: so that nothing is loaded"}}'),
    )
    found.append([_said("tailrace.checkpoints", *record) for record in checkpoint])
    return found


def _numbered(table: TableSchema) -> tuple[Column, ...]:
    return tuple(replace(column, number=number) for number, column in enumerate(table.columns, 1))


def _version(table: TableSchema) -> dict[str, Any]:
    return _said("tailrace.schemas", *table_record(TableVersion(table, None, None)))


def _said(topic: str, key: bytes | None, value: bytes | None, headers: dict[str, str] | None = None) -> dict[str, Any]:
    key_text, value_text = (None if said is None else said.decode() for said in (key, value))
    return {"topic": topic, "key": key_text, "value": value_text, "headers": headers or {}}


def directory() -> Path:
    """Return where this version's files are: one directory for each minor release."""
    return ROOT / ".".join(version("tailrace").split(".")[:2])


def write() -> None:
    """Write those files of this version that it does not have: what an earlier build wrote is to be read as well."""
    place = directory()
    place.mkdir(parents=True, exist_ok=True)
    for format_ in Format:
        document: object = {"table": TABLE.to_document(), "records": records(format_)}
        _dump(place / f"records-{format_}.json", document)
    _dump(place / "documents.json", documents())
    _dump(place / "parked.json", parked())
    _dump(place / "within.json", within())
    _dump(place / "transactions.json", transactions())
    _dump(place / "large.json", large())
    _dump(place / "topics.json", topics())


def _dump(path: Path, document: object) -> None:
    if path.exists():
        return
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
