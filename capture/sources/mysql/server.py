"""The server's state: which log it has, and whether a position can still be read from it."""

from __future__ import annotations

from dataclasses import dataclass

from capture.sources.mysql import binlog
from capture.sources.mysql.connection import Connection, error_of
from capture.sources.mysql.gtid import Gtids, MariadbGtids, MysqlGtids
from capture.sources.mysql.position import format_position, gtids_of
from capture.sources.mysql.refusals import RELOAD
from capture.sources.mysql.replication import LogStream
from runtime.clock import monotonic
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position

ANSWER_S = 60.0
"""How long the server may take to find a place in its log."""

_VARIABLES = (
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_order_commits",
    "gtid_mode",
    "gtid_strict_mode",
    "binlog_expire_logs_seconds",
    "lower_case_table_names",
    "server_id",
    "server_uuid",
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

    @property
    def name(self) -> str:
        """The server's name."""
        return "MariaDB" if self.is_mariadb else "MySQL"

    @property
    def folds_names(self) -> bool:
        """Whether names of tables are compared without regard to case."""
        return self.variables.get("lower_case_table_names", "0") != "0"


def read_facts(connection: Connection) -> ServerFacts:
    """Ask for what findings and the log need to know."""
    names = ", ".join(f"'{name}'" for name in _VARIABLES)
    rows = connection.rows(f"show global variables where variable_name in ({names})")
    return ServerFacts(
        connection.version_text,
        connection.is_mariadb,
        {str(name).lower(): str(value).lower() for name, value in rows},
        connection.value("select current_user()") or "?",
    )


def end_of_log(connection: Connection) -> Gtids:
    """Return the transactions in the log."""
    if connection.is_mariadb:
        return MariadbGtids.parse(connection.value("select @@global.gtid_binlog_pos") or "")
    return MysqlGtids.parse(connection.value("select @@global.gtid_executed") or "")


def check_position(
    connection: Connection, stream: LogStream, stored: dict[str, str], identity: dict[str, str], position: Position
) -> None:
    """Raise SOURCE_LOG_LOST unless the server's log holds what follows `position`.

    Another server than the stored one is right if it has the same transactions: a replica that took over.
    """
    if stored.get("server") != identity["server"]:
        raise TailraceError(
            ErrorKind.SOURCE_LOG_LOST,
            f"the position is one of {stored.get('server', 'another engine')}, the server is {identity['server']}",
            remedy=f"go back to the server that it came from; or {RELOAD}",
            position=format_position(position),
        )
    behind = gtids_of(position, is_mariadb=connection.is_mariadb)
    end = end_of_log(connection)
    # mypy: both are of one kind, that of the server.
    lacking = behind.missing_from(end)  # type: ignore[arg-type]
    if lacking.size:
        raise TailraceError(
            ErrorKind.SOURCE_LOG_LOST,
            f"the server does not have transactions that are published already: {lacking.text()}",
            remedy="it is another server, or a replica that was behind when it took over: go back to the server that "
            f"has them; or {RELOAD}",
            position=format_position(position),
        )
    if isinstance(behind, MysqlGtids):
        purged = MysqlGtids.parse(connection.value("select @@global.gtid_purged") or "")
        gap = purged.missing_from(behind)
        if gap.size:
            raise TailraceError(
                ErrorKind.SOURCE_LOG_LOST,
                f"the server has purged {gap.size} transactions that were not read yet: {gap.text()}",
                remedy=f"raise binlog_expire_logs_seconds; then {RELOAD}",
                position=format_position(position),
            )
    else:
        _try(stream, behind, position)


def _try(stream: LogStream, behind: Gtids, position: Position) -> None:
    """Ask for the log and see whether it comes: MariaDB has no other means to tell what it still has."""
    try:
        stream.start(behind)
        deadline = monotonic() + ANSWER_S
        while monotonic() < deadline:
            m = stream.poll()
            if m is None:
                stream.connection.wait(0.2)
            elif m[0] == 0xFF:
                error = error_of(m, "the log does not go on from here")
                error.position = format_position(position)
                if error.kind is ErrorKind.SOURCE_LOG_LOST:
                    error.remedy = f"keep the log for longer (binlog_expire_logs_seconds); then {RELOAD}"
                raise error
            elif m[0] == 0 and m[5] not in (binlog.ROTATE, binlog.FORMAT_DESCRIPTION):
                return
    finally:
        stream.close()
    raise TailraceError(ErrorKind.SOURCE_CONNECTION, f"the server did not find the position within {ANSWER_S:.0f} s")
