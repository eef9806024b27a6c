"""The MongoDB sink: a document for each row, with the commit sequence of its last change in a field of its own.

Writes go in unordered bulks, each on condition that the document is not as new: whoever comes late meets the `_id` of
a newer one. A deletion is remembered before the document goes. A writer that has made a document looks once more for a
later deletion of it, and takes it away again: so an old row does not stay, whichever of the two was first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import bson
from bson import Decimal128, Int64
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError

from apply.sink import Rejection, TableBatch
from apply.sink_kinds.guarded import GuardedSink, needs_key, rejection, requests, sequence_of
from apply.sinks.mongodb.client import BUSY, DUPLICATE_KEY, REFUSALS, Client, of_code, told
from apply.sinks.mongodb.control import ControlDatabase
from apply.sinks.mongodb.documents import SEQUENCE, Documents, change, whole
from schemas.endpoints.mongodb import MongodbTarget
from schemas.errors import TailraceError
from schemas.per_table import PerTable
from schemas.table import TableName, TableSchema
from schemas.types.numbers import key_decimal

BULK_WRITES_MAX = 10_000
BULK_BYTES_MAX = 32 << 20
"""Of one bulk, which the driver sends in messages of at most 100,000 writes and 48 MB: the server's `maxWriteBatchSize`
and `maxMessageSizeBytes`."""

Write = InsertOne[Any] | ReplaceOne[Any] | UpdateOne | DeleteOne


@dataclass(slots=True)
class _Row:
    """One row's write."""

    kind: str
    index: int
    id: Any
    key: str
    seq: int
    write: Write
    size: int = 0


