"""Sets of global transaction ids, MySQL's and MariaDB's, and the number that orders them.

Along one server's log every transaction adds exactly one id to the set of those before it. So the *size* of that set
orders positions, on this server and on every replica that has the same transactions: it is what `Position.commit`
holds. MySQL: the count of ids. MariaDB, whose sets say only the last sequence number of each domain: the sum of those
numbers, which grows with each transaction as long as no domain counts backwards.

Forms: MySQL reference manual, "GTID Format and Storage"; MariaDB knowledge base, "Global Transaction ID".
"""

from __future__ import annotations

import re
from uuid import UUID

from capture.sources.mysql.binlog import Gtid
from schemas.errors import ErrorKind, TailraceError

_MYSQL_SET = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}((:[a-z_]\w{0,31})?(:\d+(-\d+)?)+)+", re.ASCII)
_MARIADB_ID = re.compile(r"(\d+)-(\d+)-(\d+)")


_TAGS_FOLLOW = 1
"""Says of the form in which a set is sent that each server's UUID has a tag behind it, which may be empty."""


class MysqlGtids:
    """Intervals of numbers by server, or server and tag (`UUID:TAG`, from MySQL 8.3 on); ends are inclusive."""

    def __init__(self, intervals: dict[str, list[tuple[int, int]]]) -> None:
        self._intervals = intervals
        self.size = sum(last - first + 1 for ranges in intervals.values() for first, last in ranges)
        self._current = ""
        self._head = self._tail = ""

    @classmethod
    def parse(cls, text: str) -> MysqlGtids:
        """Read what MySQL prints. Raises ValueError."""
        intervals: dict[str, list[tuple[int, int]]] = {}
        for part in filter(None, re.split(r"[\s,]+", text.lower())):
            if _MYSQL_SET.fullmatch(part) is None:
                raise ValueError("no GTID set of MySQL")
            server, *words = part.split(":")
            origin = server
            for word in words:
                if not word[0].isdigit():
                    origin = f"{server}:{word}"
                    continue
                first, _, last = word.partition("-")
                intervals.setdefault(origin, []).append((int(first), int(last or first)))
        return cls({server: _merged(ranges) for server, ranges in intervals.items()})

    def add(self, server: str, number: int) -> None:
        """Add one id. Raises INVARIANT for one that is in the set."""
        ranges = self._intervals.setdefault(server, [])
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        elif any(first <= number <= last for first, last in ranges):
            raise TailraceError(ErrorKind.INVARIANT, f"the log repeats transaction {server}:{number}")
        else:
            ranges[:] = _merged([*ranges, (number, number)])
            self._current = ""
        self.size += 1
        if server != self._current:
            self._compose(server)

    def begin(self, gtid: Gtid) -> str:
        """Go on to the transaction of an event; return its name. Raises INVARIANT for one that is behind."""
        server, number = gtid.parts  # type: ignore[misc]  # of MySQL's events two, of MariaDB's three
        self.add(server, number)
        return gtid.text

    @property
    def is_first(self) -> bool:
        """Whether no transaction is behind."""
        return not self.size

    def text(self) -> str:
        """Print the set."""
        if self._current:
            return f"{self._head}{self._intervals[self._current][-1][1]}{self._tail}"
        return ",".join(_printed(server, ranges) for server, ranges in sorted(self._intervals.items()))

    def missing_from(self, other: MysqlGtids) -> MysqlGtids:
        """Return the ids of this set that `other` does not have."""
        result: dict[str, list[tuple[int, int]]] = {}
        for server, ranges in self._intervals.items():
            left = ranges
            for low, high in other._intervals.get(server, ()):
                left = [
                    piece
                    for first, last in left
                    for piece in ((first, min(last, low - 1)), (max(first, high + 1), last))
                    if piece[0] <= piece[1]
                ]
            if left:
                result[server] = left
        return MysqlGtids(result)

    def encoded(self) -> bytes:
        """Return the set as COM_BINLOG_DUMP_GTID sends it; the ends of intervals are exclusive there."""
        count = len(self._intervals)
        has_tags = any(":" in origin for origin in self._intervals)
        parts = [(count << 8 | _TAGS_FOLLOW << 56 | _TAGS_FOLLOW if has_tags else count).to_bytes(8, "little")]
        for origin, ranges in sorted(self._intervals.items()):
            server, _, tag = origin.partition(":")
            parts.append(UUID(server).bytes)
            if has_tags:
                parts += [bytes([len(tag) << 1]), tag.encode()]
            parts.append(len(ranges).to_bytes(8, "little"))
            parts += [first.to_bytes(8, "little") + (last + 1).to_bytes(8, "little") for first, last in ranges]
        return b"".join(parts)

    def _compose(self, server: str) -> None:
        """Keep the text around the number that the next transactions change."""
        before: list[str] = []
        after: list[str] = []
        for name, ranges in sorted(self._intervals.items()):
            (before if name <= server else after).append(_printed(name, ranges))
        last = self._intervals[server][-1]
        head = ",".join(before)
        # The interval's end, printed even where it is its beginning: `5-5` is read as `5`.
        digits = len(str(last[1]))
        self._head = head if last[0] == last[1] else head[:-digits]
        self._head = self._head + "-" if last[0] == last[1] else self._head
        self._tail = "".join("," + text for text in after)
        self._current = server


