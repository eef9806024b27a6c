"""Which tables the target is known to be ready for, in which version, and which of them it had without a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from apply.grouping import Grouping
from apply.sink import Sink
from runtime.failpoints import hit
from runtime.logging import get_logger
from schemas.table import TableName, TableSchema

log = get_logger(__name__)


class PreparedTables:
    """Prepares tables, each version once in this process. Called with nothing unflushed."""

    def __init__(self, sink: Sink, grouping: Grouping) -> None:
        self._sink = sink
        self._grouping = grouping
        self._versions: dict[TableName, int] = {}
        self._empty_at_first: dict[TableName, bool] = {}

    def has(self, table: TableSchema) -> bool:
        """Tell whether rows of this version can be written, as far as this process knows."""
        return self._versions.get(table.name, 0) >= table.version

    def was_empty(self, name: TableName) -> bool:
        """Tell whether a table had no row when this process prepared it first."""
        return self._empty_at_first.get(name, False)

    def prepare(self, table: TableSchema) -> None:
        """Let the target take rows of this version."""
        if self.has(table):
            return
        self._sink.prepare(table)
        self._note(table, partial(self._sink.is_empty, table))

    def prepare_new(self, tables: Iterable[TableSchema]) -> None:
        """Prepare tables that this process has never prepared, many at once. What is left is prepared one by one."""
        for table, is_empty in self._grouping.prepare([t for t in tables if t.name not in self._versions]):
            self._note(table, partial(bool, is_empty))

    def forget(self) -> None:
        """Prepare every table anew: the connection may be another one, the target may have been restored."""
        self._versions.clear()

    def drop(self, name: TableName) -> None:
        """Forget a table that is there no more."""
        self._versions.pop(name, None)
        self._empty_at_first.pop(name, None)

    def _note(self, table: TableSchema, is_empty: Callable[[], bool]) -> None:
        hit("apply.prepare.after")
        if table.name not in self._versions:
            self._empty_at_first[table.name] = is_empty()
        self._versions[table.name] = table.version
        log.debug("table ready", table=str(table.name), version=table.version)
