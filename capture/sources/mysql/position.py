"""Positions of MySQL's and MariaDB's logs: how they print, and what their numbers mean.

`Position.mark` is the set of transactions that are behind, as the server prints it; `commit` is its size (`gtid.py`).
`row` counts the changes of the transaction `txn`, the next one, that are behind too.
"""

from __future__ import annotations

import re

from capture.sources.mysql.gtid import Gtids, MariadbGtids, MysqlGtids, parse_gtids
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position


def position_of(gtids: Gtids) -> Position:
    """Return the position behind these transactions."""
    return Position(gtids.size, 0, gtids.text())


def gtids_of(position: Position, *, is_mariadb: bool) -> Gtids:
    """Return the transactions before a position. Raises CONFIGURATION if the other server wrote it."""
    try:
        return (MariadbGtids if is_mariadb else MysqlGtids).parse(position.mark)
    except ValueError as error:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"the position {format_position(position)} is not one of {'MariaDB' if is_mariadb else 'MySQL'}: {error}",
        ) from error


def format_position(position: Position) -> str:
    """Print a position: a GTID set, and `+N` where N changes after it are behind us too."""
    return (position.mark or "(empty)") + (f"+{position.row}" if position.row else "")


def parse_position(text: str) -> Position:
    """Read what `format_position` prints. Raises CONFIGURATION."""
    found = re.fullmatch(r"(.*?)(?:\+(\d{1,18}))?", text.strip(), re.DOTALL)
    try:
        if found is None or not found[1]:
            raise ValueError("it is empty")
        gtids = parse_gtids("" if found[1] == "(empty)" else found[1])
    except ValueError as error:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"this is no position of MySQL or MariaDB: {error}",
            remedy="take it from `tailrace status`, or from `select @@global.gtid_executed` (MySQL) or "
            "`select @@global.gtid_binlog_pos` (MariaDB)",
        ) from error
    return Position(gtids.size, int(found[2] or 0), gtids.text())
