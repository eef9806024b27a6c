"""The events of the binary log, as far as a reader of rows needs them.

Format: MySQL internals manual, "Replication Protocol" and `libbinlogevents`; MariaDB knowledge base, "Replication
Protocol". The functions take an event with its header of 19 bytes, and without the checksum behind it. Offsets count
from the event's first byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from capture.sources.mysql.charsets import decoder
from capture.sources.mysql.packets import length_at

HEADER_BYTES = 19

QUERY, STOP, ROTATE, FORMAT_DESCRIPTION, XID, TABLE_MAP = 2, 3, 4, 15, 16, 19
INTVAR, APPEND_BLOCK, DELETE_FILE, RAND, USER_VAR, BEGIN_LOAD_QUERY, EXECUTE_LOAD_QUERY = 5, 9, 11, 13, 14, 17, 18
WRITE_ROWS_1, UPDATE_ROWS_1, DELETE_ROWS_1 = 23, 24, 25
INCIDENT, HEARTBEAT, IGNORABLE, ROWS_QUERY = 26, 27, 28, 29
WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS = 30, 31, 32
GTID, ANONYMOUS_GTID, PREVIOUS_GTIDS, TRANSACTION_CONTEXT, VIEW_CHANGE = 33, 34, 35, 36, 37
XA_PREPARE, PARTIAL_UPDATE_ROWS, TRANSACTION_PAYLOAD, HEARTBEAT_2, TAGGED_GTID = 38, 39, 40, 41, 42
MARIADB_ANNOTATE_ROWS, MARIADB_CHECKPOINT, MARIADB_GTID = 160, 161, 162
MARIADB_GTID_LIST, MARIADB_START_ENCRYPTION = 163, 164
QUERY_COMPRESSED, WRITE_ROWS_COMPRESSED, UPDATE_ROWS_COMPRESSED, DELETE_ROWS_COMPRESSED = 165, 166, 167, 168

FIRST_BYTE = 4
"""Where the first event stands in a file of the log."""

MAY_BE_IGNORED = 0x80
"""Flag of an event that readers who do not know its kind may pass over."""

ARTIFICIAL = 0x20
"""Flag of an event that is not in the log but made up for the reader."""
THREAD_SPECIFIC = 0x4
"""Flag of a statement that depends on its session, as those do that open a temporary table (MySQL source documentation,
`LOG_EVENT_THREAD_SPECIFIC_F`). A routine's statements have it from those before them.
"""

_Q_SQL_MODE, _Q_CHARSET, _Q_CATALOG = 1, 4, 6
"""Status variables of a query."""
_Q_BYTES = {0: 4, _Q_SQL_MODE: 8, 3: 4}
"""Of those that come before the charset; a catalogue says its own length."""

STANDALONE, GROUP_COMMIT_ID, PREPARED_XA, COMPLETED_XA = 1, 2, 64, 128
"""Flags of MariaDB's GTID event."""

# Column types (`field_types.h`).
DECIMAL, TINY, SHORT, LONG, FLOAT, DOUBLE, NULL, TIMESTAMP, LONGLONG, INT24 = range(10)
DATE, TIME, DATETIME, YEAR, NEWDATE, VARCHAR, BIT, TIMESTAMP2, DATETIME2, TIME2 = range(10, 20)
BLOB_COMPRESSED, VARCHAR_COMPRESSED, VECTOR = 140, 141, 242
JSON, NEWDECIMAL, ENUM, SET, TINY_BLOB, MEDIUM_BLOB, LONG_BLOB = range(245, 252)
BLOB, VAR_STRING, STRING, GEOMETRY = range(252, 256)

_META_BYTES = {
    **dict.fromkeys((FLOAT, DOUBLE, TIMESTAMP2, DATETIME2, TIME2, BLOB, JSON, GEOMETRY, VECTOR, BLOB_COMPRESSED), 1),
    **dict.fromkeys((VARCHAR, BIT, NEWDECIMAL, VAR_STRING, STRING, ENUM, SET, VARCHAR_COMPRESSED), 2),
}
_BIG_ENDIAN_META = frozenset({NEWDECIMAL, STRING, VAR_STRING, ENUM, SET})

