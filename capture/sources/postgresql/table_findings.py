"""What an operator should know of each selected table and view before a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from capture.source import Finding, Severity
from capture.sources.postgresql.catalog import RelationFacts
from capture.sources.postgresql.connection import identifier
from capture.sources.postgresql.facts import ServerFacts
from capture.sources.postgresql.publication import table_list
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.findings import blocks, listed, note, warns
from schemas.selection import Selection
from schemas.table import TableSchema
from schemas.types import Family


def of_relations(
    settings: PostgresqlSource, facts: ServerFacts, relations: Sequence[RelationFacts], tables: Sequence[TableSchema]
) -> Iterator[Finding]:
    """Look at everything that is selected: `relations`, of which `tables` are captured."""
    captured = {table.name: table for table in tables}
    named = Selection([*settings.tables, *settings.views]).explicit()
    for relation in relations:
        table = captured.get(relation.name)
        if table is None:
            yield from _of_left_out(relation, Severity.BLOCKS if str(relation.name) in named else Severity.WARNS)
            continue
        yield from _of_rights(relation, facts)
        if relation.is_view:
            yield note(
                "view",
                "the rows of the view are loaded once, and not followed: no log tells how they change",
                f"to have them anew: tailrace signal reload CONFIG --table {relation.name}",
                relation.name,
            )
            continue
        yield from _of_identity(relation)
        yield from _of_descent(relation)
        yield from _of_values(table)


def _of_left_out(relation: RelationFacts, severity: Severity) -> Iterator[Finding]:
    """Say why it is left out: its changes are in no log, or the server would refuse them once it is published."""
    leave_out = f'leave it out: "!{relation.name}" in source.tables'
    load_once = f'"{relation.name}" in source.views loads its rows once, unless the mode is cdc; or {leave_out}'
    if relation.kind == "f":
        message = "a foreign table's changes are in no log of this server"
        yield Finding(severity, "foreign-table", message, relation.name, leave_out)
    elif relation.is_view:
        message = "it is a view: the log tells no changes of it, and it is left out"
        yield Finding(severity, "view", message, relation.name, load_once)
    elif relation.persistence == "u":
        message = "an unlogged table's changes are not in the log"
        yield Finding(severity, "unlogged", message, relation.name, leave_out)
    elif relation.refusal and not relation.ancestors:
        yield _of_refusal(severity, relation, "it is left out")


def _of_rights(relation: RelationFacts, facts: ServerFacts) -> Iterator[Finding]:
    role, name, quoted = identifier(facts.role), relation.name, table_list([relation.name])
    if not relation.can_select:
        yield blocks(
            "no-select-right",
            f"the role {facts.role} may not read the table",
            f"grant usage on schema {identifier(name.schema)} to {role}; grant select on {quoted} to {role};",
            name,
        )
    if name in facts.row_security:
        yield blocks(
            "row-security",
            f"row-level security hides rows of the table from {facts.role}; the log holds them all",
            f"alter role {role} bypassrls;",
            name,
        )


def _of_identity(relation: RelationFacts) -> Iterator[Finding]:
    """Say what old rows lack, and what the server refuses."""
    if relation.refusal:
        # Published already, so that it makes no difference to the server whether it is captured.
        so = "capture stops at the first" if relation.refusal == "partition" else "only its inserts are captured"
        yield _of_refusal(Severity.WARNS, relation, so)
    elif relation.identity == "f" and not relation.has_primary_key:
        yield note(
            "keyless",
            "the table has no primary key: equal rows are counted, its changes go through one partition, and it "
            "is loaded in one piece",
            table=relation.name,
        )
    if relation.narrow:
        yield warns(
            "partition-identity",
            f"its replica identity is full, and that of {listed(relation.narrow)} is not: old rows of these hold "
            "their key only",
            "; ".join(f"alter table {table_list([leaf])} replica identity full" for leaf in relation.narrow),
            relation.name,
        )


def _of_descent(relation: RelationFacts) -> Iterator[Finding]:
    if relation.kind == "p":
        yield note(
            "partitioned",
            "the table is one table at the target, without partitions; rows of a partition that is detached or "
            "dropped stay there",
            table=relation.name,
        )
    if relation.inherits:
        yield note(
            "inheritance",
            "tables that inherit are tables of their own at the target: a query of the parent does not see their "
            "rows there",
            table=relation.name,
        )


def _of_values(table: TableSchema) -> Iterator[Finding]:
    if any(column.type.family is Family.XML for column in table.columns):
        yield note(
            "xml-declaration",
            'the server sends documents without a declaration that says only `version="1.0"`, and so they arrive',
            table=table.name,
        )
    if table.loose_key:
        yield note(
            "loose-key",
            "keys of the table may be equal and look different: its changes go through one partition, in order",
            table=table.name,
        )


_REFUSALS = {
    "nothing": ("its replica identity is nothing", "replica identity full"),
    "no key": ("it has no primary key", "replica identity full"),
    "generated": ("its replica identity is full, and it has generated columns", "replica identity default"),
}


def _of_refusal(severity: Severity, relation: RelationFacts, so: str) -> Finding:
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
        f"alter table {table_list([relation.name])} {identity}; -- with a primary key, or leave it out",
    )
