"""What an operator should know of a target before a run, each with the statement that repairs it. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apply.sink_kinds.relational.findings import looked_up, notes, of_existing, of_key, of_kind, of_shape, of_triggers
from apply.sinks.postgresql.catalog import TargetTable, read_table
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.control_tables import ControlTables
from apply.sinks.postgresql.ddl import mapped_type
from apply.sinks.postgresql.foreign import losses, translated
from apply.sinks.postgresql.names import listed, quoted
from apply.sinks.postgresql.preparation import Preparation, problems_of, unfit_for_all
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.findings import Finding, blocks, note, warns
from schemas.policies import ExistingTables
from schemas.table import TableName, TableSchema

VERSION_MIN = 130000

_SERVER = """
select current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
       current_setting('default_transaction_read_only')::bool, current_setting('server_encoding'),
       has_database_privilege(current_database(), 'create'), current_database(), current_user::text
"""

_TRIGGERS = """
select count(*) from pg_trigger where tgrelid = %s and not tgisinternal and tgenabled in ('O', 'A')
"""


_WITHOUT_ACTIONS = """
select format('alter table %%s drop constraint %%I, add constraint %%I %%s', k.conrelid::regclass, k.conname, k.conname,
              regexp_replace(pg_get_constraintdef(k.oid),
                             ' ON DELETE (CASCADE|RESTRICT|SET (NULL|DEFAULT)( \\([^)]*\\))?)', ''))
  from pg_constraint k where k.confrelid = %s and k.contype = 'f' and k.confdeltype <> 'a' and k.conparentid = 0
 order by 1
"""
"""The source's cascades arrive as rows."""

_STUBBORN_KEYS = """
select count(*) from pg_constraint k join pg_class c on c.oid = k.conrelid
 where k.contype = 'f' and k.conrelid = %s and not k.condeferrable and not pg_has_role(c.relowner, 'usage')
"""


def findings(
    replication: str,
    name: str,
    target: PostgresqlTarget,
    tables: Sequence[TableSchema],
    existing_tables: ExistingTables = ExistingTables.KEEP,
    *,
    defers: bool = False,
) -> list[Finding]:
    """Check the target of a replication for these tables. `defers`: foreign keys are to wait for a commit."""
    link = Link(target, f"tailrace plan {replication} {name}")
    return looked_up(link, lambda: _Check(link, replication, name, target, existing_tables, defers=defers).all(tables))


def grants(target: PostgresqlTarget, schemas: Sequence[str]) -> list[str]:
    """Return the lines that give the target's role what it needs and nothing more.

    A superuser runs them, once or more. It makes no schemas: those that it will write are made here.
    """
    role, database = quoted(target.user), quoted(target.database)
    mapped = sorted({*(target.schema_map.get(schema, schema) for schema in schemas), target.control_schema})
    return [
        f"grant connect, temporary on database {database} to {role};",
        *(f"create schema if not exists {quoted(schema)};" for schema in mapped),
        *(f"grant usage, create on schema {quoted(schema)} to {role};" for schema in mapped),
    ]


