"""The control tables of AWS DMS in a relational target, over a connection of their own.

Names and columns are those of the user guide ("Control table task settings"); it does not say what full-load exceptions
have, so these have the columns of apply exceptions. Nothing depends on these tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apply.sink_kinds.relational.control_tables import Spelling
from apply.sink_kinds.relational.link import RelationalLink
from schemas.control_tables import (
    APPLY_EXCEPTIONS,
    FULL_LOAD_EXCEPTIONS,
    HISTORY,
    STATUS,
    SUSPENDED,
    VALIDATION_FAILURES,
)

_EXCEPTION = (
    ("TASK_NAME", "{owner}"),
    ("TABLE_OWNER", "{name}"),
    ("TABLE_NAME", "{name}"),
    ("ERROR_TIME", "{time}"),
    ("STATEMENT", "text"),
    ("ERROR", "text"),
)
COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    APPLY_EXCEPTIONS: _EXCEPTION,
    FULL_LOAD_EXCEPTIONS: _EXCEPTION,
    STATUS: (
        ("SERVER_NAME", "{owner}"),
        ("TASK_NAME", "{owner}"),
        ("TASK_STATUS", "{name}"),
        ("STATUS_TIME", "{time}"),
        ("PENDING_CHANGES", "bigint"),
        ("DISK_SWAP_SIZE", "bigint"),
        ("TASK_MEMORY", "bigint"),
        ("SOURCE_CURRENT_POSITION", "text"),
        ("SOURCE_CURRENT_TIMESTAMP", "{time}"),
        ("SOURCE_TAIL_POSITION", "text"),
        ("SOURCE_TAIL_TIMESTAMP", "{time}"),
        ("SOURCE_TIMESTAMP_APPLIED", "{time}"),
    ),
    SUSPENDED: (
        ("SERVER_NAME", "{owner}"),
        ("TASK_NAME", "{owner}"),
        ("TABLE_OWNER", "{name}"),
        ("TABLE_NAME", "{name}"),
        ("SUSPEND_REASON", "text"),
        ("SUSPEND_TIMESTAMP", "{time}"),
    ),
    HISTORY: (
        ("SERVER_NAME", "{owner}"),
        ("TASK_NAME", "{owner}"),
        ("TIMESLOT_TYPE", "{name}"),
        ("TIMESLOT", "{time}"),
        ("TIMESLOT_DURATION", "bigint"),
        ("TIMESLOT_LATENCY", "bigint"),
        ("RECORDS", "bigint"),
        ("TIMESLOT_VOLUME", "bigint"),
    ),
    VALIDATION_FAILURES: (
        ("TASK_NAME", "{owner}"),
        ("TABLE_OWNER", "{name}"),
        ("TABLE_NAME", "{name}"),
        ("FAILURE_TIME", "{time}"),
        ("KEY_TYPE", "{name}"),
        ("KEY", "text"),
        ("FAILURE_TYPE", "{name}"),
        ("DETAILS", "text"),
    ),
}
"""The columns of each table with their types."""

Rows = Sequence[Sequence[Any]]


class DmsTables:
    """The control tables of one target. Raises classified errors."""

    def __init__(self, link: RelationalLink, spelling: Spelling, schema: str, create_schema: str) -> None:
        self._link = link
        self._spelling = spelling
        self._schema_name = schema
        self._create_schema = create_schema
        self._made: set[str] = set()

    def add(self, table: str, rows: Rows) -> None:
        """Add rows."""
        with self._link.classified(f"writing {table}"):
            self._make(table)
            with self._link.own_transaction():
                self._insert(table, rows)

    def replace(self, table: str, owner: Sequence[str], rows: Rows) -> None:
        """Let a table have these rows of an owner, the values of the first columns, and no others of its."""
        quoted = self._spelling.quoted
        with self._link.classified(f"writing {table}"):
            self._make(table)
            with self._link.own_transaction():
                columns = COLUMNS[table][: len(owner)]
                condition = " and ".join(f"{quoted(name)} = %s" for name, _ in columns)
                self._link.execute(f"delete from {self._name(table)} where {condition}", owner)
                self._insert(table, rows)

    def close(self) -> None:
        """Close the connection."""
        self._link.discard()

    def _insert(self, table: str, rows: Rows) -> None:
        quoted = self._spelling.quoted
        columns = ", ".join(quoted(name) for name, _ in COLUMNS[table])
        places = ", ".join(["%s"] * len(COLUMNS[table]))
        for row in rows:
            self._link.execute(f"insert into {self._name(table)} ({columns}) values ({places})", row)

    def _make(self, table: str) -> None:
        """Make the table where it is missing. Needs no right to create where it is there."""
        if table in self._made:
            return
        literal, quoted = self._spelling.literal, self._spelling.quoted
        found = self._link.rows(
            "select table_name from information_schema.tables "
            f"where table_schema = {literal(self._schema_name)} and table_name = {literal(table)}"
        )
        if not found:
            types = {"owner": self._spelling.owner, "name": self._spelling.name, "time": f"{self._spelling.time} null"}
            columns = ", ".join(f"{quoted(name)} {kind.format(**types)}" for name, kind in COLUMNS[table])
            exists = self._link.rows(
                f"select 1 from information_schema.schemata where schema_name = {literal(self._schema_name)}"
            )
            if not exists:
                self._link.run(self._create_schema)
            self._link.run(f"create table if not exists {self._name(table)} ({columns}){self._spelling.options}")
        self._made.add(table)

    def _name(self, table: str) -> str:
        return f"{self._spelling.quoted(self._schema_name)}.{self._spelling.quoted(table)}"
