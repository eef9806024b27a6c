"""The server's state: which log it has, and whether a position can still be read from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from capture.source import RELOAD
from capture.sources.mysql import binlog
from capture.sources.mysql.connection import Cells, Connection
from capture.sources.mysql.files import FileOffset
from capture.sources.mysql.gtid import MariadbGtids, MysqlGtids
from capture.sources.mysql.packets import error_of
from capture.sources.mysql.position import Place, format_position, place_of
from capture.sources.mysql.prepared import print_xid
from capture.sources.mysql.quoting import literal
from capture.sources.mysql.replication import LogStream
from runtime.clock import monotonic
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position

ANSWER_S = 60.0
"""How long the server may take to find a place in its log."""

HEAD_EVENTS = 20
"""More than a file of the log begins with: its format, its key, the ids before it, and a checkpoint for each older file
that holds something uncommitted."""

_GRANTED = re.compile(r"(GRANT|REVOKE) (.+?) ON (\*|`(?:[^`]|``)+`)\.\* (?:TO|FROM) ", re.DOTALL)
"""A line of `show grants` on all databases, or on one."""
_WILD = {"_": ".", "%": ".*"}

LOG_RIGHTS = {False: ("replication slave", "replication client"), True: ("replication slave", "binlog monitor")}
"""The rights to read the log, and to ask where it is; by whether it is MariaDB's."""

_VARIABLES = (
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_order_commits",
    "gtid_mode",
    "gtid_strict_mode",
    "innodb_native_foreign_keys",
    "partial_revokes",
    "binlog_expire_logs_seconds",
    "log_replica_updates",
    "log_slave_updates",
    "lower_case_table_names",
    "server_id",
    "server_uuid",
    "wsrep_on",
    "server_uid",
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What was asked of the server."""

    version_text: str
    is_mariadb: bool
    variables: dict[str, str]
    """Of `_VARIABLES` those that this server has; in lower case."""
    user: str
    """The account that the login is one to: its name and the hosts that it is for, with `@` between them."""
    logged: frozenset[str] = frozenset()
    """The databases whose changes alone are logged (`binlog_do_db`); empty: those of all but `not_logged`."""
    not_logged: frozenset[str] = frozenset()
    """The databases whose changes are not logged (`binlog_ignore_db`)."""
    replicates: bool = False
    """Whether the server follows another one now."""
    lacking: Collection[str] = ()
    """Those of `LOG_RIGHTS` that the user does not have."""

    @property
    def name(self) -> str:
        """The server's name."""
        return "MariaDB" if self.is_mariadb else "MySQL"

    @property
    def folds_names(self) -> bool:
        """Whether names of tables are compared without regard to case."""
        return self.variables.get("lower_case_table_names", "0") != "0"

    @property
    def revokes_in_part(self) -> bool:
        """Whether a right can be taken back in one database. Then a database's name in `grant` stands for itself."""
        return self.variables.get("partial_revokes") == "on"

    def logs(self, database: str) -> bool:
        """Tell whether the server logs the changes of a database's tables."""
        return database in self.logged if self.logged else database not in self.not_logged


def read_facts(connection: Connection) -> ServerFacts:
    """Ask for what findings and the log need to know."""
    names = ", ".join(f"'{name}'" for name in _VARIABLES)
    lacking, asks = _lacking(connection), LOG_RIGHTS[connection.is_mariadb][1]
    state: Cells = []
    try:
        state = log_status(connection)
        lacking.discard(asks)
    except TailraceError:
        if asks not in lacking:
            raise
    logged, not_logged = (frozenset(str(each or "").split(",")) - {""} for each in (state[2:4] or ("", "")))
    rows = connection.rows(f"show global variables where variable_name in ({names})")
    return ServerFacts(
        connection.version_text,
        connection.is_mariadb,
        {str(name).lower(): str(value).lower() for name, value in rows},
        connection.value("select current_user()") or "?",
        logged,
        not_logged,
        _replicates(connection),
        sorted(lacking),
    )


def _lacking(connection: Connection) -> set[str]:
    """Return which rights to the log the server does not say that the user has."""
    rights = _rights(connection)
    if rights is None:
        return set()
    held = {right for verb, given, place in rights if (verb, place) == ("GRANT", "*") for right in given}
    wanted = set() if "ALL PRIVILEGES" in held else set(LOG_RIGHTS[connection.is_mariadb])
    return {right for right in wanted if right.upper() not in held}


def _rights(connection: Connection) -> list[tuple[str, list[str], str]] | None:
    """Return what the user, or a role of its session, was given and what was taken back again: which it is, the rights,
    and in which database, `*` for all. None: the server was started without them.
    """
    try:
        lines = connection.rows("show grants")
    except TailraceError:
        return None
    rights = [found.groups() for (said,) in lines if (found := _GRANTED.match(str(said)))]
    return [
        (verb, what.split(", "), place if place == "*" else place[1:-1].replace("``", "`"))
        for verb, what, place in rights
    ]


def _replicates(connection: Connection) -> bool:
    if connection.is_mariadb:
        return any(count != "0" for _, count in connection.rows("show global status like 'slaves_running'"))
    try:
        rows = connection.rows(f"show {'replica' if connection.version >= (8, 0, 22) else 'slave'} status")
    except TailraceError:
        # The user may not ask.
        return False
    # Whether what is received is carried out.
    return any(row[11] == "Yes" for row in rows)


def log_status(connection: Connection) -> Cells:
    """Return file, offset, and the databases that are logged and not; nothing where no log is kept."""
    # MySQL 8.2 gave the statement its new name, 8.4 took the old one away. MariaDB has kept it.
    is_new = connection.version >= (8, 2, 0) and not connection.is_mariadb
    rows = connection.rows(f"show {'binary log' if is_new else 'master'} status")
    return rows[0] if rows else []


def counts_by_files(settings: MysqlSource, connection: Connection) -> bool:
    """Tell whether positions are files and offsets; see `are_files`."""
    return are_files(settings, is_mariadb=connection.is_mariadb, gtid_mode=_gtid_mode(connection))


def are_files(settings: MysqlSource, *, is_mariadb: bool, gtid_mode: str) -> bool:
    """Tell whether positions are files and offsets: where the server has no GTIDs, or where that is asked for.

    Raises CONFIGURATION for MariaDB, whose transactions always have GTIDs, where it is asked for.
    """
    if settings.positions == "file" and is_mariadb:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "source.positions is `file`, and MariaDB's transactions have GTIDs",
            remedy="leave source.positions out",
        )
    if settings.positions == "auto":
        return not is_mariadb and gtid_mode != "on"
    return settings.positions == "file"


