"""What stands in the way of a capture: it says what, who, and goes on with the rest."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Serve, Services
from tests.kit.servers import Database
from tests.kit.topics import data_topics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def services(serve: Serve, source_database: Database, target_database: Database) -> Iterator[Services]:
    """Two tables, of which capture loads one at a time."""
    for name in ("a", "b"):
        source_database.execute(f"create table {name} (id int primary key)", f"insert into {name} values (1), (2)")
    # The brokers' own time-out would end it, too, much later.
    capture = {"load_processes": 1, "transaction_timeout_s": 900}
    with serve(source_database, target_database, capture=capture) as found:
        yield found


def locked(source: Database, table: str) -> psycopg.Connection[tuple[object, ...]]:
    """Return a session that holds a table for itself."""
    session = source.connect()
    session.execute("set application_name = 'migration'")
    session.execute("begin")
    session.execute(f"lock table {table} in access exclusive mode")
    return session


def test_a_table_that_somebody_holds_is_loaded_behind_the_others(services: Services, source_database: Database) -> None:
    services.start("capture", "--stop-at", "now")
    assert services.join("capture") == 0, services.log_tail("capture")
    source_database.tell_statements()
    for name in ("c", "d"):
        source_database.execute(f"create table {name} (id int primary key)", f"insert into {name} values (1)")
    services.start("capture", failpoint="capture.start.committed:1:stop")
    services.wait(lambda: services.said("capture", "failpoint"), "capture has published what there is")
    with locked(source_database, "c") as holder:
        services.signal("capture", signal.SIGCONT)
        services.wait(lambda: "waits_for" in services.status().get("tables", {}).get("public.c", {}), "it says so")
        (pid,) = holder.execute("select pg_backend_pid()").fetchall()[0]
        why = services.status()["tables"]["public.c"]["waits_for"]
        assert f"public.c is held by process {pid} (" in why
        assert "migration, " in why
        assert services.said("capture", "load of a table waits for a lock")
        # (It says since when, too: each time it is asked for anew.)
        told = services.run("status", "--json").stdout
        assert "public.c waits to be loaded: " in told
        assert f"public.c is held by process {pid} (" in told
        services.wait(lambda: "public.d" in services.loaded(), "another table is loaded meanwhile")
        source_database.execute("alter table d add column n int", "insert into d values (2, 2)")
        source_database.execute("create table e (id int primary key)", "insert into e values (1)")
        services.wait(lambda: "public.e" in services.loaded(), "versions and tables come and are published meanwhile")
        assert services.stop("capture") == 0
        services.start("capture")
        source_database.execute("create table f (id int primary key)")
        services.wait(lambda: "public.f" in services.loaded(), "a capture starts meanwhile")
        assert not services.said("capture", "reading the publication")
        holder.execute("rollback")
    services.wait(lambda: "public.c" in services.loaded(), "the table is loaded at last")
    assert "waits_for" not in services.status()["tables"]["public.c"]
    assert services.stop("capture") == 0


def test_a_start_that_waits_for_a_lock_says_whose_it_is(services: Services, source_database: Database) -> None:
    with locked(source_database, "b") as holder:
        (pid,) = holder.execute("select pg_backend_pid()").fetchall()[0]
        services.start("capture")
        services.wait(lambda: services.said("capture", f"public.b is held by process {pid} ("), "the log says whom")
        services.wait(lambda: f"process {pid}" in str(services.status().get("error")), "the status says whom")
        holder.execute("rollback")
    services.wait(lambda: services.loaded() == {"public.a", "public.b"}, "both are loaded")
    assert services.stop("capture") == 0


def test_a_topic_that_is_deleted_is_missed_while_its_records_wait(
    services: Services, source_database: Database, kafka_server: KafkaAddress, replication: str
) -> None:
    services.start("capture")
    services.wait(lambda: services.loaded() == {"public.a", "public.b"}, "both are loaded")
    topic = f"{replication}.public.a"
    assert topic in data_topics(kafka_server.bootstrap, replication)
    admin = AdminClient({"bootstrap.servers": kafka_server.bootstrap})
    admin.delete_topics([topic], operation_timeout=60)[topic].result(120)
    source_database.execute("insert into a values (3)")
    # Far below the transaction's time-out.
    assert services.join("capture") == 3, services.log_tail("capture")
    assert services.said("capture", f"the topic {topic} is gone")


def test_a_misspelt_table_is_told_with_the_one_that_is_near(
    serve: Serve, source_database: Database, target_database: Database
) -> None:
    source_database.execute("create table customers (id int primary key)")
    named = {"tables": ["public.custmers"]}
    with serve(source_database, target_database, at_source=named) as services:
        services.start("capture")
        assert services.join("capture") == 2, services.log_tail("capture")
        assert services.said("capture", "did you mean public.customers?")
        assert "did you mean public.customers?" in services.run("plan").stdout.replace("\n", " ")
