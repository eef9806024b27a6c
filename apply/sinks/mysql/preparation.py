"""Makes a target's table fit a version of a source's table: creates it, alters it, or says why rows cannot go there.

Definitions go over a connection of their own, since each commits by itself: the rows that an applier has written and
not flushed are in another one. A new version is announced before the table changes, and recorded after it; a crash in
between leaves an announced version that the next applier brings to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pymysql

from apply.relational.difference import as_found, difference
from apply.sinks.mysql.catalog import TargetTable, read_table
from apply.sinks.mysql.compatibility import compares_exactly, holds
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.ddl import alter_table, create_table, filling
from apply.sinks.mysql.errors import code_of, is_row_error
from apply.sinks.mysql.foreign import Server, translated
from apply.sinks.mysql.names import literal, qualified, quoted
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

log = get_logger(__name__)

_DEFAULT_FAILURES = frozenset({1067, 1101, 1674, 3770, 3771, 1064, 1901, 4098})
"""A default that the target does not take."""

_KEYS = """
select constraint_name from information_schema.table_constraints where table_schema = %s and table_name = %s
union select index_name from information_schema.statistics where table_schema = %s and table_name = %s
"""


class Preparation:
    """Prepares tables over a link of its own. Driver errors pass through."""

    def __init__(
        self, link: Link, control: ControlTables, schema_map: Mapping[str, str], database: str, lock_timeout_s: int
    ) -> None:
        """`link` and `control` are for definitions only: no transaction is ever open on them."""
        self._link = link
        self._control = control
        self._schema_map = schema_map
        self._database = database
        self._lock_timeout_s = lock_timeout_s

    def target_name(self, name: TableName) -> TableName:
        """Return a table's name at the target."""
        return TableName(self._schema_map.get(name.schema, self._database or name.schema), name.table)

    @property
    def server(self) -> Server:
        """What the server is."""
        _ = self._link.connection
        return Server(self._link.is_mariadb, self._link.version)

    def prepare(self, table: TableSchema) -> None:
        """Create or alter the table. A version older than the prepared one changes nothing."""
        self._control.install()
        name = self.target_name(table.name)
        if not self._is_behind(table, name):
            return
        with self._control.alone(self._lock_timeout_s):
            # Another applier may have been at it.
            if self._is_behind(table, name):
                self._claim_name(table, name)
                self._control.announce(table)
                self._bring_forward(translated(table, self.server), name)

    def read(self, table: TableSchema, link: Link) -> TargetTable:
        """Return the table as the target has it. Raises TARGET_SCHEMA if it is gone."""
        name = self.target_name(table.name)
        target = read_table(link, name)
        if target is None:
            raise _schema_error(table, f"the target has no table {name}", "reload the table, or reset the replication")
        return target

    def _is_behind(self, table: TableSchema, name: TableName) -> bool:
        recorded = self._control.recorded(table.name)
        return recorded is None or recorded.version < table.version or read_table(self._link, name) is None

    def _claim_name(self, table: TableSchema, name: TableName) -> None:
        """Raise TARGET_SCHEMA where another table of the source is written here already."""
        for other in self._control.names():
            if other != table.name and self.target_name(other) == name:
                raise _schema_error(
                    table, f"the source's table {other} is written to {name}, too", "map their schemas (`schema_map`)"
                )

    def _bring_forward(self, table: TableSchema, name: TableName) -> None:
        recorded, target = self._control.recorded(table.name), read_table(self._link, name)
        is_void = recorded is not None and recorded.life < table.life
        if recorded is not None and target is None and not is_void:
            raise _schema_error(
                table,
                f"the target's table {name} was dropped by somebody else, and its rows with it",
                "reload the table, or reset the replication",
            )
        if is_void and target is not None:
            self._empty(table, name, target)
        if target is None:
            self._make_database(name.schema)
            self._with_and_without_defaults(
                table,
                lambda with_defaults: self._link.run(
                    create_table(table, qualified(name), self.server.collation, with_defaults=with_defaults)
                ),
            )
        else:
            # A table that we did not make is taken as it is, plus the columns that it lacks.
            self._alter(recorded or as_found(table, target.columns), table, target)
        made = self.read(table, self._link)
        problems = problems_of(table, made)
        if problems:
            raise _schema_error(table, "; ".join(problems), "alter or drop the target's table, or leave the table out")
        self._control.record(table)
        log.info("table prepared", table=str(table.name), version=table.version, created=target is None)

    def _make_database(self, database: str) -> None:
        found = self._link.value("select count(*) from information_schema.schemata where schema_name = %s", (database,))
        if not found:
            collation = self.server.collation
            self._link.run(
                f"create database if not exists {quoted(database)} default character set utf8mb4 collate {collation}"
            )

    def _alter(self, old: TableSchema, new: TableSchema, target: TargetTable) -> None:
        if target.kind != "table":
            raise _schema_error(
                new, f"{target.name} is a {target.kind} at the target", "drop it, or map the schema to another one"
            )
        change = difference(old, new)
        mark = f"tailrace: version {new.version}"
        swaps = {before for before, _ in change.renamed} & {after for _, after in change.renamed}
        comment = self._comment(target) if swaps else ""
        if swaps and comment == mark:
            # Names that were exchanged look the same before and after: the mark came with the exchange.
            self._link.run(f"alter table {target.sql} comment = {literal(new.comment or '')}")
            return
        name = target.name
        present = frozenset(key for (key,) in self._link.rows(_KEYS, (*name, *name)))
        more = [f"comment = {literal(mark)}"] if swaps else []

        def alter(with_defaults: bool) -> None:
            clauses = alter_table(new, change, target, present, with_defaults=with_defaults)
            if clauses:
                self._link.run(f"alter table {target.sql} {', '.join([*clauses, *more])}")

        try:
            self._with_and_without_defaults(new, alter)
        except pymysql.Error as error:
            if not is_row_error(error) or not change.changed:
                raise
            # Where values do not keep their text, the source has rewritten its rows, and capture loads them anew.
            log.warning("values await the reload", table=str(new.name), code=code_of(error))
            self._without_values(new, old, target)
        for column in change.added:
            if column.filling is not None:
                self._link.run(f"update {target.sql} set {quoted(column.name)} = {filling(column)}")

    def _without_values(self, new: TableSchema, old: TableSchema, target: TargetTable) -> None:
        """Change the table with the columns whose types change made anew, and so empty."""
        keys = set(new.key_names)
        changed = {after.name for _, after in difference(old, new).changed if after.name not in keys}
        self._link.run(
            f"alter table {target.sql} {', '.join(f'drop column {quoted(name)}' for name in sorted(changed))}"
        )
        left = self.read(new, self._link)
        change = difference(as_found(new, left.columns), new)
        clauses = alter_table(new, change, left, frozenset())
        self._link.run(f"alter table {target.sql} {', '.join(clauses)}")

    def _comment(self, target: TargetTable) -> str:
        return str(
            self._link.value(
                "select table_comment from information_schema.tables where table_schema = %s and table_name = %s",
                target.name,
            )
        )

    def _empty(self, table: TableSchema, name: TableName, target: TargetTable) -> None:
        """Take out all rows of an earlier life. Foreign keys that we made come back when the table is loaded again."""
        ours = {key.name for child in self._control.loaded().values() for key in child.foreign_keys}
        for reference in target.referring:
            if reference.name in ours:
                self._link.run(f"alter table {qualified(reference.child)} drop foreign key {quoted(reference.name)}")
        self._link.run(f"truncate table {qualified(name)}")
        self._control.mark_loaded(table.name, is_loaded=False)
        log.info("table emptied: it is loaded anew", table=str(table.name), version=table.version)

    def _with_and_without_defaults(self, table: TableSchema, make: Callable[[bool], object]) -> None:
        """Run statements; where the target does not take a default, run them without: rows bring values."""
        try:
            make(True)
        except pymysql.Error as error:
            has_defaults = any(column.default is not None for column in table.columns)
            if code_of(error) not in _DEFAULT_FAILURES or not has_defaults:
                raise
            log.warning("defaults left out", table=str(table.name), code=code_of(error))
            make(False)


