"""A target for tests and for readers of `docs/plugins.md`: every change of every table in one table of SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from apply.sink import Rejection, TableBatch
from apply.sink_kinds.history import HISTORY, HistorySink
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding
from schemas.settings import Settings
from schemas.table import TableSchema
from schemas.types.plain import plain

MAKE = """
create table if not exists audit (
    seq integer, topic text, partition integer, committed_us integer, table_name text, op text, data text,
    primary key (seq, topic, partition)
)
"""


def open_sink(settings: Settings, target: str) -> AuditSink:
    """See `apply.sinks`."""
    return AuditSink(_path(settings, target))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """See `apply.sinks`."""
    _path(settings, target)
    return []


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """See `apply.sinks`."""
    return []


def _path(settings: Settings, target: str) -> str:
    options: dict[str, Any] = getattr(settings.target(target), "options", {})
    if set(options) != {"path"}:
        raise TailraceError(ErrorKind.CONFIGURATION, f"targets.{target}.options: an audit takes `path`, nothing else")
    return str(options["path"])


class AuditSink(HistorySink):
    """Exactly once: a change that comes again has the same commit sequence, and is there already."""

    capabilities = HISTORY

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write changes within the open transaction."""
        columns = [(column.name, plain(column.type)) for column in batch.table.columns]

        def text(row: Row | None) -> str | None:
            if row is None:
                return None
            known = [(n, f, v) for (n, f), v in zip(columns, row, strict=True) if v is not UNCHANGED]
            return json.dumps({name: None if value is None else form(value) for name, form, value in known})

        rows = [
            (o.seq, *o.partition, o.commit_ts_us, str(batch.table.name), op, text(before if after is None else after))
            for (op, before, after), o in zip(batch.sequence, batch.origins["sequence"], strict=True)
        ]
        try:
            self._connection.execute(MAKE)
            self._connection.executemany("insert or ignore into audit values (?, ?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.OperationalError as error:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, f"the database is not usable ({error})") from error
        return []

    def flush(self) -> None:
        """Commit. Invariant 3: only then are the group's offsets committed."""
        self._connection.commit()

    def rollback(self) -> None:
        """Undo everything since the last flush."""
        self._connection.rollback()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
