"""One connection to a PostgreSQL target, and the settings of its session.

Statements without parameters go as one simple query, several at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, Self

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from apply.sink_kinds.relational.link import RelationalLink
from apply.sinks.postgresql.errors import classified, classify
from apply.sinks.postgresql.names import literal
from apply.sinks.postgresql.rows import gathered, streamed
from runtime.postgresql_login import TLS_REFUSED, why_refused
from runtime.waiting import wait_for
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.loopback import APPLIED_PREFIX

_COPY_BLOCK_BYTES = 1 << 20
"""What is handed to libpq at once: large enough to be cheap, small enough not to double a batch's memory."""

_NO_TIMEOUTS = (
    "select pg_catalog.set_config(name, '0', false) from pg_catalog.pg_settings "
    "where name in ('idle_session_timeout', 'transaction_timeout')"
)
"""The server's or the role's time-outs are not meant for us. They came with PostgreSQL 14 and 17."""


def connect(target: PostgresqlTarget, application_name: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection in autocommit mode with the session settings that Tailrace relies on.

    Raises TARGET_CONNECTION or CONFIGURATION.
    """
    parameters: dict[str, Any] = {"application_name": application_name, "client_encoding": "UTF8"}
    parameters |= target.conninfo()
    try:
        connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise _unreachable(error, target) from error
    settings = {
        "search_path": "pg_catalog, public",
        "timezone": "UTC",
        "datestyle": "ISO, YMD",
        "intervalstyle": "iso_8601",
        "lc_monetary": "C",
        "extra_float_digits": "3",
        "jit": "off",
        "default_transaction_isolation": "read committed",
        "lock_timeout": f"{target.lock_timeout_s}s",
        "statement_timeout": f"{target.statement_timeout_s}s",
        "client_min_messages": "warning",
        "temp_buffers": "32MB",
        # A transaction whose applier is gone holds the rows that its successor claims: the server must notice soon.
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "idle_in_transaction_session_timeout": "1min",
    }
    if not target.synchronous_commit:
        settings["synchronous_commit"] = "off"
    if target.disable_triggers:
        settings["session_replication_role"] = "replica"
    calls = ", ".join(f"pg_catalog.set_config({literal(k)}, {literal(v)}, false)" for k, v in settings.items())
    try:
        connection.execute(f"select {calls}; {_NO_TIMEOUTS}")
    except psycopg.Error as error:
        connection.close()
        raise classify(error, "setting up the session at the target") from error
    return connection


def _unreachable(error: psycopg.Error, target: PostgresqlTarget) -> TailraceError:
    doing = f"connecting to {target.user}@{target.host}:{target.port}/{target.database}"
    refusal = None
    if not isinstance(error, psycopg.errors.ConnectionTimeout):
        refusal = why_refused(make_conninfo("", **target.conninfo()), target.connect_timeout_s)
    if refusal is None:
        # libpq's text is all there is of a server that does not answer; no cell value is known yet that could be in it.
        return TailraceError(
            ErrorKind.TARGET_CONNECTION,
            f"{doing} failed: {' '.join(str(error).split()) or type(error).__name__}",
            remedy="check host and port of the target, and that the server runs",
        )
    if refusal.code == TLS_REFUSED:
        return TailraceError(
            ErrorKind.CONFIGURATION, f"{doing} failed: {refusal.reason}", remedy="correct the target's `tls`"
        )
    kind, remedy = classified(refusal.code)
    said = refusal.reason or " ".join(str(error).split())
    return TailraceError(kind, f"{doing} was refused (SQLSTATE {refusal.code}): {said}", remedy=remedy)


class Link(RelationalLink):
    """A connection that is made when it is first needed, and made again after it broke."""

    driver_error = psycopg.Error
    classify = staticmethod(classify)

    def __init__(self, target: PostgresqlTarget, application_name: str, *, mark: str | None = None) -> None:
        """`mark` is put into the log at the beginning of each transaction: a capture can tell by it whose it is."""
        super().__init__()
        self._mark = mark
        self._target = target
        self._application_name = application_name
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self.deferring = False
        """Whether constraints that can wait are asked at the end of the transaction that is open, or begins next."""

    @property
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The open connection. Raises TARGET_CONNECTION when it broke within a transaction."""
        if self._connection is not None and self._connection.closed:
            if self._begun:
                # What the transaction had written is lost: only a rollback by the caller may go on from here.
                raise classify(psycopg.OperationalError(), "writing to the target")
            self._connection = None
        if self._connection is None:
            self._connection = connect(self._target, self._application_name)
            self.generation += 1
        return self._connection

    def open(self) -> None:
        """Make the connection unless there is one."""
        _ = self.connection

    def _opening(self) -> list[str]:
        # Unless asked for: deferred constraints speak up at the end, where nobody knows the row any more.
        opening = ["begin", f"set constraints all {'deferred' if self.deferring else 'immediate'}"]
        if self._mark is not None:
            opening.append(f"select pg_logical_emit_message(true, {literal(APPLIED_PREFIX)}, {literal(self._mark)})")
        return opening

    @property
    def marks(self) -> bool:
        """Whether the log is to tell what is written here."""
        return self._mark is not None

    def defer(self) -> None:
        """Let constraints that can wait be asked at the end only."""
        if self._begun and not self.deferring:
            self.run("set constraints all deferred")
        self.deferring = True

    def commit(self) -> None:
        """Commit what is open. Raises the server's error; then nothing has been written."""
        if self._begun and self.connection.info.transaction_status == TransactionStatus.INERROR:
            raise classify(psycopg.InternalError(), "committing a failed transaction at the target")
        super().commit()
        self.deferring = False

    def rollback(self) -> None:
        """Undo what is open; never raises: a broken connection has rolled back by itself."""
        self._begun = self.deferring = False
        connection = self._connection
        if connection is None or connection.closed:
            self._connection = None
            return
        try:
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute("rollback")
        except psycopg.Error:
            self.discard()

    def run(self, *statements: str) -> int:
        """Run statements without parameters in one round trip; return the last one's row count."""
        return self.connection.execute("; ".join(statements)).rowcount

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, with parameters or without. Driver errors pass through."""
        # Without parameters a percent sign is one: names of tables may have it.
        return self.connection.execute(query, parameters or None).fetchall()

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement with parameters; return its row count."""
        return self.connection.execute(statement, parameters or None).rowcount

    def copy(self, statement: str, pieces: Iterable[bytes]) -> None:
        """Run a `copy … from stdin` with the whole input in pieces: a large one is not copied once more."""
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for piece in gathered(streamed(pieces, self._values) if self._values else pieces):
                view = memoryview(piece) if len(piece) > _COPY_BLOCK_BYTES else piece
                for start in range(0, len(view), _COPY_BLOCK_BYTES):
                    # Before the next one: the last one goes out with the end of the copy.
                    self._await_sent()
                    copy.write(view[start : start + _COPY_BLOCK_BYTES])

    def _await_sent(self) -> None:
        """Wait until the server has taken what was written: libpq would keep any amount of it."""
        raw = self.connection.pgconn
        while raw.flush():
            if wait_for(raw.socket, writing=True):
                # It may have something to say first.
                raw.consume_input()

    def twin(self) -> Self:
        """Return a link of its own to the same target."""
        return type(self)(self._target, self._application_name, mark=self._mark)

    def discard(self) -> None:
        """Close the connection whatever its state. May be called twice."""
        connection, self._connection = self._connection, None
        self._begun = self.deferring = False
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()
