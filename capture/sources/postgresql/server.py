"""The server's side of the log: its end, and the replication slot with all that can become of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from capture.source import RELOAD
from capture.sources.postgresql.connection import classified, literal
from capture.sources.postgresql.position import format_lsn, format_position, parse_lsn
from runtime.clock import monotonic, sleep
from runtime.lifecycle import cancelling, pause
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position

Connection = psycopg.Connection[tuple[object, ...]]

log = get_logger(__name__)

CURRENT_LSN = """
select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end::text
"""

NOW_US = "select (extract(epoch from clock_timestamp()) * 1000000)::int8"

INSERT_LSN = """
select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end::text
"""

# As JSON, since the view has other columns in every version.
_SLOT = """
select to_jsonb(s), pg_wal_lsn_diff(
           case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, restart_lsn)::int8
  from pg_replication_slots s where s.slot_name = %(slot)s
"""

STANDBY = "standby"
"""Member of an identity: the server is a standby. Left out for a primary one."""

_CREATE_TIMEOUT_S = 600
_CANCEL_TIMEOUT_S = 5
_END_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of `pg_replication_slots`."""

    name: str
    plugin: str
    database: str
    active_pid: int | None
    confirmed_lsn: int
    restart_lsn: int | None
    wal_status: str | None
    safe_wal_bytes: int | None
    """How much more log may be written before this slot is lost; None: no bound."""
    invalidation: str | None
    """Why the slot cannot be read any more (17+; on 16 `conflict`)."""
    fails_over: bool | None = None
    """Whether standbys may take it along when they are promoted; None: the server (before 17) has no such slots."""
    retained_bytes: int | None = None
    """How much log the server keeps for it."""

    @property
    def is_in_the_making(self) -> bool:
        """Whether a session is making it, and has yet to find where it starts. It goes if that session ends."""
        return bool(self.plugin) and not self.confirmed_lsn

    @property
    def is_at_risk(self) -> bool:
        """Whether the server may soon give up its log: less than a third is left of what it may keep, or nothing."""
        left = self.safe_wal_bytes
        return self.wal_status == "unreserved" or (left is not None and left * 2 < (self.retained_bytes or 0))


def read_slot(connection: Connection, name: str) -> Slot | None:
    """Return the slot, or None where there is none."""
    with classified("reading the replication slot"):
        rows = connection.execute(_SLOT, {"slot": name}).fetchall()
    if not rows:
        return None
    row: dict[str, Any]
    row, retained_bytes = rows[0]  # type: ignore[assignment]
    confirmed = row.get("confirmed_flush_lsn")
    restart = row.get("restart_lsn")
    invalidation = row.get("invalidation_reason") or ("conflict" if row.get("conflicting") else None)
    return Slot(
        row["slot_name"],
        row["plugin"] or "",
        row["database"] or "",
        row["active_pid"],
        parse_lsn(confirmed) if confirmed else 0,
        parse_lsn(restart) if restart else None,
        row.get("wal_status"),
        row.get("safe_wal_size"),
        invalidation,
        row.get("failover"),
        retained_bytes,  # type: ignore[arg-type]
    )


def check_slot(slot: Slot, database: str) -> None:
    """Raise PREREQUISITE unless the slot is one that we can read, SOURCE_LOG_LOST if it is invalid."""
    if slot.plugin != "pgoutput" or slot.database != database:
        raise TailraceError(
            ErrorKind.PREREQUISITE,
            f"the replication slot {slot.name} is of the plug-in {slot.plugin or '(physical)'} in the database "
            f"{slot.database or '(none)'}; it must be of pgoutput in {database}",
            remedy=f"choose another name in source.slot, or select pg_drop_replication_slot({literal(slot.name)})",
        )
    if slot.invalidation or slot.wal_status == "lost":
        raise TailraceError(
            ErrorKind.SOURCE_LOG_LOST,
            f"the replication slot {slot.name} was invalidated ({slot.invalidation or 'its log was removed'})",
            remedy=f"select pg_drop_replication_slot({literal(slot.name)}); then {RELOAD}. To keep it from happening "
            "again, raise max_slot_wal_keep_size",
        )


