"""Reading tables in chunks: one `COPY … TO STDOUT (format binary)` in a transaction of its own for each.

The transaction is repeatable read, and its first statement asks for the snapshot and the log's end together: what the
rows show is what the snapshot shows. Columns of family TEXT are cast to text, so that every type can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg

from capture.full_load.chunk_reader import ChunkReader
from capture.source import Chunk
from capture.sources.postgresql import segments
from capture.sources.postgresql.catalog import Catalog, ReadFacts
from capture.sources.postgresql.connection import (
    SESSION_IN_TRANSACTION,
    classified,
    connect,
    identifier,
)
from capture.sources.postgresql.copying import CopyForm, copy_rows, selected_column
from capture.sources.postgresql.extents import copy_tuple
from capture.sources.postgresql.filters import condition
from capture.sources.postgresql.frames import Filing
from capture.sources.postgresql.locks import TO_READ, locking
from capture.sources.postgresql.position import last_record_end, parse_lsn
from capture.sources.postgresql.types import reader
from runtime.clock import monotonic
from runtime.lifecycle import pause
from runtime.logging import get_logger
from runtime.spool import SpooledMessage
from schemas.changes import Transaction
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.filters import RowFilter
from schemas.mappings.segments import Partition, Segment
from schemas.table import TableName, TableSchema

log = get_logger(__name__)

VISIBLE_WITHIN_S = 30
SAID_AFTER_S = 1.0

ROW_BYTES_MIN = 28
"""What a row takes in a page without its values: 24 bytes of header, aligned, and its pointer."""

LOCK_TIMEOUT_S = 5
"""How long one table's lock is waited for, until others are read."""

LOCK_TIMEOUT_MS = 100
"""How long the sizes of several tables may wait for somebody's lock before each is asked for alone."""

_SMALL = """
select wanted.place::int8 - 1
  from unnest(%s::text[]) with ordinality as wanted(name, place)
  join pg_class c on c.oid = to_regclass(wanted.name) join pg_am a on a.oid = c.relam
 where c.relkind = 'r' and a.amname = 'heap' and pg_relation_size(c.oid) <= %s and has_table_privilege(c.oid, 'select')
 order by wanted.place
"""

_SNAPSHOT = """
select pg_current_snapshot()::text,
       case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end::text,
       pg_is_in_recovery()
"""


