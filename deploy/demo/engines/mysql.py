"""MySQL and MariaDB as sides of the demo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql
from pymysql.cursors import SSCursor

from deploy.demo.engines import DATABASE, Client, Column, Dialect, Fill, Side, fills, schema_text
from deploy.local.mysql import MysqlServer

SERIES = {"mysql": "mysql", "mariadb": "11.4"}
BUSINESS = Dialect(
    merged="json_merge_patch(coalesce(preferences, '{}'), %s)",
    forgotten_views="delete from page_views where path = %s limit 3",
)
_KINDS = {"float": "real", "char": "char", "json": "json", "time": "span"}
_KINDS |= dict.fromkeys(("varchar", "tinytext", "text", "mediumtext", "longtext", "enum"), "text")


def connect(url: str) -> MysqlClient:
    """Open a session in the database that a URL names, in UTC."""
    return MysqlClient(_open(url, autocommit=True), urlsplit(url).path.strip("/"))


def open_for_business(url: str) -> Any:
    """Open a connection of the driver's, in whose transactions the shop does its business."""
    return _open(url, autocommit=False)


def _open(url: str, *, autocommit: bool) -> Any:
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=parts.username,
        database=parts.path.strip("/"),
        charset="utf8mb4",
        autocommit=autocommit,
        ssl_disabled=True,
        init_command="set time_zone = '+00:00'",
    )


class MysqlClient(Client):
    """A session in a database of MySQL or MariaDB."""

    def __init__(self, connection: Any, schema: str) -> None:
        self.connection = connection
        self.schema = schema

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters) or None)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.connection.cursor() as cursor:
            cursor.execute(query, tuple(parameters) or None)
            return list(cursor.fetchall())

    def qualified(self, table: str) -> str:
        """Return a table's name with its database."""
        return f"`{self.schema}`.`{table}`"

    def existing(self, tables: Sequence[str]) -> list[str]:
        """Return which of the shop's tables are there."""
        places = ", ".join(["%s"] * len(tables))
        query = f"select table_name from information_schema.tables where table_schema = %s and table_name in ({places})"
        return [name for (name,) in self.rows(query, (self.schema, *tables))]

    def columns(self, table: str) -> list[Column]:
        """Return a table's columns."""
        found = self.rows(
            "select column_name, data_type from information_schema.columns where table_schema = %s and table_name = %s"
            " order by ordinal_position",
            (self.schema, table),
        )
        return [Column(name, _KINDS.get(type_, "plain")) for name, type_ in found]

    def images(self, table: str, columns: Sequence[Column]) -> Iterator[bytes]:
        """Yield every row as one text of all columns."""
        row = ", ".join(f"coalesce(hex({_text(column)}), '-')" for column in columns)
        for (image,) in self._stream(f"select concat_ws(',', {row}) from {self.qualified(table)}"):
            yield image.encode() if isinstance(image, str) else bytes(image)

    def values(self, table: str, columns: Sequence[Column]) -> Iterator[tuple[Any, ...]]:
        """Yield every row as the driver's values."""
        row = ", ".join(map(_shown, columns))
        return self._stream(f"select {row} from {self.qualified(table)}")

    def close(self) -> None:
        """Close the session."""
        self.connection.close()

    def _stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        with self.connection.cursor(SSCursor) as cursor:
            cursor.execute(query)
            yield from cursor


class MysqlSide(Side):
    """A MySQL or MariaDB server of the demo."""

    engine = "mysql"

    def __init__(self, directory: Path, role: str, product: str) -> None:
        self._server = MysqlServer(directory, series=SERIES[product])
        self.schema = self._database = DATABASE[role]
        self.title = self._server.product

    @property
    def url(self) -> str:
        """The database as a URL."""
        address = self._server.address
        return f"mysql://{address.user}@{address.host}:{address.port}/{self._database}"

    def start(self) -> str:
        """Start the server and make the database."""
        self._server.start()
        with connect(self.url.removesuffix(self._database) + "mysql") as client:
            client.execute(f"create database {self._database} character set utf8mb4")
        return f"127.0.0.1:{self._server.address.port}"

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop()

    def section(self, schema: str = "") -> str:
        """Return the lines of a section."""
        address = self._server.address
        lines = ["engine: mysql", f"host: {address.host}", f"port: {address.port}", f"user: {address.user}"]
        lines += ["tls: {mode: disable}"]
        if schema:
            lines += [f"database: {self._database}", "foreign_key_checks: false"]
        else:
            lines += [f'tables: ["{self._database}.*"]']
        return "\n".join(lines)

    def connect(self, schema: str = "") -> Client:
        """Open a session. All schemas of a source go to one database."""
        return connect(self.url)

    def create_shop(self, client: Client) -> None:
        """Make the shop's tables, and one of numbers to fill them by, which the session alone sees."""
        for statement in filter(str.strip, schema_text(self.engine).split(";\n")):
            client.execute(statement)
        client.execute("create temporary table numbers (n int primary key)")
        digit = "(select 0 d union select 1 union select 2 union select 3 union select 4 union select 5 union select 6"
        digit += " union select 7 union select 8 union select 9)"
        places = [f"{digit} d{place}" for place in range(6)]
        value = " + ".join(f"d{place}.d * {10**place}" for place in range(6))
        most = max(step.rows for step in fills(self.engine))
        client.execute(f"insert into numbers select {value} from {', '.join(places)} where {value} <= {most}")

    def fill(self, client: Client, step: Fill, *, everywhere: bool) -> None:
        """Fill one table. The servers have no values that others lack."""
        client.execute(step.statement)

    def analyze(self, client: Client) -> None:
        """Let the server count."""
        client.rows(f"analyze table {', '.join(client.qualified(step.table) for step in fills(self.engine))}")


def _shown(column: Column) -> str:
    # A `float` is shown with six digits only, unless it is made a double.
    return f"`{column.name}` * 1e0" if column.kind == "real" else f"`{column.name}`"


def _text(column: Column) -> str:
    """Return the expression for a value's bytes as text; texts in UTF-8, whatever the column's charset."""
    if column.kind in ("text", "char"):
        return f"convert({_shown(column)} using utf8mb4)"
    # `hex` of a number would be that of its whole part.
    return f"concat({_shown(column)}, '')"
