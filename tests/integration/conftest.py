"""What tests of whole replications share: the services of the one that is a test's own, and its databases on MySQL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Serve, Services
from tests.kit.mysql import MysqlDatabase


@pytest.fixture
def serve(tmp_path: Path, replication: str, kafka_server: KafkaAddress) -> Serve:
    """A function that makes its services: `serve(source, target, **settings)`, see `Services`."""
    return partial(Services, tmp_path, replication, kafka_server)


@pytest.fixture
def mysql_source(new_mysql_database: Callable[[str], MysqlDatabase]) -> MysqlDatabase:
    """An empty database on MySQL to capture from."""
    return new_mysql_database("mysql")


@pytest.fixture
def mysql_target(new_mysql_database: Callable[[str], MysqlDatabase]) -> MysqlDatabase:
    """An empty database on MySQL to apply to."""
    return new_mysql_database("mysql")