_NUMERIC = frozenset({TINY, SHORT, INT24, LONG, LONGLONG, NEWDECIMAL, FLOAT, DOUBLE, YEAR})
"""Types that have a bit in the map's signedness."""
_CHARACTER = frozenset({VARCHAR, VAR_STRING, STRING, BLOB, BLOB_COMPRESSED, VARCHAR_COMPRESSED})
_MYSQL_CHARACTER, _MARIADB_CHARACTER = _CHARACTER | {VECTOR}, _CHARACTER | {GEOMETRY}
"""Types that have a collation there: of those that hold bytes each server counts another one with them."""

_SIGNEDNESS, _DEFAULT_CHARSET, _COLUMN_CHARSET, _COLUMN_NAME = 1, 2, 3, 4
_SET_VALUES, _ENUM_VALUES, _GEOMETRY_TYPE, _PRIMARY_KEY, _PREFIXED_PRIMARY_KEY = 5, 6, 7, 8, 9
_ENUM_SET_DEFAULT_CHARSET, _ENUM_SET_COLUMN_CHARSET, _VECTOR_DIMENSIONS = 10, 11, 13

_TAGGED_SERVER, _TAGGED_NUMBER, _TAGGED_TAG, _TAGGED_STAMP, _TAGGED_LENGTH = 1, 2, 3, 6, 8
"""Fields of a GTID event whose id has a tag."""

header = Struct("<IBIIIH").unpack_from
"""Time in seconds, type, server id, size, end position in the file, flags."""
_mariadb_gtid = Struct("<QIB").unpack_from
_xid = Struct("<III").unpack_from


class Query(NamedTuple):
    """A statement in the log."""

    database: str
    content: bytes
    """Its text, in the charset of whoever sent it."""
    sql_mode: int = 0
    """The session's, as bits: how the text is to be read."""
    collation: int = 0
    """Number of one of that charset; 0: the event does not tell."""
    is_of_session: bool = False
    """Whether it may be about a temporary table."""
    session: tuple[int, int] = (0, 0)
    """The numbers of the server and, there, of the session."""

    def text(self, charset_of: Callable[[int], str] | None = None) -> str:
        """Decode the text, by the charset that a collation has. What cannot be is replaced: only words matter."""
        if charset_of is not None and not self.content.isascii():
            with contextlib.suppress(ValueError):
                return decoder(charset_of(self.collation))(self.content)
        return self.content.decode("utf-8", "replace")


class Gtid(NamedTuple):
    """What a GTID event says: the parts of the id, and how the transaction goes on."""

    parts: tuple[str, int] | tuple[int, int, int]
    """MySQL's: the server's UUID, with `:TAG` behind it where there is one, and a number."""
    flags: int
    """MariaDB's."""
    commit_ts_us: int
    """0: only the event's header tells."""
    length: int = 0
    """MySQL: how many bytes of the log the transaction takes, this event with them."""

    @property
    def text(self) -> str:
        """As the server prints it."""
        return (":" if len(self.parts) == 2 else "-").join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """One column as a table map describes it."""

    type: int
    meta: int
    nullable: bool
    unsigned: bool | None = False
    """Of numbers; None: the map does not tell (MariaDB's `binlog_row_metadata = NO_LOG`)."""
    collation: int = 0
    """Number of the collation; 0: the map does not tell, or there is none."""
    name: str | None = None
    """None: the map has no names (`binlog_row_metadata = MINIMAL`)."""
    values: tuple[bytes, ...] = ()
    """Of an enum or a set, in the column's charset."""
    detail: int = 0
    """Of a geometry: its type; of a vector: its dimensions."""


@dataclass(frozen=True, slots=True)
class TableMap:
    """A table as the log describes it, at this place of the log."""

    database: str
    table: str
    columns: tuple[MappedColumn, ...]
    primary_key: tuple[int, ...] = ()
    """Empty where there is none, or the map does not tell."""

    @property
    def is_full(self) -> bool:
        """Whether the map has names, charsets and values."""
        return not self.columns or self.columns[0].name is not None


def parse_query(m: bytes, at: int) -> Query:
    """Read a query event."""
    size = m[at + 8]
    status_bytes = int.from_bytes(m[at + 11 : at + 13], "little")
    status = _status(m[at + 13 : at + 13 + status_bytes])
    at += 13 + status_bytes
    return Query(m[at : at + size].decode("utf-8", "replace"), m[at + size + 1 :], *status)


