"""What changes become: DMS's documents, or Debezium's envelopes. One writer for each version of each table."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from apply.sink import Origin
from apply.sink_kinds.documents import KeyMaker, key_maker, reshape
from runtime import clock
from runtime.registry import Registry
from schemas.before_image import BeforeImageSettings
from schemas.changes import Row, RowChanges, Transaction
from schemas.codecs import Block, Encoder, Pair, SchemaIds, compile_encoder
from schemas.dms_json import add_transaction, document_writer, table_definition, without_nulls
from schemas.endpoints.kafka import KafkaTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.mappings.objects import ObjectTable
from schemas.table import TableSchema

Change = tuple[str, Row | None, Row | None]

FORMATS = {"debezium": Format.JSON, "debezium-with-schema": Format.JSON_WITH_SCHEMA, "avro": Format.AVRO}


class Writer(Protocol):
    """Makes the records of one version's changes."""

    def records(self, change: Change, origin: Origin) -> list[Pair]:
        """Return the records of a change; a key of None: the place in the source decides the partition."""
        ...


class DmsWriter:
    """A JSON document for each change, keyed by text."""

    def __init__(
        self,
        table: TableSchema,
        target: KafkaTarget,
        image: BeforeImageSettings | None = None,
        objects: ObjectTable | None = None,
    ) -> None:
        self._image = image
        self._objects = objects
        self._name = str(table.name)
        self._table = table
        self._says_truncates = target.include_control_details
        self._has_nulls = target.include_null_and_empty
        self._has_transaction = target.include_transaction_details
        self._has_key = target.include_partition_value
        self._by_table = target.partition_key_type == "schema-table"
        self._write = document_writer(table, image)
        self._options = orjson.OPT_INDENT_2 if target.message_format == "json" else 0
        self._key = _key_maker(table, target)

    def records(self, change: Change, origin: Origin) -> list[Pair]:
        """See `Writer`."""
        op, before, after = change
        if op == "t" and not self._says_truncates:
            return []
        _, _, seq, commit_ts_us, txid, *_ = origin
        document = self._write(op, before, after, seq, commit_ts_us, txid)
        row = after if after is not None else before
        key = None if op == "t" else self._key(row)
        if (objects := self._objects) is not None and row is not None:
            reshape(objects, document, row, before, self._image)
            made = objects.partition_key(row) if objects.partition_key is not None else None
            # What is no text says nothing: a null, or a value that the log did not hold.
            key = made if isinstance(made, str) and made else key
        if not self._has_nulls:
            without_nulls(document)
        if self._has_transaction:
            add_transaction(document, seq, commit_ts_us)
        if self._by_table or key is None:
            document["metadata"]["partition-key-type"] = "schema-table"
        if self._has_key:
            document["metadata"]["partition-key-value"] = key or self._name
        return [(key.encode() if key is not None else None, orjson.dumps(document, option=self._options))]

    def control(self, operation: str, origin: Origin) -> Pair:
        """Return a control record that says what the table is now."""
        document = table_definition(self._table, operation, origin.commit_ts_us, origin.seq)
        return self._name.encode(), orjson.dumps(document, option=self._options)


class EnvelopeWriter:
    """Envelopes as capture writes them, under the target's own schema ids."""

    def __init__(self, encoder: Encoder, *, tombstones: bool) -> None:
        self._encoder = encoder
        self._tombstones = tombstones
        self._facts: tuple[Any, ...] = ()
        self._block: Block | None = None

    def records(self, change: Change, origin: Origin) -> list[Pair]:
        """See `Writer`."""
        op, before, after = change
        encoder = self._encoder
        block = self._block_of(op, origin)
        if op == "t":
            return [(None, encoder.truncate(block, origin.seq))]
        if op == "r":
            assert after is not None
            return [(encoder.key(after), encoder.read(encoder.body(after), block, origin.seq))]
        transaction = Transaction("", origin.txid or 0, 0, origin.commit_ts_us)
        run = RowChanges(encoder.table, transaction, [op], [before], [after])
        pairs, _ = encoder.run(run, block, origin.seq - 1, self._tombstones)
        return pairs

    def _block_of(self, op: str, origin: Origin) -> Block:
        facts = (op == "r", origin.lsn, origin.commit_ts_us, origin.txid)
        if self._block is None or facts != self._facts:
            self._facts = facts
            self._block = self._encoder.block(
                snapshot="true" if op == "r" else "false",
                position_lsn=origin.lsn or 0,
                ts_us=origin.commit_ts_us,
                txid=origin.txid,
                now_us=clock.now_us(),
            )
        return self._block


def envelope_writer(
    table: TableSchema, topic: str, target: KafkaTarget, replication: str, database: str, registry: Registry | None
) -> EnvelopeWriter:
    """Return the writer of a version, whose Avro schemas are registered for the topic.

    Raises TARGET_SCHEMA for those that the registry does not take: its level says how types may change.
    """
    made = encoder_of(table, target, replication, database)
    if registry is not None and made.value_schema_text is not None:
        try:
            key = registry.identify(topic, "key", made.key_schema_text) if made.key_schema_text else None
            ids = SchemaIds(key, registry.identify(topic, "value", made.value_schema_text))
        except TailraceError as error:
            if error.kind not in {ErrorKind.SOURCE_SCHEMA, ErrorKind.PREREQUISITE}:
                raise
            # What the registry does not take, or does not have, is one table's trouble here.
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA, error.message, remedy=error.remedy, table=str(table.name)
            ) from error
        made = encoder_of(table, target, replication, database, ids)
    return EnvelopeWriter(made, tombstones=target.tombstones)


def encoder_of(
    table: TableSchema, target: KafkaTarget, replication: str, database: str, ids: SchemaIds | None = None
) -> Encoder:
    """Return what writes the envelopes of a version; without `ids` its Avro schemas have those of our own making."""
    return compile_encoder(
        table,
        FORMATS[target.message_format],
        replication=replication,
        connector=table.engine,
        database=database or table.name.schema,
        ids=ids,
    )


def _key_maker(table: TableSchema, target: KafkaTarget) -> KeyMaker:
    """Return what makes keys: the row's, or the table's name for all rows."""
    if target.partition_key_type == "schema-table":
        name = str(table.name)
        return lambda _: name
    return key_maker(table, qualified=target.partition_include_schema_table)
