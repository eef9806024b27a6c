"""A capture in small: publishes tables and changes as capture does, with the real codecs, in Kafka transactions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import orjson

from runtime import clock
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.producer import TransactionalProducer
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import Encoder, compile_encoder
from schemas.position import first_sequence
from schemas.registry import TableVersion, table_record
from schemas.settings import Settings
from schemas.table import TableSchema
from schemas.topics import checkpoints_topic, data_topic, schemas_topic, status_topic, transactions_topic
from schemas.transactions import Mark, mark_record


def change_orders(
    chance: random.Random, rows: dict[int, tuple[Any, ...]], status: str, *, count: int = 100, keys: int = 700
) -> list[tuple[str, Row | None, Row | None]]:
    """Insert, change and delete `rows` of `ORDERS` at random; return the changes."""
    changes: list[tuple[str, Row | None, Row | None]] = []
    for _ in range(count):
        i = chance.randrange(keys)
        if i not in rows:
            rows[i] = (i, status, None)
            changes.append(("c", None, rows[i]))
        elif chance.random() < 0.2:
            del rows[i]
            changes.append(("d", (i, UNCHANGED, UNCHANGED), None))
        else:
            paid = chance.choice([True, False])
            rows[i] = (i, rows[i][1], paid)
            changes.append(("u", None, (i, UNCHANGED, paid)))
    return changes


class Publisher:
    """A context manager; each call is one Kafka transaction."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings.kafka)
        self._encoders: dict[TableSchema, Encoder] = {}
        self._seq = first_sequence(1)
        self._commit = 0
        self._marked = self._seq
        name = settings.name
        self._topics.ensure(
            [
                TopicSpec(schemas_topic(name), 1, "compact"),
                TopicSpec(status_topic(name), 1, "compact"),
                TopicSpec(checkpoints_topic(name), 1, "compact"),
                TopicSpec(transactions_topic(name), 1),
            ]
        )
        self._producer = TransactionalProducer(settings.kafka, f"{name}.capture")
        self._producer.init()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._producer.close()

    def add(self, *tables: TableSchema) -> None:
        """Make the topics of tables and publish their schemas."""
        partitions = self._settings.topics.partitions
        self._topics.ensure([TopicSpec(data_topic(self._settings.name, t.name), partitions) for t in tables])
        self._producer.begin()
        for table in tables:
            encoder = compile_encoder(
                table,
                self._settings.topics.format,
                replication=self._settings.name,
                connector="postgresql",
                database="shop",
            )
            self._encoders[table] = encoder
            record = table_record(TableVersion(table, encoder.key_schema_id, encoder.value_schema_id))
            self._producer.produce(schemas_topic(self._settings.name), record.key, record.value)
        self._producer.commit()

    def load(self, table: TableSchema, rows: Iterable[Row]) -> None:
        """Publish rows of a full load."""
        encoder = self._encoders[table]
        block = encoder.block(snapshot="true", position_lsn=1, ts_us=clock.now_us(), txid=None, now_us=clock.now_us())
        bodies = [(encoder.key(row), encoder.body(row)) for row in rows]
        pairs, self._seq = encoder.read_many(bodies, block, self._seq)
        self._publish(table, pairs)

    def change(self, table: TableSchema, *changes: tuple[str, Row | None, Row | None]) -> None:
        """Publish changes of one source transaction."""
        encoder = self._encoders[table]
        self._commit += 1
        now = clock.now_us()
        run = RowChanges(
            table,
            Transaction(str(self._commit), self._commit, self._commit, now),
            [op for op, _, _ in changes],
            [before for _, before, _ in changes],
            [after for _, _, after in changes],
        )
        pairs, self._seq = encoder.run(run, self._block(encoder), self._seq, False)
        self._publish(table, pairs)

    def strange(self, table: TableSchema, row: Row, spoil: Callable[[bytes], bytes]) -> None:
        """Publish an insert as a stranger has spoilt it, under its right key."""
        encoder = self._encoders[table]
        run = RowChanges(table, Transaction("0", 0, 0, 0), ["c"], [None], [row])
        ((key, value),), self._seq = encoder.run(run, self._block(encoder), self._seq, False)
        self._publish(table, [(key, spoil(value or b""))])

    def truncate(self, table: TableSchema) -> None:
        """Publish a truncate to every partition."""
        encoder = self._encoders[table]
        self._commit += 1
        self._seq += 1
        value = encoder.truncate(self._block(encoder), self._seq)
        topic = data_topic(self._settings.name, table.name)
        self._producer.begin()
        for number in range(self._settings.topics.partitions):
            self._producer.produce(topic, None, value, partition=number)
        self._mark(topic, self._settings.topics.partitions)
        self._producer.commit()

    def loaded(self, table: TableSchema, generation: int = 1) -> None:
        """Announce that a table is loaded."""
        topic = data_topic(self._settings.name, table.name)
        # As capture does: the last transaction's markers may be yet to come, but not its records.
        offsets = self._topics.end_offsets([topic], read_committed=False)
        ends = {str(number): end for (_, number), end in offsets.items()}
        self._producer.begin()
        key, value = ["loaded", *table.name], {"generation": generation, "version": table.version, "offsets": ends}
        self._producer.produce(schemas_topic(self._settings.name), orjson.dumps(key), orjson.dumps(value))
        self._producer.commit()

    def _block(self, encoder: Encoder) -> Any:
        now = clock.now_us()
        return encoder.block(snapshot="false", position_lsn=self._commit, ts_us=now, txid=self._commit, now_us=now)

    def _publish(self, table: TableSchema, pairs: Any) -> None:
        self._producer.begin()
        partition = None if table.key else 0
        topic = data_topic(self._settings.name, table.name)
        self._producer.produce_run(topic, pairs, partition)
        self._mark(topic, len(pairs))
        self._producer.commit()

    def _mark(self, topic: str, count: int) -> None:
        """Say what this transaction holds, which is a whole one of the source."""
        mark = Mark(self._marked, self._seq, True, {topic: count})
        self._producer.produce(transactions_topic(self._settings.name), *mark_record(mark, clock.now_us()))
        self._marked = self._seq
