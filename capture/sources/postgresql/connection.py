"""Connections to a PostgreSQL source, and the classification of its errors by SQLSTATE.

Two kinds: `connect` for the catalogue and for reading rows (psycopg), and `connect_replication` for the log (libpq
through `psycopg.pq`, since the replication protocol has no cursor). Both make PostgreSQL print values one way whatever
the server's or the role's settings are. The settings are made with `set`, not with the start packet's `options`, which
poolers refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from schemas.endpoints import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError

APPLICATION_NAME = "tailrace capture"

SESSION = (
    "set datestyle = 'ISO, YMD'; set intervalstyle = 'iso_8601'; set timezone = 'UTC'; set bytea_output = 'hex'; "
    "set extra_float_digits = 3; set xmlbinary = 'base64'; set lc_monetary = 'C'; set search_path = ''; "
    "set standard_conforming_strings = on; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0"
)
"""How values print. An empty search path makes the server qualify every name that is not its own."""

_CLASSES = {
    "08": ErrorKind.SOURCE_CONNECTION,
    "28": ErrorKind.CONFIGURATION,
    "3D": ErrorKind.CONFIGURATION,
    "53": ErrorKind.SOURCE_CONNECTION,
    "57": ErrorKind.SOURCE_CONNECTION,
    "58": ErrorKind.SOURCE_CONNECTION,
    "40": ErrorKind.SOURCE_CONNECTION,
    "XX": ErrorKind.SOURCE_CONNECTION,
    "42": ErrorKind.SOURCE_SCHEMA,
    "0A": ErrorKind.PREREQUISITE,
}
_CODES = {
    "42501": ErrorKind.PREREQUISITE,
    "55000": ErrorKind.PREREQUISITE,
    "55006": ErrorKind.SOURCE_CONNECTION,
    "55P03": ErrorKind.SOURCE_CONNECTION,
    "58P01": ErrorKind.SOURCE_LOG_LOST,
}
"""PostgreSQL, appendix A. 58P01 (undefined file) is what a walsender says of a log segment that is gone."""


def classify(sqlstate: str | None) -> ErrorKind:
    """Return the kind of an error of the server. None: the connection itself failed."""
    if sqlstate is None:
        return ErrorKind.SOURCE_CONNECTION
    return _CODES.get(sqlstate) or _CLASSES.get(sqlstate[:2], ErrorKind.INVARIANT)


@contextmanager
def classified(doing: str, *, table: str | None = None, remedy: str | None = None) -> Iterator[None]:
    """Turn psycopg's errors into TailraceError. `doing` completes the sentence "… failed"."""
    try:
        yield
    except psycopg.Error as error:
        message = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
        code = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
        is_ours = error.sqlstate is None and not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        kind = ErrorKind.INVARIANT if is_ours else classify(error.sqlstate)
        raise TailraceError(kind, f"{doing} failed{code}: {message}", table=table, remedy=remedy) from error


def connect(settings: PostgresqlSource) -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection in autocommit mode that prints values our way. Raises by kind."""
    doing = f"connecting to {settings.user}@{settings.host}:{settings.port}/{settings.database}"
    try:
        with classified(doing):
            connection = psycopg.connect(_conninfo(settings), autocommit=True)
            # A pooler in transaction mode moves a session between servers: a prepared statement would be lost.
            connection.prepare_threshold = None
            connection.execute(SESSION)
            return connection
    except TailraceError as error:
        raise _explained(error, settings) from error.__cause__


_WARNINGS_MAX = 16


class ReplicationConnection:
    """A connection in replication mode. `raw` is libpq's, for what psycopg has no words for."""

    def __init__(self, settings: PostgresqlSource) -> None:
        """Connect (`replication=database`). Raises by kind."""
        doing = (
            f"opening a replication connection to {settings.user}@{settings.host}:{settings.port}/{settings.database}"
        )
        with classified(doing):
            # psycopg's own connect resolves names, honours the time-out and can be interrupted: libpq's cannot.
            self._connection = psycopg.connect(_conninfo(settings, replication="database"), autocommit=True)
        self.raw = self._connection.pgconn
        self.warnings: list[str] = []
        """SQLSTATEs of the warnings that came in, at most a few."""
        self._connection.add_notice_handler(self._on_notice)
        try:
            self.command(SESSION)
        except TailraceError:
            self.close()
            raise

    def command(self, statement: str) -> pq.abc.PGresult:
        """Run one command of the replication protocol, or statements without parameters. Raises by kind."""
        result = self.raw.exec_(statement.encode())
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COPY_BOTH):
            raise error_of(result, f"{statement.split(' ', 1)[0].lower()} on the replication connection")
        return result

    def close(self) -> None:
        """Close. May be called twice."""
        self._connection.close()

    def _on_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING" and notice.sqlstate and len(self.warnings) < _WARNINGS_MAX:
            self.warnings.append(notice.sqlstate)


def error_of(result: pq.abc.PGresult, doing: str) -> TailraceError:
    """Make the error that a failed result stands for."""
    state = sqlstate_of(result)
    text = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"the connection was lost"
    return TailraceError(
        classify(state), f"{doing} failed{f' (SQLSTATE {state})' if state else ''}: {text.decode(errors='replace')}"
    )


def sqlstate_of(result: pq.abc.PGresult) -> str | None:
    """Return a failed result's SQLSTATE, or None where the server gave none."""
    field = result.error_field(pq.DiagnosticField.SQLSTATE)
    return field.decode("ascii") if field else None


def literal(text: str) -> str:
    """Quote a string for the replication protocol, whose grammar knows no parameters."""
    return "'" + text.replace("'", "''") + "'"


def identifier(text: str) -> str:
    """Quote an identifier."""
    return '"' + text.replace('"', '""') + '"'


def _conninfo(settings: PostgresqlSource, **more: str) -> str:
    words = {"application_name": APPLICATION_NAME, "client_encoding": "UTF8", "keepalives_idle": "30"}
    return make_conninfo("", **(words | settings.conninfo() | more))


def _explained(error: TailraceError, settings: PostgresqlSource) -> TailraceError:
    cause = error.__cause__
    raw = getattr(cause, "pgconn", None)
    # libpq gives no SQLSTATE for a refused login; that it wanted a password and had none, it does tell.
    if raw is not None and getattr(raw, "needs_password", False):
        return TailraceError(
            ErrorKind.CONFIGURATION, f"the server wants a password for {settings.user}", remedy="set `source.password`"
        )
    return error
