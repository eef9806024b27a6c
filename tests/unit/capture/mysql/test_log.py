"""What the log's reader does with events that servers seldom write."""

from __future__ import annotations

import struct
from typing import cast

import pytest

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import Gtid
from capture.sources.mysql.files import FileOffset
from capture.sources.mysql.log import MysqlLog
from capture.sources.mysql.position import position_of
from capture.sources.mysql.replication import LogStream
from capture.sources.mysql.versions import Versions
from schemas.errors import ErrorKind, TailraceError


class Events:
    """A stream of events, each standing behind the one before in one file."""

    def __init__(self, *events: tuple[int, bytes]) -> None:
        self._left: list[bytes] = []
        at = 157
        for kind, body in events:
            at += 19 + len(body)
            self._left.append(b"\0" + struct.pack("<IBIIIH", 0, kind, 1, 19 + len(body), at, 0) + body)

    def start(self, after: object) -> None:
        pass

    def poll(self) -> bytes | None:
        return self._left.pop(0) if self._left else None


def query(text: str) -> tuple[int, bytes]:
    return binlog.QUERY, struct.pack("<IIBHH", 1, 0, 0, 0, 0) + b"\0" + text.encode()


GROUP = (binlog.ANONYMOUS_GTID, bytes(42))


def test_a_group_of_xa_that_ends_unprepared_is_an_error() -> None:
    """Else the rows of all later transactions would be kept with it, and never go out."""
    xid = "X'61',X'',1"
    events = Events(GROUP, query(f"XA START {xid}"), query(f"XA END {xid}"), query(f"XA ROLLBACK {xid}"))
    place = FileOffset("binlog.000001", 157)
    log = MysqlLog(
        cast("LogStream", events),
        cast("Versions", None),
        place,
        position_of(place),
        lambda changes: None,
        FileOffset.parse,
    )
    with pytest.raises(TailraceError, match="not prepared") as caught:
        log.poll(0)
    assert caught.value.kind is ErrorKind.DECODE


def test_a_transaction_beyond_what_offsets_reach_is_refused() -> None:
    """Else its number would be that of a place in the next file."""
    place = FileOffset("binlog.000001", 157)
    assert place.begin(Gtid(("", 0), 0, 0, (1 << 32) - 158)) == "binlog.000001:157"
    assert place.size < FileOffset("binlog.000002", 4).size
    with pytest.raises(TailraceError, match="4 GiB") as caught:
        FileOffset("binlog.000001", 157).begin(Gtid(("", 0), 0, 0, (1 << 32) - 157))
    assert caught.value.kind is ErrorKind.PREREQUISITE
