"""The source restarts, crashes, and a standby takes its place; the target restarts and crashes: all under load.

Both are full for a while; their role has time-outs that are not meant for us; and at first the source is not set up.
"""

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
from runtime import exit_codes
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
    "create view slow as select 1 as id, pg_sleep(1)::text as nothing",
)

MOVER = (
    "create role mover superuser login password 'mover'",
    *(
        f"alter role mover set {name} = '500ms'"
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    ),
)
"""A role whose time-outs are shorter than what some statements take."""

SLOW = (
    "create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(1); return null; end'",
    "create trigger slow after insert on keyed for each row when (new.id = -1) execute function slow()",
)
CONNECTIONS_MAX = 15


def test_the_copy_follows_over_restarts_crashes_and_a_promotion(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    own_postgresql: Callable[..., PostgresqlServer],
) -> None:
    few = {"max_connections": str(CONNECTIONS_MAX)}
    primary = own_postgresql(18, settings={"synchronized_standby_slots": "standby", "wal_level": "replica", **few})
    source = create_database(primary.address, "source")
    source.execute("select pg_create_physical_replication_slot('standby', true)", *TABLES, *MOVER)
    following = {"primary_slot_name": "standby", "hot_standby_feedback": "on", "sync_replication_slots": "on"}
    standby = own_postgresql(18, standby_of=primary, settings=following)
    promoted = Database(standby.address, source.name)
    target_server = own_postgresql(13, settings=few)
    target = create_database(target_server.address, "target")
    target.execute(*MOVER)
    # libpq looks for the one that can be written to.
    both = {
        "host": f"{primary.address.host},{standby.address.host}",
        "port": f"{primary.address.port},{standby.address.port}",
        "target_session_attrs": "read-write",
    }
    stop, writes = threading.Event(), list[int]()
    writer = threading.Thread(target=_write, args=(source.settings_of_driver(**both), stop, writes))
    mover = {"user": "mover", "password": "mover"}
    at_source = {**mover, "parameters": both, "views": ["public.slow"]}
    arguments = (tmp_path, replication, kafka_server, source, target)
    # Pauses would grow to a multiple of what a server takes to come back.
    retry = {"interval_max_s": 1}
    with Services(*arguments, at_source=at_source, at_target=mover, retry=retry) as services:

        def more_is_written() -> None:
            """Wait until the writer has gone on."""
            mark = len(writes)
            services.wait(lambda: len(writes) > mark + 80, "the writer goes on")

        _refuses_the_wal_level(services)
        primary.change(wal_level="logical")
        primary.restart()
        services.start("capture")
        services.start("apply")
        writer.start()
        try:
            for name, place in (("capture", source), ("apply", target)):
                more_is_written()
                _crowd_out(services, name, place)
            _slow_down(services, target)
            source.execute("insert into keyed values (-1, 'takes a second', 0)")
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
        assert wait_until_equal(promoted.dsn, target.dsn) == [], services.log_tail("capture")
        assert target.rows("select id, nothing from slow") == [(1, "")]
        assert target.rows("select id from keyed where id = -1") == [(-1,)]
        records = read_topics(kafka_server.bootstrap, data_topics(kafka_server.bootstrap, replication))
        assert sequence_faults(records) == []
        assert key_faults(records) == []
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)
        # What is known of the source is the new timeline now.
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == 0, services.log_tail("capture")


def _refuses_the_wal_level(services: Services) -> None:
    """Let `plan`, then capture, end with what to do."""
    plan = services.run("plan")
    services.start("capture")
    codes = plan.returncode, services.join("capture")
    assert codes == (exit_codes.CONFIGURATION, exit_codes.CONFIGURATION), services.log_tail("capture")
    for said in (plan.stdout, services.log_tail("capture")):
        assert "alter system set wal_level = 'logical'" in said
        assert "restart the server" in said


def _slow_down(services: Services, target: Database) -> None:
    # Connections may have gone before there was time to make the table.
    services.wait(lambda: target.rows("select to_regclass('keyed')") != [(None,)], "the table is at the target")
    target.execute(*SLOW)


def _crowd_out(services: Services, name: str, database: Database) -> None:
    """Take all connections of a server, our services' too, until the one that wants them back says what is wrong."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(database.connect())

        def take() -> None:
            with contextlib.suppress(psycopg.OperationalError):
                for _ in range(CONNECTIONS_MAX):
                    stack.enter_context(database.connect())

        def is_told() -> bool:
            take()
            first.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^tailrace'")
            take()
            return services.said(name, "53300")

        services.wait(is_told, f"{name} says that there is no connection for it")
    assert services.said(name, "max_connections"), services.log_tail(name)
    # A server counts a session until it has noticed that its client has gone.
    services.wait(lambda: _has_room(database), "there are connections again")


def _has_room(database: Database) -> bool:
    with contextlib.suppress(psycopg.OperationalError), database.connect():
        return True
    return False


def _write(conninfo: dict[str, Any], stop: threading.Event, writes: list[int]) -> None:
    """Write to whichever server takes it, and note what one has confirmed, which may be lost with it."""
    numbers = itertools.count()
    while not stop.is_set():
        with contextlib.suppress(psycopg.Error), psycopg.connect(**conninfo, autocommit=True) as connection:
            while not stop.is_set():
                number = next(numbers)
                for statement in (
                    f"insert into keyed values (1000000 + {number}, 'written', {number}) on conflict do nothing",
                    f"update keyed set number = {number} where id = {number % 3000}",
                    f"delete from keyed where id = {number % 701}",
                    f"insert into bag values ('word {number % 11}'), ('word {number % 5}')",
                    f"delete from bag where ctid = (select min(ctid) from bag where word = 'word {number % 7}')",
                ):
                    connection.execute(statement)
                writes.append(number)
                stop.wait(0.01)
        stop.wait(0.2)


def _last(database: Database) -> int:
    return int(str(database.rows("select coalesce(max(number), 0) from keyed")[0][0]))


def _is_synchronised(standby: PostgresqlServer) -> bool:
    slots = "select count(*) from pg_replication_slots where slot_type = 'logical' and synced and not temporary"
    return Database(standby.address, "postgres").rows(slots) == [(1,)]
