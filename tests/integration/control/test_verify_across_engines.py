"""PostgreSQL's tables and MySQL's copies are equal in one form, and a changed value of any type is found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from apply.sink import TableBatch
from apply.sinks import open_sink
from capture.sources import open_snapshot_reader, open_source
from control.verify import Limits, open_sides
from control.verify.comparison import compare_tables
from schemas.changes import Row
from schemas.settings import Settings, parse
from schemas.table import TableName
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database

COLUMNS = {
    "flag boolean": ("true", "0"),
    "small smallint": ("-1", "-2"),
    "exact numeric(12,2)": ("10.50", "10.51"),
    "loose numeric": ("1.1000", "1.10001"),
    "half real": ("0.1", "0.2"),
    "twice double precision": ("-1e300", "-1e299"),
    "words text": ("'Grüße '", "'Grüße'"),
    "padded char(8)": ("'ab'", "'ab'"),
    "octets bytea": (r"'\x00ff'", "x'00fe'"),
    "day date": ("'2024-02-29'", "'2024-02-28'"),
    "at timestamp": ("'2024-02-29 12:00:00.000001'", "'2024-02-29 12:00:00.000002'"),
    "seen timestamptz": ("'2024-02-29 12:00:00.5+05:30'", "'2024-02-29 12:00:00.5'"),
    "clock time": ("'24:00:00'", "'00:00:00'"),
    "zoned timetz": ("'12:00:00+05:30'", "'12:00:00+05'"),
    "span interval": ("'1 mon 2 days 03:00:00.5'", "'P1M2DT3H'"),
    "code uuid": ("'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'", "'f81d4fae-7dec-11d0-a765-00a0c91e6bf7'"),
    "doc jsonb": ("""'{"b": [1.50, null], "a": {"x": "é"}}'""", """'{"a": {"x": "e"}, "b": [1.5, null]}'"""),
    "tags text[]": ("""array['a,"', null, 'NULL']""", """'["a,", null, "NULL"]'"""),
    "numbers integer[]": ("array[[1,2],[3,4]]", "'[[1, 2], [3, 5]]'"),
    "place inet": ("'10.0.0.1'", "'10.0.0.2'"),
}
"""Columns at the source: a value there, and another one as the target's SQL has it."""


class Applied:
    """A gate for a target that nobody writes meanwhile."""

    def wait(self, position: int, timeout_s: float) -> bool:
        return True


class Silent:
    """Progress that nobody watches."""

    def start(self, table: str) -> None: ...
    def advance(self, fraction: float) -> None: ...
    def note(self, text: str) -> None: ...
    def finish(self, result: object) -> None: ...


@pytest.fixture(params=["mariadb", "mysql"])
def target(request: pytest.FixtureRequest, new_mysql_database: Callable[[str], MysqlDatabase]) -> MysqlDatabase:
    """An empty database on each server."""
    return new_mysql_database(request.param)


def test_values_are_compared_in_one_form(source_database: Database, target: MysqlDatabase) -> None:
    values = ", ".join(value for value, _ in COLUMNS.values())
    definition = ", ".join(COLUMNS)
    source_database.execute(
        f"create table keyed (id bigint, name text, {definition}, primary key (name, id))",
        f"insert into keyed select n, 'k' || n, {values} from generate_series(1, {len(COLUMNS) + 1}) n",
        "insert into keyed (id, name) values (0, '')",
        f"create table bag ({definition})",
        "alter table bag replica identity full",
        f"insert into bag select {values} from generate_series(1, 3)",
    )
    settings = parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "127.0.0.1:1"},
            "source": {**source_database.settings, "tables": ["public.*"]},
            "targets": {"replica": target.target_settings},
        }
    )
    copy(settings)
    assert compared(settings, target.name) == {}
    changes = [
        f"update keyed set {name.split()[0]} = {other} where id = {n}"
        for n, (name, (_, other)) in enumerate(COLUMNS.items(), 1)
    ]
    target.execute(*changes, "delete from bag limit 1", "delete from keyed where id = 0")
    keys = {(f"k{n}", str(n), "different") for n in range(1, len(COLUMNS) + 1)} | {("", "0", "missing")}
    found = compared(settings, target.name)
    assert found["public.keyed"] == keys
    assert len(found["public.bag"]) == 1


def copy(settings: Settings) -> None:
    """Write the source's rows to the target."""
    with (
        closing(open_source(settings)) as source,
        closing(open_snapshot_reader(settings)) as reader,
        closing(open_sink(settings, "replica")) as sink,
    ):
        for table in source.tables():
            sink.prepare(table)
            rows = [row for c in reader.plan(table, 1000) for batch in reader.read(table, c, 100) for row in batch]
            sequence: list[tuple[str, Row | None, Row | None]] = [] if table.key else [("c", None, r) for r in rows]
            assert sink.apply(TableBatch(table, upserts=rows if table.key else [], sequence=sequence)) == []
        sink.flush()


def compared(settings: Settings, schema: str) -> dict[str, set[tuple[str | None, ...]]]:
    """Return the differing keys by table, each with its kind. The target has its tables in `schema`."""
    with closing(open_source(settings)) as source:
        tables = source.tables()
    names = [TableName(schema, table.name.table) for table in tables]
    first, second = open_sides(settings, "replica", names)
    with closing(first), closing(second):
        wanted = [(table, name, 5000) for table, name in zip(tables, names, strict=True)]
        results = compare_tables(first, second, wanted, Applied(), Limits(keys_max=100), Silent())
    assert [result.error for result in results] == [None] * len(results)
    return {r.table: {(*d.key, d.kind) for d in r.differences} for r in results if not r.equal}
