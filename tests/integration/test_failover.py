"""The source restarts, crashes, and a standby takes its place; the target restarts and crashes: all under load."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from deploy.local.kafka import KafkaAddress
from deploy.local.postgresql import PostgresqlServer
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database, create_database
from tests.kit.topics import data_topics, key_faults, read_topics, sequence_faults

TABLES = (
    "create table keyed (id bigint primary key, word text, number integer)",
    # Without a key: a change that is applied twice, or not at all, shows.
    "create table bag (word text)",
    "alter table bag replica identity full",
    "insert into keyed select i, 'loaded ' || i, 0 from generate_series(1, 3000) i",
    "insert into bag select 'word ' || i % 7 from generate_series(1, 300) i",
)


def test_the_copy_follows_over_restarts_crashes_and_a_promotion(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    own_postgresql: Callable[..., PostgresqlServer],
) -> None:
    primary = own_postgresql(18, settings={"synchronized_standby_slots": "standby"})
    source = create_database(primary.address, "source")
    source.execute("select pg_create_physical_replication_slot('standby', true)", *TABLES)
    following = {"primary_slot_name": "standby", "hot_standby_feedback": "on", "sync_replication_slots": "on"}
    standby = own_postgresql(18, standby_of=primary, settings=following)
    promoted = Database(standby.address, source.name)
    target_server = own_postgresql(13)
    target = create_database(target_server.address, "target")
    # libpq looks for the one that can be written to.
    both = {
        "host": f"{primary.address.host},{standby.address.host}",
        "port": f"{primary.address.port},{standby.address.port}",
        "target_session_attrs": "read-write",
    }
    stop, writes = threading.Event(), itertools.count()
    writer = threading.Thread(target=_write, args=(source.settings_of_driver(**both), stop, writes))
    with Services(tmp_path, replication, kafka_server, source, target, at_source={"parameters": both}) as services:

        def more_is_written() -> None:
            """Wait until the writer has gone on, and the target with it."""
            mark = next(writes)
            services.wait(lambda: next(writes) > mark + 200, "the writer goes on")

        services.start("capture")
        services.start("apply")
        writer.start()
        try:
            for server in (primary, target_server):
                more_is_written()
                server.restart()
                more_is_written()
                server.kill()
                server.restart()
            number = _last(source)
            services.wait(lambda: _last(target) > number, "changes arrive after restarts and crashes")
            services.wait(lambda: _is_synchronised(standby), "the slot is taken along by the standby")
            more_is_written()
            primary.kill()
            promoted.execute("select pg_promote()")
            more_is_written()
        finally:
            stop.set()
            writer.join()
        assert wait_until_equal(promoted.dsn, target.dsn, timeout_s=200) == [], services.log_tail("capture")
        records = read_topics(kafka_server.bootstrap, data_topics(kafka_server.bootstrap, replication))
        assert sequence_faults(records) == []
        assert key_faults(records) == []
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)
        # What is known of the source is the new timeline now.
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == 0, services.log_tail("capture")


def _write(conninfo: dict[str, Any], stop: threading.Event, writes: itertools.count[int]) -> None:
    """Write to whichever server takes it. What a server that goes down has confirmed may be lost with it."""
    while not stop.is_set():
        with contextlib.suppress(psycopg.Error), psycopg.connect(**conninfo, autocommit=True) as connection:
            while not stop.is_set():
                number = next(writes)
                for statement in (
                    f"insert into keyed values (1000000 + {number}, 'written', {number}) on conflict do nothing",
                    f"update keyed set number = {number} where id = {number % 3000}",
                    f"delete from keyed where id = {number % 701}",
                    f"insert into bag values ('word {number % 11}'), ('word {number % 5}')",
                    f"delete from bag where ctid = (select min(ctid) from bag where word = 'word {number % 7}')",
                ):
                    connection.execute(statement)
                stop.wait(0.01)
        stop.wait(0.2)


def _last(database: Database) -> int:
    return int(str(database.rows("select coalesce(max(number), 0) from keyed")[0][0]))


def _is_synchronised(standby: PostgresqlServer) -> bool:
    slots = "select count(*) from pg_replication_slots where slot_type = 'logical' and synced and not temporary"
    return Database(standby.address, "postgres").rows(slots) == [(1,)]
