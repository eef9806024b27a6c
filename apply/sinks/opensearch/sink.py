"""The OpenSearch sink: a document for each row, whose external version is the commit sequence of its last change.

OpenSearch refuses a version that is not above the one it has, so replays and late writers change nothing; a conflict is
success. Versions of deleted documents are remembered for `gc_deletes`. A row of which the log held a part only is read,
completed and written under its own version: whoever is late meets a higher one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from apply.sink import Rejection, TableBatch
from apply.sink_kinds.guarded import GuardedSink, needs_key, rejection, sequence_of
from apply.sinks.opensearch.barriers import Barriers
from apply.sinks.opensearch.bulk import NOT_FOUND, Write, send
from apply.sinks.opensearch.client import Client, line
from apply.sinks.opensearch.mapping import FIELDS_MAX, ID_BYTES_MAX, Documents, changed_fields, index_name, properties
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.per_table import PerTable
from schemas.table import TableSchema

READ_DOCUMENTS_MAX = 500
"""Documents that are read by one request to complete them."""


class OpensearchSink(GuardedSink):
    """One domain with an index for each table, as one appliers' process sees it."""

    def __init__(self, replication: str, target_name: str, target: OpensearchTarget) -> None:
        self._target = target
        self._client = Client(target)
        super().__init__(Barriers(self._client, target.control_index, replication, target_name))
        self._documents = PerTable(partial(Documents, pattern=target.index_name))

    def prepare(self, table: TableSchema) -> None:
        """Make the table's index, or add the fields that it lacks. Raises TARGET_SCHEMA."""
        needs_key(table, "a document")
        fields = properties(table)
        index = self._index(table)
        settings = {
            "index.gc_deletes": f"{self._target.gc_deletes_s}s",
            "index.mapping.total_fields.limit": max(FIELDS_MAX, 3 * len(fields)),
            **self._target.index_settings,
        }
        body = {"settings": settings, "mappings": {"dynamic": False, "properties": fields}}
        # One request that looks and one that makes: two appliers may do so at the same moment.
        found = self._client.request("GET", f"/{index}/_mapping", absent=NOT_FOUND)
        if not found and not self._client.request("PUT", f"/{index}", body, absent=400):
            found = self._client.request("GET", f"/{index}/_mapping", absent=NOT_FOUND)
            if not found:
                raise TailraceError(
                    ErrorKind.TARGET_SCHEMA,
                    f"OpenSearch does not make the index {index}",
                    table=str(table.name),
                    remedy="look at `index_settings`, at its index templates, and at how many shards it may have",
                )
        if found:
            self._add_fields(table, index, fields, found)
        self._know(table)

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the index has no document."""
        self._client.request("POST", f"/{self._index(table)}/_refresh")
        return bool(self._client.request("GET", f"/{self._index(table)}/_count")["count"] == 0)

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch; return the rows that OpenSearch does not take. What was written is durable."""
        documents, rejections = self._documents(batch.table), list[Rejection]()
        writes = [*self._deletes(batch, documents)]
        if self._is_whole(batch.table):
            writes += self._upserts(batch, documents, rejections)
        else:
            # A later version has columns more: they stay as they are.
            writes += self._completed(batch, documents, rejections, "upserts")
        writes += self._completed(batch, documents, rejections, "updates")
        return rejections + send(self._client, batch.table, writes, self._target)

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Delete every document. Everybody waits at the barrier meanwhile."""
        for table in tables:
            index = self._index(table)
            self._client.request("POST", f"/{index}/_refresh")
            every: dict[str, Any] = {"query": {"match_all": {}}}
            self._client.request("POST", f"/{index}/_delete_by_query", every, refresh="true", conflicts="proceed")

    def drop(self, table: TableSchema) -> None:
        """Delete the index."""
        self._client.request("DELETE", f"/{self._index(table)}", absent=NOT_FOUND)
        self._newest.pop(table.name, None)

    def complete_load(self, table: TableSchema) -> None:
        """Let searches see what was loaded."""
        self._client.request("POST", f"/{self._index(table)}/_refresh")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _index(self, table: TableSchema) -> str:
        return quote(index_name(self._target.index_name, table.name), safe="")

    def _add_fields(self, table: TableSchema, index: str, fields: dict[str, Any], found: dict[str, Any]) -> None:
        there = {name: field for one in found.values() for name, field in one["mappings"].get("properties", {}).items()}
        try:
            self._client.request("PUT", f"/{index}/_mapping", {"properties": changed_fields(fields, there)})
        except (KeyError, TailraceError) as error:
            if isinstance(error, TailraceError) and error.kind is not ErrorKind.TARGET_SCHEMA:
                raise
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                "the index has a field of another type than the table's column",
                table=str(table.name),
                remedy=f"make {index} anew, or set `index_name`",
            ) from error

    def _deletes(self, batch: TableBatch, documents: Documents) -> Iterator[Write]:
        for i, key in enumerate(batch.deletes):
            head = documents.line("delete", documents.key_texts.of_key(key), sequence_of(batch, "deletes", i))
            yield Write("deletes", i, head)

    def _upserts(self, batch: TableBatch, documents: Documents, rejections: list[Rejection]) -> Iterator[Write]:
        for i, row in enumerate(batch.upserts):
            id_ = documents.key_texts.of_row(row)
            if _fits(batch, "upserts", i, id_, rejections):
                head = documents.line("index", id_, sequence_of(batch, "upserts", i))
                yield Write("upserts", i, head + line(documents.document(row)))

    def _completed(
        self, batch: TableBatch, documents: Documents, rejections: list[Rejection], kind: str
    ) -> Iterator[Write]:
        """Complete rows from the documents that are there. A part of a row does not bring one back that is gone."""
        rows = getattr(batch, kind)
        for begin in range(0, len(rows), READ_DOCUMENTS_MAX):
            some = [
                (i, documents.key_texts.of_row(rows[i]))
                for i in range(begin, min(begin + READ_DOCUMENTS_MAX, len(rows)))
            ]
            fitting = [(i, id_) for i, id_ in some if _fits(batch, kind, i, id_, rejections)]
            if not fitting:
                continue
            ids = {"ids": [id_ for _, id_ in fitting]}
            found = self._client.request("POST", f"/{self._index(batch.table)}/_mget", ids)["docs"]
            for (i, id_), there in zip(fitting, found, strict=True):
                if there.get("found") or kind == "upserts":
                    document = {**there.get("_source", {}), **documents.document(rows[i])}
                    head = documents.line("index", id_, sequence_of(batch, kind, i))
                    yield Write(kind, i, head + line(document))


def _fits(batch: TableBatch, kind: str, i: int, id_: str, rejections: list[Rejection]) -> bool:
    size = len(id_) if id_.isascii() else len(id_.encode())
    if 0 < size <= ID_BYTES_MAX:
        return True
    message = f"the key makes an id of {size} bytes; OpenSearch allows 1 to {ID_BYTES_MAX}"
    rejections.append(rejection(batch.table, kind, i, message))
    return False
