"""Values that nobody holds in memory: they stay in files from the packets that they come in to the parts of records."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import pytest

from capture.source import Chunk
from schemas.changes import UNCHANGED, RowChanges
from schemas.row_forms import UnreadRows
from tests.integration.mysql_source.reading import Reading, flatten
from tests.kit.large_values import digests

MIB = 1 << 20
TEXT = "é" * (10 * MIB)
DATA = b"\0\xff" * (9 * MIB)
LEAST = MIB


@pytest.fixture
def wide(any_reading: Reading) -> Iterator[Reading]:
    """A table with two large columns, at a server that takes them."""
    reading = any_reading
    ((before,),) = reading.database.rows("select @@global.max_allowed_packet")
    reading.database.execute(f"set global max_allowed_packet = {64 * MIB}")
    reading.database.execute("create table wide (id int primary key, body longtext charset utf8mb4, data longblob)")
    reading.begin()
    yield reading
    reading.database.execute(f"set global max_allowed_packet = {before}")


BOTH = [(True, sha256(TEXT.encode()).hexdigest()), (False, sha256(DATA).hexdigest())]
INSERT = (
    f"insert into wide values (1, 'small', ''), (2, repeat('é', {10 * MIB}), repeat(x'00ff', {9 * MIB})), (3, null, '')"
)


def test_a_large_row_is_loaded_from_a_file(wide: Reading) -> None:
    wide.database.execute(INSERT)
    (table,) = wide.tables
    found = []
    for rows in wide.reader.read(table, Chunk(0, None, None), 1000):
        assert isinstance(rows, UnreadRows)
        is_in_file = not rows.packets
        values = digests(rows.cut(LEAST))
        found += [(is_in_file, values, row[0]) for row in rows]
    assert found == [(False, [], 1), (True, BOTH, 2), (False, [], 3)]
    # And whole, where somebody looks at it.
    assert wide.rows(table)[1] == (2, TEXT, DATA)


@pytest.mark.parametrize("compressed", [False, True])
def test_large_rows_of_the_log_are_in_files(wide: Reading, compressed: bool) -> None:
    connection = wide.database.connect()
    try:
        if compressed and connection.is_mariadb:
            wide.database.execute("set global log_bin_compress = 1")
        elif compressed and connection.version < (8, 0, 20):
            pytest.skip("the server compresses no transactions")
        elif compressed:
            connection.run("set session binlog_transaction_compression = 1")
        for statement in (
            "begin",
            INSERT,
            "update wide set body = 'short' where id = 2",
            "delete from wide where id = 2",
            "commit",
        ):
            connection.run(statement)
    finally:
        connection.close()
        if compressed and connection.is_mariadb:
            wide.database.execute("set global log_bin_compress = 0")
    found: list[tuple[str, list[tuple[bool, str]]]] = []
    changes = wide.changes()
    for run in (change for change in changes if isinstance(change, RowChanges)):
        if run.filed is None:
            found += [(op, []) for op in run.ops]
            continue
        assert run.form is not None
        message, values = run.form.take_out(run.filed, LEAST)
        found.append((run.form.read(message)[0], digests(values)))
    # The row after the update has the blob still.
    assert found == [("c", []), ("c", BOTH), ("c", []), ("u", [*BOTH, BOTH[1]]), ("d", [BOTH[1]])]
    for op, before, after in ((op, before, after) for _, op, before, after in flatten(changes)):
        row = after if op != "d" else before
        assert row is not None
        if op == "c" and row[0] == 2:
            assert row == (2, TEXT, DATA)
        if op == "u":
            assert after == (2, "short", DATA)


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_large_rows_of_images_that_lack_columns_are_in_files(wide: Reading, image: str) -> None:
    wide.database.execute("insert into wide values (2, 'small', 'x')")
    wide.begin()
    session = wide.database.connect()
    body, data = f"body = repeat('é', {10 * MIB})", f"data = repeat(x'00ff', {9 * MIB})"
    for statement in (
        f"set session binlog_row_image = '{image}'",
        f"update wide set {body} where id = 2",
        f"update wide set {data}, body = null where id = 2",
        f"update wide set id = 5, {body} where id = 2",
        "update wide set body = 'short' where id = 5",
    ):
        session.run(statement)
    session.close()
    changes = wide.changes()
    found: list[tuple[bool, list[tuple[bool, str]]]] = []
    for run in (change for change in changes if isinstance(change, RowChanges)):
        values = run.form.take_out(run.filed, LEAST)[1] if run.form is not None and run.filed is not None else []
        found.append((run.filed is not None, digests(values)))
    # What is not known of a row that has another key is asked for: it is read.
    assert found == [(True, BOTH[:1]), (True, BOTH[1:]), (False, []), (False, [])]
    assert [(before, after) for _, _, before, after in flatten(changes)] == [
        (None, (2, TEXT, UNCHANGED)),
        (None, (2, None, DATA)),
        ((2, UNCHANGED, UNCHANGED), (5, TEXT, UNCHANGED)),
        (None, (5, "short", UNCHANGED)),
    ]


@pytest.mark.parametrize("any_reading", ["mysql"], indirect=True)
def test_large_values_beside_json_that_changes_in_part_are_in_files(wide: Reading) -> None:
    wide.database.execute(
        "create table parts (id int primary key, a json, data longblob, b json)",
        """insert into parts values (1, concat('{"x": 1, "y": "', repeat('y', 500), '"}'), '', '[1, 2]')""",
    )
    wide.begin()
    session = wide.database.connect()
    session.run("set session binlog_row_value_options = 'PARTIAL_JSON'")
    session.run(f"update parts set a = json_set(a, '$.x', 2), data = repeat(x'00ff', {9 * MIB}), b = '[3]'")
    session.close()
    (run,) = (change for change in wide.changes() if isinstance(change, RowChanges))
    assert run.form is not None
    assert run.filed is not None
    small, values = run.form.take_out(run.filed, LEAST)
    assert digests(values) == BOTH[1:]
    document = '{"x": 2, "y": "' + "y" * 500 + '"}'
    op, before, after = run.form.read(small)
    assert (op, before, after) == ("u", None, (1, document, values[0].stand_in, "[3]"))
    assert run.after == [(1, document, DATA, "[3]")]
