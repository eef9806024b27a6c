"""Tables of any engine as a MySQL or MariaDB target has them: types by logical type, indexes as far as it goes.

Text is kept in utf8mb4 under the server's binary collation without padding: keys that differ at the source differ
here, whatever the source compares by. Text that a key, a unique index or a foreign key is over gets a length, since
the servers index no other; a longer value is refused, never cut. `losses` names what is not as at the source.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from apply.sinks.mysql import sizes
from apply.sinks.mysql.arrays import array_json, array_reader
from apply.sinks.mysql.names import quoted, shortened
from apply.sinks.mysql.sizes import CHARACTER_BYTES, INDEX_BYTES_MAX, Excess
from apply.sinks.mysql.types import DECIMAL_DIGITS_MAX, DECIMAL_SCALE_MAX
from schemas.table import Column, ForeignKey, Index, TableSchema
from schemas.types import Family

ENGINE = "mysql"

ROW_BYTES_WANTED = 60_000
"""Of a row's columns other than texts and blobs, by and large: what targets were made by, so that it stays. The servers
allow 65,535 in all."""
PREFIX_CHARACTERS = 191
KEY_BYTES_RESERVED = 16
"""Of an index, for each column that has a length anyway; more, where what is left would be too much with it."""

_JSON = "json"


@dataclass(frozen=True, slots=True)
class Server:
    """What of a server decides how tables are spelled."""

    is_mariadb: bool
    version: tuple[int, ...]

    @property
    def collation(self) -> str:
        """The collation of text: by code points, trailing blanks included."""
        return "utf8mb4_nopad_bin" if self.is_mariadb else "utf8mb4_0900_bin"

    def has(self, base: str) -> bool:
        """Tell whether the server has a type that not every one has."""
        since = (_MARIADB_TYPES if self.is_mariadb else _MYSQL_TYPES).get(base)
        return since is not None and self.version >= since


_MARIADB_TYPES = {"uuid": (10, 7), "inet6": (10, 5), "inet4": (10, 10), "vector": (11, 7)}
_MYSQL_TYPES = {"vector": (9, 0)}
_LATE_TIMESTAMPS = (11, 5)
"""Since then MariaDB's `timestamp` reaches to 2106."""
_ELSEWHERE = {"uuid": "char(36)", "inet6": "varchar(39)", "inet4": "varchar(15)", "vector": "longblob"}
"""Types of one server as the other one has them."""

_NEXT_WIDER = {"tinytext": "text", "text": "mediumtext", "mediumtext": "longtext"}

TYPES: dict[Family, str] = {
    Family.BOOLEAN: "tinyint(1)",
    Family.INT16: "smallint",
    Family.INT32: "int",
    Family.INT64: "bigint",
    Family.UINT32: "int unsigned",
    Family.UINT64: "bigint unsigned",
    Family.FLOAT32: "float",
    Family.FLOAT64: "double",
    Family.NUMERIC: f"decimal({DECIMAL_DIGITS_MAX},{DECIMAL_SCALE_MAX})",
    Family.STRING: "longtext",
    Family.BYTES: "longblob",
    Family.DATE: "date",
    Family.TIME: "time(6)",
    Family.TIMETZ: "varchar(24)",
    Family.TIMESTAMP: "datetime(6)",
    Family.TIMESTAMPTZ: "datetime(6)",
    Family.INTERVAL: "varchar(100)",
    Family.UUID: "char(36)",
    Family.JSON: _JSON,
    Family.XML: "longtext",
    Family.ENUM: "varchar(63)",
    Family.TEXT: "longtext",
}
"""The type of each family but DECIMAL, and STRING with a length."""

