"""The two ends of a replication as tests of whatever engine know them: one class for each kind of server.

What a side reads is compared as Python values, by drivers that share no code with the product.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import psycopg
import pymysql
from pymysql.constants import ER

from tests.kit.compare import NOT_YET, pause, wait_until_equal
from tests.kit.mysql import MysqlDatabase
from tests.kit.random_mysql import open_session
from tests.kit.servers import Database
from tests.kit.transactions import Transactions
from tests.kit.workload import Workload
from tests.kit.workload_mysql import MysqlWorkload, is_interruption

DOCUMENTS = frozenset({"doc", "tags"})
"""Columns of the workloads that hold JSON, or become it."""
SHOWN = 3
_AGAIN = frozenset({ER.DUP_ENTRY, ER.DUP_FIELDNAME, ER.BAD_FIELD_ERROR, ER.CANT_DROP_FIELD_OR_KEY})

Row = tuple[Any, ...]


class Place(Protocol):
    """A database in the words of configurations."""

    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def target_settings(self) -> Mapping[str, Any]: ...


class Side(ABC):
    """A database of a test's own. It may be at another server in the course of a run."""

    @property
    @abstractmethod
    def database(self) -> Place:
        """The database, as configurations name it."""

    @property
    @abstractmethod
    def schema(self) -> str:
        """Where the workload's tables are when this is the source, as operators name it."""

    @property
    @abstractmethod
    def control(self) -> str:
        """Where the control tables are when this is the target."""

    @property
    @abstractmethod
    def port(self) -> int:
        """The server's port on 127.0.0.1."""

    @abstractmethod
    def through(self, port: int) -> Place:
        """Return the database as it is reached by another port."""

    @abstractmethod
    def workload(self, seed: int, target: Side) -> Transactions:
        """Return a writer of what can go to a target."""

    @abstractmethod
    def attempt(self, statement: str) -> bool:
        """Run a statement that somebody may have run before; False while the database does not answer."""

    @abstractmethod
    def rows(self, query: str) -> Sequence[Row]:
        """Return a query's rows. Raises the driver's errors."""

    @abstractmethod
    def is_missing(self, error: Exception) -> bool:
        """Tell whether a table or a column is not there yet."""

    @abstractmethod
    def copy_of(self, source: Side) -> str:
        """Return the schema in which a source's tables are here."""

    def tables(self) -> dict[str, list[str]]:
        """Return the tables with their columns, of a source."""
        found: dict[str, list[str]] = {}
        query = (
            f"select table_name, column_name from information_schema.columns where table_schema = '{self.schema}'"
            " order by table_name, ordinal_position"
        )
        for table, column in self.rows(query):
            found.setdefault(table, []).append(column)
        return found


@dataclass(slots=True)
class PostgresqlSide(Side):
    """PostgreSQL."""

    database: Database

    @property
    def schema(self) -> str:
        """Where clients are without saying so."""
        return "public"

    @property
    def control(self) -> str:
        """What configurations have unless they say otherwise."""
        return "tailrace"

    @property
    def port(self) -> int:
        """The server's port."""
        return self.database.address.port

    def through(self, port: int) -> Database:
        """Return the database behind another port."""
        return replace(self.database, address=replace(self.database.address, port=port))

    def workload(self, seed: int, target: Side) -> Workload:
        """Return a writer: without what MySQL cannot hold, where that is the target."""
        return Workload(
            self.database.dsn, seed=seed, truncates=True, real_numbers=not isinstance(target, PostgresqlSide)
        )

    def attempt(self, statement: str) -> bool:
        """Run a statement."""
        try:
            self.database.execute(statement)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateColumn, psycopg.errors.UndefinedColumn):
            # It was committed and the answer lost.
            return True
        except psycopg.OperationalError:
            return False
        return True

    def rows(self, query: str) -> Sequence[Row]:
        """Return a query's rows."""
        return self.database.rows(query)

    def is_missing(self, error: Exception) -> bool:
        """Tell what a later look may find."""
        return isinstance(error, (*NOT_YET, psycopg.OperationalError))

    def copy_of(self, source: Side) -> str:
        """Return the source's own name of it."""
        return source.schema


