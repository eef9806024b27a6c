"""How PostgreSQL's tables are made to fit a version: with the types that they need, in one transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import psycopg

from apply.sink_kinds.relational.difference import difference
from apply.sink_kinds.relational.preparation import RelationalPreparation, misfits, schema_error
from apply.sinks.postgresql.catalog import TargetColumn, TargetTable, read_table, read_tables
from apply.sinks.postgresql.compatibility import holds
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.control_tables import ControlTables
from apply.sinks.postgresql.ddl import (
    IDENTIFIER_BYTES_MAX,
    Alteration,
    Spelling,
    column_definition,
    create_table,
    create_type,
    mapped_type,
)
from apply.sinks.postgresql.foreign import translated
from apply.sinks.postgresql.names import literal, qualified, quoted
from apply.sinks.postgresql.user_types import FOLLOWED, alteration
from runtime.logging import get_logger
from schemas.policies import ExistingTables
from schemas.table import Column, TableName, TableSchema, UserType

log = get_logger(__name__)

_NAMES_PER_QUERY = 1000
"""A statement has at most 65535 parameters: two a name."""

COLUMNS_MAX = 1599
"""PostgreSQL's tables have at most 1,600 (`MaxHeapAttributeNumber`)."""

_OWN_OIDS_END = 16384
"""What the server brings itself has a smaller number (`FirstNormalObjectId`)."""

_COLLATION = r'("[^"]+"|[a-z_][a-z0-9_$]*)(\.("[^"]+"|[a-z_][a-z0-9_$]*))?'

_DEFAULT_FAILURES = frozenset(
    {"42883", "42704", "42P01", "42703", "42501", "3F000", "22003", "22007", "22008", "22P02"}
)
"""Undefined function, object, table, column; no right; undefined schema: what a default may need and a target lack. A
value that its type does not have: a constant of another engine, as MySQL's `'0000-00-00'`."""

_DATA_EXCEPTION = "22"
_CONVERSION_FAILURES = frozenset({_DATA_EXCEPTION, "23", "42"})
"""Data exceptions, violated constraints, no such cast."""


