"""Comparison of what a Debezium connector captures: with the database that `source.origin` names.

How far the connector is nobody tells but its records: each change names its place in the log. All that was committed
before a place is on the topics once a change of a later place is, since connectors write in commit order. So does a
capture of ours that goes on in their topics; it counts MySQL's transactions, where the connector names files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apply.debezium.topics import open_reading, source_of
from control.status import Observer, applied_topics, known_tables
from runtime.kafka.admin import Topics
from runtime.kafka.ranges import read_ranges
from runtime.registry import open_registry
from schemas.debezium.ours import author_of
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings
from schemas.table import TableName

LAST_RECORDS = 20
"""Records of each partition that are looked at: behind the last change may be tombstones."""

FILES = 1 << 32
"""No place in a file of MySQL's log is below it."""

CHANGES = frozenset("cudt")
"""What the log tells; rows that were read are of a snapshot, whose place may be any."""


def check_origin(settings: Settings) -> list[TableName]:
    """Return the tables that appliers have taken up. Raises CONFIGURATION where there is nothing to compare with."""
    if source_of(settings).origin is None:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the source is topics: to compare, the database that the connector captures must be known",
            remedy="add `source.origin`, with the `engine`, `host`, `database`, `user` and `password` to read its "
            "tables with; only `verify` does",
        )
    if tables := known_tables(settings):
        return tables
    raise TailraceError(
        ErrorKind.CONFIGURATION, "no applier has taken up a table yet", remedy="run `tailrace apply` first"
    )


class Delivered:
    """Knows how far the connector is, by the newest change on the topics."""

    def __init__(self, settings: Settings, observer: Observer, end_for_ours: Callable[[], int]) -> None:
        """`end_for_ours` asks the database for the end of its log, as a capture of ours would count it."""
        self._settings = settings
        self._observer = observer
        self._cluster = Topics(settings.kafka)
        self._topics = applied_topics(settings)
        self._ends: Mapping[tuple[str, int], int] = {}
        self._place = self._place_of_ours = -1
        self._end_for_ours = end_for_ours
        self._asked: tuple[int, int] | None = None
        """A position, and the end of the log for ours when it was first asked for: no earlier a place."""

    def passed(self, position: int) -> bool:
        """Tell whether a change has come that was committed behind a position of the log."""
        ends = self._observer.ends(self._topics)
        new = {partition: end for partition, end in ends.items() if self._ends.get(partition) != end}
        if new and not self._is_behind(position):
            begins = self._cluster.begin_offsets(self._topics)
            self._look({p: (max(begins.get(p, 0), end - LAST_RECORDS), end) for p, end in new.items()})
            self._ends = ends
        return self._is_behind(position)

    def _is_behind(self, position: int) -> bool:
        if self._place >= position:
            return True
        if self._place_of_ours < 0:
            return False
        if self._asked is None or self._asked[0] != position:
            self._asked = position, self._end_for_ours()
        # A capture that counts by files at a server with GTIDs has larger numbers than the end has: its own are files'.
        return self._place_of_ours >= self._asked[1] and (
            self._place_of_ours < FILES or self._place_of_ours >= position
        )

    def _look(self, ranges: Mapping[tuple[str, int], tuple[int, int]]) -> None:
        registry = open_registry(self._settings.registry)
        try:
            reading = open_reading(self._settings, registry)
            for records in read_ranges(self._settings.kafka, ranges).values():
                for record in records:
                    if record.value is None:
                        continue
                    envelope = reading.envelope(record.value)
                    if author_of(envelope) is None:
                        self._place = max(self._place, place_of(envelope))
                    else:
                        self._place_of_ours = max(self._place_of_ours, place_of(envelope))
        finally:
            if registry is not None:
                registry.close()


def place_of(envelope: Mapping[str, Any]) -> int:
    """Return a change's place in its log, comparable with the source's own positions; -1 where it tells none.

    PostgreSQL: the LSN. MySQL: the file's number and the offset. MariaDB: the last sequence number that is certainly
    behind; where the server has several domains it is too low, and nothing is ever passed. Of a capture of ours: what
    comes before the transaction, as positions count it.
    """
    source = envelope.get("source") or {}
    if envelope.get("op") not in CHANGES or source.get("snapshot") in ("true", "incremental"):
        return -1
    if source.get("lsn") is not None:
        return int(source["lsn"]) - (author_of(envelope) is not None)
    if source.get("connector") == "mariadb":
        return int(str(source["gtid"]).rpartition("-")[2]) - 1 if source.get("gtid") else -1
    file = str(source.get("file") or "").rpartition(".")[2]
    return int(file) << 32 | int(source["pos"]) if file.isdecimal() else -1
