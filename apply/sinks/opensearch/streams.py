"""Data streams: a document for each change of a table, which is never changed again.

Its `_id` is the change's place in Kafka with its commit sequence (after a reset other changes have the same places), so
what comes again meets itself, as long as the stream has not begun a new index behind it in between; then it is there
twice, with one commit sequence. A column that the log did not hold is not in the document; one that is null is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from apply.sink import Origin, Rejection, TableBatch
from apply.sink_kinds.history import AT_LEAST_ONCE, HistorySink
from apply.sinks.opensearch.bulk import NOT_FOUND, Write, send
from apply.sinks.opensearch.client import Client, line
from apply.sinks.opensearch.control import ControlIndex
from apply.sinks.opensearch.mapping import FIELDS_MAX, Documents, changed_fields, grown_fields, index_name, properties
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

_VERSIONS = "tailrace_versions"
"""The member of a template's `_meta` that lists the versions whose fields it knows."""

VERSIONS_MAX = 50
"""So many are listed."""

CLAIM_ANSWERS = 2
CLAIM_S_MAX = 300.0
"""An applier that has not let a stream go on for as long as so many answers may take is taken for dead. Not later than
this: who waits longer is taken for dead itself (`runtime.metrics.STALL_LIMIT_S`), and begins to wait anew.
"""


class _Stream(NamedTuple):
    """A data stream that is there."""

    template: str
    """The name of the template that its next index is made by."""
    head: str
    """The index that takes what is written now."""


class DataStreamSink(HistorySink):
    """One domain with a data stream for each table, as one appliers' process sees it."""

    capabilities = replace(AT_LEAST_ONCE, rolls_back=False)

    def __init__(self, target: OpensearchTarget) -> None:
        self._target = target
        self._client = Client(target)
        self._control = ControlIndex(self._client, target.control_index)
        self._documents = PerTable(partial(Documents, pattern=target.index_name))

    def prepare(self, table: TableSchema) -> None:
        """Make the table's stream, add the fields that it lacks, or let it go on in an index with other types.

        What was made by somebody else gets fields, and keeps its template. Raises TARGET_SCHEMA.
        """
        if not self._takes(table, goes_on=False):
            # Several appliers may come to it at the same moment: the first one does it, and the others look again.
            stream = index_name(self._target.index_name, table.name)
            patience_s = min(CLAIM_ANSWERS * self._target.timeout_s, CLAIM_S_MAX)
            with self._control.claim(stream, patience_s):
                self._takes(table, goes_on=True)

    def _takes(self, table: TableSchema, *, goes_on: bool) -> bool:
        """Tell whether the table's stream has a place for its rows, which is made, unless it takes a new index that may
        not be made (`goes_on`).
        """
        fields = fields_of(table)
        name = self._name(table)
        stream = self._stream(name)
        is_ours = stream is None or stream.template == self._template_name(table)
        if is_ours:
            fields = self._keep_template(table, name, fields, is_there=stream is not None)
        if stream is None:
            if self._client.request("PUT", f"/_data_stream/{name}", absent=400):
                return True
            # Two appliers may make it at the same moment; an index of that name would take changes among its rows.
            stream = self._stream(name)
            if stream is None:
                raise _unfit(table, name, "there is no data stream of that name, but something else")
        answer = self._client.request("GET", f"/{quote(stream.head, safe='')}/_mapping")
        there = answer[stream.head]["mappings"].get("properties", {})
        if is_ours and any(there[one].get("type") != fields[one]["type"] for one in fields.keys() & there.keys()):
            # No index has another type for a field that it has.
            if goes_on:
                self._client.request("POST", f"/{name}/_rollover")
            return goes_on
        self._add_fields(table, name, fields, there)
        return True

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

    def _template_name(self, table: TableSchema) -> str:
        return f"tailrace-{index_name(self._target.index_name, table.name)}"

    def _stream(self, name: str) -> _Stream | None:
        found = self._client.request("GET", f"/_data_stream/{name}", absent=NOT_FOUND)
        if not found:
            return None
        (stream,) = found["data_streams"]
        return _Stream(stream.get("template", ""), stream["indices"][-1]["index_name"])

    def _keep_template(
        self, table: TableSchema, name: str, fields: dict[str, Any], *, is_there: bool
    ) -> dict[str, Any]:
        """Let the template know a version's fields; return those of the next index."""
        place = f"/_index_template/tailrace-{name}"
        found = self._client.request("GET", place, absent=NOT_FOUND)
        kept = found["index_templates"][0]["index_template"] if found else {}
        known = kept.get("template", {}).get("mappings", {}).get("properties", {})
        versions = kept.get("_meta", {}).get(_VERSIONS, [])
        version = f"{table.version}:{hashlib.sha256(orjson.dumps(fields)).hexdigest()[:16]}"
        if not is_there:
            # One that was removed is made with the types of now.
            fields = known | fields
        elif version in versions:
            # Who is behind does not bring back what a later version had made another.
            fields = fields | known
        else:
            fields = grown_fields(fields, known)
        versions = [*(one for one in versions if one != version), version][-VERSIONS_MAX:]
        self._client.request("PUT", place, self._template(table, fields) | {"_meta": {_VERSIONS: versions}})
        return fields

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

    def _add_fields(self, table: TableSchema, name: str, fields: dict[str, Any], there: dict[str, Any]) -> None:
        try:
            changed = {"properties": changed_fields(fields, there)}
            # Indices behind it are written no more, and may have other types.
            self._client.request("PUT", f"/{name}/_mapping", changed, write_index_only="true")
        except (KeyError, TailraceError) as error:
            if isinstance(error, TailraceError) and error.kind is not ErrorKind.TARGET_SCHEMA:
                raise
            message = "the data stream has a field that takes no values of the table's column, by another's template"
            raise _unfit(table, name, message) from error

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
