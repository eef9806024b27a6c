"""What is said of servers that no test can run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from capture.sources.mysql import findings
from capture.sources.mysql.server import ServerFacts
from schemas.endpoints.mysql import MysqlSource


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
