"""Generated row readers against row images that are written here, value by value."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import MappedColumn, parse_table_map
from capture.sources.mysql.natives import Charsets, matches, of_log, parse_native
from capture.sources.mysql.refusals import read_errors
from capture.sources.mysql.rows import Image, MappedReader, compile_cells, compile_rows
from capture.sources.mysql.types import reader
from schemas.changes import UNCHANGED
from schemas.errors import TailraceError
from tests.unit.capture.mysql.images import COLUMNS, image, mapped


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[Any]], set[int], set[int]]:
    """Draw column types, rows, the columns that images hold, and those that nobody wants."""
    natives = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=18))
    row = st.tuples(*(st.one_of(st.none(), COLUMNS[native][0]) for native in natives)).map(list)
    rows = draw(st.lists(row, min_size=1, max_size=5))
    present = draw(st.sets(st.integers(0, len(natives) - 1), min_size=1))
    virtual = draw(st.sets(st.integers(0, len(natives) - 1), max_size=3))
    return natives, rows, present, virtual


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_inserts_and_deletes_are_read_as_they_were_written(
    drawn: tuple[list[str], list[list[Any]], set[int], set[int]],
) -> None:
    natives, rows, present, virtual = drawn
    columns, kept = mapped(natives, virtual)
    event = b"#" + b"".join(image(natives, row, present) for row in rows)
    expected = [tuple(row[i] if i in present else UNCHANGED for i in kept) for row in rows]
    held = Image(frozenset(present))
    read, _ = compile_rows(columns, len(kept), [], None, held, whole_before=False)
    assert read(event, 1, len(event)) == ([None] * len(rows), expected)
    read, _ = compile_rows(columns, len(kept), [], held, None, whole_before=True)
    assert read(event, 1, len(event)) == (expected, [None] * len(rows))
    with pytest.raises((ValueError, IndexError, struct.error)):
        read(event + b"\0", 1, len(event) + 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.data())
def test_updates_take_from_the_old_image_what_the_new_one_lacks(
    drawn: tuple[list[str], list[list[Any]], set[int], set[int]], data: st.DataObject
) -> None:
    natives, rows, old_held, _ = drawn
    columns, _ = mapped(natives, set())
    new_held = data.draw(st.sets(st.integers(0, len(natives) - 1)))
    key = sorted(data.draw(st.sets(st.sampled_from(sorted(old_held)), max_size=2)))
    news = [
        [data.draw(st.one_of(st.just(v), COLUMNS[n][0])) for n, v in zip(natives, row, strict=True)] for row in rows
    ]
    event = b"".join(
        image(natives, row, old_held) + image(natives, new, new_held) for row, new in zip(rows, news, strict=True)
    )
    read, _ = compile_rows(
        columns, len(natives), key, Image(frozenset(old_held)), Image(frozenset(new_held)), whole_before=False
    )
    before, after = read(event, 0, len(event))
    for row, new, old, found in zip(rows, news, before, after, strict=True):
        places = range(len(natives))
        expected = tuple(new[i] if i in new_held else row[i] if i in old_held else UNCHANGED for i in places)
        assert found == expected
        if all(row[i] == expected[i] for i in key):
            assert old is None
        else:
            assert old == tuple(row[i] if i in key else UNCHANGED for i in places)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.data())
def test_damaged_rows_are_read_or_refused_and_never_hang(
    drawn: tuple[list[str], list[list[Any]], set[int], set[int]], data: st.DataObject
) -> None:
    natives, rows, present, _ = drawn
    columns, kept = mapped(natives, set())
    event = b"".join(image(natives, row, present) for row in rows)
    at, junk = data.draw(st.integers(0, len(event))), data.draw(st.binary(max_size=4))
    damaged = data.draw(st.sampled_from([event[:at], event[:at] + junk + event[at + len(junk) :], event + junk]))
    read, _ = compile_rows(columns, len(kept), [], None, Image(frozenset(present)), whole_before=False)
    with suppress(TailraceError), read_errors(lambda: "here"):
        _, after = read(damaged, 0, len(damaged))
        assert len(after) <= len(damaged)


def test_images_without_columns_are_refused() -> None:
    columns, kept = mapped(["int"], set())
    with pytest.raises(ValueError, match="without columns"):
        compile_rows(columns, len(kept), [], Image(frozenset()), Image(frozenset()), whole_before=False)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(st.none(), st.binary(max_size=300)), max_size=6), st.integers(0, 70_000))
def test_cells_of_any_length_are_read(cells: list[bytes | None], size: int) -> None:
    cells = [*cells, b"x" * size]
    packet = b""
    for cell in cells:
        if cell is None:
            packet += b"\xfb"
        elif len(cell) < 251:
            packet += bytes([len(cell)]) + cell
        elif len(cell) < 65536:
            packet += b"\xfc" + len(cell).to_bytes(2, "little") + cell
        else:
            packet += b"\xfd" + len(cell).to_bytes(3, "little") + cell
    read = compile_cells([reader("longblob", "error")] * len(cells))
    assert read(packet) == tuple(cells)


def test_zero_dates_follow_the_policy() -> None:
    for native, content in (
        ("date", bytes(3)),
        ("datetime", (0x8000000000).to_bytes(5, "big")),
        ("timestamp", bytes(4)),
    ):
        event = b"\0" + content
        for policy, day in (("null", None), ("1970-01-02", 1)):
            columns = [MappedReader(reader(native, policy), 0, 0)]
            read, _ = compile_rows(columns, 1, [], None, Image(frozenset([0])), whole_before=False)
            (row,) = read(event, 0, len(event))[1]
            assert row is not None
            assert row[0] == (day if native == "date" or day is None else day * 86_400_000_000)
        columns = [MappedReader(reader(native, "error"), 0, 0)]
        read, _ = compile_rows(columns, 1, [], None, Image(frozenset([0])), whole_before=False)
        with pytest.raises(TailraceError, match="zero_dates"):
            read(event, 0, len(event))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("int(10) unsigned zerofill", "int unsigned"),
        ("float(7,4)", "float"),
        ("decimal(5)", "decimal(5,0)"),
        ("bit", "bit(1)"),
        ("datetime(0)", "datetime"),
        ("enum('a,b','it''s')", "enum('a,b','it''s')"),
        ("geomcollection", "geometrycollection"),
        ("varchar(5) character set latin1", "varchar(5) character set latin1"),
    ],
)
def test_native_types_have_one_spelling(text: str, printed: str) -> None:
    assert parse_native(text).text() == printed
    assert parse_native(printed).text() == printed


@pytest.mark.parametrize("native", ["int unsigned", "int", "bigint unsigned", "decimal(10,2) unsigned", "float"])
def test_what_a_map_does_not_tell_is_as_it_is_known(native: str) -> None:
    """MariaDB's maps, as they come, say of no number whether it has a sign: such rows were those of another table."""
    known = parse_native(native)
    kind, meta = {
        "int": (binlog.LONG, 0),
        "bigint": (binlog.LONGLONG, 0),
        "decimal": (binlog.NEWDECIMAL, 0x0A02),
        "float": (binlog.FLOAT, 4),
    }[known.base]
    charsets = Charsets({}, {})
    assert matches(
        of_log(MappedColumn(kind, meta, nullable=True, unsigned=None), charsets, known), known, is_full=False
    )
    other = of_log(MappedColumn(kind, meta, nullable=True, unsigned=not known.unsigned), charsets, known)
    assert not matches(other, known, is_full=False)


@pytest.mark.parametrize(
    ("body", "is_mariadb"),
    [
        (
            "34610100000001000f746573745f373333373530346232380001610003fffcfc030402020703033f082d0701010406017601740175",
            True,
        ),
        (
            "a60400000000010001640001610003f2fcfc030402020703053f08fcff000d010204060176017401750c01e0",
            False,
        ),
    ],
)
def test_collations_are_counted_as_each_server_does(body: str, is_mariadb: bool) -> None:
    """MariaDB counts a geometry among the characters, MySQL a vector: what stands behind one had another's charset."""
    table = parse_table_map(bytes.fromhex(body), 0, is_mariadb=is_mariadb)
    latin1, utf8mb4 = 8, 45 if is_mariadb else 255
    assert [(column.name, column.collation) for column in table.columns[1:]] == [("t", latin1), ("u", utf8mb4)]
