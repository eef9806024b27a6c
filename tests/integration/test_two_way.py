"""Two databases that replicate to each other, of one engine and of two: neither rows nor definitions come back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from deploy.local.kafka import KafkaAddress
from schemas.errors import TailraceError
from schemas.topics import ddl_topic
from tests.integration.services import Services
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.kit.topics import read_raw

AnyDatabase = Database | MysqlDatabase

BOTH = ("capture", "apply")
DOCUMENT = {
    "LoopbackPreventionSettings": {"EnableLoopbackPrevention": True, "SourceSchema": "a", "TargetSchema": "b"},
    "FullLoadSettings": {"TargetTablePrepMode": "DO_NOTHING"},
}


@pytest.fixture(params=["postgresql-postgresql", "mysql-mariadb", "postgresql-mysql"])
def sides(
    request: pytest.FixtureRequest,
    new_database: Callable[..., Database],
    new_mysql_database: Callable[[str], MysqlDatabase],
) -> tuple[AnyDatabase, AnyDatabase]:
    """Two databases."""
    left, right = request.param.split("-")
    return (
        new_database(18) if left == "postgresql" else new_mysql_database(left),
        new_database(16) if right == "postgresql" else new_mysql_database(right),
    )


class Way:
    """One of the two replications."""

    def __init__(self, services: Services, replication: str, kafka: KafkaAddress, source: AnyDatabase) -> None:
        self.services = services
        self._kafka = kafka.bootstrap
        self._replication = replication
        self._source = source

    def start(self) -> None:
        """Start both services."""
        for name in BOTH:
            self.services.start(name)

    def states(self) -> dict[str, str]:
        """Return what capture says of its tables."""
        tables = self.services.status().get("tables", {})
        return {name.rpartition(".")[2]: table["state"] for name, table in tables.items()}

    def changes(self, table: str) -> list[str]:
        """Return the operations on a table's topic."""
        topic = f"{self._replication}.{_schema(self._source)}.{table}"
        values = [json.loads(value) for *_, value in read_raw(self._kafka, [topic]) if value is not None]
        return [value["op"] for value in values]

    def events(self, table: str) -> list[str]:
        """Return what the ddl topic says of a table."""
        documents = [json.loads(value or b"") for *_, value in read_raw(self._kafka, [ddl_topic(self._replication)])]
        return [d["event"] for d in documents if d.get("table", ("", ""))[1] == table]


class Pair:
    """Both databases, and the replications between them."""

    def __init__(
        self, stack: ExitStack, directory: Path, replication: str, kafka: KafkaAddress, *sides: AnyDatabase
    ) -> None:
        def make(name: str, source: AnyDatabase, target: AnyDatabase) -> Way:
            (directory / name).mkdir()
            from_, to = _schema(source), _schema(target)
            # The control tables of a MySQL target are in its database.
            tables = [f"{from_}.items", f"{from_}.fresh"]
            services = Services(
                directory / name, f"{replication}-{name}", kafka, source, target, settings=DOCUMENT,
                at_source={"tables": tables}, at_target={"schema_map": {from_: to}},
                topics={"partitions": 2, "format": "json"},
            )  # fmt: skip
            stack.enter_context(services)
            return Way(services, f"{replication}-{name}", kafka, source)

        self.left, self.right = sides
        self.there, self.back = make("there", *sides), make("back", *reversed(sides))
        self.ways = (self.there, self.back)
        self.wait = self.there.services.wait

    def equal(self, table: str, *ids: int) -> Callable[[], bool]:
        """Return what tells whether both sides have these rows."""

        def is_equal() -> bool:
            rows = [_rows(database, table) for database in (self.left, self.right)]
            return rows[0] == rows[1] and [int(row[0]) for row in rows[0]] == sorted(ids)

        return is_equal

    def loaded(self, way: Way, *tables: str) -> Callable[[], bool]:
        """Return what tells whether a capture has these tables and no others, all of them loaded."""
        return lambda: way.states() == dict.fromkeys(tables, "loaded")


