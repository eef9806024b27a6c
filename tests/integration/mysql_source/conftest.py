"""A source over a database of the test's own, on MariaDB and on MySQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.mysql_source.reading import Reading
from tests.kit.mysql import MysqlDatabase


@pytest.fixture
def reading(mysql_database: MysqlDatabase) -> Iterator[Reading]:
    """A source that reads dates with zeros as null."""
    found = Reading(mysql_database, zero_dates="null")
    yield found
    found.close()
