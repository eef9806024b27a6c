"""How the tables of MySQL and MariaDB are made to fit a version.

Definitions go over a connection of their own, since each commits by itself: the rows that an applier has written and
not flushed are in another one. A new version is announced before the table changes, and recorded after it; a crash in
between leaves an announced version that the next applier brings to its end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import pymysql

from apply.sink_kinds.relational.difference import Difference, difference
from apply.sink_kinds.relational.plan import filling_of
from apply.sink_kinds.relational.preparation import RelationalPreparation, misfits, schema_error
from apply.sinks.mysql.catalog import TargetColumn, TargetTable, read_table, spelled
from apply.sinks.mysql.compatibility import compares_exactly, holds
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.ddl import COMMENT_CHARACTERS_MAX, Alteration, column_definition, create_table, filling
from apply.sinks.mysql.errors import ROW_TOO_LONG, classify, code_of, is_row_error
from apply.sinks.mysql.foreign import Server, excesses, translated
from apply.sinks.mysql.names import (
    folded,
    foreign_key_names,
    literal,
    problems_of_names,
    problems_of_tables,
    qualified,
    quoted,
)
from runtime.logging import get_logger
from schemas.errors import ErrorKind
from schemas.policies import ExistingTables
from schemas.table import Column, TableName, TableSchema

log = get_logger(__name__)

_DEFAULT_FAILURES = frozenset({1067, 1101, 1674, 3770, 3771, 1064, 1901, 4098})
"""A default that the target does not take."""

_MARK = "tailrace: version "
"""How a table's comment begins between a change that looks as if it was not made and the record of its version."""

RENAME = "rename it, or leave it out, by a mapping rule"
REDUCE = "leave columns out by a mapping rule, or define another key by one (`define-primary-key`)"

_TOO_MUCH = frozenset({1005, 1069, 1070, 1071, 1117, ROW_TOO_LONG})
"""What a server answers where a table has more of something than it takes: columns, bytes, indexes."""

_UUIDS = "ascii_bin"

_KEYS = """
select constraint_name from information_schema.table_constraints where table_schema = %s and table_name = %s
union select index_name from information_schema.statistics where table_schema = %s and table_name = %s
"""


