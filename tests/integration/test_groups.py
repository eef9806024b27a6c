"""Small tables that are loaded in groups while their rows change: whatever dies in the midst of one, the topics lead to
the rows of the source, each once.
"""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Services
from tests.kit.servers import Database
from tests.kit.topics import Record, data_topics, read_topics, replay, sequence_faults

KEYED, KEYLESS = 120, 8
"""Of so many tables the first groups have 32 each."""
ROWS, KEYLESS_ROWS = 40, 3000
"""A table without a key comes in several batches: some of its rows are out when others are not."""
CRASHES = (
    "capture.load.planned:3",
    "capture.load.middle",
    "capture.load.finished",
    "capture.load.finished:20",
    "capture.commit.before:2",
    "capture.commit.after:2",
    "capture.acknowledge.after",
    "capture.load.announce",
)
"""At the second of its commits capture has loaded something: the first is of its start."""
LOADER_DIES_AT = "capture.load.planned:5:stop"

TABLES = [*(f"k{n}" for n in range(KEYLESS)), *(f"t{n}" for n in range(KEYED))]


@contextmanager
def _writer(source: Database) -> Iterator[None]:
    """Insert, update and delete rows of all tables, in small transactions over several of them."""
    ends = threading.Event()
    choose = random.Random(7)

    def write() -> None:
        fresh = 1000
        with source.connect() as connection:
            while not ends.wait(0.01):
                fresh += 1
                with connection.transaction():
                    for table in choose.sample(TABLES, 4):
                        old = choose.randrange(ROWS)
                        connection.execute(f"update {table} set v = 'at {fresh}' where id = {old}")
                        connection.execute(f"insert into {table} values ({fresh}, 'new')")
                        connection.execute(f"delete from {table} where id = {choose.choice((old + 1, fresh - 9))}")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            yield
        finally:
            ends.set()
        writing.result()


def _kill_loaders(services: Services) -> None:
    """Kill the loader processes of a capture that stands still in the midst of a group."""
    services.wait(
        lambda: psutil.Process(services.pid("capture")).status() == psutil.STATUS_STOPPED, "capture stands still"
    )
    loaders = services.loaders()
    assert loaders
    for loader in loaders:
        loader.kill()
    services.signal("capture", signal.SIGCONT)
    services.wait(lambda: services.said("capture", "a loader process died"), "capture misses its loaders")


def _rows_without_keys(records: list[Record]) -> dict[str, Counter[Any]]:
    """Return the rows that topics of tables without a key lead to, and how often each."""
    tables: dict[str, Counter[Any]] = {}
    for record in records:
        rows, envelope = tables.setdefault(record.topic, Counter()), record.envelope
        if envelope is None:
            continue
        if envelope["op"] == "t":
            rows.clear()
        for image, count in (("before", -1), ("after", 1)):
            if (row := envelope[image]) is not None:
                rows[row["id"], row["v"]] += count
    return {topic: Counter({row: count for row, count in rows.items() if count}) for topic, rows in tables.items()}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_groups_of_tables_survive_every_crash_within_them(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, source_database: Database, target_database: Database
) -> None:
    source = source_database
    source.execute(
        f"""do $$ begin
            for n in 0..{KEYED - 1} loop
                execute format('create table t%s (id int primary key, v text)', n);
                execute format('insert into t%s select i, ''v'' || i from generate_series(0, {ROWS - 1}) i', n);
            end loop;
            for n in 0..{KEYLESS - 1} loop
                execute format('create table k%s (id int, v text)', n);
                execute format('alter table k%s replica identity full', n);
                execute format('insert into k%s select i, ''v'' || i from generate_series(0, {KEYLESS_ROWS - 1}) i', n);
            end loop;
        end $$""",
    )
    with source.connect() as connection:
        # Of tables of which nothing is known no group is made.
        connection.execute("analyze")
    capture = {"session_timeout_s": 2, "status_interval_s": 1}
    with Services(tmp_path, replication, kafka_server, source, target_database, capture=capture) as services:
        with _writer(source):
            for failpoint in CRASHES:
                services.start("capture", failpoint=failpoint)
                services.meet("capture", failpoint)
            services.start("capture", failpoint=LOADER_DIES_AT)
            _kill_loaders(services)
            services.wait(lambda: len(services.loaded()) == len(TABLES), "every table is loaded", progress=True)
        assert services.stop("capture") == 0
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == 0, services.log_tail("capture")
    records = read_topics(kafka_server.bootstrap, data_topics(kafka_server.bootstrap, replication))
    assert sequence_faults(records) == []
    keyed, keyless = replay(records), _rows_without_keys(records)
    for table in TABLES:
        topic = f"{replication}.public.{table}"
        expected = Counter((i, v) for i, v in source.rows(f"select id, v from {table}"))
        found = (
            keyless[topic] if table.startswith("k") else Counter((row["id"], row["v"]) for row in keyed[topic].values())
        )
        assert found == expected, table
