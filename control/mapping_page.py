"""The page of how types are mapped between engines: each line asks the code that maps them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apply.sinks.mysql import foreign as to_mysql
from apply.sinks.mysql.foreign import Server
from apply.sinks.postgresql import foreign as to_postgresql
from capture.sources.mysql.natives import parse_native
from capture.sources.mysql.types import logical_type
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

_INT = Column("id", LogicalType(Family.INT64), "bigint", nullable=False)

OF_POSTGRESQL: tuple[tuple[str, LogicalType], ...] = (
    ("boolean", LogicalType(Family.BOOLEAN)),
    ("smallint", LogicalType(Family.INT16)),
    ("integer", LogicalType(Family.INT32)),
    ("bigint", LogicalType(Family.INT64)),
    ("oid", LogicalType(Family.UINT32)),
    ("real", LogicalType(Family.FLOAT32)),
    ("double precision", LogicalType(Family.FLOAT64)),
    ("numeric(12,2)", LogicalType(Family.DECIMAL, 12, 2)),
    ("numeric(100,40)", LogicalType(Family.DECIMAL, 100, 40)),
    ("numeric", LogicalType(Family.NUMERIC)),
    ("character varying(20)", LogicalType(Family.STRING, length=20)),
    ("character(20)", LogicalType(Family.STRING, length=20)),
    ("text", LogicalType(Family.STRING)),
    ("bytea", LogicalType(Family.BYTES)),
    ("date", LogicalType(Family.DATE)),
    ("time without time zone", LogicalType(Family.TIME)),
    ("time with time zone", LogicalType(Family.TIMETZ)),
    ("timestamp without time zone", LogicalType(Family.TIMESTAMP)),
    ("timestamp with time zone", LogicalType(Family.TIMESTAMPTZ)),
    ("interval", LogicalType(Family.INTERVAL)),
    ("uuid", LogicalType(Family.UUID)),
    ("json", LogicalType(Family.JSON)),
    ("jsonb", LogicalType(Family.JSON)),
    ("xml", LogicalType(Family.XML)),
    ("an enum", LogicalType(Family.ENUM)),
    ("integer[]", LogicalType(Family.TEXT)),
    ("inet", LogicalType(Family.TEXT)),
)

OF_MYSQL = (
    *("tinyint", "tinyint unsigned", "smallint", "smallint unsigned", "mediumint", "mediumint unsigned", "int"),
    *("int unsigned", "bigint", "bigint unsigned", "float", "double", "decimal(65,30)", "bit(1)", "bit(8)", "year"),
    *("date", "time(6)", "datetime(6)", "timestamp(6)", "char(20)", "varchar(20)", "text", "longtext", "binary(16)"),
    *("varbinary(20)", "blob", "longblob", "enum('a','b')", "set('a','b')", "json", "point", "geometry", "vector(3)"),
    *("uuid", "inet4", "inet6", "varchar(20) character set latin1", "text character set latin1"),
)

SERVERS = (
    ("MySQL 9", Server(is_mariadb=False, version=(9, 7))),
    ("MariaDB 11", Server(is_mariadb=True, version=(11, 4))),
)


def mapping_page() -> str:
    """Return the page."""
    lines = [
        "# Types between engines",
        "",
        "Made by `control/mapping_page.py` from the code that maps them; do not edit.",
        "",
    ]
    lines += ["`tailrace plan` prints what of this concerns your tables. Within one engine types stay as they are.", ""]
    mysql = [(native, logical_type(parse_native(native))) for native in OF_MYSQL]
    lines += _section("From PostgreSQL", OF_POSTGRESQL, "postgresql", SERVERS)
    lines += _section("From PostgreSQL, in a key", OF_POSTGRESQL[10:14], "postgresql", SERVERS, is_key=True)
    lines += _section("From MySQL or MariaDB", mysql, "mysql", SERVERS)
    lines += ["## To PostgreSQL, from MySQL or MariaDB", "", "| source | PostgreSQL | what is lost |", "|---|---|---|"]
    for native, kind in mysql:
        column = Column("c", kind, native)
        table = _table("mysql", column)
        note = _note(to_postgresql.losses(table), native)
        lines.append(_line(native, [to_postgresql.column_type(column)], [note]))
    return "\n".join(lines) + "\n"


def _section(
    title: str,
    samples: Iterable[tuple[str, LogicalType]],
    engine: str,
    servers: Sequence[tuple[str, Server]],
    *,
    is_key: bool = False,
) -> list[str]:
    names = " | ".join(name for name, _ in servers)
    lines = [f"## {title}", "", f"| source | {names} | what is lost |", f"|---|{'---|' * len(servers)}---|"]
    for native, kind in samples:
        table = _table(engine, Column("c", kind, native, nullable=not is_key), is_key=is_key)
        types = [to_mysql.translated(table, server).columns[-1].native for _, server in servers]
        lines.append(_line(native, types, [_note(to_mysql.losses(table, server), native) for _, server in servers]))
    return [*lines, ""]


def _table(engine: str, column: Column, *, is_key: bool = False) -> TableSchema:
    return TableSchema(TableName("s", "t"), (_INT, column), (1,) if is_key else (0,), engine=engine)


def _note(losses: Sequence[str], native: str) -> str:
    """Return what `plan` says behind the two types."""
    said = [text.partition("; ")[2] for text in losses if text.startswith(f"c: {native} becomes ")]
    return said[0] if said else ""


def _line(native: str, types: Sequence[str], notes: Sequence[str]) -> str:
    cells = [f"`{type_}`" for type_ in (native, *types)]
    if native == "an enum":
        cells[0] = native
    return f"| {' | '.join(cells)} | {' / '.join(dict.fromkeys(note for note in notes if note))} |"
