"""What the log may hold that is not supported: by name, with what to do about it."""

from __future__ import annotations

from capture.sources.mysql import binlog
from schemas.errors import ErrorKind, TailraceError

RELOAD = "`tailrace reset` and load anew"

REFUSED = {
    binlog.TAGGED_GTID: (
        "a transaction whose GTID has a tag, which is not supported",
        "set gtid_next without a tag in the sessions that write",
    ),
    binlog.ANONYMOUS_GTID: (
        "a transaction without a GTID",
        "set global gtid_mode = ON (by way of OFF_PERMISSIVE and ON_PERMISSIVE), and "
        "enforce_gtid_consistency = ON, or source.positions = file; then " + RELOAD,
    ),
    binlog.INCIDENT: ("an incident: the server itself lost changes", RELOAD),
    binlog.MARIADB_START_ENCRYPTION: (
        "encrypted events that the server did not decrypt",
        "let the server send the log to replicas as usual",
    ),
}


def lost_transaction() -> TailraceError:
    """Return the error that the commit of an XA transaction leads to whose changes are not to be found."""
    return TailraceError(
        ErrorKind.SOURCE_LOG_LOST,
        "a transaction of XA commits that was prepared before the log begins: what it changed is not there any more",
        remedy=f"keep the log for longer than transactions stay prepared (binlog_expire_logs_seconds); then {RELOAD}",
    )
