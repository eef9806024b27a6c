"""Versions of tables whose topics Debezium wrote: numbered once for all appliers, found again, whatever comes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson
import pytest

from apply.debezium.catalog import Addition, DebeziumCatalog
from apply.schema_catalog import Records
from schemas.debezium import stated
from schemas.debezium.decoder import PLACEHOLDER
from schemas.debezium.ours import Author
from schemas.debezium.reading import Sample, Versions, reading
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.debezium import PLAIN_TYPES, recorded

PARENT = "inventory.public.parent"
PARENT_AGAIN = "again"
ORDERS = "inventory.public.orders"


@dataclass
class At:
    """A consumed record, as far as a catalog looks at it."""

    at: int
    raw: bytes

    def offset(self) -> int:
        return self.at

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return self.raw


class SchemasTopic:
    """A topic in memory, and the appliers' catalogs that share it."""

    def __init__(self, format_: str = "json-with-schema", partition_count: int = 1) -> None:
        self.log: list[Addition] = []
        self.recording = recorded(format_)
        self._format = Format(format_)
        self._partition_count = partition_count

    def catalog(self, *topics: str, versions: Versions | None = None) -> DebeziumCatalog:
        read = self._reader()
        offered = {topic: Sample(*changes_of(self, topic)[0]) for topic in topics}

        def publish(decide: Callable[[], Sequence[Addition]]) -> None:
            self.log += decide()

        def samples(known: frozenset[str]) -> Mapping[str, Sample | None]:
            return {topic: sample for topic, sample in offered.items() if topic not in known}

        return DebeziumCatalog(
            "applied",
            read,
            read,
            reading(self._format, "postgresql", PLACEHOLDER, stated.Stated(PLAIN_TYPES), None, versions),
            connector="postgresql",
            publish=publish,
            samples=samples,
            partition_count=lambda _: self._partition_count,
        )

    def _reader(self) -> Callable[[], Records]:
        done = [0]

        def read() -> Records:
            start, done[0] = done[0], len(self.log)
            return list(self.log[start:])

        return read


def changes_of(topic: SchemasTopic, name: str) -> list[tuple[bytes | None, bytes]]:
    name = PARENT if name == PARENT_AGAIN else name
    return [(key, value) for key, value in topic.recording.records(name) if value is not None]


@pytest.mark.parametrize("format_", ["json-with-schema", "json"])
def test_each_writer_is_a_version_once_for_all(format_: str) -> None:
    shared = SchemasTopic(format_)
    one, other = shared.catalog(PARENT), shared.catalog(PARENT)
    one.refresh()
    other.refresh()
    assert len(shared.log) == 2, "the second catalog found what the first had published"
    for catalog in (one, other):
        seen = []
        for key, value in changes_of(shared, PARENT):
            mark = catalog.mark_of(PARENT, value, key)
            seen.append(catalog.decoder(PARENT, mark).table.version)
        # A row; a column is added; a truncate, whose version does not matter; a row; a column is dropped.
        assert seen[:2] + seen[3:] == [1, 2, 2, 3]
    assert len(shared.log) == 6
    assert {topic: max(known.versions) for topic, known in one.topics.items()} == {PARENT: 3}
    assert one.topics[PARENT].newest.column_names == ("id", "n")


def test_a_new_process_meets_a_truncate_first() -> None:
    shared = SchemasTopic()
    first = shared.catalog(PARENT)
    first.refresh()
    records = changes_of(shared, PARENT)
    for key, value in records[:2]:
        first.mark_of(PARENT, value, key)
    later = shared.catalog(PARENT)
    later.refresh()
    key, truncate = records[2]
    assert key is None
    decoder = later.decoder(PARENT, later.mark_of(PARENT, truncate, key))
    assert decoder.table.version == 2
    assert decoder.decode_many([truncate]) == [("t", None, None)]
    assert later.sequence(decoder, At(17, truncate)) == 17


def test_many_records_of_one_writer_have_one_mark() -> None:
    shared = SchemasTopic()
    catalog = shared.catalog(ORDERS)
    catalog.refresh()
    records = changes_of(shared, ORDERS)
    keys, values = [key for key, _ in records], [value for _, value in records]
    (mark,) = catalog.marks(ORDERS, values, keys)
    assert len(catalog.decoder(ORDERS, mark).decode_many(values)) == len(values)


def test_a_truncate_of_a_topic_of_several_partitions_is_refused() -> None:
    shared = SchemasTopic(partition_count=3)
    catalog = shared.catalog(PARENT)
    catalog.refresh()
    key, value = changes_of(shared, PARENT)[2]
    decoder = catalog.decoder(PARENT, catalog.mark_of(PARENT, value, key))
    with pytest.raises(TailraceError, match="3 partitions") as caught:
        catalog.sequence(decoder, At(1, value))
    assert caught.value.kind is ErrorKind.DECODE


def test_a_table_that_loses_its_key_is_another_version() -> None:
    shared = SchemasTopic()
    catalog = shared.catalog(PARENT)
    catalog.refresh()
    key, value = changes_of(shared, PARENT)[0]
    keyed, keyless = (catalog.decoder(PARENT, catalog.mark_of(PARENT, value, k)).table for k in (key, None))
    assert (keyed.version, keyed.key_names) == (1, ("id",))
    assert (keyless.version, keyless.key_names) == (2, ())


def test_two_topics_of_one_table_and_two_tables_in_one_topic_are_refused() -> None:
    shared = SchemasTopic()
    catalog = shared.catalog(PARENT, PARENT_AGAIN)
    with pytest.raises(TailraceError, match=r"both hold changes of public\.parent"):
        catalog.refresh()
    catalog = shared.catalog(PARENT)
    catalog.refresh()
    key, value = changes_of(shared, PARENT)[0]
    with pytest.raises(TailraceError, match=r"both hold changes of public\.parent"):
        catalog.mark_of("elsewhere", value, key)
    key, value = changes_of(shared, ORDERS)[0]
    with pytest.raises(TailraceError, match="a topic is for one table"):
        catalog.mark_of(PARENT, value, key)


def test_a_capture_of_ours_goes_on_in_the_same_version_of_the_table() -> None:
    """Its own version is asked for once, and from then on stands on the appliers' topic."""
    shared = SchemasTopic("json")
    asked: list[Author] = []
    columns = (Column("id", LogicalType(Family.INT64), "bigint"), Column("v", LogicalType(Family.STRING), "text"))

    def versions(author: Author) -> TableSchema:
        asked.append(author)
        return TableSchema(author.table, columns, (0,), version=author.version)

    catalog = shared.catalog(PARENT, versions=versions)
    catalog.refresh()
    key, value = changes_of(shared, PARENT)[0]
    first = catalog.decoder(PARENT, catalog.mark_of(PARENT, value, key))
    source = {"name": "inventory", "schema": "public", "table": "parent", "db": "x", "seq": 7, "schema_version": 4}
    ours = orjson.dumps({"op": "c", "before": None, "after": {"id": 5, "v": "ours"}, "source": source})
    again = shared.catalog(PARENT)
    for each in (catalog, again):
        each.refresh()
        decoder = each.decoder(PARENT, each.mark_of(PARENT, ours, key))
        assert (decoder.table, decoder.decode_many([ours])) == (first.table, [("c", None, (5, "ours"))])
    assert asked == [Author("inventory", TableName("public", "parent"), 4, 0)]
    assert len(shared.log) == 3, "two writers, one version"
