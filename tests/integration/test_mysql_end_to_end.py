"""MariaDB and MySQL move through Kafka into other servers while they are written to and both services are killed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from tests.integration.services import TARGET, Services
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.kit.topics import data_topics, key_faults, read_topics, sequence_faults

ROWS = 1200
DEADLINE_S = 480.0

ITEMS = """
create table items (
    id int unsigned not null auto_increment primary key, name varchar(50) not null, price decimal(30,10),
    kind enum('a','b'), tags set('x','y'), flags bit(8), made year, took time(3), at datetime(6),
    seen timestamp(6) null, big bigint unsigned, doc longtext, raw blob, ratio double, day date,
    text1 varchar(20) character set latin1, unique key (big), key (name)
)"""

ITEMS_SOURCE = """
id, name, price, kind, tags, lpad(bin(flags), 8, '0'), made,
timestampdiff(microsecond, '2000-01-01', addtime(cast('2000-01-01' as datetime(6)), took)),
date_format(at, '%Y-%m-%d %H:%i:%s.%f'), date_format(seen, '%Y-%m-%d %H:%i:%s.%f'), big, doc, hex(raw),
cast(ratio as decimal(40,20)), day, convert(text1 using utf8mb4)
"""
ITEMS_TARGET = """
id::text, name, price::text, kind, tags, flags::text, made::text, (extract(epoch from took) * 1000000)::bigint::text,
to_char(at, 'YYYY-MM-DD HH24:MI:SS.US'), to_char(seen at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), big::text, doc,
upper(encode(raw, 'hex')), ratio::numeric(40,20)::text, day::text, text1
"""
SELECTED = {
    "items": (ITEMS_SOURCE, ITEMS_TARGET),
    "pairs": ("a, b, v", "a::text, b, v::text"),
    "keyless": ("word, n", "word, n::text"),
}


class Writer:
    """Changes everything, at random, until it is told to stop."""

    def __init__(self, database: MysqlDatabase, seed: int) -> None:
        self._connection = database.connect()
        self._random = random.Random(seed)
        self.transaction_count = 0
        self.error: BaseException | None = None

    def create(self) -> None:
        """Make the tables and their first rows."""
        run = self._connection.run
        run(ITEMS)
        run("create table pairs (a int not null, b varchar(20) not null, v int, primary key (a, b))")
        run("create table keyless (word varchar(20), n int)")
        for at in range(0, ROWS, 100):
            run(f"insert into items ({_COLUMNS}) values {', '.join(self._item() for _ in range(100))}")
            run("insert into pairs (a, b, v) values " + ", ".join(f"({at + i}, 'p{i % 7}', {i})" for i in range(100)))
            run("insert into keyless values " + ", ".join(f"('w{i % 5}', {i % 3})" for i in range(100)))

    def run_until(self, stop: threading.Event) -> None:
        """Write transactions of one to five statements."""
        try:
            while not stop.wait(0.02):
                self._connection.run("begin")
                for _ in range(self._random.randint(1, 5)):
                    self._connection.run(self._statement())
                self._connection.run("rollback" if self._random.random() < 0.1 else "commit")
                self.transaction_count += 1
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.error = error
        finally:
            # An open transaction would keep the database from being dropped.
            self._connection.close()

    def _item(self) -> str:
        n = self._random.randrange(10**6)
        big = self._random.randrange(2**64)
        kind = self._random.choice(("'a'", "'b'", "null"))
        return (
            f"('näme {n}', {n}.0123456789, {kind}, 'x,y', {n % 256}, {1901 + n % 200}, '-{n % 838}:00:01.5', "
            f"'2024-02-29 12:00:00.{n:06}', '2024-02-29 12:00:00.{n:06}', {big}, '{{\"n\": {n}}}', "
            f"x'00{n % 256:02x}ff', {n}.5, '1000-01-01', 'é{n}')"
        )

    def _statement(self) -> str:
        pick = self._random.randrange
        low, high = sorted((pick(ROWS), pick(ROWS)))
        return self._random.choice(
            (
                f"insert into items ({_COLUMNS}) values {self._item()}, {self._item()}",
                f"update items set price = price + 1, took = '00:00:0{pick(10)}' where id between {low} and {high}",
                f"update items set name = 'renamed', doc = null where id = {pick(ROWS)}",
                f"update ignore items set id = id + 1000000 where id = {pick(ROWS)} and id < 1000000",
                f"delete from items where id = {pick(ROWS)}",
                f"replace into pairs (a, b, v) values ({pick(ROWS)}, 'p{pick(7)}', {pick(100)})",
                f"update ignore pairs set b = concat(b, 'x') where a = {pick(ROWS)} and length(b) < 10",
                f"delete from pairs where a = {pick(ROWS)}",
                f"insert into keyless values ('w{pick(5)}', {pick(3)})",
                f"update keyless set n = n + 1 where word = 'w{pick(5)}' limit 3",
                f"delete from keyless where n = {pick(5)} limit 3",
            )
        )


_COLUMNS = "name, price, kind, tags, flags, made, took, at, seen, big, doc, raw, ratio, day, text1"


AnyDatabase = Database | MysqlDatabase


PAIRS = [
    *("mariadb-postgresql", "mysql-postgresql", "mariadb-mysql", "mysql-mariadb"),
    *("mariadb10-mysql8", "mysql8-mariadb10"),
]


@pytest.fixture(params=PAIRS)
def pair(
    request: pytest.FixtureRequest,
    new_database: Callable[..., Database],
    new_mysql_database: Callable[[str], MysqlDatabase],
) -> tuple[MysqlDatabase, AnyDatabase]:
    """A source and a target of other kinds, the last ones of older releases."""
    source, target = request.param.split("-")
    return (
        new_mysql_database(source),
        new_database(18, "target") if target == "postgresql" else new_mysql_database(target),
    )


@pytest.mark.timeout(1800)
def test_a_database_moves_to_another_server_while_its_movers_are_killed(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, pair: tuple[MysqlDatabase, AnyDatabase]
) -> None:
    source, target = pair
    writer = Writer(source, seed=8)
    writer.create()
    stop = threading.Event()
    with Services(tmp_path, replication, kafka_server, source, target, capture={"chunk_rows": 100}) as services:
        services.as_users_do = True
        planned = services.run("plan")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        loss = (
            "bigint unsigned becomes numeric(20,0)"
            if isinstance(target, Database)
            else "becomes varchar(20); in utf8mb4"
        )
        assert loss in " ".join(planned.stdout.split())
        thread = threading.Thread(target=writer.run_until, args=(stop,))
        thread.start()
        try:
            services.start("capture")
            services.start("apply")
            services.wait(lambda: _count(target, source, "items") > 0, "the load begins to arrive")
            for name in ("capture", "apply", "capture"):
                services.crash(name)
                _wait_for_writes(services, writer)
            services.wait(lambda: len(services.loaded()) == len(SELECTED), "the load ends")
            for name in ("apply", "capture"):
                services.crash(name)
            source.execute(
                "alter table pairs add column w varchar(5) default 'new'",
                "insert into pairs values (-1, 'last', 5, 'w')",
            )
            _wait_for_writes(services, writer)
        finally:
            stop.set()
            thread.join()
        assert writer.error is None, writer.error
        deadline = time.monotonic() + DEADLINE_S
        while differences := _differences(source, target):
            assert time.monotonic() < deadline, "\n".join(
                [*differences, services.log_tail("capture"), services.log_tail("apply")]
            )
            time.sleep(0.5)
        verified = services.run("verify", "--target", TARGET)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        added = "select w, count(*) from {}pairs group by w order by w"
        there = target.rows(added.format("" if isinstance(target, MysqlDatabase) else f"{source.name}."))
        assert [[w, str(count)] for w, count in there] == source.rows(added.format(""))
        records = read_topics(kafka_server.bootstrap, data_topics(kafka_server.bootstrap, replication))
        assert sequence_faults(records) == []
        assert key_faults(records) == []
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)


def _wait_for_writes(services: Services, writer: Writer) -> None:
    mark = writer.transaction_count
    services.wait(lambda: writer.transaction_count > mark + 20 or writer.error is not None, "the writer goes on")


def _copy(target: AnyDatabase, source: MysqlDatabase, table: str) -> str | None:
    """Return what a table is called at the target; None: an applier has not made it yet."""
    if isinstance(target, MysqlDatabase):
        return table if target.rows(f"show tables like '{table}'") else None
    name = f"{source.name}.{table}"
    return name if target.rows(f"select to_regclass('{name}') is not null")[0][0] else None


def _count(target: AnyDatabase, source: MysqlDatabase, table: str) -> int:
    copy = _copy(target, source, table)
    return 0 if copy is None else int(str(target.rows(f"select count(*) from {copy}")[0][0]))


def _differences(source: MysqlDatabase, target: AnyDatabase) -> list[str]:
    """Compare the rows of all tables as each server prints them."""
    found = []
    for table, (theirs, ours) in SELECTED.items():
        wanted = _printed(source, f"select {theirs} from {table}")
        copy, columns = _copy(target, source, table), theirs if isinstance(target, MysqlDatabase) else ours
        have = Counter() if copy is None else _printed(target, f"select {columns} from {copy}")
        if wanted != have:
            extra, missing = have - wanted, wanted - have
            found.append(
                f"{table}: {extra.total()} too many {list(extra)[:2]}, {missing.total()} missing {list(missing)[:2]}"
            )
    return found


def _printed(database: AnyDatabase, query: str) -> Counter[tuple[object, ...]]:
    return Counter(tuple(row) for row in database.rows(query))
