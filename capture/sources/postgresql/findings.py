"""What an operator should know before a run: every prerequisite at the source, with the statement that repairs it.

Reads only. `ServerFacts` is asked of the server in one round; the rest is judgement over facts, and tested as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from capture.source import Finding, Severity
from capture.sources.postgresql.catalog import RelationFacts
from capture.sources.postgresql.connection import classified, identifier, literal
from capture.sources.postgresql.publication import create_statement, ensure_statement, table_list
from capture.sources.postgresql.server import Slot, read_slot
from schemas.endpoints import PostgresqlSource
from schemas.selection import Selection
from schemas.table import TableName, TableSchema
from schemas.types import Family

OLDEST_VERSION = 130000
_STANDBY_VERSION = 160000
"""Logical decoding on a standby (PostgreSQL 16 release notes)."""

_SERVER = """
select current_setting('server_version_num')::int4, current_setting('server_version'),
       current_setting('wal_level'), pg_is_in_recovery(), current_user::text,
       (select r.rolreplication or r.rolsuper from pg_roles r where r.rolname = current_user)
         or exists (select from pg_roles g where g.rolname = 'rds_replication' and pg_has_role(g.oid, 'member')),
       current_setting('max_replication_slots')::int4, (select count(*) from pg_replication_slots)::int4,
       current_setting('max_wal_senders')::int4,
       (select count(*) from pg_stat_activity where backend_type = 'walsender')::int4,
       has_database_privilege(current_database(), 'create'), current_setting('max_slot_wal_keep_size'),
       current_setting('server_encoding')
"""
_PUBLICATION = """
select pubviaroot, pubinsert and pubupdate and pubdelete and pubtruncate, pg_has_role(pubowner, 'usage'),
       (select coalesce(array_agg(array[t.schemaname::text, t.tablename::text]), '{}')
          from pg_publication_tables t where t.pubname = p.pubname),
       (select coalesce(array_agg(array[n.nspname::text, c.relname::text]), '{}')
          from pg_publication_rel r join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace
         where r.prpubid = p.oid
           and (to_jsonb(r) ->> 'prqual' is not null or to_jsonb(r) ->> 'prattrs' is not null))
  from pg_publication p where p.pubname = %(name)s
"""
_ROW_SECURITY = """
select n.nspname::text, c.relname::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid = any(%(oids)s::oid[]) and row_security_active(c.oid)
"""


@dataclass(frozen=True, slots=True)
class PublicationFacts:
    """A publication that is there."""

    via_root: bool
    publishes_rows: bool
    is_owner: bool
    members: frozenset[TableName]
    partial: frozenset[TableName] = frozenset()
    """Members of which only some rows or columns are published (PostgreSQL 15 and later)."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What was asked of the server."""

    version: int
    version_text: str
    wal_level: str
    is_standby: bool
    role: str
    may_replicate: bool
    slots_max: int
    slots: int
    senders_max: int
    senders: int
    may_create: bool
    """Whether the role may create objects in the database: a publication is one."""
    slot_wal_keep: str
    """`max_slot_wal_keep_size`; -1: no bound."""
    encoding: str
    slot: Slot | None
    publication: PublicationFacts | None
    row_security: frozenset[TableName]
    """Tables whose rows are filtered for this role."""


def read_facts(
    connection: psycopg.Connection[tuple[object, ...]],
    slot: str,
    publication: str,
    relations: Sequence[RelationFacts],
) -> ServerFacts:
    """Ask the server."""
    with classified("asking the source for its settings"):
        row: Any = connection.execute(_SERVER).fetchall()[0]
        published: list[tuple[Any, ...]] = connection.execute(_PUBLICATION, {"name": publication}).fetchall()
        secured: list[tuple[Any, ...]] = connection.execute(
            _ROW_SECURITY, {"oids": [r.oid for r in relations if r.kind in "rp"]}
        ).fetchall()
    facts = None
    if published:
        via_root, rows, is_owner, *lists = published[0]
        members, partial = (frozenset(TableName(*member) for member in names) for names in lists)
        facts = PublicationFacts(via_root, rows, is_owner, members, partial)
    values: Any = (*row, read_slot(connection, slot), facts, frozenset(TableName(s, t) for s, t in secured))
    return ServerFacts(*values)


