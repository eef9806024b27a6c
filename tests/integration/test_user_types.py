"""A composite type gets attributes and loses them while rows of it are written: the target's type follows."""

from __future__ import annotations

from pathlib import Path

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database

ALIKE_S = 120.0


def test_a_composite_type_follows_its_source(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    source_database: Database,
    target_database: Database,
) -> None:
    source, target = source_database, target_database
    source.execute(
        "create type place as (street text, city text)",
        "create table items (id int primary key, at place, more place[])",
        "insert into items select n, row(n, 'c')::place, array[row('a', null)::place] from generate_series(1, 50) n",
    )
    with Services(tmp_path, replication, kafka_server, source, target) as services:
        services.start("capture")
        services.start("apply")
        for alteration, row in (
            ("add attribute zip numeric(5,0)", "'s', 'c', 7"),
            ("rename attribute city to town", "'s', 't', 8"),
            ("drop attribute street", "'t', 9"),
            ("add attribute note text", "'t', 9, 'n'"),
        ):
            assert wait_until_equal(source.dsn, target.dsn, timeout_s=ALIKE_S) == [], services.log_tail("apply")
            source.execute(
                f"alter type place {alteration}",
                f"insert into items select max(id) + 1, row({row})::place, array[row({row})::place] from items",
                f"update items set at = row({row})::place where id = 3",
            )
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=ALIKE_S) == [], services.log_tail("apply")
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)
