"""What tests of whole replications share: the services of the one that is a test's own, and its databases on MySQL."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.mysql import MysqlAddress
from tests.integration.services import Serve, Services
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database


@pytest.fixture
def serve(tmp_path: Path, replication: str, kafka_server: KafkaAddress) -> Serve:
    """A function that makes its services: `serve(source, target, **settings)`, see `Services`."""
    return partial(Services, tmp_path, replication, kafka_server)


@pytest.fixture
def mysql_source(mysql_server: MysqlAddress) -> Iterator[MysqlDatabase]:
    """An empty database on MySQL to capture from."""
    database = create_mysql_database(mysql_server)
    yield database
    drop_mysql_database(database)


@pytest.fixture
def mysql_target(mysql_server: MysqlAddress) -> Iterator[MysqlDatabase]:
    """An empty database on MySQL to apply to."""
    database = create_mysql_database(mysql_server)
    yield database
    drop_mysql_database(database)
