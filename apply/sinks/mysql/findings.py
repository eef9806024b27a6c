"""What an operator should know of a target before a run, each with the statement that repairs it. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import pymysql

from apply.sink_kinds.relational.findings import looked_up, notes, of_existing, of_key, of_kind, of_shape, of_triggers
from apply.sinks.mysql.catalog import TargetTable, has_triggers, read_table, spelled
from apply.sinks.mysql.connection import SQL_MODE, Link
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.errors import KEY_DEMANDED, classified
from apply.sinks.mysql.foreign import excesses, losses, translated
from apply.sinks.mysql.names import folded, listed, literal, problems_of_names, problems_of_tables, quoted
from apply.sinks.mysql.preparation import REDUCE, RENAME, Preparation, problems_of
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import TailraceError
from schemas.findings import Finding, blocks, note, warns
from schemas.policies import ExistingTables
from schemas.table import TableName, TableSchema

VERSION_MIN = {True: (10, 6), False: (8, 0, 17)}
"""By whether it is MariaDB. MySQL 8.0.17 brought the collation by code points that minds trailing blanks."""

RIGHTS = "select, insert, update, delete, create, drop, alter, index, references, trigger"
"""By the last one it is seen that a table has no triggers. None is made."""
CONTROL_RIGHTS = "select, insert, update, delete, create, drop, create temporary tables"

_SERVER = """
select @@global.read_only, @@global.innodb_read_only, @@global.sql_mode, @@local_infile, @@max_allowed_packet,
       @@innodb_strict_mode, @@lower_case_table_names, @@log_bin, @@binlog_format, current_user()
"""
_SWITCHES = """
show global variables where variable_name in
  ('sql_require_primary_key', 'sql_generate_invisible_primary_key', 'innodb_force_primary_key', 'partial_revokes',
   'group_replication_group_name')
