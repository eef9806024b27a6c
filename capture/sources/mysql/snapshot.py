"""Reading tables in chunks: each chunk in one statement and one consistent snapshot, placed among the log's GTIDs.

MySQL: a transaction's id is added to `gtid_executed` after the storage engine has committed it, so a snapshot that is
taken after that set was read sees everything in it. Without GTIDs (`_committed`): a place that was read before, once
nothing is committing any more that was then. MariaDB: a consistent snapshot knows the place in the log that it
belongs to (`binlog_snapshot_file`, `binlog_snapshot_position`), exactly. Either way the snapshot is no lock: it holds
up the server's commits for an instant at most. What else it may see, the log brings once more: of a table without a
key that would be rows twice, so nobody writes it (MySQL) while the place is read and the snapshot begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from capture.full_load.chunk_reader import ChunkReader
from capture.source import Chunk
from capture.sources.mysql import binlog, segments
from capture.sources.mysql.catalog import Catalog, quoted
from capture.sources.mysql.cells import CellForm
from capture.sources.mysql.connection import Connection, connect
from capture.sources.mysql.filters import condition
from capture.sources.mysql.natives import parse_native
from capture.sources.mysql.position import Place
from capture.sources.mysql.quoting import any_table, identifier, literal
from capture.sources.mysql.rights import refuses
from capture.sources.mysql.server import (
    counts_by_files,
    end_of_log,
    follows_on,
    gtids_at,
    log_status,
    no_log,
    revokes_in_part,
)
from capture.sources.mysql.types import reader, selected
from runtime.clock import monotonic, sleep
from runtime.logging import get_logger
from runtime.spool import SpooledMessage
from schemas.changes import Transaction
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.filters import RowFilter
from schemas.mappings.segments import Partition, Segment
from schemas.row_forms import CopiedForm
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family

COMMIT_S = 60.0
"""How long a transaction may take to commit until a snapshot is given up."""

LOCK_WAIT_S = 1
LOCK_TRIES = 10
"""How long, and how often, a lock of a table is waited for: who asks for it keeps new writers waiting, too."""

SNAPSHOTS_MAX = 5
"""So many are begun for one look at a table that is rebuilt meanwhile."""

log = get_logger(__name__)


@dataclass(slots=True)
class MysqlSnapshot:
    """The log's place that a snapshot surely has seen everything before. Implements `capture.source.Snapshot`."""

    high: int

    def sees(self, txn: Transaction) -> bool:
        """Tell whether the read saw the transaction."""
        return txn.commit <= self.high

    def settled(self, txn: Transaction) -> bool:
        """Tell whether every later snapshot sees the transaction."""
        return txn.commit <= self.high


def begin_snapshot(connection: Connection, *, by_files: bool) -> Place:
    """Begin a read-only transaction with a consistent snapshot; return a place that it sees everything before."""
    connection.run("set session transaction isolation level repeatable read")
    if not connection.is_mariadb:
        seen = _committed(connection) if by_files else end_of_log(connection, by_files=False)
        connection.run("start transaction with consistent snapshot, read only")
        return seen
    deadline = monotonic() + COMMIT_S
    while True:
        connection.run("start transaction with consistent snapshot")
        if (place := _own_place(connection)) is not None:
            return place
        connection.run("commit")
        if monotonic() > deadline:
            raise TailraceError(
                ErrorKind.SOURCE_CONNECTION,
                "the server does not know its own place in the log",
                remedy="see whether commits wait for a semi-synchronous replica; where the log's newest file has "
                "an event that is larger than max_allowed_packet: flush binary logs",
            )
        sleep(0.01)


def _own_place(connection: Connection) -> Place | None:
    """Return the place that MariaDB's snapshot belongs to; None where the server cannot tell while others commit.

    At the beginning of a file of the log the snapshot's place is told to be there before what filled the last file is
    committed (`MYSQL_BIN_LOG::trx_group_commit_leader`): a moment, or with semi-synchronous replication that waits
    `AFTER_SYNC` until a replica answers.

    Where it cannot tell at all (`gtids_at`) the log's end does, if the snapshot is there: a transaction gets its id
    when it is written, so all that had one before the end was looked at stand before it.
    """
    status = connection.rows("show status where variable_name like 'binlog_snapshot_%'")
    said = {str(name).lower(): str(value or "") for name, value in status}
    file, text = said.get("binlog_snapshot_file"), said.get("binlog_snapshot_position")
    if not file or not text:
        raise no_log()
    if (place := gtids_at(connection, file, int(text))) is not None:
        begun = gtids_at(connection, file, binlog.FIRST_BYTE)
        is_first = begun is not None and begun.size == place.size
        return None if is_first and not follows_on(connection, file) else place
    written = end_of_log(connection, by_files=False)
    return written if log_status(connection)[:2] == [file, text] else None


