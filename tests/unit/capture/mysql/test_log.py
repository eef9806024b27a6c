"""What the log's reader does with events that servers seldom write."""

from __future__ import annotations

import struct
from typing import cast
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import Gtid
from capture.sources.mysql.files import FileOffset
from capture.sources.mysql.gtid import MysqlGtids
from capture.sources.mysql.log import MysqlLog
from capture.sources.mysql.position import position_of
from capture.sources.mysql.prepared import UNDECIDED_S, PreparedTransactions
from capture.sources.mysql.refusals import refused
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


SERVERS = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "00000000-0000-0000-0000-000000000001")

Group = tuple[int, int, tuple[tuple[int, bytes], ...]]
"""Which server, the number, and what follows."""


class Replica:
    """A log that is sent as a server with GTIDs does: what is not in the set that is asked for, piece by piece."""

    def __init__(self, *groups: Group) -> None:
        self._groups = groups
        self._left: list[bytes | None] = []

    def start(self, after: MysqlGtids) -> None:
        self._left = []
        for server, number, events in self._groups:
            if MysqlGtids.parse(f"{SERVERS[server]}:{number}").missing_from(after).size:
                gtid = b"\0" + UUID(SERVERS[server]).bytes + number.to_bytes(8, "little") + bytes(2)
                for kind, body in ((binlog.GTID, gtid), *events):
                    header = struct.pack("<IBIIIH", 1_700_000_000, kind, 1, 19 + len(body), 0, 0)
                    self._left += [b"\0" + header + body, None]

    def poll(self) -> bytes | None:
        return self._left.pop(0) if self._left else None

    def close(self) -> None:
        self._left = []


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


@pytest.mark.parametrize(("kind", "flags"), [(binlog.VIEW_CHANGE, 0), (200, binlog.MAY_BE_IGNORED)])
def test_what_says_nothing_of_rows_is_passed_over(kind: int, flags: int) -> None:
    assert refused(kind, b"\0" + struct.pack("<IBIIIH", 0, kind, 1, 19, 0, flags)) is None


@pytest.mark.parametrize(("kind", "flags"), [(200, 0), (binlog.INCIDENT, binlog.MAY_BE_IGNORED)])
def test_an_event_of_an_unknown_kind_may_hold_rows(kind: int, flags: int) -> None:
    """MariaDB 12 can write rows in pieces, in events of a new kind: they were passed over, and with them the rows."""
    event = b"\0" + struct.pack("<IBIIIH", 0, kind, 1, 19, 0, flags)
    found = refused(kind, event)
    assert found is not None
    assert found.kind is ErrorKind.PREREQUISITE


def test_looking_back_waits_for_nothing_and_ends_where_the_transaction_is_decided() -> None:
    """On a replica that took over others stand before the decision than at the server that the position came from."""
    xid = "X'61',X'62',7"
    prepare = binlog.XA_PREPARE, struct.pack("<BIII", 0, 7, 1, 1) + b"ab"
    replica = Replica(
        (1, 9, (query("BEGIN"), (binlog.XID, bytes(8)))),
        (0, 3, (query(f"XA START {xid}"), query(f"XA END {xid}"), prepare)),
        (0, 4, (query(f"XA COMMIT {xid}"),)),
        (1, 1, (query("BEGIN"), (binlog.XID, bytes(8)))),
        (0, 5, (query("BEGIN"), (binlog.XID, bytes(8)))),
    )
    place = MysqlGtids.parse(f"{SERVERS[0]}:1-3,{SERVERS[1]}:1")
    position = position_of(place, f"{SERVERS[0]}:1-2")
    log = MysqlLog(
        cast("LogStream", replica), cast("Versions", None), place, position, lambda changes: None, MysqlGtids.parse
    )
    in_vain = 0
    while not (changes := log.poll(0)) or changes[-1].position.mark != f"{SERVERS[1]}:1:9,{SERVERS[0]}:1-5":  # type: ignore[union-attr]
        in_vain += not changes
        assert in_vain < 100
    # Whoever polls can do other things while the log is looked through.
    assert in_vain > 5


def test_what_is_prepared_for_long_is_warned_of() -> None:
    """With its name and age: the log must be kept for it."""
    prepared = PreparedTransactions("")
    prepared.begin("0-1-1", "0-1-2", 1_000)
    prepared.end((1, b"a", b""), b"")
    with capture_logs() as told:
        prepared.warn(1_000 + UNDECIDED_S - 1)
        assert not told
        for later in (0, 1, UNDECIDED_S):
            prepared.warn(1_000 + UNDECIDED_S + later)
    assert [(line["xid"], line["age_s"]) for line in told] == [
        ("X'61',X'',1", UNDECIDED_S),
        ("X'61',X'',1", 2 * UNDECIDED_S),
    ]


def test_a_file_of_another_log_is_not_the_positions() -> None:
    """`reset binary logs` begins again with the same names."""
    place = FileOffset.parse("binlog.000001:157@1700000000")
    description = b"\0" + struct.pack("<IBIIIH", 1_700_000_000, binlog.FORMAT_DESCRIPTION, 1, 100, 0, 0) + bytes(81)
    place.see(description, len(description))
    assert (place.text(), place.begin(Gtid(("", 0), 0, 0, 100))) == (
        "binlog.000001:157@1700000000",
        "binlog.000001:157",
    )
    with pytest.raises(TailraceError, match="was reset") as caught:
        FileOffset.parse("binlog.000001:157@1699999999").see(description, len(description))
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST


def test_a_tagged_gtid_is_read() -> None:
    """Field by field, small and large numbers; `transaction_length` alone may lack."""
    server = bytes.fromhex(SERVERS[0].replace("-", ""))

    def number(value: int) -> bytes:
        size = next(n for n in range(1, 9) if value < 1 << 7 * n)
        return (value << size | (1 << size - 1) - 1).to_bytes(size, "little")

    def event(count: int, stamp: int, *more: int) -> bytes:
        numbers = (1, 0, 0, 0, 1, 1)
        body = b"".join(map(number, numbers)) + b"".join(number(byte) for byte in server)
        body += number(2) + number(count << 1) + number(3) + number(3) + b"tag" + number(4) + number(0)
        return body + number(6) + number(stamp) + b"".join(map(number, more))

    for count in (1, 63, 64, 1 << 40):
        stamp = 1_700_000_000_123_456
        found = binlog.parse_tagged_gtid(bytes(20) + event(count, stamp, 8, 337, 9, 90_700), 20)
        assert found == Gtid((f"{SERVERS[0]}:tag", count), 0, stamp, 337)
        assert found.text == f"{SERVERS[0]}:tag:{count}"
    with pytest.raises(ValueError, match="ends within"):
        binlog.parse_tagged_gtid(event(1, stamp)[:-1], 0)


def test_a_transaction_beyond_what_offsets_reach_is_refused() -> None:
    """Else its number would be that of a place in the next file."""
    place = FileOffset("binlog.000001", 157)
    assert place.begin(Gtid(("", 0), 0, 0, (1 << 32) - 158)) == "binlog.000001:157"
    assert place.size < FileOffset("binlog.000002", 4).size
    with pytest.raises(TailraceError, match="4 GiB") as caught:
        FileOffset("binlog.000001", 157).begin(Gtid(("", 0), 0, 0, (1 << 32) - 157))
    assert caught.value.kind is ErrorKind.PREREQUISITE