NOTES: dict[Family, str] = {
    Family.FLOAT32: "NaN and infinities are refused",
    Family.FLOAT64: "NaN and infinities are refused",
    Family.NUMERIC: "values of more than 35 digits before the point or 30 behind it, and NaN, are refused",
    Family.DATE: "infinities, and years before 1 and after 9999, are refused",
    Family.TIMETZ: "its text",
    Family.TIMESTAMP: "infinities, and years before 1 and after 9999, are refused",
    Family.TIMESTAMPTZ: "in UTC, without a zone; infinities, and years before 1 and after 9999, are refused",
    Family.INTERVAL: "its text in ISO 8601",
    Family.XML: "its text, not checked any more",
    Family.ENUM: "labels are not checked any more, and sort as text",
}
_JSON_NOTE = "as the server prints it: names sorted, each once, numbers with a fraction as doubles"
_MARIADB_JSON_NOTE = "its text; nested deeper than 32 it is refused"
_OF_TEXT = re.compile(r"(char|varchar|tinytext|text|mediumtext|longtext|enum|set)\b")
_NO_LITERAL = re.compile(r"(\w*text|\w*blob|json|geometry|vector)\b")
"""Types whose default may be an expression only."""
_CONSTANT = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?|'(?:[^'\\]|'')*'")
_NOW = re.compile(r"current_timestamp(\(\d?\))?|now\(\)", re.IGNORECASE)
_CAST = re.compile(r"('(?:[^'\\]|'')*'|-?\d+(?:\.\d+)?)::[\w \"().]+")
_PART = re.compile(
    r'(?:`((?:[^`]|``)+)`|"((?:[^"]|"")+)"|([a-z_][a-z0-9_$]*))(?:\((\d+)\))?(?: asc| desc)?', re.IGNORECASE
)
_LONG, _LONG_OR_CHAR = re.compile(r"\w*text|\w*blob|var|json"), re.compile(r"\w*text|\w*blob|var|json|char")
"""What gets a length by the key that it is in."""
_INDEX = re.compile(r"using (\w+) \((.+)\)")


def translated(table: TableSchema, server: Server) -> TableSchema:
    """Return a table as the target can have it: native types, defaults and indexes in its words."""
    natives = _types(table, server)
    identity = _identity(table, natives)
    return replace(
        table,
        columns=tuple(
            replace(
                column,
                native=natives[column.name],
                default=_default(column, natives[column.name]),
                identity="by default" if column.name == identity else "",
                collation=_collation(column, natives[column.name], server),
                filling=_filling(column, natives[column.name], column.filling),
                fillings=tuple((part, _filling(column, natives[column.name], text)) for part, text in column.fillings),
            )
            for column in table.columns
        ),
        generated=(),
        indexes=tuple(_indexes(table, natives, server)),
        foreign_keys=tuple(key for key in table.foreign_keys if _keys_fit(key, natives)),
        user_types=(),
        engine=ENGINE,
    )


def column_type(column: Column, server: Server) -> str:
    """Return the type that holds every value of a column that the servers have, wherever it stands."""
    kind = column.type
    if kind.family is Family.DECIMAL:
        return _decimal(kind.precision or 0, kind.scale or 0)
    if kind.family is Family.STRING and kind.length and kind.length <= 16_383:
        # Never `char`: it forgets the blanks at the end.
        return f"varchar({kind.length})"
    if kind.family is Family.TEXT and column.native.endswith("[]"):
        return _JSON
    return TYPES[kind.family]


def own_type(native: str, server: Server) -> str:
    """Return a native type of MySQL or MariaDB as this server has it: text in utf8mb4, whatever it was in."""
    text = re.sub(r" character set \w+", "", native)
    base = re.match(r"\w*", text)[0]  # type: ignore[index]
    if base in _ELSEWHERE and not server.has(base):
        return _ELSEWHERE[base]
    if text != native and base in _NEXT_WIDER:
        # Their lengths are of bytes, and a character may take more of them here.
        return _NEXT_WIDER[base]
    return text


