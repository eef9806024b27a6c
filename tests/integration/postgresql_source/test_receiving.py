"""How much of large rows is received at once: where it is one row, each costs a wait and a turn of the service."""

from __future__ import annotations

import array
import contextlib
import fcntl
import termios
import time

import pytest

from capture.sources.postgresql.copying import copy_rows
from capture.sources.postgresql.frames import take
from capture.sources.postgresql.log import PostgresqlLog
from capture.sources.postgresql.snapshot import PostgresqlSnapshotReader
from schemas.errors import TailraceError
from tests.integration.postgresql_source.reading import DEADLINE_S, Capture, section, settings_for
from tests.kit.servers import Database

ROW_BYTES, ROW_COUNT = 10_000, 5
ROWS = f"select n, repeat('x', {ROW_BYTES}) from generate_series(1, {ROW_COUNT}) n"


def wait_until_sent(socket: int) -> None:
    """Wait until all the rows have arrived, and nobody has received them yet."""
    deadline, arrived = time.monotonic() + DEADLINE_S, array.array("i", [0])
    while arrived[0] < ROW_COUNT * ROW_BYTES:
        assert time.monotonic() < deadline, f"{arrived[0]} bytes have arrived"
        time.sleep(0.01)
        fcntl.ioctl(socket, termios.FIONREAD, arrived)


def test_rows_of_a_load_are_received_many_at_once(source_database: Database, replication: str) -> None:
    reader = PostgresqlSnapshotReader(section(settings_for(source_database, replication)))
    with contextlib.closing(reader):
        raw = reader._connected().pgconn
        raw.send_query(f"copy ({ROWS}) to stdout".encode())
        wait_until_sent(raw.socket)
        raw.consume_input()
        raw.get_result()
        messages: list[bytes] = []
        take(raw, messages, 100, 1 << 20, reader._filing)
        assert list(map(len, messages)) == [ROW_BYTES + 3] * ROW_COUNT


@pytest.mark.parametrize("failing", ["select lacking from pg_class", "select 1 / (3 - n) from generate_series(1, 5) n"])
def test_a_connection_can_be_asked_again_after_an_error(
    source_database: Database, replication: str, failing: str
) -> None:
    reader = PostgresqlSnapshotReader(section(settings_for(source_database, replication)))
    with contextlib.closing(reader):
        connection = reader._connected()
        with pytest.raises(TailraceError, match="reading a table failed"):
            list(copy_rows(connection, f"copy ({failing}) to stdout (format binary)", reader._filing))
        assert connection.execute("select 1").fetchall() == [(1,)]


def test_rows_of_the_log_are_received_many_at_once(capture: Capture) -> None:
    captured = capture("create table texts (id int primary key, body text)")
    log = captured.open()
    assert isinstance(log, PostgresqlLog)
    with contextlib.closing(log):
        captured.database.execute(f"insert into texts {ROWS}")
        wait_until_sent(log._stream.socket)
        log._stream.receive()
        messages: list[bytes] = []
        take(log._stream.raw, messages, 100, 1 << 20, log._filing)
        assert sum(len(message) > ROW_BYTES for message in messages) == ROW_COUNT
