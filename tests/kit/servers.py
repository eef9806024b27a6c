"""The servers that integration tests run against: those that the environment names, else our own, started once.

`TAILRACE_KAFKA=host:port`, `TAILRACE_TEST_PG18` and `TAILRACE_TEST_PG16` (`postgresql://user:password@host:port`, a
superuser) name servers that are up already. Tests get databases and topics of their own in them.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from capture.sources.postgresql import ddl_trigger
from deploy.local.postgresql import PostgresqlAddress

DROP_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Database:
    """A database of one test's own."""

    address: PostgresqlAddress
    name: str

    @property
    def dsn(self) -> str:
        """The connection string, for a superuser."""
        return self.address.dsn(self.name)

    @property
    def settings(self) -> dict[str, str | int]:
        """The part of a `source` or a target section that says where the database is."""
        address = self.address
        return {
            "engine": "postgresql",
            "host": address.host,
            "port": address.port,
            "database": self.name,
            "user": address.user,
            "password": address.password,
        }

    @property
    def target_settings(self) -> dict[str, Any]:
        """A target section that writes to this database."""
        return dict(self.settings)

    def settings_of_driver(self, **more: str) -> dict[str, Any]:
        """The same in the driver's words, with changes."""
        words = dict(self.settings)
        del words["engine"]
        return words | {"dbname": words.pop("database")} | more

    def connect(self) -> psycopg.Connection:
        """Return a new autocommit connection, for a superuser."""
        return psycopg.connect(self.dsn, autocommit=True)

    def execute(self, *statements: str) -> None:
        """Run statements, each in a transaction of its own."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def tell_statements(self) -> None:
        """Let the log tell of DDL: a capture looks at the catalogue then, and by itself every 20 seconds."""
        self.execute(ddl_trigger.statements())

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with self.connect() as connection:
            return connection.execute(query).fetchall()


def create_database(address: PostgresqlAddress, prefix: str) -> Database:
    """Create an empty database with a name of its own."""
    name = f"{prefix}_{secrets.token_hex(5)}"
    with psycopg.connect(address.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    return Database(address, name)


def drop_database(database: Database) -> None:
    """Drop the database with its replication slots, ending every session in it."""
    deadline = time.monotonic() + DROP_TIMEOUT_S
    statement = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database.name))
    with psycopg.connect(database.address.dsn(), autocommit=True) as connection:
        while True:
            while _drop_slots(connection, database.name) and time.monotonic() < deadline:
                time.sleep(0.1)
            try:
                connection.execute(statement)
            except psycopg.errors.ObjectInUse:
                # The server waits five seconds for the sessions that it ends.
                if time.monotonic() >= deadline:
                    raise
            else:
                return


def _drop_slots(connection: psycopg.Connection, database: str) -> int:
    """Drop the idle slots of the database, end the sessions of the others; return how many are left."""
    where = "from pg_replication_slots where database = %s"
    connection.execute(f"select pg_terminate_backend(active_pid) {where} and active_pid is not null", [database])
    for (slot,) in connection.execute(f"select slot_name {where} and active_pid is null", [database]).fetchall():
        with contextlib.suppress(psycopg.errors.UndefinedObject, psycopg.errors.ObjectInUse):
            connection.execute("select pg_drop_replication_slot(%s)", [slot])
    left = connection.execute(f"select count(*) {where}", [database]).fetchone()
    return int(left[0]) if left else 0


@contextlib.contextmanager
def nobody_confirms(*databases: Database) -> Iterator[Callable[[], None]]:
    """Let commits of the server that ask for it wait for a standby that is not there; yield what ends that. Sessions
    that begin meanwhile in these databases do not ask for it, unless they say so.
    """
    server = databases[0]
    for database in databases:
        database.execute(f'alter database "{database.name}" set synchronous_commit = local')
    try:
        _set_standby(server, "nobody")
        yield lambda: _set_standby(server, "")
    finally:
        _set_standby(server, "")


def _set_standby(server: Database, name: str) -> None:
    with server.connect() as connection:
        connection.execute("set synchronous_commit = local")
        connection.execute(f"alter system set synchronous_standby_names = '{name}'")
        connection.execute("select pg_reload_conf()")