def _status(status: bytes) -> tuple[int, int]:
    """Return the mode and the client's collation from a query's status variables, which stand in one order."""
    at = sql_mode = 0
    while at < len(status):
        kind = status[at]
        at += 1
        if kind == _Q_CHARSET:
            return sql_mode, int.from_bytes(status[at : at + 2], "little")
        if kind == _Q_SQL_MODE:
            sql_mode = int.from_bytes(status[at : at + 8], "little")
        if kind not in _Q_BYTES and kind != _Q_CATALOG:
            break
        at += 1 + status[at] if kind == _Q_CATALOG else _Q_BYTES[kind]
    return sql_mode, 0


def parse_gtid(m: bytes, at: int) -> Gtid:
    """Read MySQL's GTID event."""
    server = str(UUID(bytes=m[at + 1 : at + 17]))
    number = int.from_bytes(m[at + 17 : at + 25], "little")
    stamp = length = 0
    if len(m) >= at + 49:
        # Seven bytes of microseconds; the topmost bit says that another stamp follows.
        stamp = int.from_bytes(m[at + 42 : at + 49], "little")
        length, _ = length_at(m, at + (56 if stamp >> 55 else 49))
    return Gtid((server, number), 0, stamp & (1 << 55) - 1, length)


def parse_tagged_gtid(m: bytes, at: int) -> Gtid:
    """Read MySQL's GTID event of an id with a tag: numbered fields, of which some may lack (`mysql::serialization`,
    `Gtid_event::define_fields`).
    """
    _version, at = _number(m, at)
    _size, at = _number(m, at)
    _last_that_counts, at = _number(m, at)
    numbers: dict[int, int] = {}
    server, tag = bytearray(), ""
    while at < len(m):
        field, at = _number(m, at)
        if field == _TAGGED_SERVER:
            for _ in range(16):
                byte, at = _number(m, at)
                server.append(byte)
        elif field == _TAGGED_TAG:
            size, at = _number(m, at)
            tag, at = m[at : at + size].decode(), at + size
        else:
            numbers[field], at = _number(m, at)
    # The lowest bit of a number that may be negative is its sign.
    number = numbers[_TAGGED_NUMBER] >> 1
    stamp, length = numbers.get(_TAGGED_STAMP, 0), numbers.get(_TAGGED_LENGTH, 0)
    return Gtid((f"{UUID(bytes=bytes(server))}:{tag}", number), 0, stamp, length)


def _number(m: bytes, at: int) -> tuple[int, int]:
    """Read a number: as many bytes follow the first as that ends in ones."""
    first = m[at]
    more = (~first & first + 1).bit_length() - 1
    if at + more >= len(m):
        raise ValueError("an event ends within a number")
    return int.from_bytes(m[at : at + more + 1], "little") >> min(more + 1, 8), at + more + 1


def parse_mariadb_gtid(m: bytes, at: int, server: int) -> Gtid:
    """Read MariaDB's GTID event; `server` is in the event's header."""
    number, domain, flags = _mariadb_gtid(m, at)
    return Gtid((domain, server, number), flags, 0)


def parse_xid(m: bytes, at: int) -> tuple[int, bytes, bytes]:
    """Read the name of the transaction that an XA_PREPARE event prepares: its format, and two parts."""
    form, first, second = _xid(m, at + 1)
    at += 13
    return form, m[at : at + first], m[at + first : at + first + second]


def parse_table_map(m: bytes, at: int, *, is_mariadb: bool) -> TableMap:
    """Read a table map with its optional metadata."""
    at += 8
    size = m[at]
    database = m[at + 1 : at + 1 + size].decode()
    at += size + 2
    size = m[at]
    table = m[at + 1 : at + 1 + size].decode()
    at += size + 2
    count, at = length_at(m, at)
    types = m[at : at + count]
    at += count
    _, at = length_at(m, at)
    metas = []
    for kind in types:
        width = _META_BYTES.get(kind, 0)
        metas.append(int.from_bytes(m[at : at + width], "big" if kind in _BIG_ENDIAN_META else "little"))
        at += width
    width = (count + 7) // 8
    nulls = int.from_bytes(m[at : at + width], "little")
    options = _options(m, at + width)
    columns, key = _described(types, metas, nulls, options, _MARIADB_CHARACTER if is_mariadb else _MYSQL_CHARACTER)
    return TableMap(database, table, columns, key)


