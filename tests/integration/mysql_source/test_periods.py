"""MariaDB's periods of an application's own: tables like others, whose statements write several rows."""

from __future__ import annotations

from collections import Counter

import pytest

from schemas.changes import UNCHANGED, Row
from schemas.table import TableSchema
from tests.integration.mysql_source.reading import Flat, Reading

pytestmark = pytest.mark.parametrize("mysql_database", ["mariadb", "mariadb10"], indirect=True)

TABLES = (
    (
        "create table stays (guest int, room int, since date, until date, period for stay (since, until), "
        "primary key (room, stay without overlaps))"
    ),
    (
        "create table prices (id int not null, v int, a datetime(6), b datetime(6), period for valid (a, b), "
        "unique key (id, valid without overlaps))"
    ),
    "create table loose (v int, a date, b date, period for p (a, b))",
    (
        "insert into stays values (1, 7, '2024-01-01', '2024-01-10'), (2, 7, '2024-01-10', '2024-01-20'), "
        "(3, 8, '2024-01-01', '2024-01-20')"
    ),
    "insert into prices values (1, 10, '2024-01-01', '2025-01-01')",
    "insert into loose values (1, '2024-01-01', '2024-02-01'), (1, '2024-01-01', '2024-02-01')",
)


def _replayed(table: TableSchema, rows: list[Row], changes: list[Flat]) -> Counter[Row]:
    """Return what changes make of rows."""
    found = Counter(rows)

    def key_of(row: Row) -> Row:
        return tuple(row[i] for i in table.key) if table.key else row

    for name, op, before, after in changes:
        if name != table.name.table:
            continue
        assert op in "cud"
        old = before if before is not None else after
        assert old is not None
        same = [row for row in found.elements() if key_of(row) == key_of(old)]
        if op != "c":
            assert same, "a change of a row that is there"
            found[same[0]] -= 1
        if after is not None:
            had = same[0] if op == "u" else (None,) * len(after)
            found[tuple(h if v is UNCHANGED else v for h, v in zip(had, after, strict=True))] += 1
    return +found


def test_what_statements_do_to_portions_of_periods_arrives_row_by_row(reading: Reading) -> None:
    database = reading.database
    database.execute(*TABLES)
    reading.begin()
    tables = {table.name.table: table for table in reading.tables}
    assert {name: set(table.key_names) for name, table in tables.items()} == {
        "stays": {"room", "since", "until"},
        "prices": {"id", "a", "b"},
        "loose": set(),
    }
    assert tables["stays"].primary_key
    loaded = {name: reading.rows(table) for name, table in tables.items()}
    assert {name: len(rows) for name, rows in loaded.items()} == {"stays": 3, "prices": 1, "loose": 2}
    database.execute(
        "delete from stays for portion of stay from '2024-01-05' to '2024-01-12'",
        "update stays for portion of stay from '2024-01-02' to '2024-01-03' set guest = 9",
        "update stays set until = '2024-01-21' where until = '2024-01-20' and room = 8",
        "update prices for portion of valid from '2024-03-01 12:00:00' to '2024-04-01' set v = 11",
        "delete from prices for portion of valid from '2024-06-01' to '2024-07-01'",
        "update loose for portion of p from '2024-01-10' to '2024-01-20' set v = 2",
        "delete from loose for portion of p from '2024-01-25' to '2030-01-01'",
        "alter table loose drop period for p",
        "insert into loose values (5, '2024-01-02', '2024-01-01')",
        "insert into prices values (2, 1, '2024-01-01', '2037-01-01')",
    )
    changes = [flat for flat in reading.flat() if flat[1] != "s"]
    for name, table in tables.items():
        assert _replayed(table, loaded[name], changes) == Counter(reading.rows(table)), name


def test_a_table_with_a_period_of_each_kind_is_left_out_as_others_with_a_history(reading: Reading) -> None:
    reading.database.execute(
        "create table a (id int, since date, until date, s timestamp(6) generated always as row start invisible, "
        "e timestamp(6) generated always as row end invisible, period for system_time (s, e), "
        "period for stay (since, until), primary key (id, stay without overlaps)) with system versioning",
        "create table b (id int primary key)",
    )
    reading.begin()
    assert [table.name.table for table in reading.tables] == ["b"]
    reading.database.execute(
        "insert into a values (1, '2024-01-01', '2024-02-01')",
        "delete from a for portion of stay from '2024-01-10' to '2024-01-20'",
        "insert into b values (1)",
    )
    assert reading.flat() == [("b", "c", None, (1,))]
    assert "system-versioned" in {f.code for f in reading.source.findings(reading.tables)}
