"""What a table gets after its load: secondary indexes, foreign keys, and where its identities go on.

Made after the load because loading into indexes is slow, and because a foreign key wants its parents first. Foreign
keys are made only when both tables are loaded; whichever completes last makes them.
"""

from __future__ import annotations

import psycopg

from apply.sinks.postgresql.catalog import read_table
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.control_tables import ControlTables
from apply.sinks.postgresql.foreign import translated
from apply.sinks.postgresql.names import listed, literal, qualified, quoted
from apply.sinks.postgresql.preparation import Preparation
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.table import ForeignKey, Index, TableName, TableSchema

log = get_logger(__name__)

_MISSING_OBJECTS = frozenset({"42704", "42883", "42703", "0A000"})
"""An operator class, function or column that the target lacks, a feature it does not know: the index is left out."""

_NO_UNVALIDATED_KEYS = frozenset({"0A000", "42809"})
"""PostgreSQL before 18 refuses unvalidated foreign keys on partitioned tables: feature not supported, wrong object."""


class Completion:
    """Completes loaded tables over one link, in the link's transaction. Driver errors pass through."""

    def __init__(
        self, link: Link, control: ControlTables, preparation: Preparation, *, foreign_keys_act: bool, defers: bool
    ) -> None:
        self._link = link
        self._control = control
        self._preparation = preparation
        self._foreign_keys_act = foreign_keys_act
        self._defers = defers

    def complete(self, table: TableSchema) -> None:
        """Make what is missing. May be repeated."""
        table = translated(table)
        with self._link.own_transaction():
            self._control.install()
            self._control.lock_ddl()
            recorded = self._control.recorded(table.name)
            table = recorded if recorded is not None and recorded.version > table.version else table
            name = self._preparation.target_name(table.name)
            for index in table.indexes:
                self._make_index(table, name, index)
            self._control.mark_loaded(table.name)
            loaded = self._control.loaded_names()
            own = [(table, key) for key in table.foreign_keys if key.target in loaded]
            children = [child for child in self._control.loaded_referring_to(table.name) if child.name != table.name]
            others = [(child, key) for child in children for key in child.foreign_keys if key.target == table.name]
            for child, key in own + others:
                self._make_foreign_key(child, key)
            self._validate_foreign_keys(loaded)
            self._advance_identities(table, name)

    def _make_index(self, table: TableSchema, name: TableName, index: Index) -> None:
        exists = self._link.value(
            "select to_regclass(%s) is not null", (qualified(TableName(name.schema, index.name)),)
        )
        if exists:
            return
        sql, index_name = qualified(name), quoted(index.name)
        unique = "unique " if index.unique else ""
        statements = [f"create {unique}index {index_name} on {sql} {index.definition}"]
        if index.constraint:
            deferrable = " deferrable" if index.deferrable else ""
            statements.append(
                f"alter table {sql} add constraint {index_name} unique using index {index_name}{deferrable}"
            )
        error = self._attempt(statements)
        if error is None:
            return
        if error.sqlstate in _MISSING_OBJECTS and not index.unique:
            log.warning("index left out", table=str(table.name), index=index.name, sqlstate=error.sqlstate)
            return
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"index {index.name!r} cannot be made at the target ({error.sqlstate}, {type(error).__name__})",
            remedy=f"correct what stands in the way, then run: {statements[0]}",
            table=str(table.name),
        ) from error

    def _make_foreign_key(self, child: TableSchema, key: ForeignKey) -> None:
        name = self._preparation.target_name(child.name)
        parent = self._preparation.target_name(key.target)
        if read_table(self._link, name) is None or read_table(self._link, parent) is None:
            return
        sql, constraint = qualified(name), quoted(key.name)
        found = self._link.value(
            "select true from pg_constraint where contype = 'f' and conname = %s and conrelid = to_regclass(%s)",
            (key.name, sql),
        )
        if found:
            return
        # Rows that a cascade deleted at the source arrive as deletions of their own. A cascade here would run ahead of
        # other partitions and delete rows that have moved to another parent meanwhile. Where triggers are disabled
        # for us, the actions rest until others write the target, and may be there from the start.
        actions = f" on delete {key.on_delete} on update {key.on_update}" if self._foreign_keys_act else ""
        deferrable = " deferrable" if key.deferrable or self._defers else ""
        statement = (
            f"alter table {sql} add constraint {constraint} foreign key ({listed(key.columns)}) "
            f"references {qualified(parent)} ({listed(key.target_columns)}){actions}{deferrable}"
        )
        error = self._attempt([f"{statement} not valid"])
        if error is not None and error.sqlstate in _NO_UNVALIDATED_KEYS:
            error = self._attempt([statement])
        if error is not None:
            log.warning("foreign key left out", table=str(child.name), key=key.name, sqlstate=error.sqlstate)

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
                    log.warning("foreign key not yet valid", table=str(name), key=constraint, sqlstate=error.sqlstate)

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

    def _attempt(self, statements: list[str]) -> psycopg.Error | None:
        self._link.run("savepoint tailrace_complete")
        try:
            self._link.run("; ".join(statements))
        except psycopg.Error as error:
            if (error.sqlstate or "08")[:2] in {"08", "57", "40", "53", "55", "25"}:
                raise
            self._link.run("rollback to savepoint tailrace_complete; release savepoint tailrace_complete")
            return error
        self._link.run("release savepoint tailrace_complete")
        return None
