"""One connection to a MySQL or MariaDB target, and the settings of its session.

The settings are stated here, whatever the server's are: strict, so that no value is bent to fit; backslashes plain;
zero a value like others in an identity; time in UTC; each statement sees what is committed, and locks no gaps.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from secrets import token_hex
from typing import Any, Self

import pymysql
from pymysql.constants import CLIENT

from apply.sink_kinds.relational.link import RelationalLink
from apply.sinks.mysql.errors import HARMLESS, LOAD_DISABLED, TRUNCATED, UNSUPPORTED, classify, code_of
from apply.sinks.mysql.memory_load import PACKET_BYTES_MAX, MemoryConnection, streamed
from apply.sinks.mysql.names import STORAGE, literal, quoted
from runtime import clock
from runtime.tls import client_context
from schemas.endpoints.mysql import MysqlTarget
from schemas.endpoints.section import TlsMode
from schemas.errors import ErrorKind, TailraceError
from schemas.loopback import APPLIED_COMMENT, APPLIED_TABLE

SQL_MODE = (
    "STRICT_ALL_TABLES",
    "NO_BACKSLASH_ESCAPES",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_ENGINE_SUBSTITUTION",
    "ERROR_FOR_DIVISION_BY_ZERO",
)
"""Ours alone: a server's `ANSI_QUOTES` or `PAD_CHAR_TO_FULL_LENGTH` would change what statements and values mean."""

IDLE_S = 30.0
"""After so long without a word the server is asked whether the session lives: it ends idle ones."""

SESSION_IDLE_S = 300
"""After so long the server ends a session that says nothing: a transaction whose applier is gone, its host with it,
holds the rows that its successor claims."""

_NO_LIMITS = (
    "/*M! , max_statement_time = 0, idle_transaction_timeout = 0, idle_write_transaction_timeout = 0, "
    "idle_readonly_transaction_timeout = 0*//*!80000 , max_execution_time = 0*/"
)
"""The server's time-outs are not meant for us. (Each server passes the other's comment over.)"""

KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""Seconds, seconds, times: until a server that is gone is noticed while its answer is waited for."""

STALL_S = 3600
"""Longest wait for an answer beyond the time-outs that the server keeps itself."""


MARKS_KEEP_DAYS = 30
"""How long the row of an applier stays that writes no more."""


def connect(target: MysqlTarget) -> MemoryConnection:
    """Open a connection in autocommit mode with the session settings that Tailrace relies on.

    Raises TARGET_CONNECTION or CONFIGURATION.
    """
    where = {"unix_socket": target.host} if target.host.startswith("/") else {"host": target.host, "port": target.port}
    try:
        connection = MemoryConnection(
            **where,
            user=target.user,
            password=target.password.get_secret_value().encode() if target.password else b"",
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=target.connect_timeout_s,
            read_timeout=STALL_S,
            write_timeout=STALL_S,
            client_flag=CLIENT.MULTI_STATEMENTS | CLIENT.FOUND_ROWS | CLIENT.LOCAL_FILES,
            **_tls(target),
        )
    except pymysql.Error as error:
        raise _unreachable(error, target) from error
    if "host" in where:
        for option, value in KEEPALIVE:
            connection._sock.setsockopt(socket.IPPROTO_TCP, option, value)
    try:
        for statement in _session(target):
            connection.query(statement)
    except pymysql.Error as error:
        connection._force_close()
        raise classify(error, "setting up the session at the target") from error
    return connection


def _session(target: MysqlTarget) -> list[str]:
    lock_s = target.lock_timeout_s
    return [
        f"set session sql_mode = {literal(','.join(SQL_MODE))} {_NO_LIMITS}",
        "set names utf8mb4 collate utf8mb4_bin",
        "set session transaction isolation level read committed",
        "set session time_zone = '+00:00', session autocommit = 1, session unique_checks = 1",
        # Values that are bent are told as notes; and what is read or emptied is meant to be, whole.
        "set session sql_notes = 1, session sql_safe_updates = 0, session sql_select_limit = 18446744073709551615",
        "set session sql_big_selects = 1",
        f"set session foreign_key_checks = {int(target.foreign_key_checks)}",
        f"set session innodb_lock_wait_timeout = {lock_s}, session lock_wait_timeout = {lock_s}",
        f"set session wait_timeout = {SESSION_IDLE_S}",
    ]


def _tls(target: MysqlTarget) -> dict[str, Any]:
    tls = target.tls
    if tls.mode in (TlsMode.DISABLE, TlsMode.ALLOW) or target.host.startswith("/"):
        return {"ssl_disabled": True}
    if tls.mode is TlsMode.PREFER and not tls.ca and not tls.cert:
        return {}
    return {"ssl": client_context(tls)}


def _unreachable(error: pymysql.Error, target: MysqlTarget) -> TailraceError:
    found = classify(error, f"connecting to {target.user}@{target.place}")
    if isinstance(getattr(error, "original_exception", None), ssl.SSLCertVerificationError):
        found.kind, found.remedy = ErrorKind.CONFIGURATION, "check `tls.mode`, `tls.ca` and the host name"
    return found


class Link(RelationalLink):
    """A connection that is made when it is first needed, and made again after it broke."""

    driver_error = pymysql.Error
    classify = staticmethod(classify)

    def __init__(self, target: MysqlTarget, *, marks: bool = False) -> None:
        """With `marks` each transaction begins with a row of a table by which the log tells it from others."""
        super().__init__()
        self._target = target
        self._marks = f"{quoted(target.control_schema)}.{APPLIED_TABLE}" if marks else ""
        self._writer = token_hex(8)
        """Whose row it is: nobody waits for another's."""
        self._connection: MemoryConnection | None = None
        self._used_at = 0.0
        self._is_held = False
        """Whether what is done relies on the session: no other one takes its place."""
        self.is_mariadb = False
        self.version: tuple[int, ...] = ()
        self._is_load_refused = False
        self.loads_local = False
        """Whether the server lets a client load its own data; else rows are inserted."""
        self.packet_bytes_max = 1 << 20
        """Longest statement that the server takes."""

    @property
    def connection(self) -> MemoryConnection:
        """The open connection. Raises TARGET_CONNECTION when it broke within a transaction, or while it was held."""
        found = self._connection
        if found is not None and not found.open:
            if self._begun:
                # What the transaction had written is lost: only a rollback by the caller may go on from here.
                raise classify(pymysql.OperationalError(), "writing to the target")
            found = None
        if found is not None and not self._begun and clock.monotonic() - self._used_at > IDLE_S:
            try:
                found.ping()
            except pymysql.Error:
                found = None
        if found is None:
            if self._is_held:
                raise classify(pymysql.OperationalError(), "going on in a session that is gone")
            found = connect(self._target)
            try:
                self._look_around(found)
            except pymysql.Error as error:
                # Half made it would be taken for whole by whoever asks next: without the table of marks, for one.
                found._force_close()
                raise classify(error, "setting up the session at the target") from error
            self._connection = found
            self.generation += 1
        self._used_at = clock.monotonic()
        return found

    def _look_around(self, connection: MemoryConnection) -> None:
        text = connection.server_version
        self.is_mariadb = "MariaDB" in text
        numbers = text.removeprefix("5.5.5-").split("-")[0].split(".")
        self.version = tuple(int(number) for number in numbers if number.isdigit())
        with connection.cursor() as cursor:
            cursor.execute("select @@local_infile, @@max_allowed_packet")
            local, packet = cursor.fetchone()
        # Who refuses a load and says that it takes some is a proxy: rows are inserted from then on.
        self._is_load_refused &= bool(local)
        self.loads_local = bool(local) and not self._is_load_refused
        self.packet_bytes_max = int(packet)
        # A packet as long as the limit is too long.
        connection.packet_bytes = min(PACKET_BYTES_MAX, self.packet_bytes_max // 2)
        if self._marks:
            self._make_marks(connection)

    def _make_marks(self, connection: MemoryConnection) -> None:
        """Make the table of marks where it is missing. Needs no right to create where it is there."""
        schema = self._target.control_schema
        with connection.cursor() as cursor:
            cursor.execute(
                "select table_name from information_schema.tables where table_schema = %s and table_name = %s",
                (schema, APPLIED_TABLE),
            )
            if not cursor.fetchall():
                cursor.execute(f"create database if not exists {quoted(schema)}")
                cursor.execute(
                    f"create table if not exists {self._marks} (writer varchar(32) not null primary key, "
                    f"transactions bigint not null, at datetime(6) not null) {STORAGE}"
                )
            # By key: a `delete` that looks through the table waits for the rows of all open transactions.
            cursor.execute(
                f"select writer from {self._marks} where at < utc_timestamp(6) - interval {MARKS_KEEP_DAYS} day"
            )
            cursor.executemany(f"delete from {self._marks} where writer = %s", cursor.fetchall())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let a block go on in its session only, whose locks go with it. Raises TARGET_CONNECTION once it is gone."""
        _ = self.connection
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    @property
    def lock_timeout_s(self) -> int:
        """How long to wait for what another session has locked."""
        return self._target.lock_timeout_s

    def open(self) -> None:
        """Make the connection unless there is one."""
        _ = self.connection

    def _opening(self) -> list[str]:
        if not self._marks:
            return ["start transaction"]
        mark = (
            f"insert into {self._marks} values ('{self._writer}', 1, utc_timestamp(6)) "
            "on duplicate key update transactions = transactions + 1, at = utc_timestamp(6)"
        )
        return ["start transaction", mark]

    @property
    def marks(self) -> bool:
        """Whether the log is to tell what is written here."""
        return bool(self._marks)

    def define(self, statement: str) -> None:
        """Run a definition, which is logged as it stands, by itself; so that the log tells whose it is."""
        self.run(f"{APPLIED_COMMENT} {statement}" if self._marks else statement)

    def rollback(self) -> None:
        """Undo what is open; never raises: a broken connection has rolled back by itself."""
        begun, self._begun = self._begun, False
        connection = self._connection
        if connection is None or not connection.open:
            self._connection = None
            return
        if begun:
            try:
                connection.query("rollback")
            except pymysql.Error:
                self.discard()

    def run(self, *statements: str) -> int:
        """Run statements without parameters in one round trip; return the last one's row count.

        All answers are read, also after an error; statements behind one that fails are not run by the server.
        """
        connection = self.connection
        count = connection.query("; ".join(statements))
        while connection._result is not None and connection._result.has_next:
            count = connection.next_result()
        return int(count)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query with parameters (none: `%` is plain). Driver errors pass through."""
        with self.connection.cursor() as cursor:
            cursor.execute(query, tuple(parameters) or None)
            return list(cursor.fetchall())

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement with parameters; return its row count."""
        with self.connection.cursor() as cursor:
            return int(cursor.execute(statement, tuple(parameters) or None))

    def load(self, statement: str, data: bytes, row_count: int) -> int | None:
        """Run a `load data local` with the whole input at hand; return the number of a refusal, or None.

        The server bends what does not fit, and skips what it cannot, with a warning for each: so a warning, or a row
        that is missing, is a refusal (Invariant 7). Then the caller undoes it.
        """
        connection = self.connection
        try:
            loaded = connection.load(statement, streamed(data, self._values))
        except pymysql.Error as error:
            if code_of(error) in LOAD_DISABLED | {UNSUPPORTED}:
                # Only a new session asks anew what the server allows.
                self._is_load_refused = True
                self.discard()
            raise
        if not connection.warning_count and loaded == row_count:
            return None
        warned = connection.warning_count
        codes = [int(code) for _, code, _ in self.rows("show warnings")]
        if loaded == row_count and len(codes) == warned and HARMLESS.issuperset(codes):
            return None
        return next((code for code in codes if code not in HARMLESS), TRUNCATED)

    @contextlib.contextmanager
    def without_foreign_keys(self) -> Iterator[None]:
        """Let foreign keys neither refuse nor act within a block."""
        self.run("set session foreign_key_checks = 0")
        try:
            yield
        finally:
            # A session that is gone has taken its settings with it.
            if self._connection is not None and self._connection.open:
                self.run(f"set session foreign_key_checks = {int(self._target.foreign_key_checks)}")

    def twin(self) -> Self:
        """Return a link of its own to the same target."""
        return type(self)(self._target, marks=bool(self._marks))

    def discard(self) -> None:
        """Close the connection whatever its state. May be called twice."""
        connection, self._connection = self._connection, None
        self._begun = False
        if connection is not None and connection.open:
            with contextlib.suppress(pymysql.Error, OSError):
                connection.close()