def test_two_databases_that_replicate_to_each_other_do_not_echo(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, sides: tuple[AnyDatabase, AnyDatabase]
) -> None:
    for database in sides:
        database.execute(
            "create table items (id int primary key, word varchar(100))", "insert into items values (0, 'same')"
        )
    with ExitStack() as stack:
        pair = Pair(stack, tmp_path, replication, kafka_server, *sides)
        for way, source in zip(pair.ways, sides, strict=True):
            if isinstance(source, Database):
                source.tell_statements()
            way.start()
        _move_rows(pair)
        _make_a_table(pair)
        _alter_and_drop_it(pair)
        # Behind all that could have come back.
        for first, database in zip((60, 160), sides, strict=True):
            database.execute(f"insert into items values ({first}, 'last')")
        pair.wait(pair.equal("items", *range(1, 51), 60, *range(101, 151), 160), "the last rows")
        for way in pair.ways:
            for name in BOTH:
                assert way.services.stop(name) == 0, way.services.log_tail(name)
    assert sorted(pair.there.changes("items")) == ["c"] * 51 + ["r"] + ["u"] * 20
    assert sorted(pair.back.changes("items")) == ["c"] * 51 + ["d", "r"] + ["u"] * 20
    assert pair.back.changes("fresh") == ["c", "c", "c"]
    assert "dropped" in pair.there.events("fresh")
    assert [event for event in pair.back.events("fresh") if event != "altered"] == ["created", "left", "created"]


def _move_rows(pair: Pair) -> None:
    for way in pair.ways:
        pair.wait(pair.loaded(way, "items"), "the loads")
    for first, database in ((1, pair.left), (101, pair.right)):
        values = ", ".join(f"({first + i}, 'new')" for i in range(50))
        database.execute(f"insert into items values {values}")
    pair.wait(pair.equal("items", *range(51), *range(101, 151)), "each other's rows")


def _make_a_table(pair: Pair) -> None:
    """One side gets a table just before everything is killed: what was marked stays left out."""
    left, right = pair.left, pair.right
    left.execute("create table fresh (id int primary key, word varchar(100), n int)")
    left.execute("insert into fresh values (1, 'left', 1), (2, 'left', 2)")
    pair.wait(lambda: len(_rows(right, "fresh")) == 2, "the new table")
    for way in pair.ways:
        for name in BOTH:
            way.services.kill(name)
    left.execute("update items set word = 'left' where id between 1 and 20")
    right.execute("update items set word = 'right' where id between 101 and 120", "delete from items where id = 0")
    for way in pair.ways:
        way.start()
    pair.wait(pair.loaded(pair.back, "items", "fresh"), "the other side takes the new table")
    right.execute("insert into fresh values (11, 'right', 11)")
    pair.wait(pair.equal("fresh", 1, 2, 11), "a row in the new table")
    pair.wait(pair.equal("items", *range(1, 51), *range(101, 151)), "each other's changes")
    words = [word for _, word in _rows(left, "items")]
    assert [words.count(word) for word in ("left", "right", "new")] == [20, 20, 60]


def _alter_and_drop_it(pair: Pair) -> None:
    """The side where a type changes loads the table again, the other one does not. Then the table goes, and comes
    again: the end of the first one is nothing to the second.
    """
    left, right = pair.left, pair.right
    bigger = "modify n bigint" if isinstance(left, MysqlDatabase) else "alter column n type bigint"
    left.execute(f"alter table fresh {bigger}, add column more varchar(10)")
    pair.wait(lambda: "more" in _columns(right, "fresh"), "the new column, without a row")
    # A new row: another one that changes could meet its older self of the reload.
    right.execute("insert into fresh values (13, 'right', 5000000000, 'right')")
    pair.wait(pair.equal("fresh", 1, 2, 11, 13), "a row of the new form")
    left.execute("drop table fresh")
    pair.wait(lambda: not _columns(right, "fresh"), "the end of the table")
    pair.wait(pair.loaded(pair.back, "items"), "the other side lets it go")
    left.execute("create table fresh (id int primary key, word varchar(100))", "insert into fresh values (1, 'again')")
    pair.wait(pair.equal("fresh", 1), "the table of the same name")
    pair.wait(pair.loaded(pair.back, "items", "fresh"), "the other side takes the new table")
    right.execute("insert into fresh values (12, 'right')")
    pair.wait(pair.equal("fresh", 1, 12), "a row in the second one")


def _schema(database: AnyDatabase) -> str:
    return database.name if isinstance(database, MysqlDatabase) else "public"


def _columns(database: AnyDatabase, table: str) -> list[str]:
    query = "select column_name from information_schema.columns where table_schema = '{}' and table_name = '{}'"
    return [str(row[0]) for row in database.rows(query.format(_schema(database), table) + " order by ordinal_position")]


def _rows(database: AnyDatabase, table: str) -> list[list[str]]:
    """Return a table's rows as text; none of one that is not there."""
    if not _columns(database, table):
        return []
    with contextlib.suppress(psycopg.errors.UndefinedTable, TailraceError):
        return [[str(value) for value in row] for row in database.rows(f"select * from {table} order by id")]
    return []
