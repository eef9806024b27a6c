"""What a table gets after its load: secondary indexes and foreign keys.

Made after the load because loading into indexes is slow, and because a foreign key wants its parents first. Foreign
keys are made only when both tables are loaded; whichever completes last makes them. They are made without looking at
the rows that are there, as some may be on their way; every row that is written from then on is checked.
"""

from __future__ import annotations

import pymysql

from apply.sinks.mysql.catalog import read_table
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.errors import classify, code_of
from apply.sinks.mysql.foreign import translated
from apply.sinks.mysql.names import listed, qualified, quoted, shortened
from apply.sinks.mysql.preparation import Preparation
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.table import ForeignKey, Index, TableName, TableSchema

log = get_logger(__name__)


class Completion:
    """Completes loaded tables over the link for definitions. Driver errors pass through."""

    def __init__(
        self,
        link: Link,
        control: ControlTables,
        preparation: Preparation,
        *,
        foreign_keys_act: bool,
        lock_timeout_s: int,
    ) -> None:
        self._link = link
        self._control = control
        self._preparation = preparation
        self._foreign_keys_act = foreign_keys_act
        self._lock_timeout_s = lock_timeout_s

    def complete(self, table: TableSchema) -> None:
        """Make what is missing. May be repeated."""
        self._control.install()
        with self._control.alone(self._lock_timeout_s):
            recorded = self._control.recorded(table.name)
            table = recorded or translated(table, self._preparation.server)
            name = self._preparation.target_name(table.name)
            present = self._index_names(name)
            for index in table.indexes:
                if shortened(index.name) not in present:
                    self._make_index(table, name, index)
            self._control.mark_loaded(table.name)
            loaded = self._control.loaded()
            for child in loaded.values():
                for key in child.foreign_keys:
                    if key.target in loaded and table.name in (child.name, key.target):
                        self._make_foreign_key(child, key)

    def _index_names(self, name: TableName) -> set[str]:
        found = self._link.rows(
            "select distinct index_name from information_schema.statistics where table_schema = %s and table_name = %s",
            name,
        )
        return {index for (index,) in found}

    def _make_index(self, table: TableSchema, name: TableName, index: Index) -> None:
        kind, _, columns = index.definition.partition("(")
        words = f"{'unique ' if index.unique else ''}{kind}index"
        statement = f"alter table {qualified(name)} add {words} {quoted(shortened(index.name))} ({columns}"
        error = self._attempt(statement)
        if error is None:
            return
        if not index.unique:
            log.warning("index left out", table=str(table.name), index=index.name, code=code_of(error))
            return
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"index {index.name!r} cannot be made at the target ({code_of(error)})",
            remedy=f"correct what stands in the way, then run: {statement}",
            table=str(table.name),
        ) from error

    def _make_foreign_key(self, child: TableSchema, key: ForeignKey) -> None:
        name, parent = self._preparation.target_name(child.name), self._preparation.target_name(key.target)
        if read_table(self._link, name) is None or read_table(self._link, parent) is None:
            return
        found = self._link.value(
            "select count(*) from information_schema.table_constraints "
            "where constraint_type = 'FOREIGN KEY' and table_schema = %s and table_name = %s and constraint_name = %s",
            (*name, shortened(key.name)),
        )
        if found:
            return
        # Rows that a cascade deleted at the source arrive as deletions of their own. A cascade here would run ahead of
        # other partitions and delete rows that have moved to another parent meanwhile. Where our session checks no
        # foreign keys, the actions rest until others write the target, and may be there from the start.
        actions = f" on delete {key.on_delete} on update {key.on_update}" if self._foreign_keys_act else ""
        statement = (
            f"alter table {qualified(name)} add constraint {quoted(shortened(key.name))} foreign key "
            f"({listed(key.columns)}) references {qualified(parent)} ({listed(key.target_columns)}){actions}"
        )
        checks = self._link.value("select @@session.foreign_key_checks")
        self._link.run("set session foreign_key_checks = 0")
        try:
            error = self._attempt(statement)
        finally:
            self._link.run(f"set session foreign_key_checks = {int(checks)}")
        if error is not None:
            log.warning("foreign key left out", table=str(child.name), key=key.name, code=code_of(error))

    def _attempt(self, statement: str) -> pymysql.Error | None:
        """Run a statement; return what the server objects to in it. Raises what has nothing to do with it."""
        try:
            self._link.run(statement)
        except pymysql.Error as error:
            kinds = (ErrorKind.TARGET_SCHEMA, ErrorKind.ROW_REJECTED, ErrorKind.ROW_CONFLICT)
            if classify(error, "completing the load").kind not in kinds:
                raise
            return error
        return None