class Preparation(RelationalPreparation[TargetTable, Server]):
    """Prepares tables over a link of its own. Driver errors pass through."""

    _control: ControlTables

    def __init__(
        self,
        link: Link,
        control: ControlTables,
        schema_map: Mapping[str, str],
        database: str,
        existing_tables: ExistingTables = ExistingTables.KEEP,
    ) -> None:
        """`link` and `control` are for definitions only: no transaction stays open on them."""
        super().__init__(control, existing_tables)
        self._link = link
        self._schema_map = schema_map
        self._database = database

    def target_name(self, name: TableName) -> TableName:
        """Return a table's name at the target."""
        return TableName(self._schema_map.get(name.schema, self._database or name.schema), name.table)

    def place(self, name: TableName) -> TableName:
        """Return where a table is written to, in the same words for the same table."""
        found = self.target_name(name)
        return TableName(folded(found.schema), folded(found.table)) if self.folds_names else found

    @cached_property
    def folds_names(self) -> bool:
        """Whether the server takes names of databases and tables for equal that differ in case only."""
        return bool(int(self._link.value("select @@lower_case_table_names")))

    @property
    def server(self) -> Server:
        """What the server is."""
        _ = self._link.connection
        return Server(self._link.is_mariadb, self._link.version)

    def find(self, name: TableName) -> TargetTable | None:
        """Return a table as the target has it."""
        return read_table(self._link, name)

    def _is_hidden(self, name: TableName) -> bool:
        try:
            # The catalogue leaves out what the user has no right to; here a table that is gone has another number.
            self._link.rows(f"select 1 from {qualified(name)} limit 0")
        except pymysql.Error as error:
            kind = classify(error, "looking for a table").kind
            if kind not in (ErrorKind.PREREQUISITE, ErrorKind.TARGET_SCHEMA):
                raise
            return kind is ErrorKind.PREREQUISITE
        return False

    def translated(self, table: TableSchema) -> TableSchema:
        """Return a version in the target's own types."""
        return translated(table, self.server)

    def _spelling(self, table: TableSchema) -> Server:
        return self.server

    def _may_take(self, tables: Sequence[tuple[TableSchema, TableName]]) -> None:
        """Raise TARGET_SCHEMA where another table of the source is written already, or is about to be, or a name cannot
        be.
        """
        taken = {self.place(other): other for other in self._control.names()}
        for table, name in tables:
            other = taken.setdefault(self.place(table.name), table.name)
            if other != table.name:
                raise schema_error(
                    table, f"the source's table {other} is written to {name}, too", "map their schemas (`schema_map`)"
                )
            for problem in (*problems_of_tables(table.name, name), *problems_of_names(table.column_names)):
                raise schema_error(table, problem, RENAME)

    def _as_named(self, target: TargetTable, table: TableSchema) -> TargetTable:
        return spelled(target, table.column_names)

    def _create(self, table: TableSchema, name: TableName, spelling: Server) -> None:
        self._make_database(name.schema)

        def make(possible: TableSchema) -> None:
            with self._explained(possible):
                self._link.define(create_table(possible, qualified(name), spelling.collation))

        self._with_possible_defaults(table, make)

    @contextlib.contextmanager
    def _explained(self, table: TableSchema) -> Iterator[None]:
        """Say of what a table has more than the server takes, where it refuses a definition for that."""
        try:
            yield
        except pymysql.Error as error:
            code = code_of(error)
            found = "; ".join(excess.said for excess in excesses(table, self.server)) if code in _TOO_MUCH else ""
            if code == ROW_TOO_LONG and not found:
                found = "a row of the table may be longer than the target takes"
            if not found:
                raise
            raise schema_error(table, found, REDUCE) from error

    def _make_database(self, database: str) -> None:
        found = self._link.value("select count(*) from information_schema.schemata where schema_name = %s", (database,))
        if not found:
            collation = self.server.collation
            self._link.define(
                f"create database if not exists {quoted(database)} default character set utf8mb4 collate {collation}"
            )

    def _alter(self, old: TableSchema, new: TableSchema, target: TargetTable, spelling: Server) -> None:
        change = difference(old, new)
        # Texts of 36 characters had the charset of UUIDs once; so they stay, since foreign keys may hold them.
        change.changed = [
            (a, b) for a, b in change.changed if (a.collation, replace(a, collation=b.collation)) != (_UUIDS, b)
        ]
        # Where names go to other columns, the table may look the same before and after: the mark comes with the change.
        mark = f"{_MARK}{new.version}" if change.reused else ""
        if not mark or self._comment(target.name) != mark:
            self._change(new, change, target, mark)
        for column in change.added:
            if column.filling is not None or column.fillings:
                self._fill(new, column, target)

    def _fill(self, table: TableSchema, column: Column, target: TargetTable) -> None:
        """Give the rows that are there what the source has filled in.

        Raises TARGET_SCHEMA where the target has no place for it: rows that nobody sends cannot be parked one by one.
        """
        try:
            with self._link.own_transaction():
                filled = filling_of(column, partial(filling, column), quoted, literal)
                self._link.run(f"update {target.sql} set {quoted(column.name)} = {filled}")
        except pymysql.Error as error:
            if not is_row_error(error):
                raise
            raise schema_error(
                table,
                f"the value that the source gave to existing rows with the new column {column.name!r} has no place in "
                f"{column.native} (the target answered {code_of(error)})",
                "leave the column out by a rule; or drop it at the source, and add it without a default",
            ) from error

    def _change(self, new: TableSchema, change: Difference, target: TargetTable, mark: str) -> None:
        name = target.name
        there = target.columns.keys() - change.reused
        unknown = [c.name for c in change.added if c.name in new.key_names and c.name not in there]
        if unknown and self._link.value(f"select exists (select 1 from {target.sql})"):
            # Not loaded anew (mode `cdc`). The server would fill in zeros, or numbers of its own.
            raise schema_error(
                new,
                f"the key has the new column {unknown[0]!r}, and nobody knows its values for the rows that are there",
                "reload the table by `tailrace signal reload … --empty`, or reset the replication",
            )
        present = frozenset(key for (key,) in self._link.rows(_KEYS, (*name, *name)))
        more = [f"comment = {literal(mark)}"] if mark else []

        def alter(change: Difference) -> None:
            def make(possible: TableSchema) -> None:
                clauses = Alteration(possible, change, target, present).clauses()
                if clauses:
                    with self._explained(possible):
                        self._link.define(f"alter table {target.sql} {', '.join([*clauses, *more])}")

            self._with_possible_defaults(new, make)

        try:
            alter(change)
        except pymysql.Error as error:
            without_values = change.without_values(new.key_names)
            if not is_row_error(error) or without_values == change:
                raise
            # Where values do not keep their text, the source has rewritten its rows, and capture loads them anew.
            log.warning("values await the reload", table=str(new.name), code=code_of(error))
            alter(without_values)

    def _recorded(self, table: TableSchema, name: TableName) -> None:
        if self._comment(name).startswith(_MARK):
            comment = literal((table.comment or "")[:COMMENT_CHARACTERS_MAX])
            self._link.define(f"alter table {qualified(name)} comment = {comment}")

    def _comment(self, name: TableName) -> str:
        return str(
            self._link.value(
                "select table_comment from information_schema.tables where table_schema = %s and table_name = %s",
                name,
            )
        )

    def _empty(self, table: TableSchema, target: TargetTable) -> None:
        ours = {key.name for child in self._control.loaded_referring_to(table.name) for key in child.foreign_keys}
        for reference in target.referring:
            if any(reference.name in foreign_key_names(reference.child.table, name) for name in ours):
                self._link.define(f"alter table {qualified(reference.child)} drop foreign key {quoted(reference.name)}")
        self._link.define(f"truncate table {target.sql}")

    def _clear(self, target: TargetTable) -> None:
        # A foreign key forbids `truncate`; of a `delete` it makes one in the other table, which may be loaded already.
        with self._link.without_foreign_keys():
            self._link.define(f"truncate table {target.sql}")

    def _drop(self, target: TargetTable) -> None:
        for reference in target.referring:
            child = qualified(reference.child)
            log.warning("foreign key dropped with the table that it refers to", table=child, key=reference.name)
            self._link.define(f"alter table {child} drop foreign key {quoted(reference.name)}")
        self._link.define(f"drop table {target.sql}")

    def _problems(self, table: TableSchema, target: TargetTable, spelling: Server) -> list[str]:
        return problems_of(table, target)

    def _with_possible_defaults(self, table: TableSchema, make: Callable[[TableSchema], object]) -> None:
        """Make a table, or alter it; without the defaults that the target does not take: rows bring values."""
        while True:
            try:
                make(table)
                return
            except pymysql.Error as error:
                given = [column for column in table.columns if column.default is not None and not column.identity]
                if code_of(error) not in _DEFAULT_FAILURES or not given:
                    raise
                # None that is refused by itself: it is some of them together, or what the statement does with them.
                refused = {column.name for column in given if not self._takes_default(column)} or {
                    column.name for column in given
                }
                log.warning("defaults left out", table=str(table.name), columns=sorted(refused), code=code_of(error))
                columns = [replace(c, default=None) if c.name in refused else c for c in table.columns]
                table = replace(table, columns=tuple(columns))

    def _takes_default(self, column: Column) -> bool:
        definition = column_definition(column, not_null=not column.nullable)
        # Some servers take no table without a key.
        key = "k" if folded(column.name) != "k" else "l"
        try:
            self._link.run(f"create temporary table {self._control.probe} ({key} int primary key, {definition})")
        except pymysql.Error as error:
            if code_of(error) not in _DEFAULT_FAILURES:
                raise
            return False
        self._link.run(f"drop temporary table {self._control.probe}")
        return True


def problems_of(table: TableSchema, target: TargetTable) -> list[str]:
    """Return in words why a target's table cannot take the rows of a translated table; empty if it can."""
    problems = misfits(table, target.columns, _unfit)
    if target.storage.lower() != "innodb" and target.kind == "table":
        problems.append(f"the target's table is stored by {target.storage}, which has no transactions")
    return problems


def _unfit(column: Column, found: TargetColumn, is_key: bool) -> str | None:
    if not holds(column, column.native, found):
        return f"is {found.type} at the target, too narrow for {column.native}"
    if is_key and not compares_exactly(column, found):
        return f"of the key has the collation {found.collation} at the target, which takes different keys for equal"
    return None