class MariadbGtids:
    """The last transaction of each domain: domain to server and sequence number."""

    def __init__(self, domains: dict[int, tuple[int, int]]) -> None:
        self._domains = domains
        self.size = sum(sequence for _, sequence in domains.values())

    @classmethod
    def parse(cls, text: str) -> MariadbGtids:
        """Read what MariaDB prints. Raises ValueError."""
        domains: dict[int, tuple[int, int]] = {}
        for part in filter(None, re.split(r"[\s,]+", text)):
            found = _MARIADB_ID.fullmatch(part)
            if found is None:
                raise ValueError("no GTID position of MariaDB")
            domain, server, sequence = map(int, found.groups())
            if domain in domains:
                raise ValueError("a domain stands twice")
            domains[domain] = (server, sequence)
        return cls(domains)

    def add(self, domain: int, server: int, sequence: int) -> None:
        """Go on to a transaction. Raises INVARIANT if its domain counts backwards."""
        _, last = self._domains.get(domain, (0, 0))
        if sequence <= last:
            raise TailraceError(
                ErrorKind.INVARIANT,
                f"domain {domain} of the log counts backwards: {domain}-{server}-{sequence} after {last}",
                remedy="set gtid_strict_mode = ON at the server; then `tailrace reset` and load anew",
            )
        self._domains[domain] = (server, sequence)
        self.size += sequence - last

    def begin(self, gtid: Gtid) -> str:
        """Go on to the transaction of an event; return its name. Raises INVARIANT if its domain counts backwards."""
        domain, server, sequence = gtid.parts  # type: ignore[misc]  # as above
        self.add(domain, server, sequence)
        return gtid.text

    @property
    def is_first(self) -> bool:
        """Whether no transaction is behind."""
        return not self.size

    def text(self) -> str:
        """Print the position."""
        return ",".join(f"{domain}-{server}-{number}" for domain, (server, number) in sorted(self._domains.items()))

    def missing_from(self, other: MariadbGtids) -> MariadbGtids:
        """Return the domains in which this position is further than `other`, or at another server's transaction of the
        same number.
        """
        lacking = {}
        for domain, (server, number) in self._domains.items():
            other_server, last = other._domains.get(domain, (server, 0))
            if number > last or (number == last and server != other_server):
                lacking[domain] = (server, number)
        return MariadbGtids(lacking)


Gtids = MysqlGtids | MariadbGtids


def parse_gtids(text: str) -> Gtids:
    """Read a set of either form; an empty text is MariaDB's or MySQL's empty set. Raises ValueError."""
    first = text.strip().split(",")[0]
    return MariadbGtids.parse(text) if _MARIADB_ID.fullmatch(first.strip()) else MysqlGtids.parse(text)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if first < 1 or last < first:
            raise ValueError("an interval of GTIDs ends before it begins")
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return result


def _printed(server: str, ranges: list[tuple[int, int]]) -> str:
    return server + "".join(f":{first}" if first == last else f":{first}-{last}" for first, last in ranges)
