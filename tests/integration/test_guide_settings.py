"""The documents of the AWS DMS user guide's pages on task settings, each in a pipeline that moves rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Serve, Services
from tests.kit.guide_settings import DOCUMENTS, TIME_TRAVEL
from tests.kit.servers import Database
from tests.kit.topics import read_raw

WHOLE = 40_000
"""Characters of a large value."""
CUT = 32 * 1024
AT_SOURCE = (
    "create table notes (id int primary key, word varchar(20), body text)",
    f"insert into notes values (1, 'a57bB', repeat('x', {WHOLE})), (2, 'gone', ''), (3, 'gone', '')",
    "create table emptied (id int primary key)",
    "insert into emptied values (1), (2)",
    "create table dropped (id int primary key)",
    "insert into dropped values (1)",
)
CHANGES = (
    "update notes set word = 'b57' where id = 1",
    "delete from notes where id in (2, 3)",
    "truncate emptied",
    "insert into emptied values (9)",
    "alter table notes add column more int default 4",
    f"insert into notes values (4, '75', repeat('y', {WHOLE}), 5)",
    "drop table dropped",
)
# Characters are told by their numbers in base 16: 35 is 5, 52 is R; 62 is b, 61 is a, 42 is B, 41 is A.
WORDS = {"stated": {"5": "R", "7": "ă"}, "groups": {"b": "a", "B": "A"}}


def _expected(name: str) -> list[tuple[Any, ...]]:
    length = CUT if name in ("saved", "stated") else WHOLE
    words = str.maketrans(WORDS.get(name, {}))
    return [(1, "b57".translate(words), length, 4), (4, "75".translate(words), length, 5)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_rows_move_by_a_document_of_the_guide(
    name: str, tmp_path: Path, replication: str, kafka_server: KafkaAddress, new_database: Callable[..., Database]
) -> None:
    source, target = new_database(18, "source"), new_database(18, "target")
    source.execute(*AT_SOURCE)
    source.tell_statements()
    (tmp_path / "settings.json").write_text(json.dumps(DOCUMENTS[name]))
    with Services(tmp_path, replication, kafka_server, source, target, settings="settings.json") as services:
        document = json.loads(services.configuration.read_text())
        place = f"{replication}.out"
        if name == "groups":
            # The values before are a member of documents.
            document["targets"]["stream"] = {"engine": "kafka", "kafka": kafka_server.settings, "topic": place}
        services.configuration.write_text(json.dumps(document))
        plan = services.run("plan")
        assert plan.returncode == 0, plan.stdout + plan.stderr
        services.start("capture")
        # Where errors of its environment are not to be tried again, an applier that finds no topics yet ends.
        services.wait(lambda: services.said("capture", "capture runs"), "capture runs")
        services.start("apply")

        def tables() -> set[object]:
            return {table for (table,) in target.rows("select tablename from pg_tables where schemaname = 'public'")}

        def loaded() -> bool:
            if not {"notes", "emptied", "dropped"} <= tables():
                return False
            counts = target.rows("select (select count(*) from notes), (select count(*) from emptied)")
            return counts == [(3, 2)] and target.rows("select count(*) from dropped") == [(1,)]

        services.wait(loaded, "the load")
        source.execute(*CHANGES)
        rows = "select id, word, length(body), more from notes order by 1"

        def changed() -> bool:
            found = target.rows("select count(*) from information_schema.columns where column_name = 'more'")
            return (
                found == [(1,)]
                and target.rows(rows) == _expected(name)
                and target.rows("select id from emptied") == [(9,)]
                and "dropped" not in tables()
            )

        services.wait(changed, "the changes")
        if name == "groups":
            services.start("apply-stream", "--target", "stream", "--stop-at", "now")
            assert services.join("apply-stream") == 0, services.log_tail("apply-stream")
            records = [json.loads(value or b"") for *_, value in read_raw(kafka_server.bootstrap, [place])]
            (updated,) = (one for one in records if one["metadata"]["operation"] == "update")
            assert updated["before-image"] == {"id": 1}
        assert services.stop("capture") == 0
        assert services.stop("apply") == 0


def test_what_the_guide_shows_and_is_not_done_is_refused_by_name(
    tmp_path: Path, serve: Serve, new_database: Callable[..., Database]
) -> None:
    place = new_database(18, "source")
    (tmp_path / "settings.json").write_text(json.dumps(TIME_TRAVEL))
    with serve(place, place, settings="settings.json") as services:
        plan = services.run("plan")
        assert plan.returncode != 0
        assert "TTSettings.EnableTT" in plan.stdout + plan.stderr
