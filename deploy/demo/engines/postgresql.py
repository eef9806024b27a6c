"""PostgreSQL as a side of the demo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from deploy.demo.engines import DATABASE, Client, Column, Dialect, Fill, Side, schema_text
from deploy.local.postgresql import SUPERUSER, PostgresqlServer

MAJORS = {"source": 16, "target": 18}
_SESSION = "-c datestyle=ISO -c intervalstyle=iso_8601 -c timezone=UTC -c extra_float_digits=3"
_IDENTITIES = ("products", "customers", "orders", "reviews")
_ENDLESS = {"{nan}": "'NaN'", "{infinite}": "'Infinity'", "{infinity}": "'infinity'::date"}
_PLAIN = {"{nan}": "0.1", "{infinite}": "1e300", "{infinity}": "date '9999-12-31'"}
BUSINESS = Dialect(
    merged="coalesce(preferences, '{}') || %s",
    forgotten_views="delete from page_views"
    " where ctid = any(array(select ctid from page_views where path = %s limit 3))",
)
_KINDS = {"float4": "real", "bpchar": "char", "json": "json", "jsonb": "json", "timetz": "zoned"}
_TEXTS = ("inet", "point", "daterange", "interval")
_BLOCK_ROWS = 2_000


def connect(dsn: str, schema: str = "public") -> PostgresqlClient:
    """Open a session with the settings that the text of values depends on."""
    return PostgresqlClient(psycopg.connect(dsn, autocommit=True, options=_SESSION), schema)


def open_for_business(url: str) -> Any:
    """Open a connection of the driver's, in whose transactions the shop does its business."""
    return psycopg.connect(url)


class PostgresqlClient(Client):
    """A session in a PostgreSQL database."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self.connection = connection
        self.schema = schema

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement."""
        self.connection.execute(statement.encode(), parameters or None)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return self.connection.execute(query.encode(), parameters or None).fetchall()

    def qualified(self, table: str) -> str:
        """Return a table's name with its schema."""
        return sql.Identifier(self.schema, table).as_string(None)

    def existing(self, tables: Sequence[str]) -> list[str]:
        """Return which of the shop's tables are there."""
        found = self.rows(
            "select c.relname from pg_class c where c.relnamespace = to_regnamespace(%s) and c.relname = any(%s)"
            " and c.relkind = 'r'",
            (self.schema, list(tables)),
        )
        return [name for (name,) in found]

    def columns(self, table: str) -> list[Column]:
        """Return a table's columns."""
        found = self.rows(
            "select a.attname, t.typname from pg_attribute a join pg_type t on t.oid = a.atttypid"
            " where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum",
            (self.qualified(table),),
        )
        return [Column(name, _kind(type_)) for name, type_ in found]

    def images(self, table: str, columns: Sequence[Column]) -> Iterator[bytes]:
        """Yield every row as one text of all columns."""
        row = ", ".join(f"t.{_quoted(column.name)}" for column in columns)
        for (image,) in self._stream(f"select row({row})::text from {self.qualified(table)} t"):
            yield str(image).encode()

    def values(self, table: str, columns: Sequence[Column]) -> Iterator[tuple[Any, ...]]:
        """Yield every row as the driver's values."""
        row = ", ".join(_shown(column) for column in columns)
        return self._stream(f"select {row} from {self.qualified(table)}")

    def close(self) -> None:
        """Close the session."""
        self.connection.close()

    def _stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        with self.connection.transaction(), self.connection.cursor(name="tailrace_demo") as cursor:
            cursor.itersize = _BLOCK_ROWS
            cursor.execute(query.encode())
            yield from cursor


class PostgresqlSide(Side):
    """A PostgreSQL server of the demo."""

    engine = "postgresql"
    schema = "public"

    def __init__(self, directory: Path, role: str) -> None:
        self._server = PostgresqlServer(directory, major=MAJORS[role])
        self._database = DATABASE[role]
        self.title = f"PostgreSQL {MAJORS[role]}"

    @property
    def url(self) -> str:
        """The connection string."""
        return self._server.address.dsn(self._database)

    def start(self) -> str:
        """Start the server and make the database."""
        self._server.start()
        with psycopg.connect(self._server.address.dsn(), autocommit=True) as connection:
            connection.execute(f"create database {self._database}".encode())
        return f"127.0.0.1:{self._server.address.port}"

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop()

    def section(self, schema: str = "") -> str:
        """Return the lines of a section."""
        lines = [
            "engine: postgresql",
            "host: 127.0.0.1",
            f"port: {self._server.address.port}",
            f"database: {self._database}",
            f"user: {SUPERUSER}",
            "password: ${DEMO_PASSWORD}",
        ]
        if schema:
            lines += [
                "# Foreign keys are made, and not checked for what the applier writes: no row waits for its parent, so",
                "# that the latency is that of the pipeline. Without this line they are checked, and rows wait.",
                "disable_triggers: true",
            ]
        else:
            lines.append('tables: ["public.*"]')
        return "\n".join(lines)

    def connect(self, schema: str = "") -> Client:
        """Open a session."""
        return connect(self.url, schema or self.schema)

    def create_shop(self, client: Client) -> None:
        """Make the shop's types and tables."""
        client.execute(schema_text(self.engine))

    def fill(self, client: Client, step: Fill, *, everywhere: bool) -> None:
        """Fill one table."""
        fill(client, step, everywhere=everywhere)

    def analyze(self, client: Client) -> None:
        """Let the server count."""
        client.execute("analyze")


def fill(client: Client, step: Fill, *, everywhere: bool) -> None:
    """Fill one table, and move its identity's sequence past the rows.

    Foreign keys hold by construction: they are not checked, which needs a superuser.
    """
    statement = step.statement
    for name, value in (_PLAIN if everywhere else _ENDLESS).items():
        statement = statement.replace(name, value)
    client.execute("set session_replication_role = replica")
    client.execute(statement)
    if step.table in _IDENTITIES:
        client.rows("select setval(pg_get_serial_sequence(%s, 'id'), %s)", (f"public.{step.table}", step.rows))
    client.execute("reset session_replication_role")


def _kind(type_: str) -> str:
    if type_.startswith("_"):
        return "json"
    return "text" if type_ in _TEXTS else _KINDS.get(type_, "plain")


def _shown(column: Column) -> str:
    name = _quoted(column.name)
    if column.kind == "span":
        return f"(extract(epoch from {name}) * 1000000)::bigint"
    return f"{name}::text" if column.kind in ("text", "char", "zoned") else name


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)
