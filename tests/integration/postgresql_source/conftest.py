"""A source of the log, and how that arrives: a poll returns what is there, which depends on the machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from capture.sources.postgresql import log
from capture.sources.postgresql.source import PostgresqlDatabase
from tests.integration.postgresql_source import reading
from tests.integration.postgresql_source.reading import Capture, Captured
from tests.kit.servers import Database


@pytest.fixture(params=["at once", "one by one"])
def arrival(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test twice: as the log comes, and with every poll cut behind a single message of the log."""
    if request.param == "one by one":
        monkeypatch.setattr(log, "POLL_BYTES_MAX", 1)
    return str(request.param)


@pytest.fixture
def capture(source_database: Database, replication: str, arrival: str) -> Iterator[Capture]:
    made: list[PostgresqlDatabase] = []

    def start(*setup: str, tables: tuple[str, ...] = ("public.*",)) -> Captured:
        source_database.execute(*setup)
        settings = reading.settings_for(source_database, replication, *tables)
        source = reading.database_of(settings)
        made.append(source)
        captured = source.tables()
        return Captured(source_database, settings, source, captured, source.prepare(captured))

    yield start
    for source in made:
        source.destroy()
        source.close()
