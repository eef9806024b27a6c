"""The same for Debezium's connector for MySQL: columns of each type, what happens to them, how ends compare.

See `tests.kit.debezium`. A target is PostgreSQL's, so each side has its own words for a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.kit.debezium import Rows
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database

TABLES = (
    """create table things (
        id int unsigned primary key, tiny tinyint, flag tinyint(1), small smallint unsigned, medium mediumint,
        big bigint, num decimal(12,2), f float, r double, ch char(5), name varchar(40), fixed binary(4),
        bin varbinary(20), bl blob, d date, t time(6), at0 datetime, at3 datetime(3), at6 datetime(6),
        ts timestamp(6) null, y year, j json, e enum('sad','ok'), s set('a','b'), b1 bit(1), bt bit(13), p point,
        note mediumtext, with_default varchar(10) not null default 'it''s'
    )""",
    "create table pairs (a int, b varchar(10) collate utf8mb4_bin, v decimal(30,10), primary key (a, b))",
    "create table bare (a int, b text)",
)

_THING = """
insert into things values ({id}, -128, 1, 65535, -8388608, -9007199254740993, -12345.67, 1.5, 1e300, 'é', 'é😀',
 x'00ff0000', x'00ff', x'deadbeef', '2024-02-29', '12:34:56.123456', '2024-01-02 03:04:05', '2024-01-02 03:04:05.678',
 '2024-01-02 03:04:05.678901', '2024-01-02 03:04:05.678901', 2024, '{{"a": [1, null]}}', 'ok', 'a,b', b'1',
 b'1000000000101', st_geomfromtext('point(1 -2.5)'), repeat('x', 3000), 'other')
"""

SNAPSHOT = (
    _THING.format(id=1),
    """insert into things (id, d, t, at6, ts, y, num) values
       (2, '1000-01-01', '-838:59:59', '1000-01-01 00:00:00', '1970-01-01 00:00:01', 1901, 9999999999.99),
       (3, '9999-12-31', '838:59:58.999999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999', 2155, 0),
       (4294967295, null, '00:00:00', null, null, null, -0.01)""",
    "insert into pairs values (1, 'a', 1.5), (1, 'A', -12345678901234567890.0123456789), (2, '', 0)",
    "insert into bare values (1, 'a'), (1, 'a'), (2, null)",
)
"""What is there before the connector is."""

CHANGES = (
    _THING.format(id=10),
    "update things set name = 'b', d = null, flag = 0, b1 = b'0' where id = 1",
    "update things set id = 30 where id = 3",
    "delete from things where id = 2",
    "update pairs set b = 'z', v = v + 1 where a = 1 and b = 'A'",
    "delete from pairs where a = 2",
    "update bare set b = 'c' where a = 2",
    "alter table things add column extra int not null default 7, modify note longtext",
    "update things set j = json_set(j, '$.a[0]', 2), extra = 8 where id = 10",
    "truncate table pairs",
    "insert into pairs values (5, 'e', 5)",
    "alter table things drop column e, add column after_all json after id",
    "insert into things (id, extra, after_all) values (40, 9, '[]')",
)
"""What happens while it runs."""

PLAIN_TYPES = {
    "shop.things": {
        "num": "numeric(12,2)",
        "f": "real",
        "r": "double precision",
        **dict.fromkeys(("fixed", "bin", "bl"), "bytea"),
        "d": "date",
        "t": "time(0)",
        "at0": "datetime",
        "at3": "datetime(3)",
        "at6": "datetime(6)",
        "ts": "timestamptz",
        "j": "json",
        "after_all": "json",
        "b1": "bit(1)",
        "bt": "bit(13)",
        "p": "point",
        **dict.fromkeys(("e", "s", "name", "ch", "note"), "text"),
        **dict.fromkeys(("id", "small", "medium", "big", "tiny", "flag", "y", "extra"), "bigint"),
    },
    "shop.pairs": {"v": "numeric(30,10)"},
    "shop.bare": {"b": "text"},
}
"""What plain JSON does not tell of the tables above."""

_AS_TEXT = ("{}", "{}::text")

COMPARED: dict[str, dict[str, tuple[str, str]]] = {
    "things": {
        "f": ("cast({} as double)", "{}::text"),
        # 1e300 has many spellings.
        "r": ("{} = 1e300", "({} = 1e300)::int::text"),
        **dict.fromkeys(("fixed", "bin", "bl"), ("lower(hex({}))", "encode({}, 'hex')")),
        # MariaDB's seconds have their fraction, MySQL's do not. Debezium's sink makes a text of it.
        "t": ("round(truncate(time_to_sec({0}), 0) + sign(time_to_sec({0})) * microsecond({0}) / 1e6, 6) + 0e0",
              "trim_scale(extract(epoch from {}::interval))::text"),
        "at0": ("{}", "to_char({}, 'YYYY-MM-DD HH24:MI:SS')"),
        "at3": ("{}", "to_char({}, 'YYYY-MM-DD HH24:MI:SS.MS')"),
        "at6": ("{}", "to_char({}, 'YYYY-MM-DD HH24:MI:SS.US')"),
        "ts": ("{}", "to_char({} at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"),
        **dict.fromkeys(("j", "after_all"), ("cast({} as char)", "{}::jsonb::text")),
        "b1": ("{} + 0", "{}::int::text"),
        "bt": ("lpad(bin({}), 13, '0')", "{}::text"),
        "p": ("lower(hex({}))", "encode({}, 'hex')"),
    },
    "pairs": {},
    "bare": {},
}  # fmt: skip
"""By table, how columns are compared where not as text: at the source, and at the target."""


def source_rows(database: MysqlDatabase) -> dict[str, Rows]:
    """Return the source's rows in comparable form, sorted."""
    query = "select column_name from information_schema.columns where table_name = '{}' and table_schema = database() "
    found = {}
    for table in COMPARED:
        names = [str(name) for (name,) in database.rows(query.format(table) + "order by ordinal_position")]
        found[table] = _sorted(names, database.rows(_select(table, table, sorted(names), 0, "`")))
    return found


