"""What an operator should know of any relational target before a run."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence

from apply.sink_kinds.relational.link import RelationalLink
from schemas.errors import TailraceError
from schemas.findings import Finding, blocks, note, of_error, warns
from schemas.policies import ExistingTables
from schemas.table import TableName, TableSchema


def looked_up(link: RelationalLink, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return what a look at the target finds, or that it could not be looked at. Closes the link."""
    try:
        return list(look())
    except link.driver_error as error:
        return [of_error(link.classify(error, "looking at the target"), "target-connection")]
    except TailraceError as error:
        return [of_error(error, "target-connection")]
    finally:
        link.discard()


def notes(table: TableName, lost: Sequence[str]) -> Iterator[Finding]:
    """Say what another engine's values lose, or become, at this target."""
    if lost:
        yield note("other-engine", "; ".join(lost), table=table)


def of_shape(
    table: TableSchema,
    sql: str,
    present: Container[str],
    problems: Sequence[str],
    repair: Callable[[str], str | None] = lambda _: None,
) -> Iterator[Finding]:
    """Say why a table that is there cannot take the rows; a column that is missing is made.

    `repair` returns the statement that a problem is solved by, where there is one.
    """
    lacking = {column.name for column in table.columns if column.name not in present}
    for problem in problems:
        if not any(f"column {name!r} is missing" in problem for name in lacking):
            yield blocks(
                "target-table-shape",
                problem,
                table=table.name,
                remedy=repair(problem) or f"alter or drop {sql} at the target, or leave the table out",
            )


def of_kind(table: TableName, name: TableName, kind: str, remedy: str = "drop it") -> Finding:
    """Say that what has the table's name is none."""
    return blocks(
        "target-table-kind",
        f"{name} is a {kind} at the target",
        table=table,
        remedy=f"{remedy}, or map the schema to another one (`schema_map`)",
    )


def of_existing(table: TableName, name: TableName, existing_tables: ExistingTables) -> Finding:
    """Say that the rows of a table that is there will go."""
    what = "dropped and made anew" if existing_tables is ExistingTables.DROP else "emptied"
    return warns(
        "target-table-existing",
        f"{name} is at the target already: it is {what} before the load, as `apply.existing_tables` says",
        table=table,
        remedy="`apply.existing_tables: keep` leaves it as it is",
    )


def of_key(table: TableSchema, name: TableName, sql: str, listed_key: str) -> Finding:
    """Say that the table has no index of the key."""
    return warns(
        "target-table-key",
        f"{name} has no unique index on ({', '.join(table.key_names)}) at the target: writing is slow",
        table=table.name,
        remedy=f"alter table {sql} add primary key ({listed_key})",
    )


def of_triggers(table: TableName, name: TableName, remedy: str) -> Finding:
    """Say that the table has triggers."""
    return warns(
        "target-triggers",
        f"{name} has triggers at the target; they will run for every row that arrives",
        table=table,
        remedy=remedy,
    )