def create_slot(connection: Connection, name: str, *, failover: bool) -> int:
    """Make the slot; return the LSN where it starts. Waits for the transactions that are running now to end.

    `failover`: one that standbys may take along, where the server has such. Raises PREREQUISITE with what to change.
    """
    # A standby can only make slots of its own (PostgreSQL 17 and later; "Logical Decoding Concepts").
    more = ", failover => not pg_is_in_recovery()" if failover and connection.info.server_version >= 170000 else ""
    log.info("makes the replication slot; waits for the transactions that are running now", slot=name)
    try:
        with (
            cancelling(partial(_cancel, connection), "the replication slot is made"),
            classified(f"making the replication slot {name}"),
            connection.transaction(),
        ):
            # It waits for the locks of transactions themselves.
            connection.execute(f"set local statement_timeout = '{_CREATE_TIMEOUT_S}s'; set local lock_timeout = 0")
            rows = connection.execute(
                f"select lsn::text from pg_create_logical_replication_slot(%s, 'pgoutput'{more})", [name]
            ).fetchall()
    except TailraceError as error:
        raise _creation_error(error, name) from error.__cause__
    return parse_lsn(str(rows[0][0]))


def end_making(connection: Connection, name: str) -> None:
    """End the session of a predecessor that makes the slot, and wait until the slot is gone, or is made after all.

    Whoever captures is the only one (`capture.leadership`): that one was killed, of which its session hears nothing
    while it waits for transactions, or hangs. Raises SOURCE_CONNECTION where it goes on.
    """
    deadline = monotonic() + _END_TIMEOUT_S
    while (slot := read_slot(connection, name)) is not None and slot.is_in_the_making:
        if monotonic() >= deadline:
            raise TailraceError(
                ErrorKind.SOURCE_CONNECTION,
                f"the replication slot {name} is being made by the server process {slot.active_pid}",
                remedy=f"select pg_terminate_backend({slot.active_pid}), if it is a capture's that is gone",
            )
        with classified(f"ending the session that makes the replication slot {name}"):
            connection.execute("select pg_terminate_backend(%s)", [slot.active_pid])
        log.warning("ended the session that made the slot", slot=name)
        pause(0.2, "the replication slot is made by another session")


def _cancel(connection: Connection) -> None:
    # A server that does not take it goes on until the statement's own time is up.
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)


def drop_slot(connection: Connection, name: str, wait_s: float) -> bool:
    """Drop the slot if it is there; waits until nobody reads from it, within a bound. Raises SOURCE_CONNECTION."""
    deadline = monotonic() + wait_s
    while (slot := read_slot(connection, name)) is not None:
        if slot.active_pid is None:
            with classified(f"dropping the replication slot {name}"):
                connection.execute("select pg_drop_replication_slot(%s)", [name])
            return True
        if monotonic() >= deadline:
            raise TailraceError(
                ErrorKind.SOURCE_CONNECTION,
                f"the replication slot {name} is being read by the server process {slot.active_pid}",
                remedy="stop the capture of this replication first",
            )
        sleep(0.2)
    return False


def timeline_end(history: str, timeline: int) -> int | None:
    """Return where a timeline ended according to a history file; None: the server does not descend from it.

    Each line names a parent timeline, the LSN where it was left, and a reason (`timeline.c`, "readTimeLineHistory").
    """
    for line in history.splitlines():
        words = line.split("\t")
        if len(words) >= 2 and words[0].strip() == str(timeline):
            return parse_lsn(words[1])
    return None


