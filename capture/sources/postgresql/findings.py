"""What an operator should know before a run: every prerequisite at the source, with the statement that repairs it.

Judgement over facts, and tested as such: what is asked of the server is in `facts` and `catalog`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from capture.source import Finding
from capture.sources.postgresql import table_findings
from capture.sources.postgresql.catalog import RelationFacts
from capture.sources.postgresql.connection import identifier, literal
from capture.sources.postgresql.facts import ServerFacts
from capture.sources.postgresql.publication import create_statement, table_list
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.findings import blocks, listed, note, warns
from schemas.table import TableSchema

OLDEST_VERSION = 130000
_STANDBY_VERSION = 160000
"""Logical decoding on a standby (PostgreSQL 16 release notes)."""


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
        *table_findings.of_relations(settings, facts, relations, tables),
    ]


def _of_server(facts: ServerFacts) -> Iterator[Finding]:
    role = identifier(facts.role)
    if facts.version < OLDEST_VERSION:
        yield blocks("server-version", f"the server is PostgreSQL {facts.version_text}; 13 is the oldest supported")
    elif facts.version < 140000:
        yield note("text-form", "PostgreSQL 13 sends its log in text form only, which costs about twice the time")
    if facts.wal_level != "logical":
        yield blocks(
            "wal-level",
            f"wal_level is {facts.wal_level}: the log does not hold what is needed to decode it",
            "alter system set wal_level = 'logical'; -- then restart the server",
        )
    if not facts.may_replicate:
        yield blocks(
            "no-replication-right",
            f"the role {facts.role} may not replicate",
            f"alter role {role} replication; -- on Amazon RDS: grant rds_replication to {role};",
        )
    if facts.slot is None and facts.slots >= facts.slots_max:
        yield blocks(
            "replication-slots-full",
            f"all {facts.slots_max} replication slots are in use",
            f"alter system set max_replication_slots = {facts.slots_max + 5}; -- then restart; or drop one that nobody "
            "reads: select slot_name from pg_replication_slots where not active",
        )
    if facts.senders >= facts.senders_max:
        yield blocks(
            "wal-senders-full",
            f"all {facts.senders_max} WAL senders are in use",
            f"alter system set max_wal_senders = {facts.senders_max + 5}; -- then restart the server",
        )
    if facts.is_standby:
        if facts.version < _STANDBY_VERSION:
            yield blocks("standby", "the server is a standby; logical decoding on standbys needs PostgreSQL 16")
        else:
            yield warns(
                "standby",
                "the server is a standby: publications have to be made on the primary, and the slot is lost if the "
                "primary removes rows that it needs",
                "set hot_standby_feedback = on at the standby, and a physical slot for it at the primary",
            )
    if facts.encoding == "SQL_ASCII":
        yield warns("encoding", "the database's encoding is SQL_ASCII: text that is not UTF-8 stops the capture")


def _of_slot(settings: PostgresqlSource, name: str, facts: ServerFacts) -> Iterator[Finding]:
    slot = facts.slot
    if slot is None:
        if not settings.manage_slot:
            yield blocks(
                "slot-missing",
                f"the replication slot {name} does not exist, and source.manage_slot is off",
                f"select pg_create_logical_replication_slot({literal(name)}, 'pgoutput');",
            )
    elif slot.plugin != "pgoutput" or slot.database != settings.database:
        yield blocks(
            "slot-foreign",
            f"the replication slot {name} is of {slot.plugin or 'physical replication'}, database "
            f"{slot.database or '(none)'}",
            "choose another name in source.slot",
        )
    elif slot.invalidation or slot.wal_status == "lost":
        yield blocks(
            "slot-lost",
            f"the replication slot {name} was invalidated ({slot.invalidation or 'its log was removed'})",
            f"select pg_drop_replication_slot({literal(name)}); -- then `tailrace reset` and load anew",
        )
    elif slot.is_at_risk:
        yield warns(
            "slot-at-risk",
            f"the replication slot {name} will be lost after {slot.safe_wal_bytes or 0} more bytes of log "
            f"(wal_status {slot.wal_status})",
            "start the capture now, or raise it: alter system set max_slot_wal_keep_size = …; select pg_reload_conf();",
        )
    if facts.slot_wal_keep == "-1":
        yield note(
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
            yield blocks("publication-missing", message, statement)
        elif not facts.may_create or foreign:
            reason = f"does not own {listed(foreign)}" if foreign else "may not create objects in the database"
            yield blocks(
                "publication-missing",
                f"the publication {name} does not exist, and {facts.role} cannot make it: it {reason}",
                f"{statement} -- as the owner of the tables",
            )
        return
    if not present.via_root or not present.publishes_rows:
        yield (note if settings.manage_publication and present.is_owner else blocks)(
            "publication-options",
            f"the publication {name} does not publish all kinds of changes, by the partitioned table's name",
            f"alter publication {identifier(name)} set (publish = 'insert, update, delete, truncate', "
            "publish_via_partition_root = true);",
        )
    for table in names:
        if table in present.partial:
            quoted = table_list([table])
            yield blocks(
                "publication-filters",
                f"the publication {name} has a row filter or a column list for the table: the rest would be lost",
                f"alter publication {identifier(name)} drop table {quoted}; "
                f"alter publication {identifier(name)} add table {quoted};",
                table,
            )
    missing = [table for table in names if table not in present.members]
    not_ours = [table for table in missing if table in set(foreign)]
    if missing and (not settings.manage_publication or not present.is_owner or not_ours):
        yield blocks(
            "publication-lacks-tables",
            f"the publication {name} lacks {listed(missing)}, and {facts.role} cannot add them",
            f"alter publication {identifier(name)} add table {table_list(missing)}; -- as the owner of both",
        )
