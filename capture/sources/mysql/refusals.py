"""What the log may hold that is not supported: by name, with what to do about it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from struct import error as struct_error

from capture.source import RELOAD
from capture.sources.mysql import binlog
from capture.sources.mysql.packets import Packet, error_of
from schemas.errors import ErrorKind, TailraceError

_REFUSED = {
    binlog.ANONYMOUS_GTID: (
        "a transaction without a GTID",
        "set global gtid_mode = ON (by way of OFF_PERMISSIVE and ON_PERMISSIVE), and "
        "enforce_gtid_consistency = ON, or source.positions = file; then " + RELOAD,
    ),
    binlog.INCIDENT: ("an incident: the server itself lost changes", RELOAD),
}
_PASSED = frozenset(
    {
        # Where the log goes on, and that it does; how its file is encrypted, though what is sent of it is not; what a
        # group of servers says; how a statement came about.
        *(binlog.STOP, binlog.ROTATE, binlog.HEARTBEAT, binlog.HEARTBEAT_2, binlog.PREVIOUS_GTIDS),
        *(binlog.TRANSACTION_CONTEXT, binlog.VIEW_CHANGE, binlog.MARIADB_CHECKPOINT, binlog.MARIADB_GTID_LIST),
        binlog.MARIADB_START_ENCRYPTION,
        *(binlog.ROWS_QUERY, binlog.MARIADB_ANNOTATE_ROWS, binlog.INTVAR, binlog.RAND, binlog.USER_VAR),
        *(binlog.BEGIN_LOAD_QUERY, binlog.APPEND_BLOCK, binlog.DELETE_FILE, binlog.IGNORABLE),
    }
)


def refused(kind: int, m: Packet) -> TailraceError | None:
    """Return the error of an event that is for none of those who read others; None of one that can be passed over.

    One of a kind that is not known may hold rows, unless it says itself that it can be ignored.
    """
    if kind in _PASSED:
        return None
    flags = binlog.header(m[: 1 + binlog.HEADER_BYTES], 1)[-1]
    if kind not in _REFUSED and flags & binlog.MAY_BE_IGNORED:
        return None
    unknown = (f"an event of a kind that is not known ({kind})", "take a later release of Tailrace, or report it")
    what, remedy = _REFUSED.get(kind, unknown)
    return TailraceError(ErrorKind.PREREQUISITE, f"the log holds {what}", remedy=remedy)


def end_of_stream(m: bytes) -> TailraceError:
    """Return the error of a packet that holds no event."""
    if m[0] != 0xFF:
        return TailraceError(ErrorKind.SOURCE_CONNECTION, "the server ended the log's stream")
    error = error_of(m, "reading the log")
    if error.kind is ErrorKind.SOURCE_LOG_LOST:
        error.remedy = RELOAD
    return error


def lost_transaction() -> TailraceError:
    """Return the error that the commit of an XA transaction leads to whose changes are not to be found."""
    return TailraceError(
        ErrorKind.SOURCE_LOG_LOST,
        "a transaction of XA commits that was prepared before the log begins: what it changed is not there any more",
        remedy=f"keep the log for longer than transactions stay prepared (binlog_expire_logs_seconds); then {RELOAD}",
    )


UNREADABLE = (struct_error, IndexError, ValueError, KeyError, OverflowError, ArithmeticError, zlib.error)
"""What reading an event raises that is not what it should be."""


@contextmanager
def read_errors(position: Callable[[], str]) -> Iterator[None]:
    """Let errors say where in the log they are; what cannot be read becomes DECODE."""
    try:
        yield
    except UNREADABLE as error:
        raise unreadable(error, position()) from error
    except TailraceError as error:
        error.position = error.position or position()
        raise


def unreadable(error: Exception, position: str = "", table: str | None = None) -> TailraceError:
    """Return the error of an event, or of a table's rows in one, that cannot be read."""
    if isinstance(error, UnicodeError):
        said = "a text in the log is none in the charset of its column"
        remedy = f"correct the row; the log keeps what it held, so then {RELOAD}"
    else:
        # Our own ValueErrors say what is wrong; a library's could repeat a value.
        what = error if isinstance(error, ValueError) else "?"
        said = f"the log holds an event that cannot be read ({type(error).__name__}: {what})"
        remedy = "this is a fault of Tailrace or of the server: keep the log, and report it"
    return TailraceError(ErrorKind.DECODE, said, position=position, table=table, remedy=remedy)
