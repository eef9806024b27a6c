"""Tables with a column of each type that Debezium has a form for, what happens to them, and how the ends compare.

Used with a real connector (`tests/works_with`), and with what one has written once (`tests/recorded/debezium`).
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.kit.compare import NOT_YET
from tests.kit.servers import Database

PREFIX = "inventory"
"""What the recorded topics' names begin with."""

TABLES = """
create type mood as enum ('sad', 'ok', 'it''s fine');
create table everything (
    id int primary key, b boolean, i2 smallint, i8 bigint, f4 real, f8 double precision, num numeric(12,2),
    free numeric, m money, t text not null default 'it''s', vc varchar(20), ch char(5), bin bytea, d date, tm3 time(3),
    tm time, tmtz timetz, ts3 timestamp(3), ts timestamp, tstz timestamptz, u uuid, j json, jb jsonb, bt bit(3),
    b1 bit(1), e mood, ip inet, pt point, ia int[], ta text[], na numeric(6,2)[], da date[], tsa timestamp[],
    ua uuid[], ba bytea[], o oid, r int4range, big text, biga int[]
);
alter table everything alter column big set storage external, alter column biga set storage external;
create table orders (tenant int, id bigint, v text, total numeric(10,2), big text, primary key (tenant, id));
alter table orders alter column big set storage external;
alter table orders replica identity full;
create table keyless (a int, b text);
alter table keyless replica identity full;
create table parent (id bigint primary key, v text);
"""

_SAME = "{}::text"

COMPARED: dict[str, dict[str, str]] = {
    "everything": {
        # What Debezium keeps the value of, but not the form.
        "m": "{}::text::money::numeric::text",
        "ch": "rtrim({}::text)",
        "tmtz": "({}::timetz at time zone 'UTC')::text",
        "b1": "(case when {}::text in ('1', 'true') then 'yes' when {} is not null then 'no' end)",
        "j": "{}::jsonb::text",
        "jb": "{}::jsonb::text",
    },
    "orders": {},
    "keyless": {},
    "parent": {},
}
"""By table, how columns are compared where not as text."""

_ROW = """
insert into everything values ({id}, true, -5, 9007199254740993, 1.5, 'NaN', 12345.67,
 123456789012345678901234567890.123, 12.34, 'é', 'abc', 'ab', '\\xdeadbeef', '2024-02-29', '12:34:56.789',
 '12:34:56.123456', '12:34:56.123456+02', '2024-01-02 03:04:05.678', '2024-01-02 03:04:05.678901',
 '2024-01-02 03:04:05.678901+02', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{{"a": 1}}', '{{"b": [2, null]}}', B'101',
 B'1', 'it''s fine', '10.0.0.1/24', '(1.5,-2)', array[1,null,3], array['a','b"c\\','','NULL',null],
 array[1.50,-2.25], array['2024-01-01'::date], array['2024-01-01 01:02:03.5'::timestamp],
 array['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid], array['\\x01'::bytea], 42, '[1,5)', repeat('x', 3000),
 (select array_agg(i) from generate_series(1, 800) i))
"""

SNAPSHOT = [
    _ROW.format(id=1),
    """insert into everything (id, ts, d, tstz, num, f4) values
       (2, 'infinity', 'infinity', 'infinity', -0.01, 'Infinity'), (3, '-infinity', '-infinity', '-infinity', 0, '-0'),
       (4, '0044-03-15 10:00:00 BC', '1582-10-04', '9999-12-31 23:59:59.999999+00', 9999999999.99, 'NaN')""",
    "insert into keyless values (1, 'a'), (1, 'a'), (2, null)",
    "insert into orders select 1, i, 'order ' || i, i * 1.25, repeat('y', 2500) from generate_series(1, 5) i",
]
"""What is there before the connector is."""

CHANGES = [
    _ROW.format(id=10),
    "update everything set t = 'large values stay', big = big where id = 10",
    "update everything set b = false where id = 1",
    "update everything set big = repeat('z', 3000), biga = null where id = 1",
    "delete from everything where id = 2",
    "update orders set v = 'not the large one' where id = 1",
    "update orders set id = 100, v = 'another key' where id = 2",
    "update orders set tenant = 3 - tenant where id = 100",
    "delete from orders where id = 3",
    "update keyless set b = 'z' where ctid in (select ctid from keyless where a = 1 limit 1)",
    "delete from keyless where a = 2",
    "insert into parent values (1, 'a')",
    "alter table parent add column n int not null default 7",
    "update parent set v = 'b'",
    "truncate parent",
    "insert into parent values (2, 'a', 8)",
    "alter table parent drop column v",
    "insert into parent values (3, 9)",
]
"""What happens while it runs."""


class Rows(NamedTuple):
    """A table's rows as text, for comparison."""

    columns: list[str]
    rows: list[tuple[object, ...]]


def rows_of(database: Database, table: str, schema: str = "public") -> Rows:
    """Return a table's rows in comparable form, sorted."""
    names = [
        str(name)
        for (name,) in database.rows(
            f"select column_name from information_schema.columns where table_name = '{table}' "
            f"and table_schema = '{schema}' order by 1"
        )
    ]
    forms = COMPARED[table]
    wanted = ", ".join(forms.get(name, _SAME).replace("{}", f'"{name}"') for name in names)
    rows = database.rows(f"select {wanted} from {schema}.{table}")
    return Rows(names, sorted(rows, key=lambda row: tuple(str(value) for value in row)))