@dataclass(slots=True)
class MysqlSide(Side):
    """MySQL or MariaDB: the one database is all there is."""

    database: MysqlDatabase

    @property
    def schema(self) -> str:
        """The database's name."""
        return self.database.name

    @property
    def control(self) -> str:
        """The database's name."""
        return self.database.name

    @property
    def port(self) -> int:
        """The server's port."""
        return self.database.address.port

    def through(self, port: int) -> MysqlDatabase:
        """Return the database behind another port."""
        return replace(self.database, address=replace(self.database.address, port=port))

    def workload(self, seed: int, target: Side) -> MysqlWorkload:
        """Return a writer of what the server's log can tell."""
        ((image,),) = self.rows("select @@global.binlog_row_image")
        return MysqlWorkload(self.database, seed=seed, truncates=True, keyless=image.startswith("FULL"))

    def attempt(self, statement: str) -> bool:
        """Run a statement."""
        try:
            with closing(open_session(self.database)) as session, session.cursor() as cursor:
                cursor.execute(statement)
        except (pymysql.err.Error, OSError) as error:
            if isinstance(error, pymysql.err.Error) and error.args[0] in _AGAIN:
                return True
            if not is_interruption(error):
                raise
            return False
        return True

    def rows(self, query: str) -> Sequence[Row]:
        """Return a query's rows."""
        with closing(open_session(self.database)) as session, session.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def is_missing(self, error: Exception) -> bool:
        """Tell what a later look may find."""
        missing = (ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR)
        return is_interruption(error) or (isinstance(error, pymysql.err.Error) and error.args[0] in missing)

    def copy_of(self, source: Side) -> str:
        """Return the one database."""
        return self.database.name


def wait_until_alike(source: Side, target: Side, timeout_s: float) -> list[str]:
    """Compare until a source, which must be at rest, and its copy are equal, or the time is up; return what differs."""
    if isinstance(source, PostgresqlSide) and isinstance(target, PostgresqlSide):
        return wait_until_equal(source.database.dsn, target.database.dsn, timeout_s=timeout_s)
    deadline = time.monotonic() + timeout_s
    while True:
        began_s = time.monotonic()
        found = differences(source, target)
        if not found or time.monotonic() > deadline:
            return found
        pause(began_s)


def differences(source: Side, target: Side) -> list[str]:
    """Return how the copy differs, in words."""
    found = []
    for table, columns in source.tables().items():
        query = f"select {', '.join(columns)} from {{}}.{table}"
        try:
            wanted, have = (
                Counter(_plain(columns, row) for row in side.rows(query.format(schema)))
                for side, schema in ((source, source.schema), (target, target.copy_of(source)))
            )
        except (psycopg.Error, pymysql.err.Error, OSError) as error:
            if not target.is_missing(error):
                raise
            found.append(f"{table}: {type(error).__name__}")
            continue
        if wanted != have:
            extra, missing = have - wanted, wanted - have
            shown = [str(row)[:400] for row in (*[*extra][:SHOWN], *[*missing][:SHOWN])]
            found.append(f"{table}: {extra.total()} too many, {missing.total()} missing: {shown}")
    return found


def _plain(columns: Sequence[str], row: Row) -> Row:
    return tuple(
        _document(value) if column in DOCUMENTS and value is not None else _value(value)
        for column, value in zip(columns, row, strict=True)
    )


def _document(value: Any) -> str:
    return json.dumps(json.loads(value) if isinstance(value, str) else value, sort_keys=True)


def _value(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    if isinstance(value, UUID):
        return str(value)
    # Decimals, floats and truth values are equal, and hash alike, when they are the same number.
    return value
