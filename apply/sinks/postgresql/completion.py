"""Secondary indexes and foreign keys as PostgreSQL makes them, and where a table's identities go on."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from apply.sink_kinds.relational.completion import RelationalCompletion
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.control_tables import ControlTables
from apply.sinks.postgresql.names import listed, literal, qualified, quoted
from apply.sinks.postgresql.preparation import Preparation
from schemas.table import ForeignKey, Index, TableName, TableSchema

_MISSING_OBJECTS = frozenset({"42704", "42883", "42703", "0A000"})
"""An operator class, function or column that the target lacks, a feature it does not know: the index is left out."""

_PATIENCE_MS = 100
"""Much less than after what a server looks for a deadlock (`deadlock_timeout`, 1 s): it would end a writer's batch."""

_NO_UNVALIDATED_KEYS = frozenset({"0A000", "42809"})
"""PostgreSQL before 18 refuses unvalidated foreign keys on partitioned tables: feature not supported, wrong object."""


class Completion(RelationalCompletion):
    """Completes loaded tables over one link, in the link's transaction. Driver errors pass through."""

    code_name = "sqlstate"

    def __init__(self, link: Link, control: ControlTables, preparation: Preparation, *, foreign_keys_act: bool) -> None:
        super().__init__(control, preparation, foreign_keys_act=foreign_keys_act)
        self._link = link

    def _wait_for_nobody(self) -> None:
        self._link.run(f"set local lock_timeout = {_PATIENCE_MS}")

    def _index_statements(self, name: TableName, index: Index) -> list[str]:
        # Not `if not exists`: that asks for ownership, and waits for writers, also where the index is there.
        if self._preparation.exists(TableName(name.schema, index.name)):
            return []
        sql, index_name = qualified(name), quoted(index.name)
        statements = [f"create {'unique ' if index.unique else ''}index {index_name} on {sql} {index.definition}"]
        if index.constraint:
            deferrable = " deferrable" if index.deferrable else ""
            statements.append(
                f"alter table {sql} add constraint {index_name} unique using index {index_name}{deferrable}"
            )
        return statements

    def _foreign_key_statement(self, name: TableName, key: ForeignKey, parent: TableName, actions: str) -> str:
        sql = qualified(name)
        present = self._link.value(
            "select true from pg_constraint where contype = 'f' and conname = %s and conrelid = to_regclass(%s)",
            (key.name, sql),
        )
        if present:
            return ""
        # Deferrable, so that what leads from one consistent state to the next may come in any order. For the sessions
        # of others that changes nothing.
        return (
            f"alter table {sql} add constraint {quoted(key.name)} foreign key ({listed(key.columns)}) "
            f"references {qualified(parent)} ({listed(key.target_columns)}){actions} deferrable"
        )

    def _attempt_foreign_key(self, statement: str) -> psycopg.Error | None:
        error = self._attempt([f"{statement} not valid"])
        if error is not None and error.sqlstate in _NO_UNVALIDATED_KEYS:
            error = self._attempt([statement])
        return error

    def _is_spared(self, error: psycopg.Error) -> bool:
        return error.sqlstate in _MISSING_OBJECTS

    def _code(self, error: psycopg.Error) -> str:
        return error.sqlstate or ""

    def _finish(self, tables: Sequence[TableSchema], loaded: set[TableName]) -> None:
        self._validate_foreign_keys(loaded)
        for table in tables:
            self._advance_identities(table, self._preparation.target_name(table.name))

    def _validate_foreign_keys(self, loaded: set[TableName]) -> None:
        """Validate what is not yet valid, also of other tables: a parent may have been missing when it was tried."""
        unvalidated = self._link.rows(
            "select n.nspname, c.relname, k.conname from pg_constraint k join pg_class c on c.oid = k.conrelid "
            "join pg_namespace n on n.oid = c.relnamespace where k.contype = 'f' and not k.convalidated "
            "order by 1, 2, 3"
        )
        ours = {self._preparation.target_name(name) for name in loaded} if unvalidated else set()
        for schema, table, constraint in unvalidated:
            name = TableName(schema, table)
            if name in ours:
                error = self._attempt([f"alter table {qualified(name)} validate constraint {quoted(constraint)}"])
                if error is not None:
                    # A parent is still on its way. New rows are checked all the same; the next call tries again.
                    self._warn("foreign key not yet valid", name, error, key=constraint)

    def _advance_identities(self, table: TableSchema, name: TableName) -> None:
        for column in table.columns:
            if not column.identity:
                continue
            sql = qualified(name)
            self._link.run(
                f"select setval(s.sequence, greatest(m.value, 1)) "
                f"from (select pg_get_serial_sequence({literal(sql)}, {literal(column.name)}) as sequence) s, "
                f"(select max({quoted(column.name)})::bigint as value from {sql}) m "
                "where s.sequence is not null and m.value is not null"
            )

    def _attempt(self, statements: Sequence[str]) -> psycopg.Error | None:
        try:
            self._link.run("savepoint tailrace_complete", *statements, "release savepoint tailrace_complete")
        except psycopg.Error as error:
            if (error.sqlstate or "08")[:2] in {"08", "57", "40", "53", "55", "25"}:
                raise
            self._link.run("rollback to savepoint tailrace_complete", "release savepoint tailrace_complete")
            return error
        return None