def losses(table: TableSchema, server: Server) -> list[str]:
    """Return in words what of a table is not as at the source."""
    found = []
    natives = _types(table, server)
    for column in table.columns:
        native = natives[column.name]
        note = _note(column, native, table, server)
        if note:
            found.append(f"{column.name}: {column.native} becomes {native}; {note}")
        if column.default is not None and _default(column, native) is None:
            found.append(f"{column.name}: the default {column.default} is left out")
        if column.identity and _identity(table, natives) != column.name:
            found.append(f"{column.name}: counts no identity here; the target gives out no numbers")
    found += [f"{g.name}: a computed column is left out" for g in table.generated if g.expression]
    kept = {index.name for index in _indexes(table, natives, server)}
    found += [f"index {i.name}: left out ({i.definition})" for i in table.indexes if shortened(i.name) not in kept]
    keys = [key for key in table.foreign_keys if not _keys_fit(key, natives)]
    return found + [f"foreign key {key.name}: left out, its text has no length here" for key in keys]


def excesses(table: TableSchema, server: Server) -> list[Excess]:
    """Return what of a translated table is more than the server takes, so that it cannot be made."""
    stored = [_stored(column, column.native) for column in table.columns]
    key = [stored[index] for index in table.key]
    return sizes.excesses(stored, key, is_mariadb=server.is_mariadb)


def _stored(column: Column, native: str) -> str:
    """Return a type that takes as much room: a UUID's characters take a byte each."""
    return "binary(36)" if native == TYPES[Family.UUID] and column.type.family is Family.UUID else native


def _note(column: Column, native: str, table: TableSchema, server: Server) -> str:
    family = column.type.family
    if table.engine == ENGINE:
        own = own_type(column.native, server)
        if native != own:
            return "wide enough for every value" if native.startswith("long") else "longer values are refused"
        if own == _JSON and server.is_mariadb:
            return _MARIADB_JSON_NOTE
        if native.startswith("timestamp") and not (server.is_mariadb and server.version >= _LATE_TIMESTAMPS):
            return "moments after 2038-01-19 03:14:07 UTC are refused"
        if own == _ELSEWHERE.get(re.match(r"\w*", column.native)[0]):  # type: ignore[index]
            return "the bytes as the source stores them" if own == "longblob" else "its text"
        return "" if native == column.native else "in utf8mb4"
    if family is Family.JSON:
        return _MARIADB_JSON_NOTE if server.is_mariadb else _JSON_NOTE
    if family is Family.TEXT:
        return "lower bounds of arrays are lost" if native == _JSON else "its text in the source's notation"
    if family is Family.DECIMAL:
        exact = native == f"decimal({column.type.precision},{max(column.type.scale or 0, 0)})"
        return "NaN is refused" if exact else "values that it does not hold, and NaN, are refused"
    if family in (Family.STRING, Family.BYTES) and native not in ("longtext", "longblob") and not column.type.length:
        return "longer values are refused"
    return NOTES.get(family, "")


def _decimal(precision: int, scale: int) -> str:
    if scale < 0:
        precision, scale = precision - scale, 0
    if max(precision, scale) > DECIMAL_DIGITS_MAX or scale > DECIMAL_SCALE_MAX:
        return TYPES[Family.NUMERIC] if scale else f"decimal({DECIMAL_DIGITS_MAX},0)"
    return f"decimal({max(precision, scale)},{scale})"


def _types(table: TableSchema, server: Server) -> dict[str, str]:
    """Return each column's type: those in keys with a length, and all together no longer than a row may be."""
    own = table.engine == ENGINE
    natives = {c.name: own_type(c.native, server) if own else column_type(c, server) for c in table.columns}
    limits = _key_lengths(table, natives)
    for name, limit in limits.items():
        native = natives[name]
        if re.match(r"\w*text|json", native) or (native.startswith(("varchar", "char")) and _length(native) > limit):
            natives[name] = f"varchar({limit})"
        elif re.match(r"\w*blob", native):
            natives[name] = f"varbinary({limit * CHARACTER_BYTES})"
    lengths = {name: _bytes(native) for name, native in natives.items()}
    for name in sorted(lengths, key=lambda n: -lengths[n]):
        if sum(lengths.values()) <= ROW_BYTES_WANTED:
            break
        if name not in limits and natives[name].startswith("var"):
            natives[name] = _outside(natives[name])
            lengths[name] = _bytes(natives[name])
    _put_outside(table, natives, limits, server)
    return natives


def _outside(native: str) -> str:
    """Return the type that holds the same and stands outside of the row."""
    return "longblob" if native.startswith("varbinary") else "longtext"


