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
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.postgresql_login import TLS_REFUSED, why_refused
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError

APPLICATION_NAME = "tailrace capture"

_PRINTING = {
    "datestyle": "'ISO, YMD'",
    "intervalstyle": "'iso_8601'",
    "timezone": "'UTC'",
    "bytea_output": "'hex'",
    "extra_float_digits": "3",
    "xmlbinary": "'base64'",
    "lc_monetary": "'C'",
    "search_path": "''",
    "standard_conforming_strings": "on",
}
"""How values print. An empty search path makes the server qualify every name that is not its own."""

_TIMEOUTS = (
    "select set_config(name, '0', false) from pg_catalog.pg_settings where name in ('statement_timeout', "
    "'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')"
)
"""A large table takes as long as it takes; the server's or the role's time-outs are not meant for it. Two came with
PostgreSQL 14 and 17."""

SESSION = f"{'; '.join(f'set {name} = {value}' for name, value in _PRINTING.items())}; {_TIMEOUTS}"

SESSION_IN_TRANSACTION = "; ".join(
    f"set local {name} = {value}" for name, value in ({"statement_timeout": "0"} | _PRINTING).items()
)
"""The same once more within a transaction that reads values: a pooler may have moved us to another server session."""

WALSENDER_PATIENCE_MS = 900_000
_REPLICATION_SESSION = (
    f"{SESSION}; select set_config('wal_sender_timeout', '{WALSENDER_PATIENCE_MS}', false) from pg_catalog.pg_settings "
    f"where name = 'wal_sender_timeout' and setting::int4 between 1 and {WALSENDER_PATIENCE_MS}; "
    f"set tcp_user_timeout = {WALSENDER_PATIENCE_MS}; set tcp_keepalives_idle = 30; set tcp_keepalives_interval = 10; "
    "set tcp_keepalives_count = 3"
)
"""Publishing may block for longer than the server waits for an answer by default, 60 s: a commit to Kafka does, or a
wait for writers. A client that is gone is noticed by TCP; one that hangs, by its successor, who ends its session. TCP's
own time-out ends what the server cannot: a session that was told to end, and cannot send its last message to a client
that does not read, keeps its slot, and a checkpoint waits for it."""

PATIENCE_S = 30
"""How long the server waits for a client that is frozen, or gone without a word, where it keeps locks for it."""

RECEIVED_BYTES = 256 << 10
_WIDENING = f"select pg_catalog.repeat(' ', {RECEIVED_BYTES})"
"""Libpq receives into a buffer of 16 KiB, which a row of 10 kB fills: each such row would be waited for, and received,
by itself. The buffer doubles until the longest message fits that has come (`pqCheckInBufferSpace` in `fe-misc.c`), and
stays so until the connection is closed."""

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
    "25P03": ErrorKind.SOURCE_CONNECTION,
}
"""PostgreSQL, appendix A. 58P01 (undefined file) is what a walsender says of a log segment that is gone; 25P03, of a
session that was idle in a transaction."""

_PROTOCOL_VIOLATION = "08P01"
_LOGIN_REMEDIES = {
    "28000": "check `source.user`, that the role may log in, and pg_hba.conf at the server",
    "28P01": "check `source.user` and `source.password`; where there is no such role yet: create role … login "
    "password '…', then see `tailrace plan --grants`",
    "3D000": "correct `source.database`",
    "42501": "grant what `tailrace plan --grants` prints: to connect, to replicate (on Amazon RDS: rds_replication)",
    "53300": "raise max_connections or max_wal_senders at the server, the role's connection limit, or make "
    "`capture.load_processes` smaller",
}


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