def settle(connection: Connection, table: TableSchema, begin: Callable[[Connection], Place]) -> Place:
    """Begin a snapshot in which a table can be read, by `begin`; return its place. From then on nobody alters it.

    A snapshot does not know a table that was rebuilt after it was taken (error 1412, "Table definition has changed"),
    though its columns may be the same: then a later one is. Raises SOURCE_SCHEMA where that has no end.
    """
    for left in reversed(range(SNAPSHOTS_MAX)):
        place = begin(connection)
        try:
            # A row is asked for, since without one the server does not look. (What a view makes of rows may take long.)
            connection.run(f"select 1 from {quoted(table.name)} limit {0 if table.is_view else 1}")
        except TailraceError as error:
            if error.kind is not ErrorKind.SOURCE_SCHEMA or not left:
                raise
            connection.run("commit")
        else:
            return place
    raise AssertionError("unreachable")


def _keep_writers_out(locker: Connection, table: TableName) -> None:
    """Lock a table against writers until the connection is closed. Says so where that cannot be had.

    Whoever writes a table holds its metadata lock until the transaction is in `gtid_executed`, too (MySQL reference
    manual, "Metadata Locking"), so under this lock a place in the log and a snapshot have the same of it.
    """
    locker.run(f"set session lock_wait_timeout = {LOCK_WAIT_S}")
    place = any_table(table.schema, revokes_in_part=revokes_in_part(locker))
    for left in reversed(range(LOCK_TRIES)):
        try:
            locker.run(f"lock tables {quoted(table)} read")
        except TailraceError as error:
            if left and error.kind is ErrorKind.SOURCE_CONNECTION and not locker.is_closed:
                continue
            log.warning(
                "a table without a key is read without a lock: a row that is written in that instant may come twice",
                table=str(table),
                reason=error.message,
                remedy=f"grant lock tables on {place} to the user, and end long transactions "
                "that write the table; `tailrace verify` tells, `tailrace signal reload` mends",
            )
        return


def _committed(connection: Connection) -> Place:
    """Return a place in the log before which everything is committed in the storage engine, too.

    A transaction stands in the log before it can be seen. While it commits it holds a metadata lock in the namespace
    COMMIT (MySQL reference manual, "The metadata_locks Table"; it is what `flush tables with read lock` waits for). So
    whatever held one when the place was read, or later, must have let go of it. Our own query holds locks, too: that
    they are shown says that locks are recorded.
    """
    if connection.version < (8, 0, 16):
        raise TailraceError(
            ErrorKind.PREREQUISITE,
            "without GTIDs MySQL 8.0.16 is the oldest that tells what a snapshot sees",
            remedy="set gtid_mode = ON",
        )
    place = end_of_log(connection, by_files=True)
    first = _commits(connection)
    deadline = monotonic() + COMMIT_S
    while first:
        if monotonic() > deadline:
            raise TailraceError(ErrorKind.SOURCE_CONNECTION, f"transactions have been committing for {COMMIT_S:.0f} s")
        sleep(0.001)
        first &= _commits(connection)
    return place


def _commits(connection: Connection) -> set[tuple[str | None, ...]]:
    rows = connection.rows(
        "select object_type, owner_thread_id = ps_current_thread_id(), owner_thread_id, owner_event_id, "
        "object_instance_begin from performance_schema.metadata_locks "
        "where object_type = 'COMMIT' or owner_thread_id = ps_current_thread_id()"
    )
    if not any(own == "1" for _, own, *_ in rows):
        raise TailraceError(
            ErrorKind.PREREQUISITE,
            "the server does not record metadata locks, which tell without GTIDs what a snapshot sees",
            remedy="set gtid_mode = ON; or start it with performance_schema, and update "
            "performance_schema.setup_instruments set enabled = 'YES' where name = 'wait/lock/metadata/sql/mdl'",
        )
    return {tuple(row) for row in rows if row[0] == "COMMIT"}