def _put_outside(table: TableSchema, natives: dict[str, str], limits: Container[str], server: Server) -> None:
    """Let columns stand outside of the row, the longest first, as long as it has more of them than the server takes."""
    stored = {column.name: _stored(column, natives[column.name]) for column in table.columns}
    room = sizes.room(list(stored.values()), is_mariadb=server.is_mariadb)
    if min(room) >= 0:
        return
    movable = [name for name, native in stored.items() if name not in limits and re.match(r"(var)?char|varbin", native)]
    for name in sorted(movable, key=lambda n: -sizes.value_bytes(stored[n])):
        before, after = (
            sizes.taken(native, is_mariadb=server.is_mariadb) for native in (stored[name], _outside(stored[name]))
        )
        gain = [old - new for old, new in zip(before, after, strict=True)]
        if any(left < 0 < gained for left, gained in zip(room, gain, strict=True)):
            natives[name] = _outside(stored[name])
            room = [left + gained for left, gained in zip(room, gain, strict=True)]


def _key_lengths(table: TableSchema, natives: dict[str, str]) -> dict[str, int]:
    """Return how many characters each column of a key may have, so that every key fits into an index."""
    keys = [list(table.key_names)]
    for index in table.indexes:
        parts = _parts(index)
        if index.unique and parts is not None and not any(prefix for _, prefix in parts):
            keys.append([name for name, _ in parts])
    keys += [list(key.columns) for key in table.foreign_keys]
    stored = {column.name: _stored(column, natives[column.name]) for column in table.columns}
    limits: dict[str, int] = {}
    for key in keys:
        for name, length in _lengths(key, stored).items():
            limits[name] = min(limits.get(name, INDEX_BYTES_MAX), length)
    return limits


