"""Captures that freeze while they look values up: their tables can be altered all the same, if a little later."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from capture.sources.mysql import completion
from capture.sources.mysql.catalog import Catalog
from capture.sources.mysql.source import MysqlServer
from schemas.changes import UNCHANGED, RowChanges, Transaction
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName
from tests.integration.mysql_source.reading import SERVER_ID, Reading
from tests.kit.frozen import freeze, frozen

KEYS = range(4)
IDLE_S = 2
WAITS_S = 60
"""How long the table's owner waits: of a server under load, too."""


def _look(settings: dict[str, Any], place: str) -> None:
    """Look one row up, and freeze: before the look, behind it, or while the answer comes."""
    completion.IDLE_S = IDLE_S
    source = MysqlServer(MysqlSource.model_validate(settings), SERVER_ID)
    (table,) = source.tables()
    natives, packets = Catalog.natives, source._connected().packets

    def asked(self: Catalog, name: TableName) -> dict[str, str]:
        found = natives(self, name)
        freeze()
        return found

    def answered(sql: str) -> Any:
        if "tailrace: place" not in sql:
            return packets(sql)
        rows = packets(sql)
        first = next(rows)
        freeze()
        return iter([first, *rows])

    if place == "catalogue":
        Catalog.natives = asked  # type: ignore[method-assign]
    else:
        source._connected().packets = answered  # type: ignore[method-assign]
    changes = RowChanges(table, Transaction("", 0, 0, 0))
    for key in KEYS:
        changes.add("u", (key + 9, UNCHANGED), (key, UNCHANGED))
    try:
        source.complete(changes)
    except TailraceError as error:
        raise SystemExit(7 if error.kind is ErrorKind.SOURCE_CONNECTION else 8) from error


@pytest.mark.parametrize("place", ["catalogue", "answer"])
def test_a_table_can_be_altered_soon_after_a_capture_froze_in_a_look(reading: Reading, place: str) -> None:
    """It could not for a day: the session kept the table's metadata locked."""
    reading.database.execute(
        "create table a (id int primary key, v longtext)",
        # More than all buffers on the way hold.
        *(f"insert into a values ({key}, repeat('x', 12000000))" for key in KEYS),
    )
    with frozen(_look, reading.database.settings, place) as process:
        owner = reading.database.connect()
        owner.run(f"set session lock_wait_timeout = {WAITS_S}")
        owner.run("alter table a add column w int")
        owner.close()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGCONT)
        process.join()
        assert process.exitcode == 7, "the look was over, and its session had not been ended"


def test_a_session_waits_for_us_as_long_as_before_when_a_look_is_over(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key, v int)", "insert into a values (1, 2)")
    (table,) = reading.source.tables()
    changes = RowChanges(table, Transaction("", 0, 0, 0), ["u"], [(9, UNCHANGED)], [(1, UNCHANGED)])
    session = reading.source._connected()
    asked = "select @@session.wait_timeout, @@session.net_write_timeout, @@session.autocommit"
    before = session.rows(asked)
    reading.source.complete(changes)
    assert changes.after == [(1, 2)]
    assert session.rows(asked) == before == [["86400", "3600", "1"]]
