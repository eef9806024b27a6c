"""MySQL and MariaDB servers for tests, and a database of each test's own in them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.sources.mysql.connection import Cells, Connection, connect
from capture.sources.mysql.quoting import identifier
from deploy.local.mysql import MysqlAddress, MysqlServer
from schemas.endpoints.mysql import MysqlSource

FORGET_S = 480.0


def settings_for_kills(row_image: str = "FULL") -> dict[str, str]:
    """Return the settings of a server that is killed: what it has committed outlives its process, if not the machine.

    With `innodb-flush-log-at-trx-commit=0` it forgets what it has committed in the last second, and its log does not.
    """
    return {"innodb-flush-log-at-trx-commit": "2", "binlog-row-image": row_image}


@dataclass(frozen=True, slots=True)
class MysqlDatabase:
    """A database of one test's own."""

    address: MysqlAddress
    name: str
    is_mariadb: bool

    @property
    def settings(self) -> dict[str, Any]:
        """The part of a `source` section that says where the server is."""
        return {
            "engine": "mysql",
            "host": self.address.host,
            "port": self.address.port,
            "user": self.address.user,
            "tls": {"mode": "disable"},
            "tables": [f"{self.name}.*"],
        }

    @property
    def target_settings(self) -> dict[str, Any]:
        """A target section that writes everything, control tables too, to this database."""
        settings = {name: value for name, value in self.settings.items() if name != "tables"}
        return settings | {"database": self.name, "control_schema": self.name}

    def source(self, **more: Any) -> MysqlSource:
        """Return a `source` section that takes all tables of the database."""
        return MysqlSource.model_validate({**self.settings, **more})

    def version(self) -> tuple[int, ...]:
        """Return the server's release in numbers."""
        connection = self.connect()
        try:
            return connection.version
        finally:
            connection.close()

    def logs_cascades(self) -> bool:
        """Tell whether the log holds what foreign keys do by themselves."""
        return not self.is_mariadb and self.version() >= (9, 6)

    def connect(self) -> Connection:
        """Return a new session in this database, for the administrator."""
        connection = connect(self.source())
        connection.run("set session sql_mode = 'NO_BACKSLASH_ESCAPES,ALLOW_INVALID_DATES', sql_safe_updates = 0")
        connection.run(f"use {identifier(self.name)}")
        return connection

    def execute(self, *statements: str) -> None:
        """Run statements, each in a transaction of its own."""
        connection = self.connect()
        try:
            for statement in statements:
                connection.run(statement)
        finally:
            connection.close()

    def forget_log(self) -> None:
        """Begin a new file of the log, and remove those before it."""
        self.execute("flush binary logs")
        self.keep_newest_log()

    def keep_newest_log(self) -> None:
        """Remove all files of the log but the newest."""
        newest = self.rows("show binary logs")[-1][0]
        deadline = time.monotonic() + FORGET_S
        # A file stays while somebody reads it, and a server notices late that its reader has gone.
        while self.rows("show binary logs")[0][0] != newest:
            if time.monotonic() > deadline:
                raise AssertionError(f"the server does not remove its log: {self.rows('show processlist')}")
            self.execute(f"purge binary logs to '{newest}'")
            time.sleep(0.05)

    def rows(self, query: str) -> list[Cells]:
        """Return the rows of a query as text."""
        connection = self.connect()
        try:
            return connection.rows(query)
        finally:
            connection.close()


def create_mysql_database(address: MysqlAddress) -> MysqlDatabase:
    """Create an empty database with a name of its own."""
    name = f"test_{secrets.token_hex(5)}"
    connection = _administrator(address)
    try:
        connection.run(f"create database {name} character set utf8mb4")
        return MysqlDatabase(address, name, connection.is_mariadb)
    finally:
        connection.close()


def drop_mysql_database(database: MysqlDatabase) -> None:
    """Drop the database."""
    connection = _administrator(database.address)
    try:
        connection.run(f"drop database if exists {database.name}")
    finally:
        connection.close()


@contextmanager
def folding_database(directory: Path, series: str) -> Iterator[MysqlDatabase]:
    """Make a database on a server of its own, which takes names of tables for equal that differ in case only."""
    with MysqlServer(directory, series=series, settings={"lower-case-table-names": "1"}) as server:
        database = create_mysql_database(server.address)
        yield database
        drop_mysql_database(database)


def _administrator(address: MysqlAddress) -> Connection:
    return connect(MysqlDatabase(address, "mysql", is_mariadb=False).source())
