"""Names of tables that differ in case only: two tables on most servers, one where `lower_case_table_names` is set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.mysql_source.reading import Flat, Reading
from tests.kit.mysql import folding_database


@pytest.fixture(scope="module", params=["11.4", "mysql"])
def folding(request: pytest.FixtureRequest, servers_directory: Path) -> Iterator[Reading]:
    """A source that takes names of tables for equal which differ in case only."""
    with folding_database(servers_directory / f"folding-source-{request.param}", request.param) as database:
        found = Reading(database)
        yield found
        found.close()


def test_statements_reach_a_table_however_they_spell_it(folding: Reading) -> None:
    name = folding.database.name
    folding.database.execute(
        "create table People (Id int primary key, Name varchar(9))", "create table Kept (id int primary key)"
    )
    folding.begin()
    assert [table.name.table for table in folding.tables] == ["kept", "people"]
    folding.database.execute(
        "insert into PEOPLE values (1, 'a')",
        "truncate table pEOPLE",
        "alter table PeoplE add column more int default 7",
        "insert into People (Id, Name) values (2, 'b')",
        "create table _People_NEW like PEOPLE",
        "insert into _people_new (Id, Name) values (3, 'c')",
        f"rename table {name.upper()}.PEOPLE to _people_OLD, _PEOPLE_new to People",
        "insert into people (Id, Name) values (4, 'd')",
        "drop table KEPT",
    )
    found = folding.flat()
    assert [flat for flat in found if flat[1] != "s" and not flat[0].startswith("_")] == [
        ("people", "c", None, (1, "a")),
        ("people", "t", None, None),
        ("people", "c", None, (2, "b", 7)),
        ("people", "c", None, (4, "d", 7)),
    ]
    gone, again = ("people", "s", None, None), ("people", "s", None, ("Id", "Name", "more"))
    assert found.count(gone) == 1
    assert again in found[: found.index(("people", "c", None, (2, "b", 7)))]
    assert again in found[found.index(gone) : found.index(("people", "c", None, (4, "d", 7)))]
    assert ("kept", "s", None, None) in found
    people = next(table for table in folding.source.tables() if table.name.table == "people")
    assert sorted(folding.rows(people)) == [(3, "c", 7), (4, "d", 7)]


def test_tables_that_differ_in_case_are_two(reading: Reading) -> None:
    both = ("People", "people")
    reading.database.execute(*(f"create table {name} (id int primary key)" for name in both))
    reading.begin()
    reading.database.execute(
        *(f"insert into {name} values ({number})" for number, name in enumerate(both)),
        "truncate table People",
        "alter table people add column more int default 7",
        *(f"insert into {name} (id) values ({number + 10})" for number, name in enumerate(both)),
        "drop table People",
    )
    found: list[Flat] = reading.flat()
    assert [flat for flat in found if flat[1] != "s"] == [
        ("People", "c", None, (0,)),
        ("people", "c", None, (1,)),
        ("People", "t", None, None),
        ("People", "c", None, (10,)),
        ("people", "c", None, (11, 7)),
    ]
    assert {flat for flat in found if flat[1] == "s"} >= {
        ("people", "s", None, ("id", "more")),
        ("People", "s", None, None),
    }
    assert ("people", "s", None, None) not in found
