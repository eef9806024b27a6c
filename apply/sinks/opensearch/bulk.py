"""Bulk requests, and what each of their operations came to. A conflict is success: it is there, or a newer one is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from apply.sink import Rejection
from apply.sink_kinds.guarded import rejection, requests
from apply.sinks.opensearch.client import BUSY, REFUSALS, Client, refused
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema

CONFLICT = 409
NOT_FOUND = 404


@dataclass(slots=True)
class Write:
    """One operation of a bulk request, and the row that it is for."""

    kind: str
    index: int
    lines: bytes
    """One or two, each with its end."""


def send(client: Client, table: TableSchema, writes: Iterable[Write], target: OpensearchTarget) -> list[Rejection]:
    """Send operations by requests of the target's size; return what OpenSearch does not take.

    Raises TARGET_THROTTLED, TARGET_SCHEMA, TARGET_CONNECTION, PREREQUISITE.
    """
    rejections: list[Rejection] = []
    for some in requests(writes, _size, target.bulk_documents, target.bulk_bytes):
        results = client.bulk([write.lines for write in some])
        for write, result in zip(some, results or (), strict=results is not None):
            status = int(result["status"])
            if status < 300 or (status in (CONFLICT, NOT_FOUND) and "error" not in result):
                continue
            kind = str(result.get("error", {}).get("type", ""))
            if kind == "version_conflict_engine_exception":
                continue
            if status in BUSY or status >= 500:
                raise TailraceError(ErrorKind.TARGET_THROTTLED, f"OpenSearch is busy ({kind})", table=str(table.name))
            if status in REFUSALS:
                # Of the index, not of the row.
                raise refused(f"writing {table.name}", status, kind)
            if kind == "index_not_found_exception":
                raise TailraceError(ErrorKind.TARGET_SCHEMA, "the table's index is gone", table=str(table.name))
            message = f"OpenSearch does not take a document ({kind})"
            rejections.append(rejection(table, write.kind, write.index, message))
    return rejections


def _size(write: Write) -> int:
    return len(write.lines)
