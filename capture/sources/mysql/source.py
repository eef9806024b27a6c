"""A MySQL or MariaDB server as a source: what `capture.source.Source` asks for, put together from its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from capture.named_tables import missing
from capture.source import Capabilities, Finding, Severity, SnapshotReader, Source
from capture.sources.mysql import findings as checks
from capture.sources.mysql import server
from capture.sources.mysql.catalog import NO_VIEWS, Catalog, RelationFacts, capturable
from capture.sources.mysql.completion import Completion
from capture.sources.mysql.connection import Connection, connect
from capture.sources.mysql.log import MysqlLog
from capture.sources.mysql.position import Place, format_position, parse_position, place_of, position_of, read_place
from capture.sources.mysql.replication import LogStream, default_server_id
from capture.sources.mysql.rights import refuses
from capture.sources.mysql.server import ServerFacts
from capture.sources.mysql.sessions import Sessions
from capture.sources.mysql.snapshot import MysqlSnapshotReader, begin_snapshot
from capture.sources.mysql.versions import Versions
from capture.sources.mysql.walking import find_time
from runtime.clock import now_us
from runtime.logging import get_logger
from schemas.changes import RowChanges, SchemaChange
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position
from schemas.selection import Selection
from schemas.table import TableName, TableSchema

if TYPE_CHECKING:
    from schemas.settings import Settings

log = get_logger(__name__)


def open_source(settings: Settings) -> Source:
    """Connect to the source. Raises SOURCE_CONNECTION, PREREQUISITE or CONFIGURATION."""
    section = cast("MysqlSource", settings.source)
    server_id = section.server_id or default_server_id(settings.name)
    return MysqlServer(
        section,
        server_id,
        skips_applied=settings.loopback_prevention,
        directory=settings.capture.state_directory,
        loads=settings.mode != "cdc",
        keeps_old=settings.asks_for_old_rows,
    )


def open_snapshot_reader(settings: Settings) -> SnapshotReader:
    """Return a reader that connects when it is first asked for something."""
    return MysqlSnapshotReader(cast("MysqlSource", settings.source), settings.capture.state_directory)


class MysqlServer:
    """One server. Its catalogue connection is opened again where it broke between two calls."""

    def __init__(
        self,
        settings: MysqlSource,
        server_id: int,
        *,
        skips_applied: bool = False,
        directory: str | None = None,
        loads: bool = True,
        keeps_old: Callable[[TableName], bool] | None = None,
    ) -> None:
        """`skips_applied`: leave out the transactions that appliers have marked. Large events wait in files in
        `directory`. `loads`: whether tables are loaded; views are captured only then. `keeps_old`: of which tables with
        a key, too, the whole old rows are read.
        """
        self._directory = directory
        self._settings = settings
        self._skips_applied = skips_applied
        self._server_id = server_id
        self._selection = Selection(settings.tables)
        self._loads = loads
        self._views = Selection(settings.views) if loads else NO_VIEWS
        self._left_out: dict[TableName, str] = {}
        """Tables that are selected and not captured, as the log says, and why."""
        self._captured: dict[TableName, TableSchema] = {}
        """Tables that could be read, or are captured, as they were last."""
        self._connection: Connection | None = connect(settings)
        self._catalog = Catalog(self._connected, keeps_old, settings.zero_dates)
        self._completion = Completion(self._connected, self._begin_snapshot, settings.zero_dates)
        self.capabilities = Capabilities(
            "mysql",
            "mariadb" if self._connection.is_mariadb else "mysql",
            truncates=True,
            schema_changes=True,
            counts_bytes=self._by_files(self._connection),
        )

    def identity(self) -> dict[str, str]:
        """Name the log; see `Source.identity`. Replicas of one another have the same transactions, but other ids."""
        facts = self._facts()
        number = facts.variables.get("server_uuid") or facts.variables.get("server_uid") or facts.variables["server_id"]
        return {"engine": "mysql", "server": facts.name, "server_id": number}

    def findings(self, tables: Sequence[TableSchema]) -> list[Finding]:
        """Check every prerequisite; see `Source.findings`."""
        relations = self._relations()
        facts = self._facts()
        found = checks.find(self._settings, facts, relations, tables)
        found += missing(self._settings, {relation.name for relation in relations}, self._catalog.names)
        locked = checks.locked(facts, tables)
        lacking = server.not_lockable(self._connected(), locked, revokes_in_part=facts.revokes_in_part)
        found += [checks.not_lockable(self._settings, facts, locked[database]) for database in lacking]
        return [*found, *checks.undecided(server.prepared_transactions(self._connected()))]

    def tables(self) -> list[TableSchema]:
        """Read the selected tables; see `Source.tables`."""
        relations = self._relations()
        tables = self._catalog.read_tables(capturable(relations, self._views))
        seen = {table.name for table in tables}
        # One that must not be read any more is captured on: its log can be read, and its load says what it lacks.
        hidden = [table for n, table in self._captured.items() if n not in seen and refuses(self._connected(), n)]
        tables = sorted([*tables, *hidden], key=lambda table: table.name)
        self._captured = {table.name: table for table in tables if not table.is_view}
        why = {r.name: checks.left_out(r) for r in relations}
        left_out = {n: reason for n, reason in why.items() if reason is not None and n not in self._captured}
        for name in sorted(left_out.keys() - self._left_out.keys()):
            log.warning("a table is not captured", table=str(name), reason=left_out[name], remedy="see tailrace plan")
        self._left_out = left_out
        return tables

    def readable(self) -> list[TableSchema]:
        """Read the selected tables; see `Source.readable`."""
        return self.tables()

    def row_estimates(self, tables: Sequence[TableSchema]) -> dict[TableName, int]:
        """Estimate rows from the catalogue's statistics."""
        estimates = {r.name: r.row_estimate for r in self._relations()}
        return {table.name: estimates.get(table.name, 0) for table in tables}

    def prepare(self, tables: Sequence[TableSchema]) -> Position:
        """Return where the log begins for a new replication: what every later snapshot surely sees. Makes nothing."""
        found = checks.find(self._settings, self._facts(), [], tables)
        if (finding := next((f for f in found if f.severity is Severity.BLOCKS), None)) is not None:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                finding.message,
                remedy=finding.remedy,
                table=str(finding.table) if finding.table else None,
            )
        connection = self._connected()
        seen = self._begin_snapshot(connection)
        connection.run("commit")
        return position_of(seen)

    def check_position(self, stored: dict[str, str], position: Position) -> None:
        """Raise SOURCE_LOG_LOST unless the log can go on; see `Source.check_position`."""
        connection = self._connected()
        by_files = self._by_files(connection)
        server.check_position(connection, self._stream(), stored, self.identity(), position, by_files=by_files)

    def find_position(self, committed_from_us: int) -> Position:
        """Find where transactions committed at a moment or later begin; see `Source.find_position`. Reads the log."""
        if committed_from_us > now_us():
            raise TailraceError(ErrorKind.CONFIGURATION, "the start position is in the future")
        end = self.current_position().commit
        found = find_time(self._stream(), self._place(""), end, committed_from_us)
        return position_of(read_place(found, is_mariadb=self._connected().is_mariadb))

    def marks(self, tables: Sequence[TableSchema]) -> dict[TableName, str]:
        """MySQL has no publications; see `Source.marks`."""
        return {}

    def check_published(self, tables: Sequence[TableSchema], marks: Mapping[TableName, str]) -> None:
        """Nothing to check: the log has the changes of all tables."""

    def grants(self, tables: Sequence[TableSchema]) -> str:
        """Return the SQL that gives the configured user what capturing these tables needs, and nothing more."""
        return checks.grants(self._settings, self._facts(), tables)

    def open_log(self, position: Position, tables: Sequence[TableSchema]) -> MysqlLog:
        """Start reading after `position`; see `Source.open_log`."""
        folds_names = self._facts().folds_names
        known = [table for table in tables if not table.is_view]
        self._captured |= {table.name: table for table in known}
        logged = [replace(table, full_before=self._catalog.keeps_old(table.name, table.key)) for table in known]
        # The configuration asks for other old rows than those that capture was started with before.
        others = [
            SchemaChange(now.name, table, now)
            for table, now in zip(known, logged, strict=True)
            if now.full_before != table.full_before
        ]
        versions = Versions(
            self._catalog,
            self._selection,
            logged,
            self._settings.zero_dates,
            folds_names=folds_names,
            loads=self._loads,
            source_end=lambda: self.current_position().commit,
            visible_end=self._completion.visible_end,
        )
        place = place_of(position, is_mariadb=self._connected().is_mariadb)
        return MysqlLog(
            self._stream(),
            versions,
            place,
            position,
            self.complete,
            self._place,
            sessions=self._sessions(),
            skips_applied=self._skips_applied,
            first=others,
        )

    def current_position(self) -> Position:
        """Return the log's end."""
        connection = self._connected()
        return position_of(server.end_of_log(connection, by_files=self._by_files(connection)))

    def visible_position(self) -> Position:
        """Return the log's end: what is visible is in the log."""
        return self.current_position()

    def has_table(self, name: TableName) -> bool:
        """Tell whether a table of this name exists now, whether or not it may be read."""
        return bool(self._catalog.natives(name)) or refuses(self._connected(), name)

    def retained_bytes(self) -> int | None:
        """Return None: the server keeps its log by a rule of its own, for nobody in particular."""
        return None

    def log_left_bytes(self) -> int | None:
        """Return None: the server removes its log by age, whoever still reads it."""
        return None

    def complete(self, changes: RowChanges) -> None:
        """Replace UNCHANGED in the new rows of inserts and key changes; see `Source.complete`."""
        self._completion.complete(changes)

    def untold(self) -> Collection[TableName]:
        """Return the tables that are to be loaded again; see `Source.untold`."""
        return self._completion.take_untold()

    def unseen(self, _table: TableSchema) -> Collection[int]:
        """Return none: a snapshot's place in the log is one that it sees all before; see `Source.unseen`."""
        return ()

    def _begin_snapshot(self, connection: Connection) -> Place:
        return begin_snapshot(connection, by_files=self._by_files(connection))

    def format_position(self, position: Position) -> str:
        """Print a position: a GTID set or FILE:OFFSET, and `+N` within a transaction."""
        return format_position(position)

    def parse_position(self, text: str) -> Position:
        """Read a position. Raises CONFIGURATION."""
        return parse_position(text)

    def ddl_trigger(self) -> str:
        """Return nothing: the log holds statements."""
        return ""

    def destroy(self) -> list[str]:
        """Nothing was made."""
        return []

    def close(self) -> None:
        """Close the catalogue connection. May be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _relations(self) -> list[RelationFacts]:
        return self._catalog.read_relations(self._selection, self._views)

    def _stream(self) -> LogStream:
        return LogStream(self._settings, self._server_id, self._directory)

    def _sessions(self) -> Sessions:
        # Of a connection that is made now, behind the position: sessions with a higher number are younger.
        with closing(connect(self._settings)) as newest:
            ((server_id, number),) = newest.rows("select @@global.server_id, connection_id()")
        return Sessions(int(str(server_id)), int(str(number)))

    def _facts(self) -> ServerFacts:
        return server.read_facts(self._connected())

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed:
            self._connection = connect(self._settings)
        return self._connection

    def _place(self, text: str) -> Place:
        """Read what a place prints; an empty text stands for the log's beginning."""
        connection = self._connected()
        if not text:
            return server.beginning_of_log(connection, by_files=self._by_files(connection))
        return read_place(text, is_mariadb=connection.is_mariadb)

    def _by_files(self, connection: Connection) -> bool:
        return server.counts_by_files(self._settings, connection)
