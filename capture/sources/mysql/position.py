"""Positions in MySQL's and MariaDB's logs: how they print, and what their numbers mean.

`Position.mark` is the place: the set of transactions that are behind, as the server prints it (`gtid.py`), or a file
and an offset where MySQL has no GTIDs (`files.py`). `commit` is the number that orders places. `row` counts the changes
of the transaction `txn`, the next one, that are behind too. While transactions of XA are prepared and not yet
committed, the mark also says from where on the log must be kept for them: `PLACE since PLACE` (`prepared.py`).
"""

from __future__ import annotations

import re

from capture.sources.mysql.files import FileOffset
from capture.sources.mysql.gtid import Gtids, MariadbGtids, MysqlGtids, parse_gtids
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position

Place = Gtids | FileOffset

_SINCE = " since "


def position_of(place: Place, since: str = "") -> Position:
    """Return the position at a place; `since` prints the place before the first transaction that is prepared there."""
    return Position(place.size, 0, place.text() + (_SINCE + since if since else ""))


def place_of(position: Position, *, is_mariadb: bool) -> Place:
    """Return the place of a position. Raises CONFIGURATION if the other server wrote it."""
    return read_place(position.mark.partition(_SINCE)[0], is_mariadb=is_mariadb)


def since_of(position: Position) -> str:
    """Return from where on the log must be kept for prepared transactions; empty: from the place itself."""
    return position.mark.partition(_SINCE)[2]


def read_place(text: str, *, is_mariadb: bool) -> Place:
    """Read what a place prints. Raises CONFIGURATION if the other server wrote it."""
    try:
        if is_mariadb:
            return MariadbGtids.parse(text)
        return _mysql_place(text)
    except ValueError as error:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"the position {text} is not one of {'MariaDB' if is_mariadb else 'MySQL'}: {error}",
        ) from error


def format_position(position: Position) -> str:
    """Print a position: its mark, and `+N` where N changes after it are behind us too."""
    return (position.mark or "(empty)") + (f"+{position.row}" if position.row else "")


def parse_position(text: str) -> Position:
    """Read what `format_position` prints. Raises CONFIGURATION."""
    found = re.fullmatch(r"(.*?)(?:\+(\d{1,18}))?", text.strip(), re.DOTALL)
    try:
        if found is None or not found[1]:
            raise ValueError("it is empty")
        first, _, second = found[1].partition(_SINCE)
        place = _any_place("" if first == "(empty)" else first)
        since = _any_place(second).text() if second else ""
    except ValueError as error:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"this is no position of MySQL or MariaDB: {error}",
            remedy="take it from `tailrace status`, or from `select @@global.gtid_executed` (MySQL; without GTIDs "
            "`show binary log status`: FILE:POSITION) or `select @@global.gtid_binlog_pos` (MariaDB)",
        ) from error
    return position_of(place, since)._replace(row=int(found[2] or 0))


def _mysql_place(text: str) -> Place:
    try:
        return FileOffset.parse(text)
    except ValueError:
        return MysqlGtids.parse(text)


def _any_place(text: str) -> Place:
    try:
        return FileOffset.parse(text)
    except ValueError:
        return parse_gtids(text)
