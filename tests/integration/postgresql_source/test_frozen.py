"""Captures that freeze while the server answers: tables can be altered all the same, if a little later."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from capture.sources.postgresql import copying
from capture.sources.postgresql.connection import classified, connect
from capture.sources.postgresql.extents import copy_tuple
from capture.sources.postgresql.frames import Filing
from capture.sources.postgresql.source import PostgresqlDatabase
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError
from tests.integration.postgresql_source.reading import database_of, settings_for
from tests.kit.frozen import freeze, frozen
from tests.kit.servers import Database

PATIENCE_S = 2
WAITS_S = 60
"""How long the table's owner waits: of a server under load, too."""


def _ask(settings: dict[str, Any], place: str) -> None:
    """Ask for large rows, and freeze: in a transaction, or while the answer comes."""
    connection = connect(PostgresqlSource.model_validate(settings), patience_s=PATIENCE_S)
    try:
        if place == "transaction":
            with classified("reading"), connection.transaction():
                connection.execute("select 1 from public.a")
                freeze()
                connection.execute("select 1 from public.a")
        else:
            query = "copy (select v from public.a) to stdout (format binary)"
            rows = copying.copy_rows(connection, query, Filing(None, copy_tuple))
            next(rows)
            freeze()
            for _ in rows:
                pass
    except TailraceError as error:
        raise SystemExit(7 if error.kind is ErrorKind.SOURCE_CONNECTION else 8) from error


@pytest.mark.parametrize("place", ["transaction", "answer"])
def test_a_table_can_be_altered_soon_after_a_capture_froze_in_a_look(source_database: Database, place: str) -> None:
    """It could not for as long as the client was there: nothing bounded that."""
    source_database.execute(
        "create table a (id int primary key, v text)",
        "insert into a select n, repeat('x', 20000000) from generate_series(1, 3) n",
    )
    with frozen(_ask, {**source_database.settings, "tables": ["public.*"]}, place) as process:
        source_database.execute(f"set lock_timeout = '{WAITS_S}s'; alter table a add column w int")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGCONT)
        process.join()
        assert process.exitcode == 7, "the look was over, and its session had not been ended"


def test_a_source_s_session_has_bounds(source_database: Database) -> None:
    source: PostgresqlDatabase = database_of(settings_for(source_database, "frozen"))
    names = ("idle_in_transaction_session_timeout", "tcp_user_timeout", "statement_timeout")
    found = [source._connected().execute(f"show {name}").fetchall() for name in names]
    source.close()
    # What takes long takes as long as it takes.
    assert found == [[("30s",)], [("30000",)], [("0",)]]