def _gtid_mode(connection: Connection) -> str:
    return "" if connection.is_mariadb else (connection.value("select @@global.gtid_mode") or "").lower()


def end_of_log(connection: Connection, *, by_files: bool) -> Place:
    """Return the log's end."""
    if by_files:
        state = log_status(connection)
        if not state:
            raise no_log()
        return FileOffset(str(state[0]), int(str(state[1])))
    if connection.is_mariadb:
        return MariadbGtids.parse(connection.value("select @@global.gtid_binlog_pos") or "")
    return MysqlGtids.parse(connection.value("select @@global.gtid_executed") or "")


def beginning_of_log(connection: Connection, *, by_files: bool) -> Place:
    """Return the place before the oldest file of the log."""
    if not connection.is_mariadb and not by_files:
        return MysqlGtids.parse(connection.value("select @@global.gtid_purged") or "")
    first = connection.value("show binary logs")
    if first is None:
        raise no_log()
    if by_files:
        return FileOffset(first, binlog.FIRST_BYTE)
    place = gtids_at(connection, first, binlog.FIRST_BYTE)
    if place is None:
        raise TailraceError(ErrorKind.SOURCE_CONNECTION, f"the server does not know where its log {first} begins")
    return place


def gtids_at(connection: Connection, file: str, offset: int) -> MariadbGtids | None:
    """Return MariaDB's place at an offset of its log. None where it cannot tell: it reads the file up to there, and no
    event in it that is larger than `max_allowed_packet`, though its log may have such (`Log_event::read_log_event`).
    """
    text = connection.value(f"select binlog_gtid_pos({literal(file)}, {offset})")
    return None if text is None else MariadbGtids.parse(text)


