"""Keys get other types, under which values have another order and other texts: `verify` compares what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.control.test_verify_read_back import TARGETS
from tests.integration.services import TARGET, Serve, Services
from tests.kit.mysql import create_mysql_database, drop_mysql_database
from tests.kit.servers import Database

pytestmark = pytest.mark.timeout(1200)

KEYS = {
    "wider": ("integer", "g", ["bigint"], "5000000000"),
    "spelled": ("bigint", "g", ["text"], "'b'"),
    "counted": ("varchar(9)", "g::text", ["bigint using k::bigint"], "5000000000"),
    "named": ("integer", "g", ["bigint", "text using 'k' || k"], "'a'"),
    "scaled": ("integer", "g", ["numeric(12, 3)"], "7.125"),
}
"""By table: the key's type, its values, the types that it gets one after the other, and a key of the last one."""

STATES = {
    "dated": ("text", "g::text", ["timestamp using to_timestamp(k::int) at time zone 'UTC'"], "'2027-01-01'"),
}
"""The same, where it does not take all that was ever told to know what is there."""

NAMES = ("postgresql", "mysql", "opensearch", "mongodb", "json files", "kafka, DMS's JSON")


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    name: str = request.param
    if name == "postgresql":
        yield request.getfixturevalue("target_database")
    elif name == "mysql":
        database = create_mysql_database(request.getfixturevalue("mysql_server"))
        yield database
        drop_mysql_database(database)
    else:
        section = TARGETS[name](request.getfixturevalue)
        if section["engine"] == "files":
            section["cdc_max_batch_interval"] = 1
        elif section["engine"] == "kafka":
            # Truncates are told.
            section["include_control_details"] = True
        yield SimpleNamespace(target_settings=section)


@pytest.mark.parametrize("place", NAMES, indirect=True)
def test_a_table_is_compared_under_its_new_key(place: Any, serve: Serve, source_database: Database) -> None:
    is_history = place.target_settings["engine"] in ("files", "kafka")
    tables = KEYS if is_history else KEYS | STATES
    source_database.tell_statements()
    for table, (native, values, _, _) in tables.items():
        source_database.execute(
            f"create table {table} (k {native} primary key, v text)",
            f"insert into {table} select {values}, 'v' || g from generate_series(1, 25) g",
        )
    with serve(source_database, place, topics={"partitions": 2}) as services, services.running():
        services.wait(lambda: _verified(services)[0] == 0, "all rows are there")
        services.kill("apply")
        for table, (_, _, types, new) in tables.items():
            for native in types:
                source_database.execute(
                    f"alter table {table} alter k type {native}",
                    f"delete from {table} where v = 'v{len(native)}'",
                )
            source_database.execute(
                f"update {table} set k = {new} where v = 'v20'", f"update {table} set v = 'w' where v = 'v21'"
            )
        # Nobody applies: whatever differs may be mere lag, and nothing is refused.
        code, said = _verified(services, "--wait", "2")
        assert code == 5, said
        services.start("apply")
        services.wait(lambda: _verified(services)[0] == 0, "the rows have their new keys")


def _verified(services: Services, *more: str) -> tuple[int, str]:
    done = services.run("verify", "--target", TARGET, "--wait", "20", "--tries", "2", "--json", *more)
    tables: list[dict[str, Any]] = json.loads(done.stdout or '{"tables": []}')["tables"]
    return done.returncode, "; ".join(str(each) for each in tables if not each["equal"]) + done.stderr
