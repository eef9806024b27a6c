"""What is said of servers that no test can run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from capture.source import Severity
from capture.sources.mysql import findings
from capture.sources.mysql.server import ServerFacts
from schemas.endpoints.mysql import MysqlSource
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType


@pytest.mark.parametrize(
    ("variables", "replicates", "refused"),
    [
        ({"wsrep_on": "on", "log_slave_updates": "off"}, False, True),
        ({"wsrep_on": "on", "log_slave_updates": "on"}, False, False),
        ({"wsrep_on": "off", "log_slave_updates": "off"}, False, False),
        ({"wsrep_on": "off", "log_slave_updates": "off"}, True, True),
        ({"log_replica_updates": "off"}, False, False),
    ],
)
def test_servers_are_refused_whose_log_lacks_what_others_send(
    variables: dict[str, str], *, replicates: bool, refused: bool
) -> None:
    settings = MysqlSource.model_validate({"engine": "mysql", "user": "u", "tables": ["shop.*"]})
    facts = SimpleNamespace(
        lacking=(), variables=variables, is_mariadb=True, logs=lambda database: True, replicates=replicates
    )
    codes = {finding.code for finding in findings.find(settings, cast("ServerFacts", facts), [], [])}
    assert ("replica-updates" in codes) is refused


@pytest.mark.parametrize(("image", "is_whole"), [("full", True), ("full_nodup", True), ("noblob", False)])
def test_images_that_lack_nothing_are_whole(image: str, *, is_whole: bool) -> None:
    settings = MysqlSource.model_validate({"engine": "mysql", "user": "u", "tables": ["shop.*"]})
    facts = SimpleNamespace(
        lacking=(),
        variables={"binlog_row_image": image},
        is_mariadb=True,
        logs=lambda database: True,
        replicates=False,
    )
    keyless = TableSchema(TableName("shop", "a"), (Column("v", LogicalType(Family.INT32), "int"),), ())
    found = {finding.code: finding for finding in findings.find(settings, cast("ServerFacts", facts), [], [keyless])}
    assert ("row-image" not in found) is is_whole
    assert (found["no-key"].severity is not Severity.BLOCKS) is is_whole
