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
        "enforce_gtid_consistency = ON; then " + RELOAD,
    ),
    binlog.INCIDENT: ("an incident: the server itself lost changes", RELOAD),
    binlog.MARIADB_START_ENCRYPTION: (
        "encrypted events that the server did not decrypt",
        "let the server send the log to replicas as usual",
    ),
}


def xa_error() -> TailraceError:
    """Return the error that a prepared transaction of XA leads to."""
    return TailraceError(
        ErrorKind.PREREQUISITE,
        "a transaction of XA changes a captured table, and prepares before it commits: that is not supported",
        remedy=f"write to captured tables without XA; then {RELOAD}",
    )
