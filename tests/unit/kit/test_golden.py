"""Topics that earlier releases wrote are read as they were meant, and this release writes what it is known to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apply.cursors import progress_of
from apply.error_handling.parking import RETRY, ParkingLot
from capture import checkpoints
from capture.full_load.state import LoadState, TableLoad
from capture.publishing.schemas_topic import Catalogue
from capture.publishing.transactions import Open
from capture.source import Chunk
from schemas import signals
from schemas.changes import UNCHANGED
from schemas.codecs import compile_decoder
from schemas.format import Format
from schemas.parts import HEADER, Reference
from schemas.position import Position, first_sequence
from schemas.settings import parse
from schemas.table import TableName, TableSchema
from schemas.transactions import Mark, mark_of
from tests.kit import golden

VERSIONS = sorted(golden.ROOT.iterdir())
NAME = TableName("public", "everything")


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def records(version: Path, topic: str) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in load(version / "documents.json")[topic]}


def test_this_release_has_its_files() -> None:
    assert golden.directory() in VERSIONS


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
@pytest.mark.parametrize("format_", Format)
def test_records_are_read_as_they_were_meant(version: Path, format_: Format) -> None:
    document = load(version / f"records-{format_}.json")
    table = TableSchema.from_document(document["table"])
    assert len(document["records"]) > 10
    for record in document["records"]:
        if record["value"] is not None:
            assert golden.read(table, format_, bytes.fromhex(record["value"])) == record["read"]


@pytest.mark.parametrize("format_", Format)
def test_records_are_written_as_they_were(format_: Format) -> None:
    # A difference is a change of the wire format: what do consumers of yesterday say to it?
    assert golden.records(format_) == load(golden.directory() / f"records-{format_}.json")["records"]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_checkpoints_are_read_as_they_were_meant(version: Path) -> None:
    found = checkpoints.decode(records(version, "checkpoints"))
    assert found.identity == {"engine": "postgresql", "system": "7"}
    assert (found.position, found.sequence) == (Position(98_765, 3), first_sequence(2) + 9)
    assert [(txn.xid, txn.commit) for txn in found.earlier] == [(5, 70)]
    assert (found.selection, found.versions, found.signals["next"]) == (["public.*"], {NAME: 3}, 2)
    again = TableLoad.from_documents(golden.TABLE, found.plans[NAME], found.progress[NAME])
    assert (again.generation, again.state, again.done, again.row_count) == (2, LoadState.LOADING, {0, 2}, 17)
    assert again.chunks == [Chunk(0, None, ("5",)), Chunk(1, ("5",), ("9",)), Chunk(2, ("9",), None)]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_a_checkpoint_within_a_transaction_is_read_as_it_was_meant(version: Path) -> None:
    found = checkpoints.decode({key.encode(): value.encode() for key, value in load(version / "within.json")})
    server = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    assert found.position == Position(70, 3, f"{server}:1-70", f"{server}:71")
    assert (found.sequence, found.selection) == (first_sequence(3) + 5, ["shop.*"])
    assert found.transactions(metadata=True).open_document() == Open("71:70", 70, 3, {str(NAME): 3}).document()
    assert (found.versions, found.marks) == ({NAME: 3}, {NAME: "a mark"})


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_schemas_and_signals_are_read_as_they_were_meant(version: Path) -> None:
    source = {"engine": "postgresql", "host": "h", "database": "d", "user": "u", "tables": ["public.*"]}
    settings = parse({"name": "shop", "kafka": {"bootstrap.servers": "127.0.0.1:9"}, "source": source})
    catalogue = Catalogue.of(settings, records(version, "schemas"))
    (entry,) = catalogue.versions[NAME]
    document = load(version / "records-avro.json")
    assert entry.table == TableSchema.from_document(document["table"])
    assert (entry.key_schema_id, entry.value_schema_id, catalogue.loaded) == (11, 12, {NAME: 1})
    (value,) = records(version, "signals").values()
    assert signals.decode(value) == signals.Signal("c0ffee", "reload", None, None, "public.everything", ("1",), ("9",))


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_parked_rows_wait_as_they_did(version: Path) -> None:
    lot = ParkingLot()
    for at, record in enumerate(load(version / "parked.json")):
        lot.fold(bytes.fromhex(record["key"]), record["headers"], at, 0)
    ((_, waiting),) = lot.keys.items()
    assert [record.offset for record in waiting.records] == [40, 44]
    assert [record.kind for record in waiting.records] == ["row-rejected", "queued"]
    assert waiting.command == RETRY


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_marks_of_transactions_are_read_as_they_were_meant(version: Path) -> None:
    found = [mark_of(key.encode(), value.encode()) for key, value in load(version / "transactions.json")]
    first, topic = first_sequence(2), "shop.public.everything"
    assert found == [
        Mark(first, first + 9, True, {topic: 7, "shop.public.other": 2}),
        Mark(first + 9, first + 12, False, {topic: 3}),
        None,
        None,
    ]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_a_large_record_is_put_together_as_it_was_meant(version: Path) -> None:
    document = load(version / "large.json")
    decoder = compile_decoder(TableSchema.from_document(document["table"]), Format.JSON)
    name, content = document["header"]
    assert name == HEADER
    where = Reference.of_header(content)
    value = where.joined([bytes.fromhex(part) for part in document["parts"]])
    assert (where.first, where.part_count) == (40, len(document["parts"]))
    assert tuple(decoder.decode(value)) == ("u", None, (1, "small", golden.LARGE))
    assert tuple(decoder.decode(document["record"].encode())) == ("u", None, (1, "small", UNCHANGED))


def test_what_is_written_beside_changes_is_written_as_it_was() -> None:
    assert golden.transactions() == load(golden.directory() / "transactions.json")
    assert golden.within() == load(golden.directory() / "within.json")
    assert golden.large() == load(golden.directory() / "large.json")
    assert golden.topics() == load(golden.directory() / "topics.json")


def test_an_appliers_note_beside_its_offset_is_read_as_it_was_meant() -> None:
    """It stands in the group's offsets: releases without notes, and other programs' notes, say nothing."""
    assert [progress_of(40, note) for note in ("57", "", "12", "somebody's")] == [
        (40, 57),
        (40, 40),
        (40, 40),
        (40, 40),
    ]
