"""Both orderings, on the real thing: transactional, a reader at the target never sees what the source never committed,
whichever database that is; by key, nothing is parked that the source allowed.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.services import DEADLINE_S, TARGET, Serve, Services
from tests.kit.compare import wait_until_equal
from tests.kit.mysql import MysqlDatabase
from tests.kit.random_mysql import open_session
from tests.kit.servers import Database
from tests.kit.sides import MysqlSide, PostgresqlSide, wait_until_alike

ACCOUNTS = 200
BALANCE = 1_000
LARGE_ROWS = 3_000

SCHEMA = """
create table accounts (id bigint primary key, owner text not null unique, balance bigint not null, about text);
alter table accounts alter about set storage external;
create table transfers (id bigint primary key, debit bigint not null references accounts,
    credit bigint not null references accounts, amount bigint not null);
create table ledger (id integer primary key, transfers bigint not null, accounts bigint not null);
create table journal (at bigint, what text);
alter table journal replica identity full;
"""
TABLES = 4

INVARIANTS = """
select (select sum(balance) from accounts),
       (select count(*) from transfers) - (select transfers from ledger where id = 1),
       (select count(*) from accounts) - (select accounts from ledger where id = 1),
       (select count(*) from transfers) - (select count(*) from journal where what = 'transfer'),
       (select count(*) from transfers t where not exists (select 1 from accounts a where a.id = t.debit))
"""
"""One statement, so one snapshot: money is neither made nor lost, counts in other tables agree, no transfer is without
its account."""


ENFORCED = "select count(*) from pg_constraint where contype = 'f' and convalidated"
ENFORCED_BY_MYSQL = (
    "select count(*) from information_schema.referential_constraints where constraint_schema = database()"
)


class Bank:
    """Writes to the source; each transaction keeps the invariants, and breaks them in its midst."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._chance = random.Random(11)
        self._next = 1_000_000
        self.transactions = 0
        self.calm: tuple[Callable[..., None], ...] = (self._transfer, self._transfer, self._swap)
        """Without accounts that leave both their owner and their transfers to another one."""
        self.steps: tuple[Callable[..., None], ...] = (*self.calm, self._succeed)

    def create(self) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute(SCHEMA)
            connection.execute(
                "insert into accounts select n, 'owner' || n, %s, repeat('about ' || n, 500) "
                "from generate_series(1, %s) n",
                (BALANCE, ACCOUNTS),
            )
            connection.execute("insert into ledger values (1, 0, %s)", (ACCOUNTS,))

    def run_until(self, stop: threading.Event, pause_s: float) -> None:
        with psycopg.connect(self.dsn) as connection:
            while not stop.wait(pause_s):
                step = self._chance.choice(self.steps)
                with connection.transaction():
                    step(connection)
                self.transactions += 1
                if self.transactions % 60 == 30:
                    with connection.transaction():
                        self._large(connection)

    @contextlib.contextmanager
    def open(self) -> Iterator[Callable[[Services, int], None]]:
        """Write meanwhile; yield what waits until so many transactions more are written."""
        stop = threading.Event()
        writer = threading.Thread(target=self.run_until, args=(stop, 0.01))

        def write_on(services: Services, count: int) -> None:
            goal = self.transactions + count
            services.wait(lambda: self.transactions > goal, "the writer goes on")

        writer.start()
        try:
            yield write_on
        finally:
            stop.set()
            writer.join()

    def _pair(self, connection: psycopg.Connection) -> tuple[int, int]:
        rows = connection.execute("select id from accounts order by id").fetchall()
        one, two = self._chance.sample([row[0] for row in rows], 2)
        return one, two

    def _transfer(self, connection: psycopg.Connection) -> None:
        one, two = self._pair(connection)
        self._next += 1
        connection.execute("update accounts set balance = balance - 5 where id = %s", (one,))
        connection.execute("insert into transfers values (%s, %s, %s, 5)", (self._next, one, two))
        connection.execute("insert into journal values (%s, 'transfer')", (self._next,))
        connection.execute("update accounts set balance = balance + 5 where id = %s", (two,))
        connection.execute("update ledger set transfers = transfers + 1 where id = 1")

    def _swap(self, connection: psycopg.Connection) -> None:
        """Two accounts change owners, who are unique."""
        one, two = self._pair(connection)
        owners: dict[int, str] = dict(
            connection.execute("select id, owner from accounts where id in (%s, %s)", (one, two)).fetchall()
        )
        connection.execute("update accounts set owner = 'nobody' where id = %s", (one,))
        connection.execute("update accounts set owner = %s where id = %s", (owners[one], two))
        connection.execute("update accounts set owner = %s where id = %s", (owners[two], one))

    def _succeed(self, connection: psycopg.Connection) -> None:
        """An account goes, and leaves its owner, its money and its transfers to a new one."""
        one, _ = self._pair(connection)
        self._next += 1
        connection.execute("update accounts set owner = owner || ' late' where id = %s", (one,))
        connection.execute(
            "insert into accounts select %s, replace(owner, ' late', ''), balance, about from accounts where id = %s",
            (self._next, one),
        )
        for column in ("debit", "credit"):
            connection.execute(f"update transfers set {column} = %s where {column} = %s", (self._next, one))
        connection.execute("delete from accounts where id = %s", (one,))

    def _large(self, connection: psycopg.Connection) -> None:
        """More changes than a batch, a mark or a Kafka transaction hold."""
        first, self._next = self._next + 1, self._next + LARGE_ROWS
        one, two = self._pair(connection)
        connection.execute("update accounts set balance = balance - 3000000 where id = %s", (one,))
        connection.execute(
            "insert into transfers select n, %s, %s, 1 from generate_series(%s, %s) n", (one, two, first, self._next)
        )
        connection.execute(
            "insert into journal select n, 'transfer' from generate_series(%s, %s) n", (first, self._next)
        )
        connection.execute("update ledger set transfers = transfers + %s where id = 1", (LARGE_ROWS,))
        connection.execute("update accounts set balance = balance + 3000000 where id = %s", (two,))


