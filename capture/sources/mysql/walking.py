"""Going through a part of the log for what transactions say of themselves, without looking at rows."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import Gtid, Query
from capture.sources.mysql.compression import mariadb_unpacked, payload_events
from capture.sources.mysql.files import FileOffset
from capture.sources.mysql.packets import Packet, error_of
from capture.sources.mysql.position import Place
from capture.sources.mysql.replication import LogStream
from schemas.errors import ErrorKind, TailraceError

_WAIT_S = 0.5
_BODY = 1 + binlog.HEADER_BYTES


class Event(NamedTuple):
    """An event of the log, with a status byte before its header."""

    kind: int
    content: bytes
    gtid: Gtid | None
    """Of the event that begins a transaction."""
    before: str
    """The place before the transaction."""
    transaction: str
    """The transaction's name."""
    time_s: int


def read_gtid(kind: int, m: Packet, end: int) -> Gtid | None:
    """Return what an event says that begins a transaction; None for others."""
    if kind in (binlog.GTID, binlog.ANONYMOUS_GTID):
        return binlog.parse_gtid(m[:end], _BODY)
    if kind == binlog.TAGGED_GTID:
        return binlog.parse_tagged_gtid(m[:end], _BODY)
    if kind == binlog.MARIADB_GTID:
        event = bytes(m)
        return binlog.parse_mariadb_gtid(event, _BODY, binlog.header(event, 1)[2])
    return None


def checksum_bytes(m: Packet) -> int:
    """Return how long the checksum is behind each event that follows this FORMAT_DESCRIPTION, of which a stream's first
    ROTATE comes before. The event's own is always there, and before it a byte that tells.
    """
    return 4 if m[-5] == 1 else 0


def read_query(kind: int, m: bytes) -> Query:
    """Return the statement of an event that holds one."""
    if kind == binlog.EXECUTE_LOAD_QUERY:
        # A query's, with what is told of the file between its fixed and its variable part.
        m = m[: _BODY + 13] + m[_BODY + 26 :]
    _, _, server, _, _, flags = binlog.header(m, 1)
    query = binlog.parse_query(m, _BODY)._replace(
        is_of_session=bool(flags & binlog.THREAD_SPECIFIC),
        session=(server, int.from_bytes(m[_BODY : _BODY + 4], "little")),
    )
    if kind == binlog.QUERY_COMPRESSED:
        return query._replace(content=bytes(mariadb_unpacked(query.content, 0, len(query.content))))
    return query


def walk(stream: LogStream, place: Place) -> Generator[Event | None, None, None]:
    """Yield the events after a place, which moves along; None when nothing more has arrived: nobody waits in here.

    Ends the stream when it is closed. Raises SOURCE_CONNECTION, SOURCE_LOG_LOST.
    """
    before = transaction = ""
    checksum = 0
    try:
        stream.start(place)
        while True:
            m = stream.poll()
            if m is None:
                yield None
                continue
            if m[0]:
                raise error_of(bytes(m), "reading the log")
            seconds, kind, *_ = binlog.header(m[:_BODY], 1)
            if kind == binlog.FORMAT_DESCRIPTION:
                checksum = checksum_bytes(m)
            end = len(m) - checksum
            gtid = read_gtid(kind, m, end)
            if gtid is not None:
                if isinstance(place, FileOffset):
                    place.end()
                before = place.text()
                transaction = place.begin(gtid)
            elif isinstance(place, FileOffset):
                place.see(m, end)
            yield Event(kind, _shown(kind, m, end), gtid, before, transaction, seconds)
            for nested in payload_events(m, _BODY, end, stream.directory) if kind == binlog.TRANSACTION_PAYLOAD else ():
                yield Event(nested[5], _shown(nested[5], nested, len(nested)), gtid, before, transaction, seconds)
    finally:
        stream.close()


def _shown(kind: int, m: Packet, end: int) -> bytes:
    """Return an event as those see it who do not look at rows, which may be in a file."""
    return m[:end] if isinstance(m, bytes) or kind in (binlog.QUERY, binlog.QUERY_COMPRESSED) else m[:_BODY]


def find_time(stream: LogStream, begin: Place, end: int, committed_from_us: int) -> str:
    """Return the place before the first transaction that was committed at a moment or later, or `end`.

    Raises SOURCE_LOG_LOST where the log, of which `begin` is the beginning, does not reach back to the moment, as far
    as can be told.
    """
    is_known = begin.is_first
    found = None
    with closing(walk(stream, begin)) as events:
        while found is None and begin.size < end:
            event = next(events)
            if event is None:
                stream.connection.wait(_WAIT_S)
            elif event.gtid is not None:
                if (event.gtid.commit_ts_us or event.time_s * 1_000_000) >= committed_from_us:
                    found = event.before
                else:
                    is_known = True
    if not is_known:
        raise TailraceError(
            ErrorKind.SOURCE_LOG_LOST,
            "the log does not reach back to the start position's moment, as far as can be told",
            remedy="choose a later moment, or `now`",
        )
    return begin.text() if found is None else found