class MysqlSnapshotReader(ChunkReader[Connection, MysqlSnapshot]):
    """Reads tables in chunks over a connection of its own. Implements `capture.source.SnapshotReader`."""

    def __init__(self, settings: MysqlSource, directory: str | None = None) -> None:
        """Large rows wait in files in `directory`."""
        super().__init__()
        self._directory = directory
        self._settings = settings
        self._catalog = Catalog(self._connected)

    def _connect(self) -> Connection:
        connection = connect(self._settings)
        connection.file_large(self._directory)
        return connection

    def _is_closed(self, connection: Connection) -> bool:
        return connection.is_closed

    def _partitions(self, connection: Connection, table: TableSchema) -> list[Partition]:
        return segments.partitions(connection, table)

    def _check_segments(self, connection: Connection, table: TableSchema, of: Sequence[Segment]) -> None:
        segments.check(connection, table, of)

    def _bounds(
        self, connection: Connection, table: TableSchema, chunk_rows: int, segment: Segment | None
    ) -> list[tuple[str, ...]]:
        source = segments.relation(table, segment)
        keys = [table.columns[i] for i in table.key]
        order = ", ".join(_sorted_by(column) for column in keys)
        shown = ", ".join(_bound_of(column) for column in keys)
        uppers: list[tuple[str, ...]] = []
        while True:
            lower = uppers[-1] if uppers else None
            where = _where(table, segment, lower, None)
            rows = connection.rows(
                f"select {shown} from {source}{where} order by {order} limit 1 offset {int(chunk_rows) - 1}"
            )
            bound = tuple(str(cell) for cell in rows[0]) if rows else None
            if bound is None or bound == lower:
                return uppers
            uppers.append(bound)

    def _begin(
        self, connection: Connection, table: TableSchema, chunk: Chunk, where: RowFilter | None
    ) -> tuple[CopiedForm, Iterable[list[bytes] | SpooledMessage]]:
        is_exact = bool(table.key) or table.is_view or connection.is_mariadb
        begin = self._placed if is_exact else partial(self._placed_without_writers, table.name)
        self._snapshot = MysqlSnapshot(settle(connection, table, begin).size)
        self._check_columns(connection, table)
        columns = ", ".join(selected(c.native, c.name) for c in table.columns)
        said = condition(where, self._settings.zero_dates) if where is not None else ""
        segments.check(connection, table, [chunk.segment])
        source = segments.relation(table, chunk.segment)
        query = f"select {columns} from {source}{_where(table, chunk.segment, chunk.lower, chunk.upper, said)}"
        readers = [reader(c.native, self._settings.zero_dates) for c in table.columns]
        return CellForm(table, readers), connection.runs(query)

    def _placed(self, connection: Connection) -> Place:
        return begin_snapshot(connection, by_files=counts_by_files(self._settings, connection))

    def _placed_without_writers(self, table: TableName, connection: Connection) -> Place:
        with closing(connect(self._settings)) as locker:
            _keep_writers_out(locker, table)
            return self._placed(connection)

    def _look(self, connection: Connection) -> MysqlSnapshot:
        found = MysqlSnapshot(self._placed(connection).size)
        self._end(connection)
        return found

    def _end(self, connection: Connection) -> None:
        connection.run("commit")

    def _check_columns(self, connection: Connection, table: TableSchema) -> None:
        natives = self._catalog.natives(table.name)
        if not natives:
            raise TailraceError(ErrorKind.SOURCE_SCHEMA, "the table is gone")
        hidden = (c.name for c in table.columns if c.name not in natives)
        if (name := next(hidden, None)) is not None and refuses(connection, table.name, identifier(name)):
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                f"the user may not read the column {name} of the table",
                remedy=f"grant select on {quoted(table.name)} to the user; its load goes on by itself then",
            )
        if any(natives.get(column.name) != column.native for column in table.columns):
            raise TailraceError(
                ErrorKind.SOURCE_SCHEMA, f"the table no longer has the columns of its version {table.version}"
            )


def _is_number_within(column: Column) -> bool:
    """Whether the column sorts by a number that is not its text."""
    return parse_native(column.native).base in ("enum", "set", "bit")


def _is_text(column: Column) -> bool:
    return column.type.family in (Family.STRING, Family.BYTES) and not _is_number_within(column)


def _sorted_by(column: Column) -> str:
    return f"{identifier(column.name)} + 0" if _is_number_within(column) else identifier(column.name)


def _bound_of(column: Column) -> str:
    """Return the expression whose text is a bound: of strings the bytes in hex, since they may be anything."""
    name = identifier(column.name)
    if column.type.family is Family.FLOAT32:
        # As such it prints six digits: very many keys may have the same.
        return f"{name} + 0e0"
    return f"hex({name})" if _is_text(column) else _sorted_by(column)


def _literal(column: Column, bound: str) -> str:
    native = parse_native(column.native)
    if _is_text(column):
        return f"_{native.charset} x'{bound}'" if native.charset else f"x'{bound}'"
    if _is_number_within(column) or native.base in _NUMBERS:
        return bound
    return literal(bound)


_NUMBERS = ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "year")


def _where(
    table: TableSchema,
    segment: Segment | None,
    lower: tuple[str, ...] | None,
    upper: tuple[str, ...] | None,
    said: str = "",
) -> str:
    """Return the condition for `lower` < key <= `upper`, in a form that the index serves, and for what else is said."""
    keys = [table.columns[i] for i in table.key]

    def pairs(bound: tuple[str, ...]) -> list[tuple[str, str]]:
        return [(_sorted_by(column), _literal(column, text)) for column, text in zip(keys, bound, strict=True)]

    terms = [f"({said})"] if said else []
    terms += segments.conditions(table, segment)
    if lower is not None:
        terms.append(segments.compared(pairs(lower), ">", ">"))
    if upper is not None:
        terms.append(segments.compared(pairs(upper), "<", "<="))
    return " where " + " and ".join(terms) if terms else ""
