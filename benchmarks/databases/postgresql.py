"""PostgreSQL, by the programs that tests use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.databases import orders, shapes
from benchmarks.databases.engine import SOURCE, Count, Properties
from benchmarks.databases.shapes import Shape
from benchmarks.stages import limits
from deploy.local.postgresql import PASSWORD, SUPERUSER, PostgresqlServer
from schemas.table import TableName


class Postgresql:
    """See `Engine`."""

    plugin = "debezium-postgres"
    table = TableName("public", "orders")

    def __init__(self, directory: Path) -> None:
        self.server = PostgresqlServer(directory, settings={"track_commit_timestamp": "on"})

    def start(self) -> None:
        """Start the server and make the source's database."""
        self.server.start()
        self.create_database(SOURCE)

    def stop(self) -> None:
        """Stop the server."""
        self.server.stop()

    def dsn(self, database: str) -> str:
        """Return a database's connection string."""
        return self.server.address.dsn(database)

    def endpoint(self, database: str) -> dict[str, Any]:
        """Return the settings of one of its databases."""
        address = self.server.address
        where = {"engine": "postgresql", "host": address.host, "port": address.port, "database": database}
        return {**where, "user": SUPERUSER, "password": PASSWORD}

    def target(self, database: str) -> dict[str, Any]:
        """Return the section of a target."""
        return self.endpoint(database)

    def create_database(self, name: str) -> None:
        """Make an empty database."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())

    def create(self, shape: Shape, rows: int) -> None:
        """Make the table with its rows."""
        shapes.create(self.dsn(SOURCE), shape, rows)

    def change(self, shape: Shape, rows: int) -> int:
        """Change it."""
        return shapes.change(self.dsn(SOURCE), shape, rows)

    def touch(self) -> None:
        """Change one row to what it is."""
        with psycopg.connect(self.dsn(SOURCE), autocommit=True) as source:
            source.execute("update orders set id = id where id = 1")

    def digest(self, database: str) -> tuple[object, ...]:
        """Return the number of rows and a sum over their texts."""
        return orders.digest(self.dsn(database))

    @contextmanager
    def counting(self, database: str) -> Iterator[Count]:
        """Open a session that counts."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:

            def count(query: str) -> int:
                try:
                    found = connection.execute(query.encode()).fetchone()
                except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                    return 0
                return int(found[0]) if found else 0

            yield count

    def applied(self, database: str, replication: str, topic: str) -> str:
        """Return the query of the stored offsets."""
        return (
            "select coalesce(sum(next_offset), 0) from tailrace.offsets "
            f"where replication = '{replication}' and topic = '{topic}'"
        )

    def copy_rows(self, rows: int) -> list[tuple[str, float]]:
        """By COPY in binary form."""
        read_s, written_s = limits.copy_speeds(self.dsn(SOURCE))
        return [("COPY TO", read_s), ("COPY FROM", written_s)]

    def mark_log(self) -> None:
        """Make a slot that keeps the log from here on."""
        limits.mark_log(self.dsn(SOURCE))

    def read_log(self) -> tuple[str, float] | None:
        """Read it by `pg_recvlogical`, where that is installed."""
        seconds = limits.log_speed(self.server.address, SOURCE)
        return None if seconds is None else ("pg_recvlogical", seconds)

    def connector(self, name: str, directory: Path) -> Properties:
        """Return the properties of Debezium's connector."""
        address = self.server.address
        return {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": address.host,
            "database.port": address.port,
            "database.user": SUPERUSER,
            "database.password": PASSWORD,
            "database.dbname": SOURCE,
            "plugin.name": "pgoutput",
            "publication.autocreate.mode": "filtered",
            "publication.name": name,
            "slot.name": name,
        }

    def captures(self, name: str) -> bool:
        """Tell whether its slot is active."""
        with psycopg.connect(self.dsn(SOURCE), autocommit=True) as source:
            found = source.execute("select active from pg_replication_slots where slot_name = %s", (name,)).fetchone()
        return found == (True,)

    def forget(self, name: str) -> None:
        """Drop its slot."""
        query = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s"
        with psycopg.connect(self.dsn(SOURCE), autocommit=True) as source:
            source.execute(query, (name,))

    def sink(self, database: str) -> Properties:
        """Return where Debezium's JDBC sink writes."""
        address = self.server.address
        return {
            "connection.url": f"jdbc:postgresql://{address.host}:{address.port}/{database}?reWriteBatchedInserts=true",
            "connection.username": SUPERUSER,
            "connection.password": PASSWORD,
        }
