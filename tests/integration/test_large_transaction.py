"""One transaction of very many rows, and what memory the services take for it: `make large-transaction ROWS=10000000`.

`ORDERING=per-key` applies it in batches; the default is the harder way, in one transaction of the target.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.postgresql import PostgresqlServer
from tests.integration.services import Services
from tests.kit.servers import Database, create_database

ROWS = int(os.environ.get("ROWS") or 0)
ORDERING = os.environ.get("ORDERING") or "transactional"
MEMORY_MIB_MAX = 300
LOOK_S = 1.0
SUMS = "select count(*), sum(id), sum(amount) from big"


@pytest.mark.timeout(600 + ROWS // 1000)
@pytest.mark.skipif(not ROWS, reason="for `make large-transaction`")
def test_memory_does_not_grow_with_a_transaction(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, own_postgresql: Callable[..., PostgresqlServer]
) -> None:
    # Its own: while the target's transaction is open, nobody else could make a replication slot.
    server = own_postgresql(18)
    source, target = create_database(server.address, "source"), create_database(server.address, "target")
    source.execute("create table big (id bigint primary key, words text, amount numeric(12,2))")
    most = {"capture": 0.0, "apply": 0.0}
    with Services(tmp_path, replication, kafka_server, source, target, apply={"ordering": ORDERING}) as services:
        for name in most:
            services.start(name)
        source.execute("insert into big values (0, 'first', 0)")
        services.wait(lambda: _has(target, 0), "the first row is there")
        began = time.monotonic()
        source.execute(f"insert into big select n, 'words of row ' || n, n / 100.0 from generate_series(1, {ROWS}) n")
        while not _has(target, ROWS):
            for name, highest in most.items():
                most[name] = max(highest, _memory_mib(services.pid(name)))
            time.sleep(LOOK_S)
        took_s = time.monotonic() - began
        # By key the last row does not say that all are there.
        services.wait(lambda: source.rows(SUMS) == target.rows(SUMS), "all rows are there")
        for name in most:
            assert services.stop(name) == 0, services.log_tail(name)
        assert services.run("reset", "--yes").returncode == 0
    print(json.dumps({"rows": ROWS, "ordering": ORDERING, "seconds": round(took_s), "memory_mib": most}))
    assert max(most.values()) < MEMORY_MIB_MAX, most


def _has(target: Database, row: int) -> bool:
    return target.rows("select to_regclass('big') is not null") == [(True,)] and bool(
        target.rows(f"select from big where id = {row}")
    )


def _memory_mib(pid: int) -> float:
    """Return what a service and its processes have in memory; what they share counts once for each."""
    process = psutil.Process(pid)
    rss: int = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    return round(rss / (1 << 20), 1)