def find(
    settings: PostgresqlSource,
    slot: str,
    publication: str,
    facts: ServerFacts,
    relations: Sequence[RelationFacts],
    tables: Sequence[TableSchema],
) -> list[Finding]:
    """Judge the facts. `relations` is all that the selection takes, `tables` what is captured of it."""
    return [
        *_of_server(facts),
        *_of_slot(settings, slot, facts),
        *_of_publication(settings, publication, facts, relations, tables),
        *_of_relations(settings, facts, relations, tables),
    ]


def grants(
    settings: PostgresqlSource, publication: str, tables: Sequence[TableName], views: Sequence[TableName] = ()
) -> str:
    """Return the SQL that gives the role exactly what capturing needs, to be run by a superuser, once or more.

    The role is there: it is the one that asks.
    """
    role = identifier(settings.user)
    readable = sorted([*tables, *views])
    schemas = sorted({table.schema for table in readable})
    lines = [
        f"alter role {role} replication; -- on Amazon RDS: grant rds_replication to {role};",
        f"grant connect on database {identifier(settings.database)} to {role};",
        *(f"grant usage on schema {identifier(schema)} to {role};" for schema in schemas),
    ]
    if readable:
        lines.append(f"grant select on {table_list(readable)} to {role};")
    lines.append(ensure_statement(publication, tables))
    lines.append("-- and in the configuration: source.manage_publication: false")
    return "\n".join(lines)


def _of_server(facts: ServerFacts) -> Iterator[Finding]:
    role = identifier(facts.role)
    if facts.version < OLDEST_VERSION:
        yield _blocks("server-version", f"the server is PostgreSQL {facts.version_text}; 13 is the oldest supported")
    elif facts.version < 140000:
        yield _note("text-form", "PostgreSQL 13 sends its log in text form only, which costs about twice the time")
    if facts.wal_level != "logical":
        yield _blocks(
            "wal-level",
            f"wal_level is {facts.wal_level}: the log does not hold what is needed to decode it",
            "alter system set wal_level = 'logical'; -- then restart the server",
        )
    if not facts.may_replicate:
        yield _blocks(
            "no-replication-right",
            f"the role {facts.role} may not replicate",
            f"alter role {role} replication; -- on Amazon RDS: grant rds_replication to {role};",
        )
    if facts.slot is None and facts.slots >= facts.slots_max:
        yield _blocks(
            "replication-slots-full",
            f"all {facts.slots_max} replication slots are in use",
            f"alter system set max_replication_slots = {facts.slots_max + 5}; -- then restart; or drop one that nobody "
            "reads: select slot_name from pg_replication_slots where not active",
        )
    if facts.senders >= facts.senders_max:
        yield _blocks(
            "wal-senders-full",
            f"all {facts.senders_max} WAL senders are in use",
            f"alter system set max_wal_senders = {facts.senders_max + 5}; -- then restart the server",
        )
    if facts.is_standby:
        if facts.version < _STANDBY_VERSION:
            yield _blocks("standby", "the server is a standby; logical decoding on standbys needs PostgreSQL 16")
        else:
            yield _warns(
                "standby",
                "the server is a standby: publications have to be made on the primary, and the slot is lost if the "
                "primary removes rows that it needs",
                "set hot_standby_feedback = on at the standby, and a physical slot for it at the primary",
            )
    if facts.encoding == "SQL_ASCII":
        yield _warns("encoding", "the database's encoding is SQL_ASCII: text that is not UTF-8 stops the capture")


def _of_slot(settings: PostgresqlSource, name: str, facts: ServerFacts) -> Iterator[Finding]:
    slot = facts.slot
    if slot is None:
        if not settings.manage_slot:
            yield _blocks(
                "slot-missing",
                f"the replication slot {name} does not exist, and source.manage_slot is off",
                f"select pg_create_logical_replication_slot({literal(name)}, 'pgoutput');",
            )
    elif slot.plugin != "pgoutput" or slot.database != settings.database:
        yield _blocks(
            "slot-foreign",
            f"the replication slot {name} is of {slot.plugin or 'physical replication'}, database "
            f"{slot.database or '(none)'}",
            "choose another name in source.slot",
        )
    elif slot.invalidation or slot.wal_status == "lost":
        yield _blocks(
            "slot-lost",
            f"the replication slot {name} was invalidated ({slot.invalidation or 'its log was removed'})",
            f"select pg_drop_replication_slot({literal(name)}); -- then `tailrace reset` and load anew",
        )
    elif slot.is_at_risk:
        yield _warns(
            "slot-at-risk",
            f"the replication slot {name} will be lost after {slot.safe_wal_bytes or 0} more bytes of log "
            f"(wal_status {slot.wal_status})",
            "start the capture now, or raise it: alter system set max_slot_wal_keep_size = …; select pg_reload_conf();",
        )
    if facts.slot_wal_keep == "-1":
        yield _note(
            "slot-unbounded",
            "max_slot_wal_keep_size is -1: while the capture is down, the server keeps its log until its disk is full",
            "alter system set max_slot_wal_keep_size = '…GB'; select pg_reload_conf();",
        )