def check_position(
    stored: Mapping[str, str],
    present: Mapping[str, str],
    position: Position,
    slot: Slot | None,
    end: Position,
    left_at: int | None = None,
) -> None:
    """Raise SOURCE_LOG_LOST unless the log that follows `position` is still there, and is the one it belongs to.

    `left_at`: where the server left the stored timeline, if it is on a later one. Raises SOURCE_CONNECTION for a
    standby of the server that the position is from: it may be promoted in a moment.
    """
    for member, what in (("system_identifier", "server"), ("database", "database"), ("slot", "replication slot")):
        if stored.get(member) != present.get(member):
            raise _lost(
                f"the position belongs to another {what}: {stored.get(member)}, and this is {present.get(member)}",
                position,
                "connect to the one that was captured, or give this replication a `name` of its own. If it is to take "
                f"the other's place: {RELOAD}",
            )
    if STANDBY in present and STANDBY not in stored:
        raise TailraceError(
            ErrorKind.SOURCE_CONNECTION,
            "the server is a standby of the one that was captured",
            remedy="promote it, or connect to the primary server (in source.parameters: target_session_attrs: "
            "read-write)",
        )
    promoted = stored.get("timeline") != present.get("timeline")
    if promoted:
        _check_promotion(stored, present, position, left_at)
    if slot is None:
        came_along = (
            " did not come along when the server was promoted. A slot does from PostgreSQL 17 on: where the standby "
            "has sync_replication_slots = on, and source.failover is true"
        )
        raise _lost(
            f"the replication slot {present['slot']}{came_along if promoted else ' is gone'}; with it the log that was "
            "kept for it",
            position,
        )
    check_slot(slot, present["database"])
    if slot.confirmed_lsn > position.commit:
        raise _lost(
            f"the slot starts at {format_lsn(slot.confirmed_lsn)}: the changes from {format_position(position)} up to "
            "there were confirmed by somebody else, or belong to an earlier slot of that name",
            position,
        )
    if end.commit < position.commit:
        raise _lost(
            f"the server's log ends at {format_lsn(end.commit)}, before the position: it was restored or promoted "
            "from a state that is older than what was captured",
            position,
        )


def _check_promotion(
    stored: Mapping[str, str], present: Mapping[str, str], position: Position, left_at: int | None
) -> None:
    """Raise SOURCE_LOG_LOST unless all that was captured is part of the present timeline's past."""
    if left_at is None:
        raise _lost(
            f"the server is on timeline {present.get('timeline')}, which does not descend from timeline "
            f"{stored.get('timeline')} that was captured",
            position,
        )
    # A standby that is promoted in place goes on under the open stream: positions of the new timeline were stored
    # under the old one's number. Its slot is its own, no other server has one.
    if left_at < position.commit and STANDBY not in stored:
        raise _lost(
            f"the server left timeline {stored.get('timeline')} at {format_lsn(left_at)}, before the position: what "
            "was captured from there on is not in this server, which was promoted or restored without it. "
            "(synchronized_standby_slots, PostgreSQL 17 and later, holds changes back until the standby has them)",
            position,
        )


def _lost(message: str, position: Position, remedy: str = RELOAD) -> TailraceError:
    return TailraceError(ErrorKind.SOURCE_LOG_LOST, message, position=format_position(position), remedy=remedy)


def _creation_error(error: TailraceError, name: str) -> TailraceError:
    state = getattr(error.__cause__, "sqlstate", None)
    remedies: dict[str, str] = {
        "55000": "alter system set wal_level = 'logical', then restart the server",
        "53400": "alter system set max_replication_slots = …, then restart the server; or drop an unused slot",
        "42501": "alter role … replication (on Amazon RDS: grant rds_replication to …)",
        "57014": "a transaction has been running all the time: see pg_stat_activity for the oldest xact_start, end it, "
        "and start again",
    }
    if state not in remedies:
        return error
    return TailraceError(ErrorKind.PREREQUISITE, error.message, remedy=remedies[state])