def follows_on(connection: Connection, file: str) -> bool:
    """Tell whether MariaDB has committed all that stands in files of its log before one in which nothing is committed
    yet: a binlog checkpoint names the first file that a server would have to look at after a crash.
    """
    events = connection.rows(f"show binlog events in {literal(file)} limit {HEAD_EVENTS}")
    return any(event[2] == "Binlog_checkpoint" and event[5] == file for event in events)


def prepared_transactions(connection: Connection) -> list[str]:
    """Return the names of transactions of XA that are prepared and not decided; none where the user may not ask (MySQL:
    `xa_recover_admin`).
    """
    try:
        rows = connection.rows("xa recover format = 'SQL'" if connection.is_mariadb else "xa recover convert xid")
    except TailraceError:
        return []
    if connection.is_mariadb:
        return [str(row[3]) for row in rows]
    names = []
    for form, first, _second, data in rows:
        parts, at = bytes.fromhex(str(data)[2:]), int(str(first))
        names.append(print_xid((int(str(form)), parts[:at], parts[at:])))
    return names


def revokes_in_part(connection: Connection) -> bool:
    """Tell whether a right can be taken back in one database; see `ServerFacts.revokes_in_part`."""
    return any(value == "ON" for _, value in connection.rows("show global variables like 'partial_revokes'"))


def not_lockable(connection: Connection, databases: Iterable[str], *, revokes_in_part: bool) -> list[str]:
    """Return those databases of MySQL in which the user has no right to lock tables, neither itself nor by a role.

    `revokes_in_part` is that of the server's facts.
    """
    wanted = sorted(databases)
    rights = _rights(connection) if wanted else None
    if rights is None:
        return []
    given: dict[str, list[str]] = {"GRANT": [], "REVOKE": []}
    for verb, what, database in rights:
        if not {"LOCK TABLES", "ALL PRIVILEGES"}.isdisjoint(what):
            given[verb].append(database)

    def holds(verb: str, database: str) -> bool:
        return any(_stands_for(name, database, is_pattern=not revokes_in_part) for name in given[verb])

    return [d for d in wanted if not holds("GRANT", d) or holds("REVOKE", d)]


def _stands_for(name: str, database: str, *, is_pattern: bool) -> bool:
    """Tell whether a name as `grant` has it stands for a database."""
    if name == "*":
        return True
    wild = _WILD if is_pattern else {}
    parts = (wild.get(part) or re.escape(part[-1]) for part in re.findall(r"\\[_%]|.", name, re.DOTALL))
    return re.fullmatch("".join(parts), database, re.DOTALL) is not None


def no_log() -> TailraceError:
    """Return the error that a server without a log leads to."""
    return TailraceError(ErrorKind.PREREQUISITE, "the server keeps no binary log", remedy="start it with log_bin")


