"""Secondary indexes and foreign keys as MySQL and MariaDB make them.

Foreign keys are made without looking at the rows that are there, as some may be on their way; every row that is written
from then on is checked.
"""

from __future__ import annotations

from collections.abc import Sequence

import pymysql

from apply.sink_kinds.relational.completion import RelationalCompletion
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.errors import classify, code_of
from apply.sinks.mysql.names import foreign_key_names, listed, qualified, quoted, shortened
from apply.sinks.mysql.preparation import Preparation
from schemas.errors import ErrorKind
from schemas.table import ForeignKey, Index, TableName, TableSchema

_OBJECTIONS = (ErrorKind.TARGET_SCHEMA, ErrorKind.ROW_REJECTED, ErrorKind.ROW_CONFLICT)


class Completion(RelationalCompletion):
    """Completes loaded tables over the link for definitions. Driver errors pass through."""

    def __init__(self, link: Link, control: ControlTables, preparation: Preparation, *, foreign_keys_act: bool) -> None:
        super().__init__(control, preparation, foreign_keys_act=foreign_keys_act)
        self._link = link

    def _wait_for_nobody(self) -> None:
        """Do nothing: each statement commits, and keeps no table locked."""

    def _index_statements(self, name: TableName, index: Index) -> list[str]:
        present = self._link.value(
            "select count(*) from information_schema.statistics "
            "where table_schema = %s and table_name = %s and index_name = %s",
            (*name, shortened(index.name)),
        )
        if present:
            return []
        kind, _, columns = index.definition.partition("(")
        words = f"{'unique ' if index.unique else ''}{kind}index"
        return [f"alter table {qualified(name)} add {words} {quoted(shortened(index.name))} ({columns}"]

    def _foreign_key_statement(self, name: TableName, key: ForeignKey, parent: TableName, actions: str) -> str:
        names = foreign_key_names(name.table, key.name)
        present = self._link.rows(
            "select table_name = %s from information_schema.table_constraints "
            "where constraint_type = 'FOREIGN KEY' and table_schema = %s and constraint_name in (%s, %s)",
            (name.table, name.schema, *names),
        )
        if (1,) in present:
            return ""
        return (
            f"alter table {qualified(name)} add constraint {quoted(names[1] if present else names[0])} foreign key "
            f"({listed(key.columns)}) references {qualified(parent)} ({listed(key.target_columns)}){actions}"
        )

    def _attempt_foreign_key(self, statement: str) -> pymysql.Error | None:
        with self._link.without_foreign_keys():
            return self._attempt([statement])

    def _attempt(self, statements: Sequence[str]) -> pymysql.Error | None:
        try:
            for statement in statements:
                self._link.define(statement)
        except pymysql.Error as error:
            if classify(error, "completing the load").kind not in _OBJECTIONS:
                raise
            return error
        return None

    def _code(self, error: pymysql.Error) -> str:
        return str(code_of(error))

    def _finish(self, tables: Sequence[TableSchema], loaded: set[TableName]) -> None:
        """Do nothing: an identity goes on behind the greatest value by itself."""