def all_rows(database: Database, schema: str = "public") -> dict[str, Rows]:
    """Return the rows of all tables that are there; one that is altered in between is none."""
    there = {str(name) for (name,) in database.rows(f"select tablename from pg_tables where schemaname = '{schema}'")}
    found = {}
    for table in COMPARED:
        if table in there:
            with suppress(*NOT_YET):
                found[table] = rows_of(database, table, schema)
    return found


def postgresql_connector(name: str, database: Database, **more: str | int | bool) -> dict[str, str | int | bool]:
    """Return the properties of a connector that captures a database by the publication `dbz`."""
    address = database.address
    return {
        "name": name,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": 1,
        "topic.prefix": name,
        "database.hostname": str(address.host),
        "database.port": address.port,
        "database.user": address.user,
        "database.password": str(address.password),
        "database.dbname": database.name,
        "plugin.name": "pgoutput",
        "slot.name": name.lower(),
        "slot.drop.on.stop": False,
        "publication.name": "dbz",
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "initial",
        "poll.interval.ms": 50,
        "heartbeat.interval.ms": 1000,
        "provide.transaction.metadata": True,
        "skipped.operations": "none",
        "topic.creation.default.replication.factor": 1,
        "topic.creation.default.partitions": 1,
        **more,
    }


def differences(expected: dict[str, Rows], found: dict[str, Rows]) -> Iterator[str]:
    """Yield in words where two ends differ."""
    for table, rows in expected.items():
        other = found.get(table)
        if other is None:
            yield f"{table} is missing"
        elif other.columns != rows.columns:
            yield f"{table} has the columns {other.columns}, not {rows.columns}"
        elif other.rows != rows.rows:
            yield f"{table}: {_first_difference(rows, other)}"


def _first_difference(expected: Rows, found: Rows) -> str:
    if len(expected.rows) != len(found.rows):
        return f"{len(found.rows)} rows, not {len(expected.rows)}"
    return next(
        f"{name} of row {place} is {str(right)[:60]!r}, not {str(left)[:60]!r}"
        for place, (one, other) in enumerate(zip(expected.rows, found.rows, strict=True))
        for name, left, right in zip(expected.columns, one, other, strict=True)
        if left != right
    )


PLAIN_TYPES = {
    "public.everything": {
        "num": "numeric(12,2)",
        "free": "numeric",
        "i2": "smallint",
        "f4": "real",
        "f8": "double precision",
        "m": "money",
        "bt": "bit(3)",
        "b1": "bit(1)",
        "pt": "point",
        "bin": "bytea",
        "d": "date",
        "tm3": "time(3)",
        "tm": "time",
        "tmtz": "timetz",
        "ts3": "timestamp(3)",
        "ts": "timestamp",
        "tstz": "timestamptz",
        "u": "uuid",
        "j": "json",
        "jb": "jsonb",
        "ia": "int[]",
        "ta": "text[]",
        "na": "numeric(6,2)[]",
        "da": "date[]",
        "tsa": "timestamp[]",
        "ua": "uuid[]",
        "ba": "bytea[]",
        "biga": "int[]",
    },
    "public.orders": {"total": "numeric(10,2)"},
}
"""What plain JSON does not tell of the tables above."""


@dataclass(frozen=True)
class DebeziumTopics:
    """A source of a connector's topics, as a configuration names it."""

    prefix: str
    format: str
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """The part of a `source` section."""
        types = PLAIN_TYPES if self.format == "json" else {}
        return {
            "engine": "debezium",
            "topics": [f"{self.prefix}.*"],
            "tables": ["*.*"],
            "format": self.format,
            "types": types,
            **self.more,
        }


class Recorded:
    """The topics that a real connector has written."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.format = str(document["format"])
        self.expected = {
            table: Rows(rows["columns"], [tuple(row) for row in rows["rows"]])
            for table, rows in document["expected"].items()
        }
        """What the source held in the end."""
        self.schemas = {int(number): str(text) for number, text in document.get("schemas", {}).items()}
        """The Avro schemas that the records were written with, by their ids."""
        self._schema = str(document["schema"])
        self._heads = [head.encode() for head in document["heads"]]
        self._records = document["records"]

    def topics(self) -> list[str]:
        """Return all topics' names."""
        return list(dict.fromkeys(topic for topic, _, _ in self._records))

    def table_topics(self) -> list[str]:
        """Return the names of the tables' topics."""
        return [f"{PREFIX}.{self._schema}.{table}" for table in self.expected]

    def records(self, topic: str) -> Iterator[tuple[bytes | None, bytes | None]]:
        """Yield keys and values of a topic's one partition."""
        return ((self._joined(key), self._joined(value)) for other, key, value in self._records if other == topic)

    def _joined(self, part: list[Any] | None) -> bytes | None:
        if part is None:
            return None
        number, rest, *encoding = part
        content: bytes = b64decode(rest) if encoding else str(rest).encode()
        head: bytes = self._heads[number]
        return head + content


def recorded(format_: str, connector: str = "postgresql") -> Recorded:
    """Return what was recorded of a connector in a format."""
    path = Path(__file__).resolve().parent.parent / "recorded" / "debezium" / f"{connector}-{format_}.json"
    return Recorded(json.loads(path.read_text()))
