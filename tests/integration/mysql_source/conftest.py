"""A source over a database of the test's own, on MariaDB and on MySQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.integration.mysql_source.reading import Reading, without_gtids
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database


@pytest.fixture
def reading(mysql_database: MysqlDatabase) -> Iterator[Reading]:
    """A source that reads dates with zeros as null."""
    found = Reading(mysql_database, zero_dates="null")
    yield found
    found.close()


@pytest.fixture(params=["mariadb", "mysql", "mariadb10", "oldest_mysql", "mysql-without-gtids"])
def any_reading(request: pytest.FixtureRequest) -> Iterator[Reading]:
    """The same, and on older ones, and on MySQL without GTIDs, where positions are files and offsets."""
    kind, _, is_without = request.param.partition("-")
    database = create_mysql_database(request.getfixturevalue(f"{kind}_server"))
    try:
        with without_gtids(database) if is_without else contextlib.nullcontext():
            found = Reading(database, zero_dates="null")
            yield found
            found.close()
    finally:
        drop_mysql_database(database)
