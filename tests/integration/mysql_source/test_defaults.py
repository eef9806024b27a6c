"""Defaults of columns: a literal goes to targets as the value that it is, whatever it looks like."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.integration.mysql_source.reading import Reading

LITERALS = (
    ("code varchar(9) default '007'", "'007'"),
    ("quoted varchar(9) default '''q'''", "'''q'''"),
    ("nothing varchar(9) default 'NULL'", "'NULL'"),
    ("call_ varchar(20) default 'n/a (none)'", "'n/a (none)'"),
    ("now_ varchar(20) default 'current_timestamp'", "'current_timestamp'"),
    ("bits varchar(9) default 'b''1'''", "'b''1'''"),
    ("slash varchar(9) default 'a\\b'", "'a\\b'"),
    ("lines_ varchar(9) default 'a\nb'", "'a\nb'"),
    ("empty_ varchar(9) not null default ''", "''"),
    ("label enum('2','1') default '1'", "'1'"),
    ("price decimal(9,2) default 1.5", "1.50"),
    ("negative bigint default -5", "-5"),
    ("day date default '2024-01-01'", "'2024-01-01'"),
    ("none_ varchar(9)", None),
)
COMPUTED = ("at_ datetime default current_timestamp", "raw binary(4) default 'ab'", "mask bit(3) default b'101'")
"""Defaults of which the catalogue does not say all, or that are another value at each time or in other words."""


def test_a_default_is_the_value_that_rows_got(reading: Reading) -> None:
    columns = [text for text, _ in LITERALS] + [*COMPUTED]
    reading.database.execute(f"create table a (id int primary key, {', '.join(columns)})")
    (table,) = reading.source.tables()
    found = [column.default for column in table.columns[1:]]
    assert found[: len(LITERALS)] == [wanted for _, wanted in LITERALS]
    for default in found[len(LITERALS) :]:
        assert default is not None
        assert not default.startswith("'")


def test_the_default_of_a_timestamp_is_a_moment(reading: Reading) -> None:
    """MySQL's catalogue has it in the zone of whoever made the column: rows that were there held another moment."""
    session = reading.database.connect()
    for statement in (
        "set time_zone = '+05:30'",
        "create table a (id int primary key, day timestamp null default '2024-01-01 05:30:00')",
        "insert into a values (1, null)",
        "alter table a add `a``t` timestamp(3) not null default '2024-06-01 12:00:00.5' comment 'a DEFAULT ''x'' b'",
        "alter table a add zero timestamp not null default 0, add now_ timestamp default current_timestamp",
    ):
        session.run(statement)
    session.close()
    (table,) = reading.source.tables()
    assert [c.default for c in table.columns[1:4]] == [
        "'2024-01-01 00:00:00'",
        "'2024-06-01 06:30:00.500'",
        "'0000-00-00 00:00:00'",
    ]
    ((_, day, at, zero, _),) = reading.rows(table)
    moment = datetime(2024, 6, 1, 6, 30, 0, 500_000, tzinfo=UTC)
    assert (day, at, zero) == (None, int(moment.timestamp() * 1_000_000), None)
    reading.database.execute("create view seen as select * from a")
    viewing = Reading(reading.database, views=[f"{reading.database.name}.seen"])
    assert [table.column_names for table in viewing.tables if table.is_view] == [table.column_names]
    viewing.close()


def test_an_expression_is_no_value_though_it_begins_and_ends_with_quotes(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key, word varchar(20) default (concat('a', 'b')))")
    reading.database.execute("alter table a add likeness varchar(20) default ('a' like 'b')")
    (table,) = reading.source.tables()
    assert ["concat" in (table.columns[1].default or ""), " like " in (table.columns[2].default or "")] == [True, True]
    assert "''" not in (table.columns[2].default or "")
