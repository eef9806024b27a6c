"""Two appliers share tables that are dropped, made anew and emptied again and again, while one of them is killed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from deploy.local.aws import AwsServer
from deploy.local.moto import MotoServer
from tests.integration.services import TARGET, Serve, Services
from tests.kit.servers import Database

LIVES = int(os.environ.get("ROUNDS", "4"))
SEED = int(os.environ.get("SEED", "1"))
TABLES = ("odd", "even")
APPLIERS = ("apply-1", "apply-2")
ROWS = 60
LIFE_S_MAX = 120.0
"""How long a table may take to be as the source has it; a stalled drop takes minutes more."""

# A failure here breaks a promise: it is never run again in the hope of a better result.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.flaky(reruns=0)]


@dataclass(frozen=True, slots=True)
class Place:
    """The tables of one account, by a client of the test's own."""

    server: AwsServer
    client: Any
    prefix: str

    @property
    def target_settings(self) -> dict[str, Any]:
        return {
            "engine": "dynamodb",
            "table_name": f"{self.prefix}-{{table}}",
            "control_table": f"{self.prefix}-control",
            **self.server.settings,
        }

    def rows(self, table: str) -> set[tuple[int, int]] | None:
        """Return the rows of a table; None: it is not there."""
        try:
            pages = self.client.get_paginator("scan").paginate(TableName=f"{self.prefix}-{table}")
            return {(int(item["id"]["N"]), int(item["life"]["N"])) for page in pages for item in page["Items"]}
        except self.client.exceptions.ResourceNotFoundException:
            return None


@pytest.fixture
def place(moto_server: MotoServer, replication: str) -> Iterator[Place]:
    client = moto_server.client("dynamodb")
    yield Place(moto_server, client, replication)
    client.close()


def test_tables_live_again_and_again_under_two_appliers(serve: Serve, source_database: Database, place: Place) -> None:
    chance = random.Random(SEED)
    source_database.tell_statements()
    with serve(source_database, place, topics={"partitions": 4}, capture={"chunk_rows": 100}) as services:
        for table in TABLES:
            make(source_database, table, 1)
        for name in ("capture", *APPLIERS):
            services.start(name)
        await_alike(services, source_database, place)
        for life in range(2, LIVES + 2):
            table = chance.choice(TABLES)
            how = chance.choice(["dropped", "made anew", "made anew", "emptied"])
            if how == "emptied":
                source_database.execute(f"truncate {table}")
            else:
                source_database.execute(f"drop table {table}")
            if victim := chance.choice([*APPLIERS, None]):
                # Capture looks at the catalogue after two seconds: on the way to the drop, in it, or behind it.
                time.sleep(chance.random() * 4)
                services.crash(victim)
            if how == "dropped":
                within(services, lambda t=table: place.rows(t) is None, f"{table} is gone, life {life}")  # type: ignore[misc]
            make(source_database, table, life, is_there=how == "emptied")
            await_alike(services, source_database, place, f"life {life}, {how}")
        verified = services.run("verify", "--target", TARGET, "--wait", "120")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        for name in services.names:
            assert services.stop(name) == 0, services.log_tail(name)


def make(source: Database, table: str, life: int, *, is_there: bool = False) -> None:
    """Make a table, unless it is there, with rows that tell its lives apart."""
    if not is_there:
        source.execute(f"create table {table} (id bigint primary key, life int)")
    source.execute(f"insert into {table} select n, {life} from generate_series({life}, {life} + {ROWS} - 1) n")
    source.execute(f"update {table} set life = -life where id % 3 = 0", f"delete from {table} where id % 5 = 0")


def await_alike(services: Services, source: Database, place: Place, when: str = "the load") -> None:
    """Wait until the tables are as at the source, which rests."""
    for table in TABLES:
        wanted = {(id_, life) for id_, life in source.rows(f"select id, life from {table}")}
        within(services, lambda t=table, w=wanted: place.rows(t) == w, f"{table} is alike, {when}")  # type: ignore[misc]


def within(services: Services, until: Callable[[], bool], what: str) -> None:
    """Wait for something, for not longer than it may take."""
    began = time.monotonic()
    services.wait(lambda: until() or time.monotonic() - began > LIFE_S_MAX, what)
    took_s = time.monotonic() - began
    logs = "\n".join(map(services.log_tail, APPLIERS))
    assert took_s <= LIFE_S_MAX, f"{what}: not within {LIFE_S_MAX:.0f} s\n{logs}"
    print(f"{took_s:6.1f} s  {what}")