def check_position(
    connection: Connection,
    stream: LogStream,
    stored: dict[str, str],
    identity: dict[str, str],
    position: Position,
    *,
    by_files: bool,
) -> None:
    """Raise SOURCE_LOG_LOST unless the server's log holds what follows `position`. (What was prepared before it, of XA,
    is lost only if it commits and the log no longer has it: `refusals.lost_transaction` says so then.)

    Another server than the stored one is right if it has the same transactions, and positions are sets of GTIDs: a
    replica that took over.
    """
    if stored.get("server") != identity["server"]:
        raise _lost(
            position,
            f"the position is one of {stored.get('server', 'another engine')}, the server is {identity['server']}",
            f"go back to the server that it came from; or {RELOAD}",
        )
    is_mariadb = connection.is_mariadb
    behind = place_of(position, is_mariadb=is_mariadb)
    if isinstance(behind, FileOffset) is not by_files:
        kinds = ("a file and an offset", "a set of GTIDs")
        raise _lost(
            position,
            f"the position is {kinds[by_files]}, and positions are counted by {('GTIDs', 'files')[by_files]} now",
            f"set source.positions to {('file', 'gtid')[by_files]}, and gtid_mode back if need be; or {RELOAD}",
        )
    if isinstance(behind, FileOffset):
        _check_files(connection, stored, identity, behind, position)
        _try(stream, behind, position)
        return
    end = end_of_log(connection, by_files=False)
    # mypy: all are of one kind, that of the server.
    lacking = behind.missing_from(end)  # type: ignore[arg-type]
    if lacking.size:
        raise _lost(
            position,
            f"the server does not have transactions that are published already: {lacking.text()}",
            "it is another server, or a replica that was behind when it took over: go back to the server that "
            f"has them; or {RELOAD}",
        )
    begun = type(behind).parse(position.txn if position.row else "")
    # One that follows a server may have it soon: its log says so, or goes on with another one.
    if begun.missing_from(end).size and not _replicates(connection):  # type: ignore[arg-type]  # as above
        raise _lost(
            position,
            f"the server does not have transaction {position.txn}, of which {position.row} changes are published",
            f"it is a replica that was behind when it took over: go back to the server that has it; or {RELOAD}",
        )
    if isinstance(behind, MysqlGtids):
        purged = MysqlGtids.parse(connection.value("select @@global.gtid_purged") or "")
        gap = purged.missing_from(behind)
        if gap.size:
            raise _lost(
                position,
                f"the server has purged {gap.size} transactions that were not read yet: {gap.text()}",
                f"raise binlog_expire_logs_seconds; then {RELOAD}",
            )
    else:
        _try(stream, behind, position)


def _check_files(
    connection: Connection,
    stored: dict[str, str],
    identity: dict[str, str],
    behind: FileOffset,
    position: Position,
) -> None:
    if stored.get("server_id") != identity["server_id"]:
        raise _lost(
            position,
            f"the position is a file and an offset of server {stored.get('server_id')}, and means nothing on server "
            f"{identity['server_id']}",
            f"go back to the server that it came from; or {RELOAD} (with GTIDs, positions hold on replicas too)",
        )
    sizes = {str(name): int(str(size)) for name, size, *_ in connection.rows("show binary logs")}
    if not sizes:
        raise no_log()
    first = FileOffset(next(iter(sizes)), binlog.FIRST_BYTE)
    if behind.size < first.size:
        raise _lost(
            position,
            f"the server has purged its log up to {first.text()}; it is needed from {behind.text()} on",
            f"raise binlog_expire_logs_seconds; then {RELOAD}",
        )
    if sizes.get(behind.file, 0) < behind.offset:
        last = list(sizes.items())[-1]
        raise _lost(
            position,
            f"the server's log ends at {last[0]}:{last[1]}, before the position: it was reset, or restored",
            RELOAD,
        )


def _lost(position: Position, message: str, remedy: str) -> TailraceError:
    return TailraceError(ErrorKind.SOURCE_LOG_LOST, message, remedy=remedy, position=format_position(position))


def _try(stream: LogStream, behind: Place, position: Position) -> None:
    """Ask for the log and see whether it comes: MariaDB has no other means to tell what it still has, nor has a file to
    tell that it is another one of the same name.
    """
    try:
        stream.start(behind)
        deadline = monotonic() + ANSWER_S
        while monotonic() < deadline:
            m = stream.poll()
            if m is None:
                stream.connection.wait(0.2)
            elif m[0] == 0xFF:
                error = error_of(bytes(m), "the log does not go on from here")
                error.position = format_position(position)
                if error.kind is ErrorKind.SOURCE_LOG_LOST:
                    error.remedy = (
                        "the log was purged, or this server has other transactions: keep the log for longer "
                        f"(binlog_expire_logs_seconds), or go back to the server that has them; or {RELOAD}"
                    )
                raise error
            elif m[0]:
                break
            elif isinstance(behind, FileOffset):
                behind.see(m, len(m))
                if m[5] == binlog.FORMAT_DESCRIPTION:
                    return
            elif m[5] not in (binlog.ROTATE, binlog.FORMAT_DESCRIPTION):
                return
    finally:
        stream.close()
    raise TailraceError(ErrorKind.SOURCE_CONNECTION, f"the server did not find the position within {ANSWER_S:.0f} s")
