"""A table whose load stands still while it is written: capture goes on, and the load is right in the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from capture import checkpoints
from runtime.configuration import load
from tests.integration.services import Serve
from tests.kit.servers import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COMMITS = 3_000
NAMED_MAX = 500
"""Of transactions that a checkpoint may name once a snapshot has been taken; all had been."""


def _mappings(table: str) -> str:
    """Return a rule that fits no table without partitions."""
    cut = {"type": "partitions-list", "partitions": ["missing"]}
    rule = {"rule-type": "table-settings", "rule-id": "1", "rule-name": "1", "parallel-load": cut}
    return json.dumps({"rules": [rule | {"object-locator": {"schema-name": "public", "table-name": table}}]})


def test_capture_goes_on_however_much_is_written_to_a_table_whose_load_stands_still(
    tmp_path: Path, serve: Serve, source_database: Database, target_database: Database
) -> None:
    source_database.execute(
        "create table t (id int primary key, v int)", "insert into t select g, 0 from generate_series(1, 1000) g"
    )
    (tmp_path / "mappings.json").write_text(_mappings("t"))
    more: dict[str, Any] = {"mappings": "mappings.json", "capture": {"suspended_retry_s": 1000}}
    with serve(source_database, target_database, **more) as services:
        services.start("capture")
        services.wait(lambda: services.said("capture", "load of a table suspended"), "the load that stands still")
        with source_database.connect() as connection:
            connection.execute("set synchronous_commit = off")
            connection.execute(
                f"""do $$ begin for i in 1..{COMMITS} loop
                    update t set v = i where id = 1 + i % 900; commit; end loop; end $$"""
            )
            connection.execute("insert into t values (5000, 1)")

        def named() -> int:
            return len(checkpoints.read(load(services.configuration, {})).earlier)

        services.wait(lambda: services.status().get("rows", 0) > COMMITS, "the changes")
        services.wait(lambda: named() < NAMED_MAX, "a snapshot that sees them")
        # What was remembered in memory goes; what the checkpoint says is enough.
        services.kill("capture")
        (tmp_path / "mappings.json").write_text(_mappings("other"))
        services.start("capture")
        services.start("apply")
        rows = "select id, v from t order by id"
        expected = source_database.rows(rows)
        services.wait(
            lambda: (
                bool(target_database.rows("select to_regclass('t')")[0][0]) and target_database.rows(rows) == expected
            ),
            "the load",
        )
        assert services.stop("capture") == 0
        assert services.stop("apply") == 0