def _of_publication(
    settings: PostgresqlSource,
    name: str,
    facts: ServerFacts,
    relations: Sequence[RelationFacts],
    tables: Sequence[TableSchema],
) -> Iterator[Finding]:
    names = [table.name for table in tables if not table.is_view]
    foreign = [r.name for r in relations if not r.is_owner and r.name in set(names)]
    present = facts.publication
    if present is None:
        statement = f"{create_statement(name, names)};"
        if not settings.manage_publication:
            message = f"the publication {name} does not exist, and source.manage_publication is off"
            yield _blocks("publication-missing", message, statement)
        elif not facts.may_create or foreign:
            reason = f"does not own {_some(foreign)}" if foreign else "may not create objects in the database"
            yield _blocks(
                "publication-missing",
                f"the publication {name} does not exist, and {facts.role} cannot make it: it {reason}",
                f"{statement} -- as the owner of the tables",
            )
        return
    if not present.via_root or not present.publishes_rows:
        yield (_note if settings.manage_publication and present.is_owner else _blocks)(
            "publication-options",
            f"the publication {name} does not publish all kinds of changes, by the partitioned table's name",
            f"alter publication {identifier(name)} set (publish = 'insert, update, delete, truncate', "
            "publish_via_partition_root = true);",
        )
    for table in names:
        if table in present.partial:
            listed = table_list([table])
            yield _blocks(
                "publication-filters",
                f"the publication {name} has a row filter or a column list for the table: the rest would be lost",
                f"alter publication {identifier(name)} drop table {listed}; "
                f"alter publication {identifier(name)} add table {listed};",
                table,
            )
    missing = [table for table in names if table not in present.members]
    not_ours = [table for table in missing if table in set(foreign)]
    if missing and (not settings.manage_publication or not present.is_owner or not_ours):
        yield _blocks(
            "publication-lacks-tables",
            f"the publication {name} lacks {_some(missing)}, and {facts.role} cannot add them",
            f"alter publication {identifier(name)} add table {table_list(missing)}; -- as the owner of both",
        )


def _of_relations(
    settings: PostgresqlSource, facts: ServerFacts, relations: Sequence[RelationFacts], tables: Sequence[TableSchema]
) -> Iterator[Finding]:
    captured = {table.name: table for table in tables}
    explicit = {*Selection(settings.tables).explicit(), *Selection(settings.views).explicit()}
    for missing in sorted(explicit - {str(relation.name) for relation in relations}):
        message = f"the table {missing} does not exist, or this role may not see it"
        yield _blocks("table-missing", message, "correct `source.tables`, or grant usage on its schema")
    role = identifier(facts.role)
    for relation in relations:
        name, quoted = relation.name, table_list([relation.name])
        refusal = None if name in captured else _refusal(relation)
        if refusal is not None:
            severity = Severity.BLOCKS if str(name) in explicit else Severity.WARNS
            remedy = f'leave it out: "!{name}" in source.tables'
            if relation.is_view:
                remedy = f'"{name}" in source.views loads its rows once, unless the mode is cdc; or {remedy}'
            yield Finding(severity, refusal[0], refusal[1], name, remedy)
            continue
        if name not in captured:
            if relation.refusal and not relation.ancestors:
                severity = Severity.BLOCKS if str(name) in explicit else Severity.WARNS
                yield _of_refusal(severity, relation, quoted, "it is left out")
            continue
        if not relation.can_select:
            yield _blocks(
                "no-select-right",
                f"the role {facts.role} may not read the table",
                f"grant usage on schema {identifier(name.schema)} to {role}; grant select on {quoted} to {role};",
                name,
            )
        if name in facts.row_security:
            yield _blocks(
                "row-security",
                f"row-level security hides rows of the table from {facts.role}; the log holds them all",
                f"alter role {role} bypassrls;",
                name,
            )
        if relation.is_view:
            yield _note(
                "view",
                "the rows of the view are loaded once, and not followed: no log tells how they change",
                f"to have them anew: tailrace signal reload CONFIG --table {name}",
                name,
            )
            continue
        yield from _of_identity(relation, quoted)
        if relation.narrow:
            yield _warns(
                "partition-identity",
                f"its replica identity is full, and that of {_some(relation.narrow)} is not: old rows of these hold "
                "their key only",
                "; ".join(f"alter table {table_list([leaf])} replica identity full" for leaf in relation.narrow),
                name,
            )
        if relation.kind == "p":
            yield _note(
                "partitioned",
                "the table is one table at the target, without partitions; rows of a partition that is detached or "
                "dropped stay there",
                None,
                name,
            )
        if relation.inherits:
            yield _note(
                "inheritance",
                "tables that inherit are tables of their own at the target: a query of the parent does not see their "
                "rows there",
                None,
                name,
            )
        yield from _of_values(captured[name])


