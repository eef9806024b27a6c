"""Transactional ordering at MySQL and MariaDB: a reader there never sees what the source never committed."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable

import pymysql
import pytest

from tests.integration.services import DEADLINE_S, TARGET, Serve
from tests.integration.test_ordering import ACCOUNTS, BALANCE, INVARIANTS, TABLES, Bank
from tests.kit.mysql import MysqlDatabase
from tests.kit.random_mysql import open_session
from tests.kit.servers import Database
from tests.kit.sides import MysqlSide, PostgresqlSide, wait_until_alike

pytestmark = pytest.mark.timeout(1800)

FOREIGN_KEYS = "select count(*) from information_schema.referential_constraints where constraint_schema = database()"


class Reader:
    """Asks for the invariants again and again, each time in one statement, which sees one state."""

    def __init__(self, database: MysqlDatabase) -> None:
        self._database = database
        self.looks = 0
        self.faults: list[tuple[int, ...]] = []

    def run_until(self, stop: threading.Event) -> None:
        with contextlib.closing(open_session(self._database)) as session:
            while not stop.wait(0.01):
                found = tuple(map(int, _row(session, INVARIANTS.replace("select from", "select 1 from"))))
                self.looks += 1
                if found != (ACCOUNTS * BALANCE, 0, 0, 0, 0):
                    self.faults.append(found)


def _row(session: pymysql.Connection, query: str) -> tuple[int, ...]:
    with session.cursor() as cursor:
        cursor.execute(query)
        (found,) = cursor.fetchall()
    return tuple(found)


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_a_reader_never_sees_half_a_transaction_whatever_is_killed(
    serve: Serve, source_database: Database, new_mysql_database: Callable[[str], MysqlDatabase], kind: str
) -> None:
    """Constraints hold at each statement there: no account leaves its owner to another one."""
    target = new_mysql_database(kind)
    bank, reader = Bank(source_database.dsn), Reader(target)
    bank.create()
    bank.steps = bank.calm
    stop = threading.Event()
    threads = [threading.Thread(target=bank.run_until, args=(stop, 0.01))]
    with serve(
        source_database,
        target,
        topics={"partitions": 3},
        capture={"commit_rows": 500},
        apply={"ordering": "transactional", "batch_rows": 400},
    ) as services:
        try:
            threads[0].start()
            services.start("capture")
            services.start("apply")
            services.wait(lambda: services.count("apply", "load completed") == TABLES, "all loads end")
            with contextlib.closing(open_session(target)) as session:
                assert _row(session, FOREIGN_KEYS) == (2,)
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
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        found = wait_until_alike(PostgresqlSide(source_database), MysqlSide(target), DEADLINE_S)
        assert found == [], services.log_tail("apply")
        assert reader.faults == []
        status = json.loads(services.run("status", "--json").stdout)
        (said,) = (t for t in status["targets"] if t["name"] == TARGET)
        assert said["parked"] == 0, services.log_tail("apply")
        for name in ("capture", "apply", "apply-2"):
            assert services.stop(name) == 0, services.log_tail(name)
        assert services.run("reset", "--yes").returncode == 0