def _lengths(key: Sequence[str], stored: Mapping[str, str]) -> dict[str, int]:
    """Return how many characters each long column of a key may have."""
    for elastic, is_exact in ((_LONG, False), (_LONG, True), (_LONG_OR_CHAR, True)):
        long = [name for name in key if name in stored and elastic.match(stored[name])]
        others = [sizes.value_bytes(stored[name]) if name in stored else 0 for name in key if name not in long]
        room = INDEX_BYTES_MAX - sum(max(KEY_BYTES_RESERVED, size if is_exact else 0) for size in others)
        length = max(1, room // CHARACTER_BYTES // max(1, len(long)))
        most = (min(length * CHARACTER_BYTES, sizes.value_bytes(stored[name])) for name in long)
        if sum(others) + sum(most) <= INDEX_BYTES_MAX:
            break
    return dict.fromkeys(long, length)


def _length(native: str) -> int:
    found = re.search(r"\((\d+)", native)
    return int(found[1]) if found else 0


def _bytes(native: str) -> int:
    """Return about how many bytes of the row's limit a column takes."""
    if re.match(r"var(char)|char", native):
        return CHARACTER_BYTES * _length(native) + 2
    if re.match(r"varbinary|binary", native):
        return _length(native) + 2
    return 40 if native.startswith("decimal") else 12


def _filling(column: Column, native: str, text: str | None) -> str | None:
    is_array = native == _JSON and column.native.endswith("[]")
    return array_json(array_reader(column.native))(text) if is_array and text else text


def _collation(column: Column, native: str, server: Server) -> str | None:
    if not _OF_TEXT.match(native):
        return None
    return "ascii_bin" if _stored(column, native) != native else server.collation


def _default(column: Column, native: str) -> str | None:
    text = column.default
    if text is None:
        return None
    cast = _CAST.fullmatch(text)
    if cast is not None and column.type.family in (Family.STRING, Family.ENUM, *_EXACT):
        text = cast[1]
    if column.type.family is Family.BOOLEAN:
        return {"true": "1", "false": "0", "b'1'": "1", "b'0'": "0"}.get(text, text if text in ("0", "1") else None)
    if _NOW.fullmatch(text):
        is_stamp = re.fullmatch(r"(?:datetime|timestamp)(\(\d\))?", native)
        # In what zone another engine's `now()` would be meant nobody can say here.
        return f"current_timestamp{is_stamp[1] or ''}" if is_stamp and text.lower() != "now()" else None
    if not _CONSTANT.fullmatch(text):
        return None
    if not _NO_LITERAL.match(native):
        return text
    # In the mode `NO_BACKSLASH_ESCAPES`, which is the session's, MySQL 9.7 prints a quote in an expression as it then
    # cannot read it (1064).
    octets = text[1:-1].replace("''", "'").encode().hex()
    return f"(convert(unhex('{octets}') using utf8mb4))" if "''" in text[1:-1] else f"({text})"


_EXACT = (Family.INT16, Family.INT32, Family.INT64, Family.DECIMAL, Family.NUMERIC)


def _identity(table: TableSchema, natives: dict[str, str]) -> str | None:
    """Return the column that may count: an integer, the first of the key."""
    first = table.columns[table.key[0]] if table.key else None
    return first.name if first is not None and first.identity and "int" in natives[first.name] else None


def _parts(index: Index) -> list[tuple[str, str]] | None:
    """Return name and prefix of each part of an index over columns; None for one over anything else."""
    found = _INDEX.fullmatch(index.definition)
    if found is None or found[1] not in ("btree", "hash", "fulltext", "spatial", "rtree"):
        return None
    parts = []
    for text in found[2].split(", "):
        part = _PART.fullmatch(text)
        if part is None:
            return None
        name = part[1].replace("``", "`") if part[1] else part[2].replace('""', '"') if part[2] else part[3]
        parts.append((name, part[4] or ""))
    return parts


def _indexes(table: TableSchema, natives: dict[str, str], server: Server) -> Iterator[Index]:
    return islice(_possible_indexes(table, natives, server), sizes.INDEXES_MAX - bool(table.key))


def _possible_indexes(table: TableSchema, natives: dict[str, str], server: Server) -> Iterator[Index]:
    parts_max = sizes.key_parts_max(is_mariadb=server.is_mariadb)
    stored = {column.name: _stored(column, natives[column.name]) for column in table.columns}
    for index in table.indexes:
        parts = _parts(index)
        if parts is None or len(parts) > parts_max or any(name not in natives for name, _ in parts):
            continue
        method = index.definition.split()[1]
        if method in ("fulltext", "spatial", "rtree") and table.engine == ENGINE:
            kind = "fulltext" if method == "fulltext" else "spatial"
            definition = f"{kind} ({', '.join(quoted(name) for name, _ in parts)})"
            yield replace(index, name=shortened(index.name), definition=definition)
            continue
        # Of a unique index no part may stand for the whole, as long as that fits.
        share = INDEX_BYTES_MAX if index.unique else INDEX_BYTES_MAX // len(parts)
        shown = [_indexed(name, prefix, stored[name], share, unique=index.unique) for name, prefix in parts]
        fits = sum(_indexed_bytes(stored[name], prefix) for name, prefix in parts) <= INDEX_BYTES_MAX
        if all(shown) and (fits or not index.unique):
            yield replace(index, name=shortened(index.name), definition=f"({', '.join(filter(None, shown))})")


def _indexed(name: str, prefix: str, native: str, share: int, *, unique: bool) -> str | None:
    """Return a part of an index that is to take so many bytes; None where it cannot be."""
    is_long = sizes.value_bytes(native) > share
    if native == _JSON or (is_long and unique and not prefix):
        return None
    if not prefix and is_long:
        prefix = str(min(PREFIX_CHARACTERS, share // CHARACTER_BYTES))
    return quoted(name) + (f"({prefix})" if prefix else "")


def _indexed_bytes(native: str, prefix: str) -> int:
    if not prefix:
        return sizes.value_bytes(native)
    return int(prefix) * (CHARACTER_BYTES if _OF_TEXT.match(native) else 1)


def _keys_fit(key: ForeignKey, natives: dict[str, str]) -> bool:
    return all(not re.match(r"\w*text|\w*blob|json", natives.get(name, "json")) for name in key.columns)
