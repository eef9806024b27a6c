"""Data streams: a document for each change of a table, which is never changed again.

Its `_id` is the change's place in Kafka with its commit sequence (after a reset other changes have the same places), so
what comes again meets itself, as long as the stream has not begun a new index behind it in between; then it is there
twice, with one commit sequence. A column that the log did not hold is not in the document; one that is null is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from apply.frames.history import AT_LEAST_ONCE, HistorySink
from apply.sink import Origin, Rejection, TableBatch
from apply.sinks.opensearch.bulk import NOT_FOUND, Write, send
from apply.sinks.opensearch.client import Client, line
from apply.sinks.opensearch.mapping import FIELDS_MAX, Documents, index_name, properties
from schemas.changes import Row
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.per_table import PerTable
from schemas.table import TableSchema
from schemas.types.plain import timestamp_text

TIMESTAMP = "@timestamp"
"""When the source committed. OpenSearch's documentation, "Data streams": each document has it."""
OPERATION, SEQUENCE, PARTITION = "tailrace_op", "tailrace_seq", "tailrace_partition"

HEADS: dict[str, Any] = {
    TIMESTAMP: {"type": "date", "format": "strict_date_optional_time_nanos"},
    OPERATION: {"type": "keyword"},
    SEQUENCE: {"type": "long"},
    PARTITION: {"type": "integer"},
}

TEMPLATE_PRIORITY = 500
"""Above those that are made for patterns: ours is for one name."""


class DataStreamSink(HistorySink):
    """One domain with a data stream for each table, as one appliers' process sees it."""

    capabilities = replace(AT_LEAST_ONCE, rolls_back=False)

    def __init__(self, target: OpensearchTarget) -> None:
        self._target = target
        self._client = Client(target)
        self._documents = PerTable(partial(Documents, pattern=target.index_name))

    def prepare(self, table: TableSchema) -> None:
        """Make the table's stream, or add the fields that it lacks. Raises TARGET_SCHEMA.

        What was made by somebody else gets fields, and keeps its template.
        """
        fields = fields_of(table)
        name = self._name(table)
        template = f"/_index_template/tailrace-{name}"
        found = self._client.request("GET", template, absent=NOT_FOUND)
        is_there = self._is_there(name)
        if found or not is_there:
            mappings = found["index_templates"][0]["index_template"]["template"]["mappings"] if found else {}
            known = mappings.get("properties", {})
            # A stream that was removed, since a column had another type by then, is made with the new one.
            told = fields | known if is_there else known | fields
            self._client.request("PUT", template, self._template(table, told))
        if not is_there and self._client.request("PUT", f"/_data_stream/{name}", absent=400):
            return
        # Two appliers may make it at the same moment; an index of that name would take changes among its rows.
        if not is_there and not self._is_there(name):
            raise _unfit(table, name, "there is no data stream of that name, but something else")
        self._add_fields(table, name, fields)

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write changes; return those that OpenSearch does not take. What was written is durable."""
        return send(self._client, batch.table, self._writes(batch), self._target)

    def flush(self) -> None:
        """See `Sink`. Changes are durable since they were written."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _name(self, table: TableSchema) -> str:
        return quote(index_name(self._target.index_name, table.name), safe="")

    def _is_there(self, name: str) -> bool:
        return bool(self._client.request("GET", f"/_data_stream/{name}", absent=NOT_FOUND))

    def _template(self, table: TableSchema, fields: dict[str, Any]) -> dict[str, Any]:
        limit = {"index.mapping.total_fields.limit": max(FIELDS_MAX, 3 * len(fields))}
        return {
            "index_patterns": [index_name(self._target.index_name, table.name)],
            "data_stream": {},
            "priority": TEMPLATE_PRIORITY,
            "template": {
                "settings": {**limit, **self._target.index_settings},
                "mappings": {"dynamic": False, "properties": fields},
            },
        }

    def _add_fields(self, table: TableSchema, name: str, fields: dict[str, Any]) -> None:
        try:
            self._client.request("PUT", f"/{name}/_mapping", {"properties": fields})
        except TailraceError as error:
            if error.kind is not ErrorKind.TARGET_SCHEMA:
                raise
            raise _unfit(table, name, "the data stream has a field of another type than the table's column") from error

    def _writes(self, batch: TableBatch) -> Iterator[Write]:
        documents = self._documents(batch.table)
        for i, (change, origin) in enumerate(zip(batch.sequence, batch.origins["sequence"], strict=True)):
            topic, partition = origin.partition
            head = documents.created(f"{topic}/{partition}/{origin.offset}/{origin.seq}")
            yield Write("sequence", i, head + line(document_of(documents, change, origin)))


def document_of(documents: Documents, change: tuple[str, Row | None, Row | None], origin: Origin) -> dict[str, Any]:
    """Return what tells a change."""
    op, before, after = change
    row = before if after is None else after
    return {
        TIMESTAMP: f"{timestamp_text(origin.commit_ts_us)}Z",
        OPERATION: op,
        SEQUENCE: origin.seq,
        PARTITION: origin.partition.partition,
        **({} if row is None else documents.document(row)),
    }


def fields_of(table: TableSchema) -> dict[str, Any]:
    """Return the fields of a stream's documents. Raises TARGET_SCHEMA."""
    fields = properties(table)
    if taken := sorted(HEADS.keys() & fields.keys()):
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"the table has a column {taken[0]}, as every document of a data stream has",
            table=str(table.name),
            remedy="rename it by a mapping rule",
        )
    return HEADS | fields


def _unfit(table: TableSchema, name: str, message: str) -> TailraceError:
    remedy = f"make {name} anew, or set `index_name`"
    return TailraceError(ErrorKind.TARGET_SCHEMA, message, table=str(table.name), remedy=remedy)


def names_of(tables: Sequence[TableSchema], target: OpensearchTarget) -> list[str]:
    """Return the index patterns of tables: their indices or streams, and what stands behind these."""
    names = sorted({index_name(target.index_name, table.name) for table in tables})
    return names if target.index_kind == "index" else [*names, *(f".ds-{name}-*" for name in names)]
