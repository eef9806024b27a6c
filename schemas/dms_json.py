"""The JSON documents that DMS writes for each change: `data`, and `metadata` about it.

AWS DMS user guide, "Using Apache Kafka as a target", its example of a data record. Values are in their plain form (see
`schemas.types.plain`). Beyond DMS's: `before` where the log has whole old rows, `unavailable`, and in the metadata
`commit-sequence`, by which a reader sees what came twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from schemas.before_image import BeforeImageSettings, has_image
from schemas.changes import UNCHANGED, Row
from schemas.codecs.plain_rows import plain_fields
from schemas.table import Column, TableSchema
from schemas.types.calendar import moment
from schemas.types.logical import Family

OPERATIONS = {"r": "load", "c": "insert", "u": "update", "d": "delete", "t": "truncate-table"}

TIMES_MAX = 256
"""Commit times that are remembered: changes of one transaction have the same, and batches are of few partitions."""


Document = dict[str, Any]
Write = Callable[[str, Row | None, Row | None, int, int, int | None], Document]
"""`(op, before, after, commit sequence, commit time in microseconds, transaction id)` to a document."""


def document_writer(table: TableSchema, image: BeforeImageSettings | None = None) -> Write:
    """Return what makes documents of a table version's changes.

    `image` says which values before an update they hold; None: all that the log held, as `before`. Those of the key are
    known where the log held none: an update leaves it as it is. A key that changes is a delete and an insert, which has
    values before it, too.
    """
    chosen = {i for i in range(len(table.columns)) if image is not None and has_image(table, i, image.columns)}
    fields = plain_fields([(column.name, column.type) for column in table.columns])
    names, key_places = table.column_names, set(table.key)
    key = {"schema-name": table.name.schema, "table-name": table.name.table}

    def write(
        op: str, before: Row | None, after: Row | None, seq: int, commit_ts_us: int, txid: int | None
    ) -> Document:
        row = after if after is not None else before
        metadata = {
            "timestamp": commit_time(commit_ts_us),
            "record-type": "control" if op == "t" else "data",
            "operation": OPERATIONS[op],
            "partition-key-type": "primary-key",
            **key,
            "transaction-id": txid,
            "commit-sequence": seq,
        }
        if row is None:
            return {"metadata": metadata}
        data = fields(row)
        document: Document = {"data": data, "metadata": metadata}
        if after is not None and (op == "u" or before is not None):
            known, places = (after, chosen & key_places) if before is None else (before, chosen)
            if image is not None:
                document[image.field] = fields(tuple(v if i in places else UNCHANGED for i, v in enumerate(known)))
            elif before is not None:
                document["before"] = fields(before)
        if op != "d" and len(data) < len(names):
            document["unavailable"] = [name for name in names if name not in data]
        return document

    return write


def without_nulls(document: Document) -> None:
    """Leave members that are null out of a document's data."""
    if None in document.get("data", {}).values():
        document["data"] = {name: value for name, value in document["data"].items() if value is not None}


def add_transaction(document: Document, seq: int, commit_ts_us: int) -> None:
    """Add to the metadata what DMS calls transaction details."""
    document["metadata"] |= {"commit-timestamp": commit_time(commit_ts_us), "stream-position": str(seq)}


def table_definition(table: TableSchema, operation: str, commit_ts_us: int, seq: int) -> Document:
    """Return a control record that says what a table is since a change.

    Its form is that of records which DMS wrote (the samples of tools that read them): `table-def` with columns, their
    types and lengths, and the primary key.
    """
    columns = {column.name: _definition(column) for column in table.columns}
    metadata = {
        "timestamp": commit_time(commit_ts_us),
        "record-type": "control",
        "operation": operation,
        "partition-key-type": "schema-table",
        "schema-name": table.name.schema,
        "table-name": table.name.table,
        "commit-sequence": seq,
    }
    definition = {"columns": columns, "primary-key": list(table.key_names)}
    return {"control": {"table-def": definition}, "metadata": metadata}


def table_operations(table: TableSchema, before: Document | None) -> tuple[Document, list[str]]:
    """Return what is to be remembered of a table version, and the operations that lead to it from what was before."""
    columns = {column.name: _definition(column) for column in table.columns}
    said = {"version": table.version, "columns": columns}
    if before is None:
        return said, ["create-table"]
    old = before["columns"]
    kept = columns.keys() & old.keys()
    changes = [
        ("drop-column", bool(old.keys() - columns.keys())),
        ("add-column", bool(columns.keys() - old.keys())),
        ("column-type-change", any(columns[name] != old[name] for name in kept)),
    ]
    return said, [operation for operation, is_so in changes if is_so]


_TYPES = {
    Family.BOOLEAN: "BOOLEAN",
    Family.INT16: "INT16",
    Family.INT32: "INT32",
    Family.INT64: "INT64",
    Family.UINT32: "UINT32",
    Family.UINT64: "UINT64",
    Family.FLOAT32: "REAL32",
    Family.FLOAT64: "REAL64",
    Family.DECIMAL: "NUMERIC",
    Family.NUMERIC: "NUMERIC",
    Family.BYTES: "BYTES",
    Family.DATE: "DATE",
    Family.TIME: "TIME",
    Family.TIMESTAMP: "TIMESTAMP",
    Family.TIMESTAMPTZ: "TIMESTAMP",
}
"""All other families are STRING."""


def _definition(column: Column) -> Document:
    found: Document = {"type": _TYPES.get(column.type.family, "STRING"), "nullable": column.nullable}
    if column.type.family is Family.DECIMAL:
        found |= {"precision": column.type.precision, "scale": column.type.scale}
    return found


@lru_cache(maxsize=TIMES_MAX)
def commit_time(us: int) -> str:
    """Return a time as records of DMS have it."""
    return moment(us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