class MongodbSink(GuardedSink):
    """One server's databases, as one appliers' process sees them."""

    def __init__(self, replication: str, target_name: str, target: MongodbTarget) -> None:
        self._client = Client(target)
        self._control = ControlDatabase(
            self._client, target.control_database, f"{replication}/{target_name}", target.deleted_kept_s
        )
        super().__init__(self._control)
        self._documents = PerTable(lambda table: Documents(table, target))
        self._found_empty: dict[TableName, bool] = {}
        """Whether a collection was empty when this process first wrote to it."""

    def prepare(self, table: TableSchema) -> None:
        """Make the table's collection unless it is there. Raises TARGET_SCHEMA."""
        needs_key(table, "a document")
        documents = self._documents(table)
        self._control.make()
        with told(f"making the collection of {table.name}"):
            database = self._collection(documents).database
            if not database.list_collection_names(filter={"name": documents.collection}):
                # 48 is NamespaceExists: another appliers' process made it at the same moment.
                database.command("create", documents.collection, check=True, allowable_errors=[48])
        self._know(table)

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the collection has no document."""
        with told(f"looking for rows of {table.name}"):
            return self._collection(self._documents(table)).find_one({}, {"_id": 1}) is None

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch; return the rows that MongoDB does not take. What was written is durable."""
        documents, rejections = self._documents(batch.table), list[Rejection]()
        self._delete(batch, documents, rejections)
        for kind in ("upserts", "updates"):
            rows = self._rows(batch, documents, kind, rejections)
            for some in requests(rows, lambda row: row.size, BULK_WRITES_MAX, BULK_BYTES_MAX):
                self._write(batch, documents, some, rejections)
        return rejections

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Delete every document. Everybody waits at the barrier meanwhile."""
        for table in tables:
            with told(f"emptying the collection of {table.name}"):
                self._collection(self._documents(table)).delete_many({})

    def drop(self, table: TableSchema) -> None:
        """Drop the collection."""
        with told(f"dropping the collection of {table.name}"):
            self._collection(self._documents(table)).drop()
        self._newest.pop(table.name, None)
        self._found_empty.pop(table.name, None)

    def complete_load(self, table: TableSchema) -> None:
        """See `Sink`. Secondary indexes of relational tables have no counterpart."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _collection(self, documents: Documents) -> Any:
        return self._client.collection(documents.database, documents.collection)

    def _delete(self, batch: TableBatch, documents: Documents, rejections: list[Rejection]) -> None:
        rows = [
            _Row("deletes", i, id_, documents.key_texts.of_key(key), seq, DeleteOne(_older(id_, seq)))
            for i, key in enumerate(batch.deletes)
            for id_, seq in [(documents.id_of_key(key), sequence_of(batch, "deletes", i))]
        ]
        if rows:
            self._control.remember(_place(documents), [(row.key, row.seq) for row in rows])
            self._send(batch.table, documents, rows, rejections)

    def _rows(self, batch: TableBatch, documents: Documents, kind: str, rejections: list[Rejection]) -> Iterator[_Row]:
        table = batch.table
        if batch.fresh and table.name not in self._found_empty:
            self._found_empty[table.name] = self.is_empty(table)
        inserts = batch.fresh and self._found_empty[table.name]
        is_whole = kind == "upserts" and (self._is_whole(table) or documents.nests)
        for i, row in enumerate(getattr(batch, kind)):
            seq = sequence_of(batch, kind, i)
            try:
                id_, (fields, times) = documents.id_of_row(row), documents.fields(row)
                if is_whole:
                    # A document that is there keeps its `_id`: an equal one may have been written in another way.
                    document = whole({"_id": id_} if inserts else {}, fields, times, seq)
                    write: Write = (
                        InsertOne(document) if inserts else ReplaceOne(_older(id_, seq), document, upsert=True)
                    )
                    size = len(document.raw)
                else:
                    update = change(fields, times, seq)
                    write = UpdateOne(_older(id_, seq), update, upsert=kind == "upserts")
                    size = len(bson.encode(update))
            except ValueError as error:
                rejections.append(rejection(table, kind, i, str(error)))
                continue
            yield _Row(kind, i, id_, documents.key_texts.of_row(row), seq, write, size)

    def _write(self, batch: TableBatch, documents: Documents, rows: list[_Row], rejections: list[Rejection]) -> None:
        """Write rows, but for those of which a later deletion is known, before or afterwards."""
        place = _place(documents)
        makes = rows[0].kind == "upserts"
        if makes:
            gone = self._gone(place, rows)
            rows = [row for row in rows if row.key not in gone]
        self._send(batch.table, documents, rows, rejections)
        if makes:
            gone = self._gone(place, rows)
            late = [row for row in rows if row.key in gone]
            undo = [DeleteOne({"_id": row.id, SEQUENCE: Int64(row.seq)}) for row in late]
            if undo:
                with told("taking back old rows"):
                    self._collection(documents).bulk_write(undo, ordered=False)

    def _gone(self, place: str, rows: list[_Row]) -> set[str]:
        """Return the keys of rows of which a deletion is known that is not older."""
        sequences = self._control.sequences(place, [row.key for row in rows])
        return {row.key for row in rows if sequences.get(row.key, -1) >= row.seq} if sequences else set()

    def _send(self, table: TableSchema, documents: Documents, rows: list[_Row], rejections: list[Rejection]) -> None:
        """Send a bulk. Whose `_id` is there already is as new, or else was made at this moment: then it goes again."""
        if not rows:
            return
        taken = self._bulk(table, documents, rows, rejections)
        if not taken:
            return
        with told(f"reading documents of {table.name}"):
            wanted = {"_id": {"$in": [row.id for row in taken]}}
            found = self._collection(documents).find(wanted, {SEQUENCE: 1})
            there = {_comparable(each["_id"]): each.get(SEQUENCE, -1) for each in found}
        older = [row for row in taken if there.get(_comparable(row.id), -1) < row.seq]
        for row in older:
            if isinstance(row.write, InsertOne):
                document = {name: value for name, value in row.write._doc.items() if name != "_id"}
                row.write = ReplaceOne(_older(row.id, row.seq), document, upsert=True)
        # Twice without reason: it is not its `_id` that is there already.
        refused = self._bulk(table, documents, older, rejections) if older else []
        message = "a unique index of the collection forbids the document"
        rejections += [rejection(table, row.kind, row.index, message) for row in refused]

    def _bulk(
        self, table: TableSchema, documents: Documents, rows: list[_Row], rejections: list[Rejection]
    ) -> list[_Row]:
        """Send a bulk; return the rows that a unique index refuses."""
        doing = f"writing documents of {table.name}"
        try:
            with told(doing):
                try:
                    self._collection(documents).bulk_write([row.write for row in rows], ordered=False)
                except BulkWriteError as error:
                    errors = error.details["writeErrors"]
                    if error.details["writeConcernErrors"]:
                        raise
                else:
                    return []
        except TailraceError as error:
            error.table = str(table.name)
            raise
        codes = {each["code"] for each in errors}
        for code in sorted(codes & (BUSY | REFUSALS)):
            raise of_code(code, doing)
        for each in errors:
            if each["code"] != DUPLICATE_KEY:
                row = rows[each["index"]]
                rejections.append(
                    rejection(table, row.kind, row.index, f"MongoDB does not take a document (code {each['code']})")
                )
        return [rows[each["index"]] for each in errors if each["code"] == DUPLICATE_KEY]


def _older(id_: Any, seq: int) -> dict[str, Any]:
    """Return the condition that a document, if it is there, is older, or was never ours."""
    return {"_id": id_, SEQUENCE: {"$not": {"$gte": Int64(seq)}}}


def _comparable(id_: Any) -> bytes:
    """Return the same for all `_id`s that MongoDB holds equal: documents have no hash, and numbers have many types."""
    return bson.encode({"": _untyped(id_)})


def _untyped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _untyped(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_untyped(inner) for inner in value]
    if isinstance(value, Decimal128):
        value = value.to_decimal()
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(key_decimal(Decimal(value)))
    return value


def _place(documents: Documents) -> str:
    return f"{documents.database}.{documents.collection}"