class _Check:
    def __init__(
        self,
        link: Link,
        replication: str,
        name: str,
        target: PostgresqlTarget,
        existing_tables: ExistingTables,
        *,
        defers: bool,
    ) -> None:
        self._existing_tables = existing_tables
        self._link = link
        self._defers = defers
        self._name = name
        self._target = target
        self._control = ControlTables(link, target.control_schema, replication, name)
        self._preparation = Preparation(link, self._control, target.schema_map)
        self._may_create_schemas = False

    def all(self, tables: Sequence[TableSchema]) -> Iterator[Finding]:
        yield from self._server()
        schemas = sorted({self._preparation.target_name(table.name).schema for table in tables})
        usable = set()
        for schema in schemas:
            blocked = self._schema(schema)
            if blocked is None:
                usable.add(schema)
            else:
                yield blocked
        yield from self._control_schema()
        yield from self._types(tables)
        yield from _sequences(tables)
        for table in tables:
            yield from self._collations(table)
            yield from self._table(translated(table))
            yield from notes(table.name, losses(table))

    def _server(self) -> Iterator[Finding]:
        ((number, version, standby, read_only, encoding, self._may_create_schemas, database, role),) = self._link.rows(
            _SERVER
        )
        if number < VERSION_MIN:
            yield blocks("target-version", f"the target runs PostgreSQL {version}; 13 is the oldest that is supported")
        if standby or read_only:
            writable = (
                f"alter role {quoted(role)} in database {quoted(database)} set default_transaction_read_only = off"
            )
            yield blocks(
                "target-read-only",
                "the target is a standby" if standby else "the target's transactions are read-only by default",
                remedy="connect to the primary server" if standby else writable,
            )
        if encoding != "UTF8":
            yield warns(
                "target-encoding",
                f"the target's encoding is {encoding}: characters that it lacks are rejected row by row",
                remedy=f"create database {quoted(f'{database}_utf8')} encoding 'UTF8' template template0; and name it",
            )
        if not self._link.value("select has_database_privilege(current_database(), 'temporary')"):
            yield blocks(
                "target-temporary",
                "the role may not make temporary tables, through which rows are staged",
                remedy=f"grant temporary on database {quoted(database)} to {quoted(role)}",
            )

    def _schema(self, schema: str) -> Finding | None:
        found = self._link.rows(
            "select has_schema_privilege(oid, 'create') and has_schema_privilege(oid, 'usage') from pg_namespace "
            "where nspname = %s",
            (schema,),
        )
        if not found and not self._may_create_schemas:
            return blocks(
                "target-schema-missing",
                f"schema {schema} is missing at the target, and the role may not create it",
                remedy=f"create schema {quoted(schema)} authorization {quoted(self._target.user)}",
            )
        if found and not found[0][0]:
            return blocks(
                "target-schema-rights",
                f"the role may not create tables in schema {schema} of the target",
                remedy=f"grant usage, create on schema {quoted(schema)} to {quoted(self._target.user)}",
            )
        return None

    def _control_schema(self) -> Iterator[Finding]:
        schema = self._target.control_schema
        blocked = self._schema(schema)
        if blocked is not None and not self._control.is_installed():
            yield blocked

    def _types(self, tables: Sequence[TableSchema]) -> Iterator[Finding]:
        """Look for extensions, which the role may not be able to create on the way, and types that do not fit."""
        for table in tables:
            for user_type in table.user_types:
                if problem := self._preparation.problem_of_type(user_type):
                    yield blocks(
                        "target-type",
                        problem,
                        table=table.name,
                        remedy="alter or drop the target's type, or leave the column out",
                    )
        extensions = {
            user_type.definition or user_type.name: table
            for table in tables
            for user_type in table.user_types
            if user_type.kind == "extension"
        }
        for extension, table in sorted(extensions.items(), key=lambda one: one[0]):
            state = self._link.rows(
                "select installed_version is not null from pg_available_extensions where name = %s", (extension,)
            )
            if state and state[0][0]:
                continue
            if state:
                yield warns(
                    "target-extension",
                    f"extension {extension} is not installed at the target; it is created if the role may",
                    table=table.name,
                    remedy=f"create extension {quoted(extension)}",
                )
            else:
                yield blocks(
                    "target-extension",
                    f"extension {extension} cannot be had at the target",
                    table=table.name,
                    remedy=f"install the package that brings it, then: create extension {quoted(extension)}",
                )

    def _table(self, table: TableSchema) -> Iterator[Finding]:
        name = self._preparation.target_name(table.name)
        found = read_table(self._link, name)
        if found is None:
            for problem in unfit_for_all(table):
                yield blocks(
                    "target-table-shape",
                    problem,
                    table=table.name,
                    remedy="leave the table or column out, or rename it",
                )
            return
        if found.kind != "table":
            kind = found.kind.replace("ised", "ized")
            yield of_kind(table.name, name, found.kind, f"drop {kind} {found.sql}")
            return
        if self._existing_tables is not ExistingTables.KEEP and not self._is_ours(table.name):
            yield of_existing(table.name, name, self._existing_tables)
            if self._existing_tables is ExistingTables.DROP:
                return
        yield from self._rights(table.name, found)
        yield from self._contents(table, found)
        types = {column.native: mapped_type(column.native, self._target.schema_map) for column in table.columns}
        problems = problems_of(table, found, types)
        yield from of_shape(table, found.sql, found.columns, problems, lambda problem: _repair(problem, found, table))
        yield from self._columns(table, found)
        key = frozenset(table.key_names)
        if key and not found.arbiter(key):
            yield of_key(table, name, found.sql, listed(table.key_names))
        if found.acts_on_delete and not self._target.disable_triggers:
            yield warns(
                "target-cascade",
                f"a foreign key at the target acts when rows of {name} are deleted: "
                "it may delete rows that have moved, or keep unique values from changing places",
                table=table.name,
                remedy="; ".join(without for (without,) in self._link.rows(_WITHOUT_ACTIONS, (found.oid,))),
            )
        if not self._target.disable_triggers and self._link.value(_TRIGGERS, (found.oid,)):
            yield of_triggers(table.name, name, f"alter table {found.sql} disable trigger user")

    def _columns(self, table: TableSchema, found: TargetTable) -> Iterator[Finding]:
        lacking = sorted({column.name for column in table.columns} - set(found.columns))
        if lacking:
            yield note(
                "target-table-columns",
                f"{found.name} lacks {', '.join(lacking)} at the target: the table's first row adds them;"
                " a table that was applied before is suspended until they are there again",
                "where the table was applied before: add them as they were, then `tailrace signal reload`",
                table.name,
            )
        json = [c.name for c in table.columns if c.native == "json" and c.name in found.columns]
        changed = [name for name in json if found.columns[name].base == "jsonb"]
        if changed:
            yield note(
                "target-table-json",
                f"{', '.join(changed)} of {found.name} is jsonb at the target: the text of json is not kept as it is",
                table=table.name,
            )

    def _collations(self, table: TableSchema) -> Iterator[Finding]:
        for collation in sorted({column.collation for column in table.columns if column.collation}):
            if self._preparation.collation(collation) is None:
                yield warns(
                    "target-collation",
                    f"the target has no collation {collation}: columns are made without it, so that texts may be equal "
                    "at the source and differ there, and are sorted otherwise",
                    table=table.name,
                    remedy=f"create collation {collation} (…), as it is at the source",
                )

    def _contents(self, table: TableSchema, found: TargetTable) -> Iterator[Finding]:
        """Look at what stands in a table before the first row comes, and at what will stand in the rows' way."""
        # What is said of them elsewhere: that they go.
        begun = self._existing_tables is not ExistingTables.KEEP or self._is_ours(table.name)
        readable = self._link.value("select has_table_privilege(%s::oid, 'select')", (found.oid,))
        if not begun and readable and self._link.value(f"select exists (select from {found.sql})"):
            stay = "those that the source has not, stay" if table.key else "all stay, beside those that come"
            yield warns(
                "target-table-rows",
                f"{found.name} has rows at the target already: {stay}",
                table=table.name,
                remedy=f"truncate {found.sql}",
            )
        if self._defers and self._link.value(_STUBBORN_KEYS, (found.oid,)):
            yield warns(
                "target-foreign-key",
                f"foreign keys of {found.name} cannot wait for a transaction's end, and the role may not alter them: "
                "transactions whose rows refer to each other in a circle are refused",
                table=table.name,
                remedy=f"alter table {found.sql} alter constraint … deferrable",
            )

    def _is_ours(self, name: TableName) -> bool:
        """Tell whether this replication has prepared a table before."""
        return self._control.is_installed() and self._control.recorded(name) is not None

    def _rights(self, name: TableName, found: TargetTable) -> Iterator[Finding]:
        lacking = [
            right
            for right in ("select", "insert", "update", "delete")
            if not self._link.value("select has_table_privilege(%s::oid, %s)", (found.oid, right))
        ]
        if lacking:
            yield blocks(
                "target-table-rights",
                f"the role may not {', '.join(lacking)} in {found.name}",
                table=name,
                remedy=f"grant {', '.join(lacking)} on {found.sql} to {quoted(self._target.user)}",
            )
        owned = self._link.value("select pg_has_role(relowner, 'usage') from pg_class where oid = %s", (found.oid,))
        if not owned:
            yield warns(
                "target-table-owner",
                f"the role does not own {found.name}: changes of its schema cannot be applied",
                table=name,
                remedy=f"alter table {found.sql} owner to {quoted(self._target.user)}",
            )


def _repair(problem: str, found: TargetTable, table: TableSchema) -> str | None:
    """Return the statement after which a table of ours or of theirs has one problem less."""
    natives = {column.name: column.native for column in table.columns}
    name = next((name for name in found.columns if problem.startswith(f"column {name!r} ")), None)
    if name is None:
        return None
    alter = f"alter table {found.sql} alter column {quoted(name)}"
    if name not in natives or "allows no nulls" in problem:
        return f"{alter} drop not null"
    return f"{alter} drop expression" if "is generated" in problem else f"{alter} type {natives[name]}"


def _sequences(tables: Sequence[TableSchema]) -> Iterator[Finding]:
    asking = [f"{t.name}.{c.name}" for t in tables for c in t.columns if c.identity or c.from_sequence]
    if asking:
        more = f" and {len(asking) - 3} more" if len(asking) > 3 else ""
        yield note(
            "sequences",
            f"sequences do not follow: {', '.join(asking[:3])}{more} get no new values at the target",
            "before applications write there, run what `tailrace plan CONFIG --cutover` prints",
        )
