"""Targets that rows reach through a bucket: loaded and changed by the README's commands, while services are killed.

What is there in the end is read by a client of the test's own, beside `tailrace verify`.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest

from apply.sinks.neptune.client import Client
from deploy.local.neptune import BUCKET, NeptuneServer
from deploy.local.redshift import RedshiftServer
from schemas.endpoints.neptune import NeptuneTarget
from tests.integration.services import TARGET, Serve
from tests.kit.servers import Database

ROWS = 1_500
PARTITIONS = 2

# A failure here breaks a promise: it is never run again in the hope of a better result.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.flaky(reruns=0)]


@dataclass(frozen=True, slots=True)
class Place:
    """A target, and what is looked for in it."""

    target_settings: dict[str, Any]
    customers: Callable[[], set[tuple[int, str]]]
    check: Callable[[], None]
    """Of what only this target has."""


@pytest.fixture
def redshift(redshift_server: RedshiftServer) -> Iterator[Place]:
    with psycopg.connect(redshift_server.database.dsn(), autocommit=True, options="-c lock_timeout=60s") as reading:

        def customers() -> set[tuple[int, str]]:
            there = reading.execute("select to_regclass('public.customers') is not null").fetchone()
            return {*reading.execute("select id, name from customers")} if there == (True,) else set()

        def check() -> None:
            found = reading.execute(
                "select data_type, domain_name from information_schema.columns where column_name = 'about'"
            )
            assert found.fetchone() == ("jsonb", "super")
            (count,) = reading.execute("select count(*) from tailrace.offsets where next_offset > 0").fetchone() or (0,)
            assert count == 2 * PARTITIONS

        yield Place({"engine": "redshift", **redshift_server.settings}, customers, check)
        reading.execute("drop table if exists customers, orders")
        reading.execute("drop schema if exists tailrace cascade")


@pytest.fixture
def neptune(neptune_server: NeptuneServer) -> Place:
    section = {"engine": "neptune", "load_interval_s": 2, **neptune_server.settings}

    def ask(statement: str) -> list[Any]:
        body = {"gremlin": statement, "language": "gremlin-lang"}
        answer = httpx.post(f"{neptune_server.gremlin.url}/gremlin", json=body, timeout=60).raise_for_status()
        found: list[Any] = answer.json()["result"]["data"]
        return found

    def customers() -> set[tuple[int, str]]:
        found = ask("g.V().hasLabel('customers').valueMap('id','name')")
        return {(vertex["id"][0], vertex["name"][0]) for vertex in found}

    def check() -> None:
        client = Client(NeptuneTarget.model_validate(section))
        asked = client.loads("?limit=100", "listing loads") or {}
        loads = [client.loads(f"/{load}", "looking at a load") or {} for load in asked["loadIds"]]
        client.close()
        assert "LOAD_COMPLETED" in {load["overallStatus"]["status"] for load in loads}
        with_files = neptune_server.s3.client("s3")
        assert "Contents" not in with_files.list_objects_v2(Bucket=BUCKET), "files stayed behind"
        with_files.close()

    ask("g.V().drop()")
    return Place(section, customers, check)


class Shop:
    """The source, and who writes it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._chance = random.Random(7)
        self.change_count = 0
        database.execute(
            "create table customers (id bigint primary key, name text not null, balance numeric(20, 4), about jsonb, "
            "since timestamptz)",
            "create table orders (customer bigint, number int, note text, primary key (customer, number))",
            "insert into customers select n, 'c' || n, n / 7.0, jsonb_build_object('n', n, 'é', null), now() "
            f"from generate_series(1, {ROWS}) n",
            f"insert into orders select n % 97, n, repeat('x', n % 50 + 1) from generate_series(1, {ROWS}) n",
        )

    def write(self, stop: threading.Event) -> None:
        """Change rows, move keys, and empty a table now and then, until told to stop."""
        while not stop.is_set():
            n, new = self._chance.randint(1, ROWS), ROWS + 1 + self.change_count
            changes = [
                f"update customers set name = 'u{new}', balance = -balance where id = {n}",
                f"insert into customers values ({new}, 'new', null, null, null)",
                f"delete from customers where id = {self._chance.randint(1, ROWS)}",
                f"update customers set id = {new} where id = {n}",
                f"insert into orders values ({n}, {new}, 'x') on conflict do nothing",
                f"delete from orders where number = {n}",
            ]
            self._database.execute(self._chance.choice(changes))
            self.change_count += 1
            if self.change_count % 300 == 0:
                self._database.execute("truncate orders")
            stop.wait(0.02)

    def customers(self) -> set[tuple[Any, ...]]:
        return {*self._database.rows("select id, name from customers")}


@pytest.mark.parametrize("target", ["redshift", "neptune"])
def test_rows_move_through_a_bucket_while_services_are_killed(
    target: str, request: pytest.FixtureRequest, serve: Serve, source_database: Database
) -> None:
    place: Place = request.getfixturevalue(target)
    shop, stop = Shop(source_database), threading.Event()
    topics = {"partitions": PARTITIONS}
    with serve(source_database, place, topics=topics, capture={"chunk_rows": 200}) as services:
        planned = services.run("plan")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        writer = threading.Thread(target=shop.write, args=(stop,))
        writer.start()
        try:
            services.start("capture")
            services.start("apply")
            services.start("apply-2")
            services.wait(lambda: bool(place.customers()), "the load begins to arrive")
            for name in ("apply", "capture", "apply-2", "apply"):
                services.crash(name)
                mark = shop.change_count
                services.wait(lambda m=mark: shop.change_count > m + 50, "the writer goes on")  # type: ignore[misc]
        finally:
            stop.set()
            writer.join()
        verified = services.run("verify", "--target", TARGET, "--wait", "300")
        assert verified.returncode == 0, verified.stdout + verified.stderr + services.log_tail("apply")
        assert place.customers() == shop.customers()
        place.check()
        status = json.loads(services.run("status", "--json").stdout)
        assert {table["state"] for table in status["tables"]} == {"loaded"}
        for name in services.names:
            assert services.stop(name) == 0, services.log_tail(name)
        assert services.run("reset", "--yes").returncode == 0
