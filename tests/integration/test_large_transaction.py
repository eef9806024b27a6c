"""One transaction of very many rows, and what memory the services take for it: `make large-transaction ROWS=10000000`.

`ORDERING=per-key` applies it in batches; the default is the harder way, in one transaction of the target.
`SOURCE=mysql` and `SOURCE=mariadb` write it there; with `COMPRESSED=1` MySQL compresses it in its log, as one event.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import psutil
import pytest

from deploy.local.postgresql import PostgresqlServer
from tests.integration.services import Serve
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.servers import Database, create_database

ROWS = int(os.environ.get("ROWS") or 0)
ORDERING = os.environ.get("ORDERING") or "transactional"
SOURCE = os.environ.get("SOURCE") or "postgresql"
COMPRESSED = os.environ.get("COMPRESSED") == "1"
MEMORY_MIB_MAX = 300
LOOK_S = 1.0
SUMS = "select count(*), sum(id), sum(amount) from {}.big"
SERIES = {
    "postgresql": "generate_series(1, {rows}) n",
    "mysql": "(with recursive s(n) as (select 1 union all select n + 1 from s where n < {rows}) select n from s) s",
    "mariadb": "(select seq n from seq_1_to_{rows}) s",
}


@pytest.mark.timeout(600 + ROWS // 1000)
@pytest.mark.skipif(not ROWS, reason="for `make large-transaction`")
def test_memory_does_not_grow_with_a_transaction(
    serve: Serve, own_postgresql: Callable[..., PostgresqlServer], request: pytest.FixtureRequest
) -> None:
    # Its own: while the target's transaction is open, nobody else could make a replication slot.
    server = own_postgresql(18)
    target = create_database(server.address, "target")
    source: Database | MysqlDatabase
    if SOURCE == "postgresql":
        source, schema = create_database(server.address, "source"), "public"
    else:
        source = create_mysql_database(request.getfixturevalue(f"{SOURCE}_server"))
        schema = source.name
        request.addfinalizer(lambda: drop_mysql_database(source))
    source.execute("create table big (id bigint primary key, words text, amount numeric(12,2))")
    most = {"capture": 0.0, "apply": 0.0}
    with serve(source, target, apply={"ordering": ORDERING}) as services:
        for name in most:
            services.start(name)
        source.execute("insert into big values (0, 'first', 0)")
        services.wait(lambda: _has(target, schema, 0), "the first row is there")
        began = time.monotonic()
        values = "n, concat('words of row ', n), n / 100.0"
        _write(source, f"insert into big select {values} from {SERIES[SOURCE].format(rows=ROWS)}")
        while not _has(target, schema, ROWS):
            for name, highest in most.items():
                most[name] = max(highest, _memory_mib(services.pid(name)))
            time.sleep(LOOK_S)
        took_s = time.monotonic() - began
        # By key the last row does not say that all are there.
        services.wait(lambda: _sums(source, schema) == _sums(target, schema), "all rows are there")
        for name in most:
            assert services.stop(name) == 0, services.log_tail(name)
        assert services.run("reset", "--yes").returncode == 0
    print(
        json.dumps(
            {
                "source": SOURCE,
                "compressed": COMPRESSED,
                "rows": ROWS,
                "ordering": ORDERING,
                "seconds": round(took_s),
                "memory_mib": most,
            }
        )
    )
    assert max(most.values()) < MEMORY_MIB_MAX, most


def _write(source: Database | MysqlDatabase, statement: str) -> None:
    if isinstance(source, Database):
        source.execute(statement)
        return
    session = source.connect()
    if not source.is_mariadb:
        session.run(f"set session cte_max_recursion_depth = {ROWS + 1}")
        session.run(f"set session binlog_transaction_compression = {int(COMPRESSED)}")
    session.run(statement)
    session.close()


def _sums(database: Database | MysqlDatabase, schema: str) -> list[str]:
    return [str(value) for value in database.rows(SUMS.format(schema))[0]]


def _has(target: Database, schema: str, row: int) -> bool:
    return target.rows(f"select to_regclass('{schema}.big') is not null") == [(True,)] and bool(
        target.rows(f"select from {schema}.big where id = {row}")
    )


def _memory_mib(pid: int) -> float:
    """Return what a service and its processes have in memory; what they share counts once for each."""
    process = psutil.Process(pid)
    rss: int = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    return round(rss / (1 << 20), 1)
