"""The stream below the log reader: starting replication on a slot, and moving bytes without ever waiting for them."""

from __future__ import annotations

from typing import NoReturn

from psycopg import Error as DriverError
from psycopg import pq

from capture.source import RELOAD
from capture.sources.postgresql.connection import (
    ReplicationConnection,
    error_of,
    identifier,
    literal,
    sqlstate_of,
)
from capture.sources.postgresql.pgoutput import TextNeeded
from capture.sources.postgresql.position import format_lsn
from runtime.clock import monotonic
from runtime.lifecycle import pause
from runtime.logging import get_logger
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError

_OBJECT_IN_USE = "55006"
_NOT_IN_STATE = "55000"
_UNDEFINED_OBJECT = "42704"
_UNDEFINED_FUNCTION = "42883"
_RETRY_S = 0.25

log = get_logger(__name__)


class LogStream:
    """One slot's stream. `start` may be called again to begin anew elsewhere or in another form."""

    def __init__(self, settings: PostgresqlSource, slot: str, publication: str) -> None:
        self._settings = settings
        self._slot = slot
        self._publication = publication
        self._connection: ReplicationConnection | None = None
        self._binary = False

    @property
    def raw(self) -> pq.abc.PGconn:
        """Libpq's connection."""
        assert self._connection is not None
        return self._connection.raw

    @property
    def socket(self) -> int:
        """The connection's file descriptor."""
        return self.raw.socket

    def start(self, lsn: int, *, binary: bool) -> None:
        """Start replication after `lsn`; waits, within a bound, for a predecessor to let go of the slot.

        Raises SOURCE_CONNECTION, SOURCE_LOG_LOST (the slot is gone or invalid) or PREREQUISITE.
        """
        self._binary = binary
        deadline = monotonic() + self._settings.slot_wait_s
        may_terminate = True
        while True:
            self.close()
            self._connection = ReplicationConnection(self._settings, is_wide=True)
            result = self.raw.exec_(self._command(lsn, binary=binary).encode())
            if result.status == pq.ExecStatus.COPY_BOTH:
                self.raw.nonblocking = 1
                return
            state = sqlstate_of(result)
            if state != _OBJECT_IN_USE or monotonic() >= deadline:
                self.close()
                raise self._explained(state, result)
            if may_terminate and monotonic() > deadline - self._settings.slot_wait_s * 0.9:
                may_terminate = False
                self._terminate_predecessor()
            pause(_RETRY_S, "another session reads the slot")

    def receive(self) -> None:
        """Take from the socket what is there. Raises SOURCE_CONNECTION."""
        try:
            self.raw.consume_input()
        except DriverError as error:
            self._lost(error)

    def send(self, message: bytes) -> None:
        """Send a message of ours. Raises SOURCE_CONNECTION."""
        try:
            self.raw.put_copy_data(message)
            self.raw.flush()
        except DriverError as error:
            self._lost(error)

    def check_warnings(self) -> None:
        """Raise PREREQUISITE if the server said that it leaves changes out; log that it holds changes back.

        Since PostgreSQL 18 a missing publication is a warning, and its tables' changes are skipped (`LoadPublications`
        in `pgoutput.c`); before, it was an error. A server waits for its standbys, and warns of those that are not
        there, where synchronized_standby_slots is set (`StandbySlotsHaveCaughtup` in `slot.c`, 17 and later).
        """
        assert self._connection is not None
        if not self._connection.warnings:
            return
        if "LoadPublications" in self._connection.warnings:
            raise self._without_publication("the server skips it")
        if "StandbySlotsHaveCaughtup" in self._connection.warnings:
            log.warning("the server holds changes back for a standby that is away (synchronized_standby_slots)")
        self._connection.warnings.clear()

    def fail(self) -> NoReturn:
        """Raise what ended the stream; TextNeeded where the server has no binary form of a value.

        It sends a value of a type without one as text, but not within an array or a composite (`array_send`).
        """
        try:
            result = self.raw.get_result()
        except DriverError as error:
            self._lost(error)
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            state = sqlstate_of(result)
            failure = error_of(result, "reading the log")
            if state == _UNDEFINED_FUNCTION and self._binary:
                raise TextNeeded
            if state == _UNDEFINED_OBJECT:
                raise self._without_publication(failure.message)
            if state == _NOT_IN_STATE:
                raise self._without_log(failure)
            raise failure
        raise TailraceError(ErrorKind.SOURCE_CONNECTION, "the server ended the replication stream")

    def close(self) -> None:
        """End the stream. May be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _command(self, lsn: int, *, binary: bool) -> str:
        options = [
            "proto_version '1'",
            f"publication_names {literal(identifier(self._publication))}",
        ]
        # Both options came with PostgreSQL 14.
        if self.raw.server_version >= 140000:
            options.append("messages 'true'")
            if binary:
                options.append("binary 'true'")
        return f"START_REPLICATION SLOT {identifier(self._slot)} LOGICAL {format_lsn(lsn)} ({', '.join(options)})"

    def _terminate_predecessor(self) -> None:
        """End the connection of a predecessor of ours that hangs.

        Only one capture of a replication is active (a consumer group and a transactional id see to it), so whoever
        holds the slot is no longer entitled to it. Needs the same role, or `pg_signal_backend`: refused, we wait on.
        """
        assert self._connection is not None
        try:
            self._connection.command(
                "select pg_terminate_backend(active_pid) from pg_replication_slots "
                f"where slot_name = {literal(self._slot)} and active_pid is not null"
            )
            log.warning("ended the connection that held the slot", slot=self._slot)
        except TailraceError as error:
            log.warning("the slot is held by another connection", slot=self._slot, reason=error.message)

    def _explained(self, state: str | None, result: pq.abc.PGresult) -> TailraceError:
        error = error_of(result, f"starting replication from slot {self._slot}")
        if state == _UNDEFINED_OBJECT:
            return TailraceError(
                ErrorKind.SOURCE_LOG_LOST,
                f"the replication slot {self._slot} is gone; with it the log that was kept for it",
                remedy=RELOAD,
            )
        if state == _NOT_IN_STATE:
            return self._without_log(error)
        return error

    def _without_log(self, error: TailraceError) -> TailraceError:
        return TailraceError(
            ErrorKind.SOURCE_LOG_LOST,
            f"the replication slot {self._slot} can no longer be read: {error.message}",
            remedy="raise max_slot_wal_keep_size (or idle_replication_slot_timeout), "
            f"`select pg_drop_replication_slot({literal(self._slot)})`; then {RELOAD}",
        )

    def _without_publication(self, reason: str) -> TailraceError:
        return TailraceError(
            ErrorKind.PREREQUISITE,
            f"the publication {self._publication} is gone, or had not been made where the log is read: {reason}",
            remedy=f"create publication {identifier(self._publication)} for table … "
            f"with (publish_via_partition_root = true); if changes were made since, {RELOAD}",
        )

    def _lost(self, error: DriverError) -> NoReturn:
        raise TailraceError(
            ErrorKind.SOURCE_CONNECTION, f"the replication stream broke: {' '.join(str(error).split())}"
        ) from error