def problems_of(table: TableSchema, target: TargetTable) -> list[str]:
    """Return in words why a target's table cannot take the rows of a translated table; empty if it can."""
    problems = []
    names = set(table.column_names) | {column.name for column in table.generated}
    for index, column in enumerate(table.columns):
        found = target.columns.get(column.name)
        if found is None:
            problems.append(f"column {column.name!r} is missing at the target")
        elif found.generated:
            problems.append(f"column {column.name!r} is generated at the target")
        elif not holds(column, column.native, found):
            problems.append(f"column {column.name!r} is {found.type} at the target, too narrow for {column.native}")
        elif found.not_null and column.nullable and index not in table.key:
            problems.append(f"column {column.name!r} allows no nulls at the target")
        elif index in table.key and not compares_exactly(column, found):
            problems.append(
                f"column {column.name!r} of the key has the collation {found.collation} at the target, "
                "which takes different keys for equal"
            )
    if target.storage.lower() != "innodb" and target.kind == "table":
        problems.append(f"the target's table is stored by {target.storage}, which has no transactions")
    problems += [
        f"column {extra.name!r} exists only at the target and is neither nullable nor has a default"
        for extra in target.columns.values()
        if extra.name not in names and extra.not_null and not extra.has_default and not extra.generated
    ]
    return problems


def _schema_error(table: TableSchema, message: str, remedy: str) -> TailraceError:
    return TailraceError(ErrorKind.TARGET_SCHEMA, message, remedy=remedy, table=str(table.name))
