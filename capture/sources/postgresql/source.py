"""A PostgreSQL database as a source: what `capture.source.Source` asks for, put together from its neighbours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import psycopg

from capture.named_tables import missing
from capture.source import Capabilities, Finding, SnapshotReader, Source
from capture.sources.postgresql import ddl_trigger, facts, grants, server
from capture.sources.postgresql import findings as checks
from capture.sources.postgresql.catalog import Catalog, RelationFacts
from capture.sources.postgresql.completion import Completion
from capture.sources.postgresql.connection import (
    PATIENCE_S,
    ReplicationConnection,
    classified,
    connect,
    identifier,
)
from capture.sources.postgresql.locks import UNSEEN
from capture.sources.postgresql.log import PostgresqlLog
from capture.sources.postgresql.position import format_position, last_record_end, parse_lsn, parse_position
from capture.sources.postgresql.publication import Publication
from capture.sources.postgresql.replication import LogStream
from capture.sources.postgresql.seek import find_time
from capture.sources.postgresql.snapshot import PostgresqlSnapshotReader, wait_until_visible
from capture.sources.postgresql.versions import Versions
from runtime.logging import get_logger
from schemas.changes import RowChanges
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Severity
from schemas.position import Position
from schemas.selection import Selection
from schemas.settings import Mode, Settings
from schemas.table import TableName, TableSchema

log = get_logger(__name__)

LOCK_TIMEOUT_S = 5
"""While the service waits for somebody who alters a table, its loaders wait for it, and keep what they have locked: the
other may be waiting for that. Beyond, the session ends, with its loaders, and begins again."""

NO_VIEWS = Selection(())

Connection = psycopg.Connection[tuple[object, ...]]


def open_source(settings: Settings) -> Source:
    """Connect to the source. Raises SOURCE_CONNECTION or CONFIGURATION."""
    return PostgresqlDatabase(
        _section(settings),
        settings.slot,
        settings.publication,
        loads=settings.mode is not Mode.CDC,
        skips_applied=settings.loopback_prevention,
        directory=settings.capture.state_directory,
    )


def open_snapshot_reader(settings: Settings) -> SnapshotReader:
    """Return a reader that connects when it is first asked for something."""
    return PostgresqlSnapshotReader(_section(settings), settings.capture.state_directory)


def _section(settings: Settings) -> PostgresqlSource:
    assert isinstance(settings.source, PostgresqlSource)
    return settings.source


def _connect(settings: PostgresqlSource) -> Connection:
    return connect(settings, lock_timeout_s=LOCK_TIMEOUT_S, patience_s=PATIENCE_S)


class PostgresqlDatabase:
    """One database. Its catalogue connection is opened again where it broke between two calls."""

    capabilities = Capabilities("postgresql", "postgresql", truncates=True, schema_changes=True, joins=True)

    def __init__(
        self,
        settings: PostgresqlSource,
        slot: str,
        publication: str,
        *,
        loads: bool = True,
        skips_applied: bool = False,
        directory: str | None = None,
    ) -> None:
        """`loads`: whether tables are loaded; views are captured only then.

        `skips_applied`: what an applier of Tailrace has written and marked is not captured. Large values wait in files
        in `directory`.
        """
        self._directory = directory
        self._skips_applied = skips_applied
        self._settings = settings
        self._slot = slot
        self._selection = Selection(settings.tables)
        self._views = Selection(settings.views) if loads else NO_VIEWS
        self._connection: Connection | None = _connect(settings)
        self._catalog = Catalog(self._connected)
        self._completion = Completion(self._connected, self._catalog, directory)
        self._publication = Publication(self._connected, publication, may_manage=settings.manage_publication)
        self._left_out: set[TableName] = set()

    def identity(self) -> dict[str, str]:
        """Name the log; see `Source.identity`. Needs the right to replicate."""
        replication = ReplicationConnection(self._settings)
        try:
            return self._identify(replication)
        finally:
            replication.close()

    def _identify(self, replication: ReplicationConnection) -> dict[str, str]:
        # IDENTIFY_SYSTEM asks for no right but to replicate; `pg_control_system()` is refused by some services.
        result = replication.command("IDENTIFY_SYSTEM")
        system, timeline, _, database = (result.get_value(0, i) or b"" for i in range(4))
        identity = {
            "engine": "postgresql",
            "system_identifier": system.decode(),
            "timeline": timeline.decode(),
            "database": database.decode(),
            "slot": self._slot,
        }
        is_standby = replication.command("select pg_is_in_recovery()").get_value(0, 0) == b"t"
        return identity | {server.STANDBY: "true"} if is_standby else identity

    def findings(self, tables: Sequence[TableSchema]) -> list[Finding]:
        """Check every prerequisite; see `Source.findings`."""
        relations = self._relations()
        asked = facts.read_facts(self._connected(), self._slot, self._publication.name, relations)
        found = checks.find(self._settings, self._slot, self._publication.name, asked, relations, tables)
        found += missing(self._settings, {relation.name for relation in relations}, self._catalog.names)
        if self._skips_applied and self._connected().info.server_version < 140000:
            message = "loopback_prevention needs PostgreSQL 14: older ones do not let marks into the log's stream"
            found.append(Finding(Severity.BLOCKS, "loopback", message))
        return found

    def tables(self) -> list[TableSchema]:
        """Read the selected tables; see `Source.tables`."""
        self._catalog.reload_user_types()
        return self._catalog.consistently(lambda: self._catalog.read_tables(self._captured()))

    def readable(self) -> list[TableSchema]:
        """Read the selected tables, published or not; see `Source.readable`."""
        self._catalog.reload_user_types()
        found = capturable(self._relations(), self._views)
        return self._catalog.consistently(lambda: self._catalog.read_tables(found))

    def row_estimates(self, tables: Sequence[TableSchema]) -> dict[TableName, int]:
        """Estimate rows from the statistics; see `Source.row_estimates`."""
        estimates = {r.name: r.row_estimate for r in self._relations() if r.row_estimate is not None}
        return {table.name: estimates[table.name] for table in tables if table.name in estimates}

    def prepare(self, tables: Sequence[TableSchema]) -> Position:
        """Make the publication and the slot; see `Source.prepare`. Raises PREREQUISITE with the statement to run."""
        published = [table.name for table in tables if not table.is_view]
        added = self._publication.ensure(published)
        slot = server.read_slot(self._connected(), self._slot)
        if slot is not None and slot.is_in_the_making and self._settings.manage_slot:
            server.check_slot(slot, self._settings.database)
            server.end_making(self._connected(), self._slot)
            slot = server.read_slot(self._connected(), self._slot)
        if slot is None:
            if not self._settings.manage_slot:
                raise TailraceError(
                    ErrorKind.PREREQUISITE,
                    f"the replication slot {self._slot} does not exist, and source.manage_slot is off",
                    remedy=f"select pg_create_logical_replication_slot('{self._slot}', 'pgoutput')",
                )
            return Position(server.create_slot(self._connected(), self._slot, failover=self._settings.failover))
        self._publication.settle(published, added)
        server.check_slot(slot, self._settings.database)
        # A slot that is being read cannot be altered: a predecessor's still is; the next start does it.
        ours = self._settings.failover and self._settings.manage_slot and slot.active_pid is None
        if slot.fails_over is False and ours:
            self._let_fail_over()
        return Position(slot.confirmed_lsn)

    def _let_fail_over(self) -> None:
        """Make the slot one that standbys may take along; a standby's own slot stays as it is."""
        replication = ReplicationConnection(self._settings)
        try:
            if server.STANDBY not in self._identify(replication):
                replication.command(f"ALTER_REPLICATION_SLOT {identifier(self._slot)} (FAILOVER true)")
        finally:
            replication.close()

    def check_position(self, stored: dict[str, str], position: Position) -> None:
        """Raise SOURCE_LOG_LOST unless the log can go on; see `Source.check_position`."""
        replication = ReplicationConnection(self._settings)
        try:
            present = self._identify(replication)
            left_at = None
            # The first timeline has no history.
            if stored.get("timeline") not in (None, present["timeline"]) and present["timeline"] != "1":
                result = replication.command(f"TIMELINE_HISTORY {present['timeline']}")
                history = (result.get_value(0, 1) or b"").decode("ascii", errors="replace")
                left_at = server.timeline_end(history, int(stored["timeline"]))
        finally:
            replication.close()
        slot = server.read_slot(self._connected(), self._slot)
        server.check_position(stored, present, position, slot, self.current_position(), left_at)

    def grants(self, tables: Sequence[TableSchema]) -> str:
        """Return the SQL that gives the role what capturing these tables needs, and nothing more."""
        kinds: dict[bool, list[TableName]] = {False: [], True: []}
        for table in tables:
            kinds[table.is_view].append(table.name)
        return grants.grants(self._settings, self._publication.name, kinds[False], kinds[True])

    def find_position(self, committed_from_us: int) -> Position:
        """Read the slot's log for the place; see `Source.find_position`.

        Slot and publication must have been made before: a log that nobody kept cannot be had.
        """
        if committed_from_us > int(self._value(server.NOW_US)):
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                "start_position is in the future, by the server's clock",
                remedy="set it to `now` and start the capture then",
            )
        slot = server.read_slot(self._connected(), self._slot)
        if slot is None:
            raise TailraceError(
                ErrorKind.SOURCE_LOG_LOST,
                f"there is no replication slot {self._slot}, so that the server has kept no log for this replication",
                remedy="set start_position to `now`; to begin at a moment that is past takes a slot and a publication "
                "that were made before it",
            )
        server.check_slot(slot, self._settings.database)
        stream = LogStream(self._settings, self._slot, self._publication.name)
        try:
            return Position(find_time(stream, slot.confirmed_lsn, self.current_position().commit, committed_from_us))
        finally:
            stream.close()

    def marks(self, tables: Sequence[TableSchema]) -> dict[TableName, str]:
        """Return by which entries of the publication tables are published; see `Source.marks`."""
        return self._publication.marks(_published(tables))

    def check_published(self, tables: Sequence[TableSchema], marks: Mapping[TableName, str]) -> None:
        """Raise PREREQUISITE unless the log is sent for all of these tables that still exist.

        For tables that were captured before: `prepare` would add them again, and hide that changes are missing.
        """
        self._publication.check(_published(tables), marks)

    def open_log(self, position: Position, tables: Sequence[TableSchema], *, binary: bool = True) -> PostgresqlLog:
        """Start reading after `position`; see `Source.open_log`. `binary` is only a wish."""
        for table in tables:
            if table.partitions:
                self._catalog.leaves[table.number].update(table.partitions)
        versions = Versions(
            self._catalog,
            self._selection,
            [table for table in tables if not table.is_view],
            lambda txn: wait_until_visible(self._connected(), txn),
            self.visible_position,
        )
        stream = LogStream(self._settings, self._slot, self._publication.name)
        # The option came with PostgreSQL 14.
        binary = binary and self._connected().info.server_version >= 140000
        return PostgresqlLog(
            stream,
            versions,
            position,
            binary=binary,
            check=self._publication.check,
            skips_applied=self._skips_applied,
            directory=self._directory,
        )

    def current_position(self) -> Position:
        """Return the log's end as far as it is durable."""
        return Position(parse_lsn(str(self._value(server.CURRENT_LSN))))

    def visible_position(self) -> Position:
        """Return where the log ends, durable or not; see `Source.visible_position`."""
        return Position(last_record_end(parse_lsn(str(self._value(server.INSERT_LSN)))))

    def has_table(self, name: TableName) -> bool:
        """Tell whether there is a relation of this name; see `Source.has_table`."""
        return self._catalog.find_relation(name) is not None

    def retained_bytes(self) -> int | None:
        """Return how much log the slot keeps, None where there is no slot."""
        slot = server.read_slot(self._connected(), self._slot)
        return slot.retained_bytes if slot is not None else None

    def log_left_bytes(self) -> int | None:
        """Return what the slot may still keep until it is lost; None: no bound, or no slot."""
        slot = server.read_slot(self._connected(), self._slot)
        return slot.safe_wal_bytes if slot is not None else None

    def complete(self, changes: RowChanges) -> None:
        """Replace UNCHANGED in the new rows of key changes; see `Source.complete`."""
        self._completion.complete(changes)

    def untold(self) -> Collection[TableName]:
        """Return the tables that are to be loaded again; see `Source.untold`."""
        return self._completion.take_untold()

    def unseen(self, table: TableSchema) -> Collection[int]:
        """Return who holds what a writer of the table locks; see `Source.unseen`.

        A transaction is in the log when it is committed there, is seen when a synchronous standby has it, and only then
        gives its locks up. Some of these may not be committed at all: nobody tells, but of who waits for its client.
        """
        with classified("looking for transactions that have changed a table", table=str(table.name)):
            names = {"schemas": [table.name.schema], "tables": [table.name.table]}
            return [xid for (xid,) in self._connected().execute(UNSEEN, names).fetchall() if isinstance(xid, int)]

    def format_position(self, position: Position) -> str:
        """Print a position: `0/16B3748+12`."""
        return format_position(position)

    def parse_position(self, text: str) -> Position:
        """Read a position. Raises CONFIGURATION."""
        return parse_position(text)

    def ddl_trigger(self) -> str:
        """Return the SQL of an event trigger; see `Source.ddl_trigger`."""
        return ddl_trigger.statements()

    def destroy(self) -> list[str]:
        """Drop the slot and the publication that `prepare` made; see `Source.destroy`."""
        done = []
        if self._settings.manage_slot and server.drop_slot(self._connected(), self._slot, self._settings.slot_wait_s):
            done.append(f"dropped the replication slot {self._slot}")
        if self._publication.drop():
            done.append(f"dropped the publication {self._publication.name}")
        return done

    def close(self) -> None:
        """Close the catalogue connection. May be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _captured(self) -> list[RelationFacts]:
        """Return what is captured of the selection.

        A table whose updates and deletes the server would refuse, or whose partitions do not tell rows apart, is not
        published for us; one that is already goes on: the log holds its rows, whatever the catalogue says by now.
        """
        found = capturable(self._relations(), self._views)
        refused = [r.name for r in found if r.refusal and not r.is_view]
        left_out = set(self._publication.missing(refused)) if refused else set()
        for name in sorted(left_out - self._left_out):
            log.warning("left out: its updates and deletes would be refused, or not be told; see plan", table=str(name))
        self._left_out = left_out
        return [r for r in found if r.name not in left_out]

    def _relations(self) -> list[RelationFacts]:
        return self._catalog.read_relations(self._selection, self._views)

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = _connect(self._settings)
        return self._connection

    def _value(self, query: str, parameters: dict[str, Any] | None = None) -> Any:
        with classified("asking the source for its log's state"):
            rows = self._connected().execute(query, parameters).fetchall()
        return rows[0][0] if rows else None


def _published(tables: Sequence[TableSchema]) -> dict[TableName, int]:
    return {table.name: table.number for table in tables if not table.is_view}


def capturable(relations: Sequence[RelationFacts], views: Selection = NO_VIEWS) -> list[RelationFacts]:
    """Return the relations whose changes are logged: tables and partitioned tables, each row of a partition once; and
    the views that are to be loaded.

    Where a partitioned table and its partitions are selected, the changes come by the root's name
    (`publish_via_partition_root`), so the partitions are left out.
    """
    by_oid = {r.oid: r for r in relations if r.kind in "rp" and r.persistence == "p"}
    tables = [r for r in by_oid.values() if not any(a in by_oid for a in r.ancestors)]
    return sorted([*tables, *(r for r in relations if r.is_view and views.takes(r.name))], key=lambda r: r.name)