def _of_values(table: TableSchema) -> Iterator[Finding]:
    if any(column.type.family is Family.XML for column in table.columns):
        yield _note(
            "xml-declaration",
            'the server sends documents without a declaration that says only `version="1.0"`, and so they arrive',
            None,
            table.name,
        )
    if table.loose_key:
        yield _note(
            "loose-key",
            "keys of the table may be equal and look different: its changes go through one partition, in order",
            None,
            table.name,
        )


def _of_identity(relation: RelationFacts, quoted: str) -> Iterator[Finding]:
    if relation.refusal:
        # Published already, so that it makes no difference to the server whether it is captured.
        so = "capture stops at the first" if relation.refusal == "partition" else "only its inserts are captured"
        yield _of_refusal(Severity.WARNS, relation, quoted, so)
    elif relation.identity == "f" and not relation.has_primary_key:
        yield _note(
            "keyless",
            "the table has no primary key: equal rows are counted, its changes go through one partition, and it "
            "is loaded in one piece",
            None,
            relation.name,
        )


_REFUSALS = {
    "nothing": ("its replica identity is nothing", "replica identity full"),
    "no key": ("it has no primary key", "replica identity full"),
    "generated": ("its replica identity is full, and it has generated columns", "replica identity default"),
}


def _of_refusal(severity: Severity, relation: RelationFacts, quoted: str, so: str) -> Finding:
    """Return what follows from the server's refusal of updates and deletes, once the table is published."""
    if relation.refusal == "partition":
        return Finding(
            severity,
            "no-replica-identity",
            f"a partition has another replica identity than the table: old rows would lack what tells rows apart; {so}",
            relation.name,
            "alter table … replica identity …; -- of the partition, so that it holds the table's key; or leave it out",
        )
    why, identity = _REFUSALS[relation.refusal]
    of = " (of it, or of a partition)" if relation.kind == "p" else ""
    return Finding(
        severity,
        "no-replica-identity",
        f"{why}{of}: once it is published, the server refuses updates and deletes of the table; {so}",
        relation.name,
        f"alter table {quoted} {identity}; -- with a primary key, or leave it out",
    )


def _refusal(relation: RelationFacts) -> tuple[str, str] | None:
    if relation.kind == "f":
        return "foreign-table", "a foreign table's changes are in no log of this server"
    if relation.is_view:
        return "view", "it is a view: the log tells no changes of it, and it is left out"
    if relation.persistence == "u":
        return "unlogged", "an unlogged table's changes are not in the log"
    return None


def _some(names: Sequence[TableName]) -> str:
    shown = ", ".join(str(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _blocks(code: str, message: str, remedy: str | None = None, table: TableName | None = None) -> Finding:
    return Finding(Severity.BLOCKS, code, message, table, remedy)


def _warns(code: str, message: str, remedy: str | None = None, table: TableName | None = None) -> Finding:
    return Finding(Severity.WARNS, code, message, table, remedy)


def _note(code: str, message: str, remedy: str | None = None, table: TableName | None = None) -> Finding:
    return Finding(Severity.NOTE, code, message, table, remedy)
