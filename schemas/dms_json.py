"""The JSON documents that DMS writes for each change: `data`, and `metadata` about it.

AWS DMS user guide, "Using Apache Kafka as a target", its example of a data record. Values are in their plain form (see
`schemas.types.plain`). Beyond DMS's: `before` where the log has whole old rows, `unavailable`, and in the metadata
`commit-sequence`, by which a reader sees what came twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.changes import UNCHANGED, Row
from schemas.table import TableSchema
from schemas.types.plain import plain

OPERATIONS = {"r": "load", "c": "insert", "u": "update", "d": "delete", "t": "truncate-table"}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Document = dict[str, Any]
Write = Callable[[str, Row | None, Row | None, int, int, int | None], Document]
"""`(op, before, after, commit sequence, commit time in microseconds, transaction id)` to a document."""


def document_writer(table: TableSchema) -> Write:
    """Return what makes documents of a table version's changes."""
    columns = [(column.name, plain(column.type)) for column in table.columns]
    key = {"schema-name": table.name.schema, "table-name": table.name.table}

    def fields(row: Row) -> Document:
        return {
            name: None if value is None else form(value)
            for (name, form), value in zip(columns, row, strict=True)
            if value is not UNCHANGED
        }

    def write(
        op: str, before: Row | None, after: Row | None, seq: int, commit_ts_us: int, txid: int | None
    ) -> Document:
        row = after if after is not None else before
        metadata = {
            "timestamp": _time(commit_ts_us),
            "record-type": "control" if op == "t" else "data",
            "operation": OPERATIONS[op],
            "partition-key-type": "primary-key",
            **key,
            "transaction-id": txid,
            "commit-sequence": seq,
        }
        document: Document = {"metadata": metadata} if row is None else {"data": fields(row), "metadata": metadata}
        if op == "u" and before is not None:
            document["before"] = fields(before)
        if row is not None and op != "d":
            missing = [name for (name, _), value in zip(columns, row, strict=True) if value is UNCHANGED]
            if missing:
                document["unavailable"] = missing
        return document

    return write


def _time(us: int) -> str:
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