def connect(
    settings: PostgresqlSource, *, lock_timeout_s: int = 0, patience_s: int = 0, is_wide: bool = False
) -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection in autocommit mode that prints values our way. 0: it waits for locks. Raises by kind.

    `patience_s`: how long the server waits for us in a transaction, or until we take what it sends; 0: for ever. A wide
    one may receive RECEIVED_BYTES at once, and more: for many rows.
    """
    connection = _log_in(settings, "connecting to", _conninfo(settings))
    # A pooler in transaction mode moves a session between servers: a prepared statement would be lost.
    connection.prepare_threshold = None
    try:
        with classified("preparing a connection to the source"):
            connection.execute(f"{SESSION}; set lock_timeout = '{lock_timeout_s}s'")
            if patience_s:
                # The latter is TCP's to end: a server that cannot send heeds no time-out of its own.
                connection.execute(
                    f"set idle_in_transaction_session_timeout = '{patience_s}s'; set tcp_user_timeout = '{patience_s}s'"
                )
            if is_wide:
                connection.execute(_WIDENING)
    except TailraceError:
        connection.close()
        raise
    return connection


_WARNINGS_MAX = 16


class ReplicationConnection:
    """A connection in replication mode. `raw` is libpq's, for what psycopg has no words for."""

    def __init__(self, settings: PostgresqlSource, *, is_wide: bool = False) -> None:
        """Connect (`replication=database`); `is_wide` as in `connect`. Raises by kind."""
        direct = {"host": settings.replication_host, "port": settings.replication_port}
        conninfo = _conninfo(
            settings, replication="database", **{name: str(value) for name, value in direct.items() if value}
        )
        self._connection = _log_in(settings, "opening a replication connection to", conninfo)
        self.raw = self._connection.pgconn
        self.warnings: list[str] = []
        """Which of the server's functions warned, at most a few: two kinds of warnings share one SQLSTATE."""
        self._connection.add_notice_handler(self._on_notice)
        try:
            self.command(_REPLICATION_SESSION)
            if is_wide:
                self.command(_WIDENING)
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
        if notice.severity_nonlocalized == "WARNING" and len(self.warnings) < _WARNINGS_MAX:
            self.warnings.append(notice.source_function or "")


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


def _log_in(settings: PostgresqlSource, doing: str, conninfo: str) -> psycopg.Connection[tuple[object, ...]]:
    try:
        # psycopg's own connect resolves names, honours the time-out and can be interrupted: libpq's cannot.
        return psycopg.connect(conninfo, autocommit=True)
    except psycopg.Error as error:
        raise _refused(error, settings, doing, conninfo) from error


def _refused(error: psycopg.Error, settings: PostgresqlSource, doing: str, conninfo: str) -> TailraceError:
    words = conninfo_to_dict(conninfo)
    where = f"{doing} {settings.user}@{words['host']}:{words['port']}/{settings.database}"
    # A server that said nothing in all the time that it had would say nothing once more.
    is_silent = isinstance(error, psycopg.errors.ConnectionTimeout)
    refusal = None if is_silent else why_refused(conninfo, settings.connect_timeout_s)
    if refusal is None:
        said = " ".join(str(error).split()) or type(error).__name__
        return TailraceError(
            ErrorKind.SOURCE_CONNECTION,
            f"{where} failed: {said}",
            remedy="check `source.host` and `source.port`, and that the server runs",
        )
    if refusal.code == TLS_REFUSED:
        return TailraceError(
            ErrorKind.CONFIGURATION, f"{where} failed: {refusal.reason}", remedy="correct `source.tls`"
        )
    if refusal.code == _PROTOCOL_VIOLATION and "replication" in words:
        return TailraceError(
            ErrorKind.PREREQUISITE,
            f"{where} was refused (SQLSTATE {refusal.code}): what answers there passes no replication connections on, "
            "as a connection pooler (PgBouncer and others)",
            remedy="name the server itself in source.replication_host and source.replication_port; the pooler may stay "
            "in source.host",
        )
    said = refusal.reason or " ".join(str(error).split())
    kind, remedy = classify(refusal.code), _LOGIN_REMEDIES.get(refusal.code)
    return TailraceError(kind, f"{where} was refused (SQLSTATE {refusal.code}): {said}", remedy=remedy)
