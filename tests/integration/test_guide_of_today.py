"""What AWS's guide has of rules and settings since 2023, end to end: by load and by log, over a kill, by other ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Services
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.kit.topics import read_raw

SETTINGS = {
    "TargetMetadata": {"BatchApplyEnabled": "true", "LimitedSizeLobMode": "True", "LobMaxSize": "64"},
    "FullLoadSettings": {"TargetTablePrepMode": "DROP_AND_CREATE", "CommitRate": "100"},
}
"""With numbers and truths in quotation marks."""


class Pair(NamedTuple):
    """Two databases of an engine."""

    source: Database | MysqlDatabase
    target: Database | MysqlDatabase
    schema: str
    large: str
    """The native type that DMS calls `nclob`."""


@pytest.fixture(params=["postgresql", "mysql"])
def pair(
    request: pytest.FixtureRequest,
    new_database: Callable[..., Database],
    new_mysql_database: Callable[[str], MysqlDatabase],
) -> Pair:
    """Databases of each engine."""
    if request.param == "postgresql":
        return Pair(new_database(18, "source"), new_database(18, "target"), "public", "text")
    source, target = new_mysql_database("mysql"), new_mysql_database("mysql")
    return Pair(source, target, source.name, "longtext")


def _rules(schema: str, *, type_first: bool) -> dict[str, Any]:
    place = {"schema-name": schema, "table-name": "people"}
    typed, masked = (5, 6) if type_first else (6, 5)
    rules: list[dict[str, Any]] = [
        {"rule-type": "selection", "rule-id": 1, "rule-action": "include", "object-locator": place}
    ]
    for number, action, locator, more in (
        (2, "data-masking-hash-mask", {"column-name": "%", "data-type": "clob"}, {"at": "capture"}),
        (3, "data-masking-digits-randomize", {"column-name": "age"}, {}),
        (4, "change-data-type", {"column-name": "born"}, {"data-type": {"type": "date"}}),
        (
            typed,
            "change-data-type",
            {"column-name": "amount"},
            {"at": "capture", "data-type": {"type": "numeric", "precision": "8", "scale": "3"}},
        ),
        (masked, "data-masking-digits-randomize", {"column-name": "amount"}, {"at": "capture"}),
        (7, "add-before-image-columns", {"column-name": "%"}, {}),
    ):
        rule = {"rule-type": "transformation", "rule-target": "column", "rule-id": number, "rule-action": action}
        rules.append(rule | {"object-locator": place | locator, **more})
    return {"rules": rules}


def _numbers(rows: list[Any]) -> list[int]:
    return [int(cell) for (cell,) in rows]


def test_rules_and_settings_of_today(tmp_path: Path, replication: str, kafka_server: KafkaAddress, pair: Pair) -> None:
    source, target = pair.source, pair.target
    people = ", ".join(f"({i}, 'n{i}', 'c{i}', 10.50, 99, '2002:01:3{i % 2}')" for i in range(1, 401))
    source.execute(
        f"create table people (id bigint primary key, name {pair.large}, code varchar(20), amount numeric(8,2), "
        "age smallint, born varchar(20))",
        f"insert into people values {people}",
    )
    there, before_image = (target.name, "BI_id") if isinstance(target, MysqlDatabase) else ("public", '"BI_id"')
    mappings = tmp_path / "mappings.json"
    mappings.write_text(json.dumps(_rules(pair.schema, type_first=True)))
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    expected = {
        i: [f"n{i}" if i > 10 else "changed", f"c{i}", f"2002-01-3{i % 2}", i if i <= 10 else None]
        for i in range(1, 402)
        if i != 20
    }

    def found() -> dict[int, list[Any]]:
        named = f"table_schema = '{there}' and table_name = 'people'"
        if not target.rows(f"select 1 from information_schema.tables where {named}"):
            return {}
        rows = target.rows(f"select id, name, code, born, {before_image} from people")
        return {
            int(str(i)): [str(name), str(code), str(born), None if before is None else int(str(before))]
            for i, name, code, born, before in rows
        }

    for row in expected.values():
        row[0] = hashlib.sha256(str(row[0]).encode()).hexdigest().upper()
    with Services(
        tmp_path, replication, kafka_server, source, target, at_source={"tables": None}, mappings="mappings.json",
        settings="settings.json", topics={"partitions": 2},
    ) as services:  # fmt: skip
        plan = services.run("plan")
        assert plan.returncode == 0, plan.stdout + plan.stderr
        assert "is about no" not in plan.stdout
        services.start("capture")
        services.start("apply")
        services.wait(lambda: len(found()) == 400, "the load")
        services.kill("apply")
        source.execute(
            "update people set name = 'changed' where id <= 10",
            "delete from people where id = 20",
            "insert into people values (401, 'n401', 'c401', 10.50, 99, '2002:01:31')",
        )
        services.start("apply")
        services.wait(lambda: found() == expected, "all rows as the rules have them")
        ages = _numbers(target.rows("select age from people"))
        assert len(set(ages)) > 10
        assert all(0 <= age <= 99 for age in ages)
        thirds = "select count(*) from people where amount * 100 <> floor(amount * 100)"
        assert _numbers(target.rows(thirds))[0] > 100
        # By other ids the mask is first: what is there was made in another order, and comes again.
        assert services.stop("capture") == 0
        mappings.write_text(json.dumps(_rules(pair.schema, type_first=False)))
        services.start("capture")
        services.wait(lambda: _numbers(target.rows(thirds)) == [0] and len(found()) == 400, "the new order")
        assert services.stop("capture") == 0
        assert services.stop("apply") == 0
    values = [value or b"" for *_, value in read_raw(kafka_server.bootstrap, [f"{replication}.{pair.schema}.people"])]
    assert len(values) > 800
    assert not any(b'"n7"' in value or b"changed" in value for value in values), "what is masked never reaches Kafka"
