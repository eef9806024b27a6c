"""Rows that violate a key at one commit and not at a later one: they arrive by themselves."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.local.kafka import KafkaAddress
from tests.integration.services import TARGET, Services
from tests.kit.servers import Database


def test_rows_that_share_for_a_while_what_is_unique_at_the_target_arrive_by_themselves(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, source_database: Database, target_database: Database
) -> None:
    """One stayed parked until an operator looked."""
    source_database.execute(
        "create table a (id int primary key, code text)", "insert into a values (1, 'one'), (2, 'two'), (3, 'three')"
    )

    def rows() -> list[tuple[object, ...]]:
        ((there,),) = target_database.rows("select to_regclass('a') is not null")
        return target_database.rows("select * from a order by id") if there else []

    apply = {"ordering": "transactional", "batch_rows": 1}
    services = Services(tmp_path, replication, kafka_server, source_database, target_database, apply=apply)
    with services, services.moving():
        services.wait(lambda: len(rows()) == 3, "rows are there")
        target_database.execute("create unique index a_code on a (code)")
        source_database.execute("update a set code = 'two' where id = 1")
        services.wait(lambda: services.said("apply", "key parked"), "it is refused")
        assert services.said("apply", "a_code"), "the message names the index"
        parked = services.run("parked list", "--target", TARGET, "--json")
        assert len(json.loads(parked.stdout)) == 1, parked.stdout + parked.stderr
        source_database.execute("update a set code = 'later' where id = 2", "update a set code = 'two' where id = 1")
        wanted = [(1, "two"), (2, "later"), (3, "three")]
        services.wait(lambda: rows() == wanted, "it arrives")
        verified = services.run("verify", "--target", TARGET)
        assert verified.returncode == 0, verified.stdout + verified.stderr
    assert not json.loads(services.run("parked list", "--target", TARGET, "--json").stdout)