class Preparation(RelationalPreparation[TargetTable, Spelling]):
    """Prepares tables over one link. Driver errors pass through."""

    def __init__(
        self,
        link: Link,
        control: ControlTables,
        schema_map: Mapping[str, str],
        *,
        defers: bool = False,
        existing_tables: ExistingTables = ExistingTables.KEEP,
    ) -> None:
        super().__init__(control, existing_tables)
        self._link = link
        self._schema_map = schema_map
        self._defers = defers
        self._own_types: set[str] = set()
        """Names of types that are the server's own: nobody takes them away."""

    def target_name(self, name: TableName) -> TableName:
        """Return a table's name at the target."""
        return TableName(self._schema_map.get(name.schema, name.schema), name.table)

    def prepare(self, tables: Sequence[TableSchema]) -> None:
        """Create or alter tables, and let their foreign keys wait where they should."""
        super().prepare(tables)
        if self._defers:
            with self._link.own_transaction():
                for table in tables:
                    self._make_keys_wait(self.target_name(table.name))

    def find(self, name: TableName) -> TargetTable | None:
        """Return a table as the target has it."""
        return read_table(self._link, name)

    def find_all(self, names: Sequence[TableName]) -> dict[TableName, TargetTable]:
        """Return those of some tables that the target has, as it has them."""
        return read_tables(self._link, names)

    def exists(self, name: TableName) -> bool:
        """Tell whether the target has a table of this name."""
        return bool(self._link.value("select to_regclass(%s) is not null", (qualified(name),)))

    def translated(self, table: TableSchema) -> TableSchema:
        """Return a version in the target's own types."""
        return translated(table)

    def _make_keys_wait(self, name: TableName) -> None:
        """Let a table's foreign keys be deferred by whoever asks for it; for others nothing changes."""
        keys = self._link.rows(
            "select conname from pg_constraint where contype = 'f' and conrelid = to_regclass(%s) "
            "and not condeferrable and conparentid = 0 order by 1",
            (qualified(name),),
        )
        for (key,) in keys:
            statement = f"alter table {qualified(name)} alter constraint {quoted(key)} deferrable initially immediate"
            self._link.run("savepoint tailrace_key")
            try:
                self._link.run(statement)
            except psycopg.errors.InsufficientPrivilege:
                self._link.run("rollback to savepoint tailrace_key")
                log.warning("foreign key cannot wait for a transaction's end", table=str(name), remedy=statement)
            self._link.run("release savepoint tailrace_key")

    def _create(self, table: TableSchema, name: TableName, spelling: Spelling) -> None:
        if problems := unfit_for_all(table):
            raise schema_error(table, "; ".join(problems), "rename by a mapping rule, or leave the table out")
        self._make_schema(name.schema)
        self._run_as_possible(table, spelling, lambda s: create_table(table, qualified(name), s))

    def _make_schema(self, schema: str) -> None:
        if self._link.value("select to_regnamespace(%s) is null", (quoted(schema),)):
            self._link.run(f"create schema if not exists {quoted(schema)}")

    def _alter(self, old: TableSchema, new: TableSchema, target: TargetTable, spelling: Spelling) -> None:
        primary_key = self._link.value(
            "select conname from pg_constraint where contype = 'p' and conrelid = to_regclass(%s)", (target.sql,)
        )
        self._run_as_possible(new, spelling, Alteration(new, difference(old, new), target, primary_key).statements)

    def _empty(self, table: TableSchema, target: TargetTable) -> None:
        for child in self._control.loaded_referring_to(table.name):
            child_name = qualified(self.target_name(child.name))
            for key in child.foreign_keys:
                if key.target == table.name:
                    self._link.run(f"alter table if exists {child_name} drop constraint if exists {quoted(key.name)}")
        self._link.run(f"truncate table {target.sql}")

    def _clear(self, target: TargetTable) -> None:
        # A foreign key forbids `truncate`; of a `delete` it makes one in the other table, which may be loaded already.
        keys = self._link.rows(
            "select conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated from pg_constraint "
            "where contype = 'f' and conparentid = 0 and confrelid = to_regclass(%s) and conrelid <> confrelid "
            "order by 1, 2",
            (target.sql,),
        )
        for child, key, _, _ in keys:
            self._link.run(f"alter table {child} drop constraint {quoted(key)}")
        self._link.run(f"truncate table {target.sql}")
        for child, key, definition, is_valid in keys:
            # Rows that are there may refer to rows that come with the load.
            later = " not valid" if is_valid else ""
            self._link.run(f"alter table {child} add constraint {quoted(key)} {definition}{later}")
            if is_valid:
                remedy = f"once both are loaded: alter table {child} validate constraint {quoted(key)}"
                log.warning("foreign key holds for new rows only", table=child, key=key, remedy=remedy)

    def _drop(self, target: TargetTable) -> None:
        for child, key in self._referring(target):
            log.warning("foreign key dropped with the table that it refers to", table=child, key=key)
            self._link.run(f"alter table {child} drop constraint {quoted(key)}")
        self._link.run(f"drop table {target.sql}")

    def _referring(self, target: TargetTable) -> list[tuple[str, str]]:
        """Return the foreign keys that refer to a table: their table, as SQL writes it, and their name."""
        found = self._link.rows(
            "select conrelid::regclass::text, conname from pg_constraint where contype = 'f' and conparentid = 0 "
            "and confrelid = to_regclass(%s) and conrelid <> confrelid order by 1, 2",
            (target.sql,),
        )
        return [(str(child), str(key)) for child, key in found]

    def _run_as_possible(
        self, table: TableSchema, spelling: Spelling, statements: Callable[[Spelling], list[str]]
    ) -> None:
        """Run statements; where a default or a conversion needs what the target lacks, run them without.

        Without a default, rows bring values. Without a conversion the column's values are lost until the rows come
        again: where values do not keep their text, the source has rewritten its rows, and capture loads them anew.
        """
        while wanted := statements(spelling):
            try:
                self._link.run("savepoint tailrace_ddl", *wanted, "release savepoint tailrace_ddl")
                return
            except psycopg.Error as error:
                state = error.sqlstate or ""
                may_be_conversion = state[:2] in _CONVERSION_FAILURES
                if state not in _DEFAULT_FAILURES and not may_be_conversion:
                    raise
                self._link.run("rollback to savepoint tailrace_ddl", "release savepoint tailrace_ddl")
                if refused := self._refused_defaults(table, spelling, state):
                    spelling = replace(spelling, refused=spelling.refused | refused)
                    log.warning("defaults left out", table=str(table.name), columns=sorted(refused), sqlstate=state)
                elif spelling.with_values and may_be_conversion:
                    spelling = replace(spelling, with_values=False)
                    log.warning("values await the reload", table=str(table.name), sqlstate=state)
                else:
                    raise

    def _refused_defaults(self, table: TableSchema, spelling: Spelling, state: str) -> set[str]:
        """Return the columns whose defaults may be why statements failed; none where values are, more likely."""
        if state not in _DEFAULT_FAILURES:
            return set()
        given = [column for column in table.columns if spelling.has_default(column) and not column.identity]
        refused = {column.name for column in given if not self._takes_default(column, spelling)}
        if refused or (spelling.with_values and state[:2] == _DATA_EXCEPTION):
            return refused
        # None that is refused by itself: it is what the statements do with them.
        return {column.name for column in given}

    def _takes_default(self, column: Column, spelling: Spelling) -> bool:
        definition = column_definition(column, spelling, not_null=False)
        self._link.run("savepoint tailrace_default")
        try:
            self._link.run(f"create temporary table tailrace_default ({definition})")
        except psycopg.Error as error:
            if error.sqlstate not in _DEFAULT_FAILURES:
                raise
            is_taken = False
        else:
            is_taken = True
        self._link.run("rollback to savepoint tailrace_default", "release savepoint tailrace_default")
        return is_taken

    # Types

    def _create_types(self, table: TableSchema) -> None:
        for user_type in table.user_types:
            sql_name = self._type_name(user_type)
            exists = self._link.value("select to_regtype(%s) is not null", (sql_name,))
            if user_type.kind == "extension":
                if not exists and not self._extension_installed(user_type):
                    self._create_extension(table, user_type)
            elif exists:
                if user_type.kind == "enum":
                    self._add_labels(table, user_type, sql_name)
                elif user_type.kind in FOLLOWED:
                    self._follow_type(table, user_type, sql_name)
            else:
                schema = self._schema_map.get(user_type.schema, user_type.schema)
                self._make_schema(schema)
                statement = create_type(user_type, sql_name, self._schema_map)
                if statement is None:
                    raise schema_error(table, f"type {sql_name} is of a kind that is not known", "create it by hand")
                self._link.run(statement)

    def _follow_type(self, table: TableSchema, user_type: UserType, sql_name: str) -> None:
        statements, problem = alteration(self._link, user_type, sql_name, self._schema_map, self._versions_of_type)
        if problem is not None:
            raise schema_error(table, problem, "alter or drop the target's type, or leave the column out")
        for statement in statements:
            self._link.run(statement)
            log.info("type altered", table=str(table.name), type=sql_name)

    def problem_of_type(self, user_type: UserType) -> str | None:
        """Say why a type that the target has cannot take the values of the source's; None if it can, or is missing."""
        sql_name = self._type_name(user_type)
        if user_type.kind not in FOLLOWED or self._link.value("select to_regtype(%s) is null", (sql_name,)):
            return None
        return alteration(self._link, user_type, sql_name, self._schema_map, self._versions_of_type).problem

    def _versions_of_type(self, user_type: UserType) -> list[UserType]:
        """Return a type as the tables know it that were prepared here: some may be behind others."""
        if not self._control.is_installed():
            return []
        names = self._control.names()
        return [
            known
            for start in range(0, len(names), _NAMES_PER_QUERY)
            for table in self._control.recorded_all(names[start : start + _NAMES_PER_QUERY]).values()
            for known in table.user_types
            if (known.schema, known.name) == (user_type.schema, user_type.name)
        ]

    def _type_name(self, user_type: UserType) -> str:
        schema = self._schema_map.get(user_type.schema, user_type.schema)
        return qualified(TableName(schema, user_type.name))

    def _extension_installed(self, user_type: UserType) -> bool:
        extension = user_type.definition or user_type.name
        return bool(self._link.value("select true from pg_extension where extname = %s", (extension,)))

    def _create_extension(self, table: TableSchema, user_type: UserType) -> None:
        extension = user_type.definition or user_type.name
        self._link.run("savepoint tailrace_extension")
        try:
            # Where the source has it: left to itself it would go into the session's first schema, pg_catalog.
            schema = self._schema_map.get(user_type.schema, user_type.schema)
            self._make_schema(schema)
            self._link.run(
                f"create extension if not exists {quoted(extension)} with schema {quoted(schema)}; "
                "release savepoint tailrace_extension"
            )
        except psycopg.Error as error:
            self._link.run("rollback to savepoint tailrace_extension")
            raise schema_error(
                table,
                f"the target lacks the extension {extension}, and creating it failed ({error.sqlstate})",
                f"create extension {quoted(extension)}, as a superuser of the target",
            ) from error

    def _add_labels(self, table: TableSchema, user_type: UserType, sql_name: str) -> None:
        present = {
            label
            for (label,) in self._link.rows(
                "select enumlabel from pg_enum where enumtypid = to_regtype(%s)", (sql_name,)
            )
        }
        missing = [label for label in user_type.labels if label not in present]
        if not missing:
            return
        # A label that is added in a transaction cannot be used in it: it is added over a connection of its own.
        other = self._link.twin()
        try:
            for place, label in enumerate(user_type.labels):
                if label in missing:
                    where = f" after {literal(user_type.labels[place - 1])}" if place else ""
                    if not place and len(user_type.labels) > 1 and user_type.labels[1] in present:
                        where = f" before {literal(user_type.labels[1])}"
                    other.run(f"alter type {sql_name} add value if not exists {literal(label)}{where}")
        finally:
            other.discard()
        log.info("enum extended", table=str(table.name), type=sql_name, labels=len(missing))

    # Spelling and checks

    def _spelling(self, table: TableSchema) -> Spelling:
        self._create_types(table)
        natives = {column.native for column in table.columns} | {column.native for column in table.generated}
        types = {native: self._resolved(table, native) for native in natives}
        collations = {}
        for collation in {column.collation for column in table.columns if column.collation}:
            found = self.collation(collation)
            if found is not None:
                collations[collation] = found
            else:
                log.warning("collation left out", table=str(table.name), collation=collation)
        return Spelling(types, collations)

    def collation(self, collation: str) -> str | None:
        """Return what the target calls a collation of the source's; None if it has none of this name."""
        for candidate in (collation, quoted(collation)):
            if re.fullmatch(_COLLATION, candidate) and self._link.value(
                "select to_regcollation(%s) is not null", (candidate,)
            ):
                return candidate
        return None

    def _resolved(self, table: TableSchema, native: str) -> str:
        """Return a type's name at the target. An extension's type may stand in another schema than at the source."""
        candidates = [mapped_type(native, self._schema_map)]
        if candidates[0] in self._own_types:
            return candidates[0]
        bare = re.sub(r'^("(?:[^"]|"")+"|[\w$]+)\.', "", native)
        if bare != native:
            candidates.append(bare)
        extensions = [u.definition or u.name for u in table.user_types if u.kind == "extension"]
        for (schema,) in self._link.rows(
            "select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace "
            "where e.extname = any(%s) order by 1",
            (extensions,),
        ):
            candidates.append(f"{quoted(schema)}.{bare}")
        for candidate in candidates:
            number = self._link.value("select to_regtype(%s)::oid::bigint", (candidate,))
            if number is not None:
                if number < _OWN_OIDS_END:
                    self._own_types.add(candidate)
                return candidate
        raise schema_error(
            table,
            f"the target has no type {native}",
            "create the type, or the extension that brings it, at the target",
        )

    def _problems(self, table: TableSchema, target: TargetTable, spelling: Spelling) -> list[str]:
        return problems_of(table, target, spelling.types)


def unfit_for_all(table: TableSchema) -> list[str]:
    """Return in words why no table of the target can take the rows of `table`; empty if one can."""
    # The server would cut them off, and find the table no more under its name.
    problems = [
        f"the name {name!r} has more than {IDENTIFIER_BYTES_MAX} bytes, the most that PostgreSQL keeps of one"
        for name in (table.name.table, *table.column_names)
        if len(name.encode()) > IDENTIFIER_BYTES_MAX
    ]
    if len(table.columns) > COLUMNS_MAX:
        problems.append(
            f"{len(table.columns)} columns are one more than can be written: rows are staged with a number beside them"
        )
    return problems


def problems_of(table: TableSchema, target: TargetTable, types: Mapping[str, str]) -> list[str]:
    """Return in words why a target's table cannot take the rows of `table`; empty if it can."""

    def unfit(column: Column, found: TargetColumn, is_key: bool) -> str | None:
        if holds(column, types.get(column.native, column.native), found):
            return None
        return f"is {found.type} at the target, too narrow for {column.native}"

    return unfit_for_all(table) + misfits(table, target.columns, unfit)