"""
_PACKET_BYTES_WANTED = 16 << 20


def findings(
    replication: str,
    name: str,
    target: MysqlTarget,
    tables: Sequence[TableSchema],
    existing_tables: ExistingTables = ExistingTables.KEEP,
    *,
    marks: bool = False,
) -> list[Finding]:
    """Check the target of a replication for these tables. `marks`: its log is to tell what appliers write."""
    link = Link(target)
    check = _Check(link, replication, name, target, existing_tables)
    return looked_up(link, lambda: chain(check.all(tables), check.marks() if marks else ()))


def grants(target: MysqlTarget, schemas: Sequence[str]) -> list[str]:
    """Return the lines that make the target's user, once its password stands in them, and give it what it needs and
    nothing more, for an administrator to run, once or more.

    It makes no databases: those that it will write are made here. How names are written, and for which hosts the
    account is, the server says, where it can be asked: the user may not be there yet.
    """
    in_part, user = _asked(target)
    mapped = sorted({target.schema_map.get(schema, target.database or schema) for schema in schemas})
    control = quoted(target.control_schema)
    return [
        f"create user if not exists {user} identified by '…';",
        *(f"create database if not exists {quoted(schema)} character set utf8mb4;" for schema in mapped),
        f"create database if not exists {control} character set utf8mb4;",
        *(f"grant {RIGHTS} on {_any_table(schema, in_part)} to {user};" for schema in mapped),
        f"grant {CONTROL_RIGHTS} on {_any_table(target.control_schema, in_part)} to {user};",
    ]


def _any_table(schema: str, revokes_in_part: bool | None) -> str:
    """Name all tables of a database as `grant` does: `_` and `%` stand for other characters there, save where rights
    can be revoked in part. None: that is not known.
    """
    escaped = schema if revokes_in_part else schema.replace("_", "\\_").replace("%", "\\%")
    is_doubtful = revokes_in_part is None and escaped != schema
    return f"{quoted(escaped)}.*" + (" /* without backslashes where partial_revokes is on */" if is_doubtful else "")


def _asked(target: MysqlTarget) -> tuple[bool | None, str]:
    """Ask the server whether rights can be revoked in part, and who the user is; None, and one for all hosts, where it
    does not say.
    """
    link = Link(target)
    try:
        in_part = any(value == "ON" for _, value in link.rows("show global variables like 'partial_revokes'"))
        return in_part, _account(target, str(link.value("select current_user()")))
    except (pymysql.Error, TailraceError):
        return None, _account(target, "")
    finally:
        link.discard()


def _account(target: MysqlTarget, logged_in: str) -> str:
    """Write the account that the user is logged in as, which may be for some hosts only, as `grant` does."""
    name, _, host = logged_in.rpartition("@")
    return f"{literal(target.user)}@{literal(host if name == target.user else '%')}"


class _Check:
    def __init__(
        self, link: Link, replication: str, name: str, target: MysqlTarget, existing_tables: ExistingTables
    ) -> None:
        self._existing_tables = existing_tables
        self._link = link
        self._name = name
        self._target = target
        self._control = ControlTables(link, target.control_schema, replication, name)
        self._preparation = Preparation(link, self._control, target.schema_map, target.database)

    def all(self, tables: Sequence[TableSchema]) -> Iterator[Finding]:
        yield from self._server()
        yield from self._collisions(tables)
        rights = self._rights()
        schemas = sorted({self._preparation.target_name(table.name).schema for table in tables})
        for schema in schemas:
            yield from self._database(schema, RIGHTS.upper().split(", "), rights)
        control_rights = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE TEMPORARY TABLES"]
        if not self._control.is_installed():
            control_rights.append("CREATE")
        yield from self._database(self._target.control_schema, control_rights, rights)
        for table in tables:
            yield from self._table(table)

    def _server(self) -> Iterator[Finding]:
        server = self._preparation.server
        product = "MariaDB" if server.is_mariadb else "MySQL"
        version = ".".join(map(str, server.version))
        ((*read_only, mode, local, packet, strict, lower, log_bin, log_format, user),) = self._link.rows(_SERVER)
        if server.version < VERSION_MIN[server.is_mariadb]:
            oldest = ".".join(map(str, VERSION_MIN[server.is_mariadb]))
            yield blocks("target-version", f"the target runs {product} {version}; {oldest} is the oldest supported")
        if not {"0", "OFF"}.issuperset(map(str, read_only)):
            yield blocks("target-read-only", "the target is read-only", remedy="connect to the primary server")
        if log_bin and log_format == "STATEMENT":
            yield blocks(
                "target-binlog-format",
                "the target logs statements, which sessions of the isolation that is used here may not write",
                remedy="set global binlog_format = 'ROW'",
            )
        if not local:
            yield warns(
                "target-local-infile",
                "the target loads no data of clients: rows are inserted, which is slower",
                remedy="set global local_infile = 1",
            )
        if packet < _PACKET_BYTES_WANTED:
            yield warns(
                "target-packet",
                f"the target takes no values of more than {packet} bytes (`max_allowed_packet`)",
                remedy="set global max_allowed_packet = 1073741824",
            )
        if lower:
            yield warns(
                "target-lower-case",
                "the target takes names of tables for equal that differ in case only (`lower_case_table_names`)",
            )
        yield note(
            "target-sql-mode",
            f"the target's sql_mode is {mode or 'empty'}; sessions here set their own: {','.join(SQL_MODE)}",
        )
        on = {name for name, value in self._link.rows(_SWITCHES) if value not in ("", "OFF")}
        self._revokes_in_part = "partial_revokes" in on
        # Of a group's name: it takes no tables without a key.
        demands = on - {"partial_revokes"}
        self._demands_keys = bool(demands) and "sql_generate_invisible_primary_key" not in demands
        self._user = str(user)
        self._is_strict = bool(strict)

    def marks(self) -> Iterator[Finding]:
        """Check that the marks of appliers stand in the log: without them all that they write goes back."""
        server, database = self._preparation.server, self._target.control_schema
        is_new = not server.is_mariadb and server.version >= (8, 2, 0)
        try:
            state = self._link.rows(f"show {'binary log' if is_new else 'master'} status")
        except pymysql.Error:
            yield warns(
                "target-loopback",
                f"it cannot be seen whether the target logs database {database}, whose rows mark what is written here",
                remedy=f"see that binlog_ignore_db does not name {database}, nor binlog_do_db others alone",
            )
            return
        only, but = ({*str(each or "").split(",")} - {""} for each in (state[0][2:4] if state else ("", "")))
        if database in but or (only and database not in only):
            yield blocks(
                "target-loopback",
                f"the target does not log database {database} (binlog_do_db, binlog_ignore_db), whose rows mark what "
                "is written here: all of it would be sent back",
                remedy=f"take {database} out of binlog_ignore_db, or into binlog_do_db, and start the server again",
            )

    def _collisions(self, tables: Sequence[TableSchema]) -> Iterator[Finding]:
        seen: dict[TableName, TableName] = {}
        for table in tables:
            name, place = self._preparation.target_name(table.name), self._preparation.place(table.name)
            if place in seen:
                yield blocks(
                    "target-table-twice",
                    f"{seen[place]} and {table.name} would both be written to {name}",
                    table=table.name,
                    remedy="map their schemas to different databases (`schema_map`), or rename one by a mapping rule",
                )
            seen.setdefault(place, table.name)

    def _is_ours(self, name: TableName) -> bool:
        """Tell whether this replication has prepared a table before."""
        return self._control.is_installed() and self._control.recorded(name) is not None

    def _rights(self) -> dict[str, set[str]]:
        """Return the user's rights by database; under `*` those on all."""
        who = "'{}'@'{}'".format(*self._user.rsplit("@", 1))
        found: dict[str, set[str]] = {"*": set()}
        for (right,) in self._link.rows(
            "select privilege_type from information_schema.user_privileges where grantee = %s", (who,)
        ):
            found["*"].add(right)
        for schema, right in self._link.rows(
            "select table_schema, privilege_type from information_schema.schema_privileges where grantee = %s", (who,)
        ):
            found.setdefault(schema if self._revokes_in_part else schema.replace("\\", ""), set()).add(right)
        return found

    def _database(self, schema: str, wanted: Sequence[str], rights: dict[str, set[str]]) -> Iterator[Finding]:
        exists = self._link.value("select count(*) from information_schema.schemata where schema_name = %s", (schema,))
        have = rights["*"] | rights.get(folded(schema) if self._preparation.folds_names else schema, set())
        if not exists and "CREATE" not in have:
            yield blocks(
                "target-schema-missing",
                f"database {schema} is missing at the target, and the user may not create it",
                remedy=f"create database {quoted(schema)} character set utf8mb4",
            )
        lacking = [right.lower() for right in wanted if right not in have]
        if lacking and any(rights.values()):
            # Rights that come by a role are not listed; then nothing is, and nothing is said.
            place = _any_table(schema, self._revokes_in_part)
            yield warns(
                "target-rights",
                f"the user seems to have no right to {', '.join(lacking)} in database {schema}",
                remedy=f"grant {', '.join(lacking)} on {place} to {_account(self._target, self._user)}",
            )

    def _table(self, source: TableSchema) -> Iterator[Finding]:
        server = self._preparation.server
        table = translated(source, server)
        name = self._preparation.target_name(table.name)
        for problem in (*problems_of_tables(source.name, name), *problems_of_names(source.column_names)):
            yield blocks("target-name", problem, table=source.name, remedy=RENAME)
        yield from notes(source.name, losses(source, server))
        found = read_table(self._link, name)
        if found is None:
            for said, of_rows in excesses(table, server):
                says = blocks if self._is_strict or not of_rows else warns
                yield says("target-limits", said, table=source.name, remedy=REDUCE)
            if self._demands_keys and not table.key:
                _, remedy = classified(KEY_DEMANDED[0])
                yield blocks(
                    "target-key",
                    "the table has no key, and the target takes no such tables",
                    table=source.name,
                    remedy=remedy,
                )
            return
        found = spelled(found, table.column_names)
        if found.kind != "table":
            yield of_kind(table.name, name, found.kind)
            return
        if self._existing_tables is not ExistingTables.KEEP and not self._is_ours(table.name):
            yield of_existing(table.name, name, self._existing_tables)
            if self._existing_tables is ExistingTables.DROP:
                return
        yield from of_shape(table, found.sql, found.columns, problems_of(table, found))
        yield from self._behaviour(table, found)

    def _behaviour(self, table: TableSchema, found: TargetTable) -> Iterator[Finding]:
        key = frozenset(table.key_names)
        for name in table.key_names:
            if (column := found.columns.get(name)) is not None and column.pads:
                collation = f"character set utf8mb4 collate {self._preparation.server.collation}"
                yield warns(
                    "target-key-blanks",
                    f"column {name!r} of the key has the collation {column.collation} at the target: of rows whose "
                    "keys differ by blanks at the end only it takes one, and the others are refused",
                    table=table.name,
                    remedy=f"alter table {found.sql} modify {quoted(column.name)} {column.type} {collation} not null",
                )
        if key and not found.has_unique(key):
            yield of_key(table, found.name, found.sql, listed(table.key_names))
        if has_triggers(self._link, found.name):
            yield of_triggers(table.name, found.name, "drop the triggers, or make them heed a variable of the session")
