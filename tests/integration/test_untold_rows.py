"""PostgreSQL's rows that lose a column before capture looks up what the log lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from deploy.local.kafka import KafkaAddress
from schemas.topics import dead_letters_topic
from tests.integration.services import TARGET, Serve
from tests.kit.servers import Database
from tests.kit.topics import data_topics, read_raw, read_topics

LARGE = "repeat('x', 1500)"


def _rows(target: Database, query: str) -> list[tuple[object, ...]] | None:
    try:
        return target.rows(query)
    except psycopg.Error:
        return None


@pytest.mark.parametrize("mode", ["full-load-and-cdc", "cdc"])
def test_a_row_that_lost_a_column_is_told_and_meets_no_other(
    serve: Serve,
    replication: str,
    kafka_server: KafkaAddress,
    source_database: Database,
    target_database: Database,
    mode: str,
) -> None:
    """Both had the empty code, which is unique, and nothing told it from a true one."""
    source_database.execute(
        "create table a (id int primary key, code text not null unique, about text)",
        "alter table a alter code set storage external, alter about set storage external",
    )

    def has(*rows: tuple[object, ...]) -> Callable[[], bool]:
        return lambda: _rows(target_database, "select id, left(about, 1) from a order by id") == [*rows]

    settings: dict[str, Any] = {"mode": mode, "apply": {"batch_rows": 1}, "capture": {"commit_rows": 1}}
    with (
        serve(source_database, target_database, topics={"format": "json"}, **settings) as services,
        services.running(),
    ):
        services.wait(lambda: services.said("capture", "capture runs"), "it runs")
        # A load that has not begun yet would bring the rows as well.
        services.wait(lambda: mode == "cdc" or services.said("capture", "table loaded"), "it is loaded")
        source_database.execute(f"insert into a select n, n || {LARGE}, n || {LARGE} from generate_series(1, 2) n")
        services.wait(has((1, "1"), (2, "2")), "rows are there")
        services.kill("capture")
        source_database.execute(
            "update a set id = id + 10", "alter table a drop code", "insert into a values (20, 'new')"
        )
        # The rows go out by themselves, before the column goes at the target.
        services.start("capture", failpoint="capture.schema.before")
        services.meet("capture", "capture.schema.before")
        assert services.count("capture", "loads the table again") == 1
        services.wait(has(), "the rows are not there under their old keys, nor with something made up")
        services.start("capture")
        services.wait(has((11, "1"), (12, "2"), (20, "n")), "the table is loaded again")
    assert not [*read_raw(kafka_server.bootstrap, [dead_letters_topic(replication, TARGET)])], "nothing is parked"
    topics = data_topics(kafka_server.bootstrap, replication)
    created = [
        r.envelope for r in read_topics(kafka_server.bootstrap, topics) if r.envelope and r.envelope["op"] == "c"
    ]
    told = {(e["after"]["id"], *e["unavailable"]) for e in created if 10 < e["after"]["id"] < 20}
    assert told == {(11, "code"), (12, "code")}
