"""What is said of whoever holds a lock: enough to find him, and nothing of what he writes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from capture.source import LockedError
from capture.sources.postgresql.locks import TO_READ, locking
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName

TABLE = TableName("public", "t")


def refused(cause: Exception, *holders: tuple[Any, ...]) -> TailraceError:
    """Return what becomes of a statement's error, where these hold the table."""

    def execute(statement: str, *_: object) -> Any:
        return SimpleNamespace(fetchall=lambda: list(holders))

    connection = cast("psycopg.Connection[Any]", SimpleNamespace(execute=execute))
    with pytest.raises(TailraceError) as raised, locking(connection, [TABLE], TO_READ):
        raise TailraceError(ErrorKind.SOURCE_CONNECTION, "reading a table failed", table=str(TABLE)) from cause
    return raised.value


def test_a_holder_is_named_and_of_its_statement_two_words() -> None:
    query = "alter table t add column secret text default 'swordfish'"
    idle = (4712, "public.t", None, "", None, None, "<insufficient privilege>")
    error = refused(
        psycopg.errors.LockNotAvailable(), (4711, "public.t", "bob", "psql", "idle in transaction", 35, query), idle
    )
    assert isinstance(error, LockedError)
    assert (error.kind, error.table) == (ErrorKind.SOURCE_CONNECTION, "public.t")
    assert "public.t is held by process 4711 (bob, psql, idle in transaction, alter table, since 35 s)" in error.message
    assert "public.t is held by process 4712" in error.message
    assert "swordfish" not in str(error)
    assert "pg_terminate_backend(4711)" in str(error.remedy)


def test_a_prepared_transaction_has_no_process_and_one_that_ended_is_nobody() -> None:
    prepared = (None, "public.t", None, None, None, None, None)
    error = refused(psycopg.errors.LockNotAvailable(), prepared)
    assert "held by a prepared transaction" in error.message
    assert error.remedy is None
    assert "nobody is found" in refused(psycopg.errors.LockNotAvailable()).message


def test_another_error_stays_what_it_is() -> None:
    assert not isinstance(refused(psycopg.errors.DeadlockDetected()), LockedError)