@dataclass(slots=True)
class PostgresqlSnapshot:
    """What `pg_current_snapshot()` said: 64-bit transaction ids. Implements `capture.source.Snapshot`."""

    high: int
    xmin: int
    """Every transaction before it had ended."""
    xmax: int
    """No transaction from here on had ended."""
    running: frozenset[int]
    is_exact: bool = True
    """False on a standby, where the function does not list the running ones: what may be running counts as unseen."""

    def sees(self, txn: Transaction) -> bool:
        """Tell whether the read saw the transaction."""
        xid = self._widen(txn.xid)
        if xid < self.xmin:
            return True
        return self.is_exact and xid < self.xmax and xid not in self.running

    def settled(self, txn: Transaction) -> bool:
        """Tell whether every later snapshot sees the transaction."""
        return self._widen(txn.xid) < self.xmin

    def _widen(self, xid: int) -> int:
        """Return the 64-bit id of a 32-bit one, less than 2**31 away from `xmax` as any that still matters."""
        return self.xmax + ((xid - self.xmax + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def read_snapshot(connection: psycopg.Connection[tuple[object, ...]], *before: str) -> PostgresqlSnapshot:
    """Ask for the snapshot, after other statements in one go; within a repeatable read transaction it is that of all
    its statements.
    """
    cursor = connection.execute(";".join([*before, _SNAPSHOT]).encode())
    while cursor.nextset():
        pass
    text, lsn, is_standby = cursor.fetchall()[0]
    return parse_snapshot(str(text), str(lsn), is_exact=not is_standby)


def wait_until_visible(connection: psycopg.Connection[tuple[object, ...]], txn: Transaction) -> PostgresqlSnapshot:
    """Wait until every new snapshot sees a transaction: it is in the log a moment before anybody sees it.

    Return the first that does. Raises SOURCE_CONNECTION when that takes half a minute.
    """
    began = monotonic()
    has_said = False
    with classified("waiting for a transaction to be visible"):
        while not (snapshot := read_snapshot(connection)).sees(txn):
            waited_s = monotonic() - began
            if waited_s >= SAID_AFTER_S and not has_said:
                has_said = True
                log.info("waits: a transaction that is in the log is not visible", transaction=txn.id)
            if waited_s >= VISIBLE_WITHIN_S:
                raise TailraceError(
                    ErrorKind.SOURCE_CONNECTION,
                    f"a transaction that is in the log is not visible after {VISIBLE_WITHIN_S} s: does it wait for a "
                    "synchronous standby?",
                )
            pause(0.02, "a transaction that is in the log is not visible")
        return snapshot


def parse_snapshot(text: str, lsn: str, *, is_exact: bool = True) -> PostgresqlSnapshot:
    """Read a snapshot's text: `xmin:xmax:xid,xid…`."""
    xmin, xmax, running = text.split(":")
    return PostgresqlSnapshot(
        last_record_end(parse_lsn(lsn)),
        int(xmin),
        int(xmax),
        frozenset(int(xid) for xid in running.split(",") if xid),
        is_exact,
    )


Connection = psycopg.Connection[tuple[object, ...]]


class PostgresqlSnapshotReader(ChunkReader[Connection, PostgresqlSnapshot]):
    """Reads tables in chunks over a connection of its own. Implements `capture.source.SnapshotReader`."""

    def __init__(self, settings: PostgresqlSource, directory: str | None = None) -> None:
        """Large rows wait in files in `directory`."""
        super().__init__()
        self._filing = Filing(directory, copy_tuple)
        self._settings = settings
        self._catalog = Catalog(self._connected)
        self._held_facts: dict[TableName, ReadFacts] = {}

    def _connect(self) -> Connection:
        return connect(self._settings, lock_timeout_s=LOCK_TIMEOUT_S, is_wide=True)

    def _is_closed(self, connection: Connection) -> bool:
        return connection.closed

    def _partitions(self, connection: Connection, table: TableSchema) -> list[Partition]:
        return segments.partitions(connection, table, self._settings.user)

    def _bounds(
        self, connection: Connection, table: TableSchema, chunk_rows: int, segment: Segment | None
    ) -> list[tuple[str, ...]]:
        with locking(connection, [table.name], TO_READ):
            if segment is None and self._small(connection, [table], chunk_rows):
                return []
            return self._cut(connection, table, chunk_rows, segment)

    def _cut(
        self, connection: Connection, table: TableSchema, chunk_rows: int, segment: Segment | None
    ) -> list[tuple[str, ...]]:
        facts = self._facts([table])[table.name]
        names = [identifier(name) for name in table.key_names]
        number = identifier(_number_name(table))
        query = (
            f"select {', '.join(f'k.{name}::text' for name in names)} from (select {', '.join(names)}, "
            f"row_number() over (order by {', '.join(names)}) as {number} "
            f"from {_from(connection, table, facts, segment)} as t{_where(table, segment)}) as k "
            f"where k.{number} % {int(chunk_rows)} = 0"
        )
        with classified("planning the chunks of a table", table=str(table.name)), connection.transaction():
            connection.execute(SESSION_IN_TRANSACTION)
            connection.execute(_operators(table, facts) or "select 1")
            return [tuple(str(v) for v in bound) for bound in connection.execute(query).fetchall()]

    def _small(self, connection: Connection, tables: Sequence[TableSchema], rows: int) -> list[int]:
        """Return the places of tables that cannot have more rows, by the size of their heaps: of thousands most are so.
        None that cannot be locked is among them.
        """
        wanted = [_quoted(table.name) for table in tables]
        with classified("planning the chunks of a table"):
            found = connection.execute(_SMALL, (wanted, ROW_BYTES_MIN * rows)).fetchall()
        return [place for (place,) in found if isinstance(place, int)]

    def _hold(self, connection: Connection, tables: Sequence[TableSchema], chunk_rows: int) -> list[int]:
        with classified("reading tables"), connection.transaction():
            # (The size of a table that is locked is waited for.)
            connection.execute(f"set local lock_timeout = {LOCK_TIMEOUT_MS}")
            places = self._small(connection, tables, chunk_rows)
        if not places:
            return []
        held = [tables[place] for place in places]
        with classified("reading tables"):
            # Without waiting: whoever waits for one of them would wait for a lock that we hold meanwhile.
            self._snapshot = self._locked(connection, held, "nowait")
        self._held_facts = self._facts(held)
        # Those are left out whose comparisons need a setting of their own.
        kept = [place for place in places if not _operators(tables[place], self._held_facts[tables[place].name])]
        if not kept:
            self._end(connection)
        return kept

    def _begin(
        self, connection: Connection, table: TableSchema, chunk: Chunk, where: RowFilter | None
    ) -> tuple[CopyForm, Iterable[list[bytes] | SpooledMessage]]:
        facts = self._held_facts[table.name] if table.name in self._held else self._begun(connection, table)
        form = self._form(table, facts)
        columns = ", ".join(selected_column(self._catalog.types, facts.types[c.name], c) for c in table.columns)
        source = f"{_from(connection, table, facts, chunk.segment)} as t{_where(table, chunk.segment, chunk, where)}"
        statement = f"copy (select {columns} from {source}) to stdout (format binary)"
        return form, copy_rows(connection, statement, self._filing)

    def _look(self, connection: Connection) -> PostgresqlSnapshot:
        with classified("taking a snapshot"):
            return read_snapshot(connection)

    def _begun(self, connection: Connection, table: TableSchema) -> ReadFacts:
        """Begin a transaction for one table. Raises LockedError."""
        locks = locking(connection, [table.name], TO_READ)
        with locks, classified("reading a table", table=str(table.name)):
            self._snapshot = self._locked(connection, [table])
        facts = self._facts([table])[table.name]
        if operators := _operators(table, facts):
            with classified("reading a table", table=str(table.name)):
                connection.execute(operators)
        return facts

    def _locked(self, connection: Connection, tables: Sequence[TableSchema], patience: str = "") -> PostgresqlSnapshot:
        """Begin a transaction, and take the locks that COPY takes anyway before anything is learned about columns: they
        stay so. Then take the snapshot.
        """
        names = ", ".join(_quoted(table.name) for table in tables)
        # (`lock table` takes no materialised view.)
        is_view = any(table.is_view for table in tables)
        lock = f"select from {names} limit 0" if is_view else f"lock table {names} in access share mode {patience}"
        begin = "begin isolation level repeatable read read only"
        return read_snapshot(connection, begin, SESSION_IN_TRANSACTION, lock)

    def _end(self, connection: Connection) -> None:
        with classified("reading a table"):
            connection.execute("commit")
        if self._filing.take_swollen():
            self.close()

    def _facts(self, tables: Sequence[TableSchema]) -> dict[TableName, ReadFacts]:
        facts = self._catalog.read_facts([table.name for table in tables])
        for table in tables:
            if table.name not in facts:
                raise TailraceError(ErrorKind.SOURCE_SCHEMA, "the table is gone", table=str(table.name))
        return facts

    def _form(self, table: TableSchema, facts: ReadFacts) -> CopyForm:
        """Return what reads the table's COPY tuples, by the catalogue's types."""
        if any(facts.natives.get(column.name) != column.native for column in table.columns):
            raise TailraceError(
                ErrorKind.SOURCE_SCHEMA,
                f"the table no longer has the columns of its version {table.version}",
                table=str(table.name),
            )
        types = [facts.types[column.name] for column in table.columns]
        return CopyForm(table, [reader(self._catalog.types, each.oid, each.typmod) for each in types])


def _where(
    table: TableSchema, segment: Segment | None, chunk: Chunk | None = None, where: RowFilter | None = None
) -> str:
    keys = [table.columns[i] for i in table.key]
    columns = ", ".join(f"t.{identifier(c.name)}" for c in keys)
    terms = segments.conditions(table, segment)
    if where is not None and (said := condition(where)):
        terms.append(f"({said})")
    for operator, bound in ((">", chunk and chunk.lower), ("<=", chunk and chunk.upper)):
        if bound is not None:
            values = ", ".join(
                f"{_literal(text)}::{c.native}" + (f" collate {c.collation}" if c.collation else "")
                for text, c in zip(bound, keys, strict=True)
            )
            terms.append(
                f"row({columns}) {operator} row({values})" if len(keys) > 1 else f"{columns} {operator} {values}"
            )
    return " where " + " and ".join(terms) if terms else ""


def _quoted(name: TableName) -> str:
    return f"{identifier(name.schema)}.{identifier(name.table)}"


def _operators(table: TableSchema, facts: ReadFacts) -> str:
    """Return the statement that lets this transaction find the comparison operators of the key's types, if one must.

    They are in the schemas of the types: without that `citext` would be sorted as `citext` and compared as `text`.
    """
    types = facts.types
    schemas = {types[name].schema for name in table.key_names if name in types} - {"pg_catalog"}
    return f"set local search_path = {', '.join(map(identifier, sorted(schemas)))}" if schemas else ""


def _from(connection: Connection, table: TableSchema, facts: ReadFacts, segment: Segment | None) -> str:
    """Return what is read: a partition, or the table; an inheritance parent without its children, which are tables of
    their own.
    """
    if segment is not None and segment.partition:
        return segments.relation(connection, table, segment)
    name = _quoted(table.name)
    return f"only {name}" if facts.kind == "r" else name


def _number_name(table: TableSchema) -> str:
    """Return a name for the row number that no key column has."""
    name = "n"
    while name in table.key_names:
        name += "n"
    return name


def _literal(text: str) -> str:
    # standard_conforming_strings is on in our sessions: only the quote is special.
    return "'" + text.replace("'", "''") + "'"
