"""Positions of PostgreSQL's log: how they print, and what their numbers mean.

`Position.commit` is the LSN where the last transaction that is behind us ended (the byte after its commit record), or a
later LSN that the server said it has sent everything before. The server sends a transaction again exactly if its commit
record starts at or after the LSN that reading starts from (`SnapBuildXactNeedsSkip` in `snapbuild.c`), so nothing
before `commit` comes twice and nothing after it is left out. `row` counts the changes after it, see `log.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.changes import Begin, Change, Commit, LogMessage, RowChanges, SmallTransactions, Truncate
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})(?:\+([0-9]{1,18}))?")

BLOCK_BYTES = 8192
"""Size of a WAL page. A server compiled with another one only loses `last_record_end`'s correction."""

_PAGE_HEADERS = (24, 40)
"""Bytes of a page's short and long header (`xlog_internal.h`: SizeOfXLogShortPHD, SizeOfXLogLongPHD)."""


def format_lsn(lsn: int) -> str:
    """Print an LSN as PostgreSQL does: `0/16B3748`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Read an LSN that the server printed. Raises ValueError."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def format_position(position: Position) -> str:
    """Print a position: an LSN, and `+N` where N changes after it are behind us too."""
    return format_lsn(position.commit) + (f"+{position.row}" if position.row else "")


def parse_position(text: str) -> Position:
    """Read what `format_position` prints. Raises CONFIGURATION."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "a position of PostgreSQL is written like 0/16B3748 or 0/16B3748+12",
            remedy="take it from `tailrace status`, or from `select pg_current_wal_lsn()`",
        )
    high, low, row = match.groups()
    return Position(int(high, 16) << 32 | int(low, 16), int(row or 0))


def last_record_end(insert_lsn: int) -> int:
    """Return where the last record ended, from `pg_current_wal_insert_lsn()`.

    That function skips the header of a page that nothing has been written to yet; what the server sends never does, so
    that an idle log would never seem to be read that far. No record can end within a header.
    """
    offset = insert_lsn % BLOCK_BYTES
    return insert_lsn - offset if offset in _PAGE_HEADERS else insert_lsn


def changes_since_begin(out: Sequence[Change]) -> int:
    """Return how many changes of the last transaction among these `Position.row` counts."""
    count = 0
    for change in reversed(out):
        if isinstance(change, RowChanges):
            count += change.count
        elif isinstance(change, Truncate) or (isinstance(change, LogMessage) and change.txn is not None):
            count += 1
        elif isinstance(change, Begin | Commit | SmallTransactions):
            break
    return count