def real_type(kind: int, meta: int) -> tuple[int, int]:
    """Return the type and length that a STRING's metadata stand for: it may be an enum, a set, or a long char."""
    if kind != STRING:
        return kind, meta
    high, low = meta >> 8, meta & 0xFF
    if high & 0x30 != 0x30:
        return high | 0x30, low | (high & 0x30 ^ 0x30) << 4
    return high, low


def _options(m: bytes, at: int) -> dict[int, bytes]:
    options = {}
    while at < len(m):
        kind = m[at]
        size, at = length_at(m, at + 1)
        options[kind] = m[at : at + size]
        at += size
    return options


def _described(
    types: bytes, metas: list[int], nulls: int, options: dict[int, bytes], character: frozenset[int]
) -> tuple[tuple[MappedColumn, ...], tuple[int, ...]]:
    kinds = [real_type(kind, meta)[0] for kind, meta in zip(types, metas, strict=True)]
    numeric = [i for i, kind in enumerate(kinds) if kind in _NUMERIC]
    signs = options.get(_SIGNEDNESS)
    unsigned = {
        i: None if signs is None else n // 8 < len(signs) and bool(signs[n // 8] & 0x80 >> n % 8)
        for n, i in enumerate(numeric)
    }
    collations: dict[int, int] = {}
    characters = [i for i, kind in enumerate(kinds) if kind in character]
    collations.update(_collations(characters, options.get(_DEFAULT_CHARSET), options.get(_COLUMN_CHARSET)))
    listed = [i for i, kind in enumerate(kinds) if kind in (ENUM, SET)]
    collations.update(
        _collations(listed, options.get(_ENUM_SET_DEFAULT_CHARSET), options.get(_ENUM_SET_COLUMN_CHARSET))
    )
    names = _strings(options.get(_COLUMN_NAME, b""))
    values: dict[int, tuple[bytes, ...]] = {}
    for option, kind in ((_SET_VALUES, SET), (_ENUM_VALUES, ENUM)):
        lists = _string_lists(options.get(option, b""))
        values.update(zip([i for i in listed if kinds[i] == kind], lists, strict=False))
    details: dict[int, int] = {}
    for option, kind in ((_GEOMETRY_TYPE, GEOMETRY), (_VECTOR_DIMENSIONS, VECTOR)):
        details.update(
            zip([i for i, k in enumerate(kinds) if k == kind], _integers(options.get(option, b"")), strict=False)
        )
    columns = tuple(
        MappedColumn(
            kind,
            meta,
            bool(nulls >> i & 1),
            unsigned.get(i, False),
            collations.get(i, 0),
            names[i].decode() if names else None,
            values.get(i, ()),
            details.get(i, 0),
        )
        for i, (kind, meta) in enumerate(zip(types, metas, strict=True))
    )
    key = _integers(options.get(_PRIMARY_KEY, b"")) or _integers(options.get(_PREFIXED_PRIMARY_KEY, b""))[::2]
    return columns, tuple(key)


def _collations(columns: list[int], default: bytes | None, each: bytes | None) -> dict[int, int]:
    if each is not None:
        return dict(zip(columns, _integers(each), strict=True))
    if default is None:
        return {}
    first, *exceptions = _integers(default)
    found = dict.fromkeys(columns, first)
    for place, collation in zip(exceptions[::2], exceptions[1::2], strict=True):
        found[columns[place]] = collation
    return found


def _integers(m: bytes) -> list[int]:
    found, at = [], 0
    while at < len(m):
        value, at = length_at(m, at)
        found.append(value)
    return found


def _strings(m: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(m):
        size, at = length_at(m, at)
        found.append(m[at : at + size])
        at += size
    return found


def _string_lists(m: bytes) -> list[tuple[bytes, ...]]:
    lists, at = [], 0
    while at < len(m):
        count, at = length_at(m, at)
        values = []
        for _ in range(count):
            size, at = length_at(m, at)
            values.append(m[at : at + size])
            at += size
        lists.append(tuple(values))
    return lists
