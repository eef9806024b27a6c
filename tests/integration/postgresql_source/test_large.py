"""Values that libpq alone holds in memory: they are put into files as it hands them over, and stay there."""

from __future__ import annotations

import time
from hashlib import sha256

import pytest

from capture.source import Chunk, LogReader, Source
from capture.sources.postgresql import frames
from capture.sources.postgresql.snapshot import PostgresqlSnapshotReader
from schemas.changes import Change, Commit, Heartbeat, RowChanges
from schemas.row_forms import UnreadRows
from tests.integration.postgresql_source import reading
from tests.kit.large_values import digests
from tests.kit.servers import Database

MIB = 1 << 20
TEXT = "é" * (6 * MIB)
DATA = b"\0\xff" * (5 * MIB)
LEAST = MIB
CREATE = "create table wide (id int primary key, body text, data bytea)"
LARGE = f"repeat('é', {6 * MIB}), decode(repeat('00ff', {5 * MIB}), 'hex')"


def _to_end(source: Source, log: LogReader) -> list[Change]:
    """Read to where the log ends now. (Runs are as they come: others would join them, and look at all rows.)"""
    end = source.current_position().commit
    changes: list[Change] = []
    deadline = time.monotonic() + reading.DEADLINE_S
    while not any(isinstance(c, Commit | Heartbeat) and c.position.commit >= end for c in changes):
        assert time.monotonic() < deadline, "the log was not read to its end in time"
        changes += log.poll(1.0)
    return changes


BOTH = [(True, sha256(TEXT.encode()).hexdigest()), (False, sha256(DATA).hexdigest())]


@pytest.mark.parametrize("first", [1, 2])
def test_a_large_row_is_loaded_from_a_file_and_its_connection_let_go(
    first: int, source_database: Database, replication: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "SWOLLEN_BYTES", 20 * MIB)
    source_database.execute(
        CREATE, f"insert into wide values (1, 'small', ''), (2, {LARGE}), (3, null, ''), (4, 'more', '')"
    )
    settings = reading.settings_for(source_database, replication)
    source = reading.database_of(settings)
    reader = PostgresqlSnapshotReader(reading.section(settings))
    try:
        (table,) = source.tables()
        # The header of COPY stands before the first row, whatever that is.
        chunk = Chunk(0, (str(first - 1),), None)
        found = []
        for rows in reader.read(table, chunk, 1000):
            assert isinstance(rows, UnreadRows)
            is_in_file = not rows.packets
            values = digests(rows.cut(LEAST))
            found += [(is_in_file, values, row[0]) for row in rows]
        expected = [(False, [], 1), (True, BOTH, 2), (False, [], 3), (False, [], 4)]
        assert found == expected[first - 1 :]
        assert reader._connection is None, "libpq gives its memory back only with the connection"
        whole = [row for rows in reader.read(table, chunk, 1000) for row in rows]
        assert whole[2 - first] == (2, TEXT, DATA)
    finally:
        reader.close()
        source.close()


def test_large_rows_of_the_log_are_in_files_and_its_connection_is_let_go_behind_them(
    source_database: Database, replication: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "SWOLLEN_BYTES", 20 * MIB)
    monkeypatch.setattr(frames, "RENEW_INTERVAL_S", 0.0)
    source_database.execute(CREATE, "create table keyed (id int primary key, body text)")
    source_database.execute("alter table wide replica identity full")
    settings = reading.settings_for(source_database, replication)
    source = reading.database_of(settings)
    tables = source.tables()
    log = source.open_log(source.prepare(tables), tables)
    try:
        backends = {log._stream.raw.backend_pid}
        source_database.execute(
            f"insert into wide values (1, 'small', ''), (2, {LARGE}), (3, null, '')",
            "update wide set body = 'short' where id = 2",
            f"insert into keyed values (1, repeat('k', {9 * MIB}))",
            # The key changes, and the value with it: such a change is read at once.
            f"update keyed set id = 2, body = repeat('l', {9 * MIB})",
        )
        changes = _to_end(source, log)
        backends.add(log._stream.raw.backend_pid)
        while len(backends) < 2:
            # Where it is quiet, the stream begins anew.
            log.poll(0.2)
            backends.add(log._stream.raw.backend_pid)
        source_database.execute("insert into wide values (4, 'behind', '')")
        later = _to_end(source, log)
    finally:
        log.close()
        source.close()
    assert [after[0] for _, _, after in reading.rows_of(later) if after] == [4]
    found: list[tuple[str, list[tuple[bool, str]]]] = []
    for run in (change for change in changes if isinstance(change, RowChanges)):
        if run.filed is None:
            found += [(op, []) for op in run.ops]
            continue
        assert run.form is not None
        message, values = run.form.take_out(run.filed, LEAST)
        found.append((run.form.read(message)[0], digests(values)))
    k = [(True, sha256(b"k" * 9 * MIB).hexdigest())]
    assert found == [("c", []), ("c", BOTH), ("c", []), ("u", BOTH), ("c", k), ("u", [])]
    rows = reading.rows_of(changes)
    assert rows[1][2] == (2, TEXT, DATA)
    assert rows[-1][2] == (2, "l" * 9 * MIB)