def target_rows(database: Database, schema: str) -> dict[str, Rows]:
    """Return the rows of all tables that are there, in the same form."""
    query = "select column_name from information_schema.columns where table_name = '{}' and table_schema = '{}'"
    found = {}
    for table in COMPARED:
        names = sorted(str(name) for (name,) in database.rows(query.format(table, schema)))
        if names:
            rows = database.rows(_select(table, f'"{schema}"."{table}"', names, 1, '"'))
            found[table] = _sorted(names, rows)
    return found


def _select(table: str, place: str, names: list[str], side: int, quote: str) -> str:
    forms = (COMPARED[table].get(name, _AS_TEXT)[side].format(f"{quote}{name}{quote}") for name in names)
    return f"select {', '.join(forms)} from {place}"


def _sorted(names: list[str], rows: Iterable[Sequence[object]]) -> Rows:
    texts = (tuple(None if value is None else str(value) for value in row) for row in rows)
    return Rows(sorted(names), sorted(texts, key=lambda row: tuple(map(str, row))))


def mysql_connector(
    name: str, database: MysqlDatabase, directory: Path, **more: str | int | bool
) -> dict[str, str | int | bool]:
    """Return the properties of a connector that captures one database; `directory` is for its history."""
    if database.is_mariadb:
        kind: dict[str, str | int | bool] = {
            "connector.class": "io.debezium.connector.mariadb.MariaDbConnector",
            "database.ssl.mode": "disable",
        }
    else:
        kind = {
            "connector.class": "io.debezium.connector.mysql.MySqlConnector",
            "database.ssl.mode": "preferred",
            "driver.allowPublicKeyRetrieval": True,
        }
    return {
        "name": name,
        **kind,
        "tasks.max": 1,
        "topic.prefix": name,
        "database.hostname": database.address.host,
        "database.port": database.address.port,
        "database.user": database.address.user,
        "database.server.id": 7002,
        "database.include.list": database.name,
        "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
        "schema.history.internal.file.filename": str(directory / f"{name}.history"),
        "snapshot.mode": "initial",
        "poll.interval.ms": 50,
        "heartbeat.interval.ms": 1000,
        "provide.transaction.metadata": True,
        "skipped.operations": "none",
        "topic.creation.default.replication.factor": 1,
        "topic.creation.default.partitions": 1,
        **more,
    }