Target = PostgresqlSide | MysqlSide


class Reader:
    """Asks the target for the invariants again and again, from the moment its foreign keys are there."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.looks = 0
        self.faults: list[tuple[int, ...]] = []

    def run_until(self, stop: threading.Event) -> None:
        with contextlib.closing(_session(self._target)) as session:
            while not stop.wait(0.01):
                found = _row(session, INVARIANTS)
                self.looks += 1
                if found != (ACCOUNTS * BALANCE, 0, 0, 0, 0):
                    self.faults.append(found)


def _session(target: Target) -> Any:
    """Return a connection by the driver of the target's database."""
    if isinstance(target, PostgresqlSide):
        return psycopg.connect(target.database.dsn, autocommit=True)
    return open_session(target.database)


def _row(session: Any, query: str) -> tuple[int, ...]:
    with session.cursor() as cursor:
        cursor.execute(query)
        (found,) = cursor.fetchall()
    return tuple(map(int, found))


@pytest.fixture(params=["postgresql", "mysql", "mariadb"])
def target(
    request: pytest.FixtureRequest,
    new_database: Callable[..., Database],
    new_mysql_database: Callable[[str], MysqlDatabase],
) -> Target:
    if request.param == "postgresql":
        return PostgresqlSide(new_database(16, "target"))
    return MysqlSide(new_mysql_database(request.param))


@pytest.mark.timeout(1800)
def test_a_reader_at_the_target_never_sees_half_a_transaction_whatever_is_killed(
    serve: Serve, source_database: Database, target: Target
) -> None:
    bank, reader = Bank(source_database.dsn), Reader(target)
    bank.create()
    if isinstance(target, MysqlSide):
        # Constraints hold at each statement there.
        bank.steps = bank.calm
    stop = threading.Event()
    threads = [threading.Thread(target=bank.run_until, args=(stop, 0.01))]
    with serve(
        source_database,
        target.database,
        topics={"partitions": 3},
        capture={"commit_rows": 500},
        apply={"ordering": "transactional", "batch_rows": 400},
    ) as services:
        try:
            threads[0].start()
            services.start("capture")
            services.start("apply")
            services.wait(lambda: services.count("apply", "load completed") == TABLES, "all loads end")
            assert _foreign_keys(target) == 2
            threads.append(threading.Thread(target=reader.run_until, args=(stop,)))
            threads[1].start()
            services.start("apply-2")
            for name in ("apply", "capture", "apply-2", "apply"):
                looks, transactions = reader.looks, bank.transactions
                services.wait(
                    lambda n=looks, t=transactions: reader.looks > n + 30 and bank.transactions > t + 60,  # type: ignore[misc]
                    "writer and reader go on",
                )
                services.crash(name)
            assert _foreign_keys(target) == 2
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        found = wait_until_alike(PostgresqlSide(source_database), target, DEADLINE_S)
        assert found == [], services.log_tail("apply")
        assert reader.faults == []
        _end_with_nothing_parked(services)


def test_by_key_nothing_is_parked_that_the_source_allowed(serve: Serve, new_database: Callable[..., Database]) -> None:
    """Foreign keys are enforced, and owners swapped: by one applier, then by two."""
    source, target = new_database(18, "source"), new_database(18, "target")
    bank = Bank(source.dsn)
    bank.create()
    with serve(
        source,
        target,
        topics={"partitions": 3},
        capture={"commit_rows": 500},
        apply={"batch_rows": 400},
    ) as services:
        for name in ("capture", "apply"):
            services.start(name)
        with bank.open() as write_on:
            # Parents may be on their way still: not valid for what was there then, and enforced for what comes.
            enforced = "select from pg_constraint where contype = 'f'"
            services.wait(lambda: len(target.rows(enforced)) == 2, "the load ends and foreign keys are made")
            for name in ("apply", "capture"):
                write_on(services, 60)
                services.crash(name)
            write_on(services, 60)
        assert wait_until_equal(source.dsn, target.dsn) == [], services.log_tail("apply")
        bank.steps = bank.calm
        services.start("apply-2")
        with bank.open() as write_on:
            services.wait(lambda: services.said("apply-2", "partitions assigned"), "another applier joins")
            write_on(services, 100)
            services.kill("apply")
            write_on(services, 60)
            services.start("apply")
        assert wait_until_equal(source.dsn, target.dsn) == [], services.log_tail("apply-2")
        _end_with_nothing_parked(services)


def _end_with_nothing_parked(services: Services) -> None:
    status = json.loads(services.run("status", "--json").stdout)
    (found,) = (t for t in status["targets"] if t["name"] == TARGET)
    assert found["parked"] == 0, services.log_tail("apply")
    for name in ("capture", "apply", "apply-2"):
        assert services.stop(name) == 0, services.log_tail(name)
    assert services.run("reset", "--yes").returncode == 0


def _foreign_keys(target: Target) -> int:
    """Count the foreign keys that are enforced, and hold for every row."""
    with contextlib.closing(_session(target)) as session:
        return _row(session, ENFORCED if isinstance(target, PostgresqlSide) else ENFORCED_BY_MYSQL)[0]
