"""Tables change in every way, and document stores follow: `verify` reads them back."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.local.kafka import KafkaAddress
from tests.integration.control.test_verify_read_back import TARGETS
from tests.integration.services import TARGET, Services
from tests.kit.servers import Database

pytestmark = pytest.mark.timeout(1200)

CHANGES = {
    "added": (
        "alter table added add column kind text default 'old', add column more integer",
        "insert into added (id, number, word, more) values (9, 9, 'nine', 9)",
    ),
    "idle": (
        "alter table idle add column flag boolean not null default true, add column cost numeric(9, 3) default 0.5",
    ),
    "dropped": ("alter table dropped drop column word", "update dropped set number = 7 where id = 1"),
    "again": (
        "alter table again drop column word",
        "update again set number = 7 where id = 1",
        "alter table again add column word text default 'new'",
        "update again set number = 8 where id = 2",
    ),
    "empty_again": (
        # Not the last one: then its number alone tells the new one from it, and nothing is in doubt.
        "alter table empty_again drop column number",
        "update empty_again set word = 'seven' where id = 1",
    ),
    "renamed": ("alter table renamed rename word to label", "update renamed set label = 'other' where id = 1"),
    "retyped": (
        "alter table retyped alter number type bigint, alter word type varchar(40)",
        "update retyped set number = 5000000000 where id = 1",
    ),
    "worded": ("alter table worded alter number type text using 'n' || number",),
    "emptied": ("truncate emptied", "insert into emptied values (1, 1, 'new')"),
    "reborn": (
        "drop table reborn",
        "create table reborn (id bigint primary key, word text)",
        "insert into reborn values (1, 'new')",
    ),
    "moved": ("alter table moved rename to moved_on", "insert into moved_on values (9, 9, 'nine')"),
    "rekeyed": (
        "alter table rekeyed drop constraint rekeyed_pkey, add primary key (number, id)",
        "update rekeyed set number = 70 where id = 1",
    ),
    "gone": ("drop table gone",),
}
LATER = {
    "empty_again": (
        "alter table empty_again add column number integer",
        "update empty_again set word = 'eight' where id = 2",
    ),
}
"""Once the target has what came of these."""


@pytest.mark.parametrize("target", ["opensearch", "mongodb"])
def test_tables_change_in_every_way(
    target: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    source_database: Database,
    kafka_server: KafkaAddress,
    replication: str,
) -> None:
    source_database.tell_statements()
    for table in CHANGES:
        source_database.execute(
            f"create table {table} (id bigint primary key, number integer not null, word text)",
            f"insert into {table} select g, g * 2, 'w' || g from generate_series(1, 5) g",
        )
    place = SimpleNamespace(target_settings=TARGETS[target](request.getfixturevalue))
    with Services(tmp_path, replication, kafka_server, source_database, place, topics={"partitions": 2}) as services:
        for name in ("capture", "apply"):
            services.start(name)
        services.wait(lambda: _loaded(services) == len(CHANGES), "all tables are loaded")
        source_database.execute(
            "create table fresh (id bigint primary key, word text)", "insert into fresh values (1, 'f')"
        )

        def is_equal() -> bool:
            done = services.run("verify", "--target", TARGET, "--wait", "20", "--tries", "2")
            said.append(done.stdout + done.stderr)
            return done.returncode == 0

        said: list[str] = []
        for changes in (CHANGES, LATER):
            for statements in changes.values():
                source_database.execute(*statements)
            try:
                services.wait(is_equal, "the target has what the source has")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{said[-1]}") from None
        assert "fresh" in said[-1]
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)


def _loaded(services: Services) -> int:
    """Return of how many tables an applier says that they are loaded."""
    status = json.loads(services.run("status", "--json").stdout)
    tables = [table for each in status["targets"][0]["instances"] for table in each["facts"].get("tables", {}).values()]
    return sum(bool(table["load_completed"]) for table in tables)
