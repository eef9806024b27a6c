"""Everything is killed while the source is written to: capture, apply, the broker, both databases.

`make chaos SEED=7 ROUNDS=50` repeats a run, and makes it longer. `make test` runs each victim once. What is checked at
the end is what matters: target equals source, and the topics hold every change once and in order.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest

from deploy.local.kafka import KafkaServer
from deploy.local.postgresql import PostgresqlServer
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import create_database
from tests.kit.topics import data_topics, key_faults, read_topics, sequence_faults
from tests.kit.workload import Workload

SEED = int(os.environ.get("SEED") or 1)
ROUNDS = int(os.environ.get("ROUNDS") or 1)
VICTIMS = ("capture", "kafka", "apply", "source", "target")


# A failure here breaks a promise: it is never run again in the hope of a better result.
@pytest.mark.flaky(reruns=0)
@pytest.mark.chaos
@pytest.mark.timeout(1800 + 300 * ROUNDS)
def test_nothing_is_lost_or_doubled_whoever_is_killed(
    tmp_path: Path, replication: str, own_kafka: KafkaServer, own_postgresql: Callable[..., PostgresqlServer]
) -> None:
    choose = random.Random(SEED)
    source_server, target_server = own_postgresql(18), own_postgresql(16)
    servers: dict[str, KafkaServer | PostgresqlServer] = {
        "source": source_server,
        "target": target_server,
        "kafka": own_kafka,
    }
    source = create_database(source_server.address, "source")
    target = create_database(target_server.address, "target")
    workload = Workload(source.dsn, seed=SEED)
    workload.create(rows=2_000)
    stop = threading.Event()
    with Services(
        tmp_path,
        replication,
        own_kafka.address,
        source,
        target,
        capture={"chunk_rows": 500, "transaction_timeout_s": 10},
    ) as services:
        writer = threading.Thread(target=_write, args=(workload, stop))
        writer.start()
        try:
            services.start("capture")
            services.start("apply")
            for _ in range(ROUNDS):
                for victim in choose.sample(VICTIMS, len(VICTIMS)):
                    goal = workload.written.transaction_count + choose.randint(5, 40)
                    services.wait(partial(_has_written, workload, goal), "the writer goes on")
                    if victim in servers:
                        servers[victim].kill()
                        servers[victim].restart()
                    else:
                        services.kill(victim)
                        services.start(victim)
        finally:
            stop.set()
            writer.join()
        unequal = wait_until_equal(source.dsn, target.dsn, timeout_s=300)
        assert unequal == [], f"SEED={SEED}\n{services.log_tail('capture')}\n{services.log_tail('apply')}"
        assert services.stop("capture") == 0, services.log_tail("capture")
        assert services.stop("apply") == 0, services.log_tail("apply")
    records = read_topics(own_kafka.address.bootstrap, data_topics(own_kafka.address.bootstrap, replication))
    assert len(records) > workload.written.transaction_count
    assert sequence_faults(records) == [], f"SEED={SEED}"
    assert key_faults(records) == [], f"SEED={SEED}"


def _has_written(workload: Workload, transactions: int) -> bool:
    return workload.written.transaction_count > transactions


def _write(workload: Workload, stop: threading.Event) -> None:
    """Keep writing over crashes of the source. A transaction that a crash cuts off is there wholly or not at all."""
    while not stop.is_set():
        try:
            workload.run_until(stop, pause_s=0.05)
        except psycopg.OperationalError:
            stop.wait(0.5)
