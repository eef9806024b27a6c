"""A sink on an empty database, on MariaDB and on MySQL, and on a server that loads no data of clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apply.sinks.mysql import writer
from apply.sinks.mysql.sink import MysqlSink
from deploy.local.mysql import MysqlAddress, MysqlServer
from schemas.endpoints.mysql import MysqlTarget
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database

OpenSink = Callable[..., MysqlSink]


STRICT = {
    "local-infile": "0",
    "max-allowed-packet": "2M",
    "sql-mode": "ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH",
    "default-time-zone": "-05:00",
    "autocommit": "0",
    "transaction-isolation": "SERIALIZABLE",
    "explicit-defaults-for-timestamp": "0",
}
SESSIONS = (
    "sql_notes = 0, global sql_select_limit = 1, global sql_safe_updates = 1, global max_join_size = 1, "
    "global sql_big_selects = 0"
)


@pytest.fixture(scope="session")
def strict_server(servers_directory: Path) -> Iterator[MysqlAddress]:
    """An older MariaDB server, which loads no data of clients, and takes short packets only.

    Its sessions begin oddly, too: what bends a value is not told, queries return one row, none looks at more, no table
    is emptied, and what takes a second is ended.
    """
    with MysqlServer(servers_directory / "mariadb-strict", series="10.11", settings=STRICT) as server:
        limits = "global max_statement_time = 1, global idle_transaction_timeout = 1"
        MysqlDatabase(server.address, "mysql", is_mariadb=True).execute(f"set global {SESSIONS}, {limits}")
        yield server.address


@pytest.fixture(scope="session")
def strict_mysql_server(servers_directory: Path) -> Iterator[MysqlAddress]:
    """An older MySQL server, as unlike others as that one."""
    with MysqlServer(servers_directory / "mysql-strict", series="8.0", settings=STRICT) as server:
        limits = "global max_execution_time = 1000"
        MysqlDatabase(server.address, "mysql", is_mariadb=False).execute(f"set global {SESSIONS}, {limits}")
        yield server.address


@pytest.fixture(params=["mariadb", "mysql", "strict"])
def database(request: pytest.FixtureRequest) -> Iterator[MysqlDatabase]:
    """An empty database on each of the servers."""
    found = create_mysql_database(request.getfixturevalue(f"{request.param}_server"))
    yield found
    drop_mysql_database(found)


@pytest.fixture
def open_sink(database: MysqlDatabase) -> Iterator[OpenSink]:
    """A function that opens a sink on the test's database; settings may be given by name."""
    opened: list[MysqlSink] = []

    def start(**settings: object) -> MysqlSink:
        target = MysqlTarget.model_validate({**database.target_settings, "lock_timeout_s": 60, **settings})
        opened.append(MysqlSink("shop", "replica", target))
        return opened[-1]

    yield start
    for sink in opened:
        sink.close()


@pytest.fixture
def few_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are loaded over others however few they are."""
    monkeypatch.setattr(writer, "OVERWRITTEN_ROWS_MIN", 1)


@pytest.fixture
def sink(open_sink: OpenSink) -> MysqlSink:
    """A sink with its usual settings."""
    return open_sink()
