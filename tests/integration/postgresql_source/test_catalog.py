"""What the catalogue says of tables, and what reading it does to those who work on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from capture.source import Severity
from schemas.selection import Selection
from tests.integration.postgresql_source.reading import database_of, settings_for
from tests.kit.servers import Database


@pytest.mark.parametrize("major", [13, 18])
def test_reading_the_catalogue_waits_for_nobody_who_alters_tables(
    new_database: Callable[..., Database], replication: str, major: int
) -> None:
    """Whoever holds a lock may be waiting for one of our loaders; what is locked is told as it was known."""
    database = new_database(major)
    database.execute(
        "create table a (id int primary key, t text, g text generated always as (lower(t)) stored, d text default 'x')",
        "create index on a (upper(t)) where id > 0",
        "create table b (id int primary key) partition by range (id)",
        "create table b1 partition of b for values from (0) to (10)",
    )
    source = database_of(settings_for(database, replication))
    before = source.tables()
    assert ([len(table.generated) for table in before], [len(table.indexes) for table in before]) == ([1, 0], [1, 0])
    with database.connect() as other:
        other.execute("begin; lock table a, b in access exclusive mode")
        assert source.tables() == before
        other.execute("rollback")
    # What is locked while the catalogue is read stands in the way of nobody.
    catalog = source._catalog

    def read() -> None:
        catalog.read_tables(catalog.read_relations(Selection(["public.*"]), Selection(())))
        with database.connect() as other:
            other.execute("set lock_timeout = '60s'; begin; lock table a, b in access exclusive mode; rollback")

    catalog.consistently(read)
    source.close()


def test_a_table_whose_updates_the_server_would_refuse_is_left_out(source_database: Database, replication: str) -> None:
    source_database.execute(
        "create table fine (id int primary key)",
        "create table without (id int)",
        "create table computed (id int primary key, g int generated always as (id * 2) stored)",
        "alter table computed replica identity full",
        "create table parted (id int) partition by range (id)",
        "create table part partition of parted for values from (0) to (10)",
        "alter table parted replica identity full",
        # The server refuses nothing here, but old rows of the partition would lack the table's key.
        "create table apart (id int, other int not null, primary key (id)) partition by range (id)",
        "create table leaf partition of apart for values from (0) to (10)",
        "create unique index leaf_other on leaf (other)",
        "alter table leaf replica identity using index leaf_other",
        "create table bag (id int) partition by range (id)",
        "alter table bag replica identity full",
        "create table bag_leaf partition of bag (primary key (id)) for values from (0) to (10)",
        "create table partly (id int primary key, v text) partition by range (id)",
        "create table part_1 partition of partly for values from (0) to (10)",
        "create table part_2 partition of partly for values from (10) to (20)",
        "alter table partly replica identity full",
        "alter table part_1 replica identity full",
        "insert into without values (1)",
        "insert into computed values (1)",
        "insert into parted values (1)",
    )
    source = database_of(settings_for(source_database, replication))
    tables = source.tables()
    assert [str(table.name) for table in tables] == ["public.fine", "public.partly"]
    found = {str(f.table): f.severity for f in source.findings(tables) if f.code == "no-replica-identity"}
    left_out = ("public.apart", "public.bag", "public.computed", "public.parted", "public.without")
    assert found == dict.fromkeys(left_out, Severity.WARNS)
    (partly,) = [f for f in source.findings(tables) if f.code == "partition-identity"]
    assert (str(partly.table), partly.remedy) == (
        "public.partly",
        'alter table "public"."part_2" replica identity full',
    )
    source.prepare(tables)
    source_database.execute("update without set id = 2", "update computed set id = 2", "update parted set id = 2")
    source_database.execute("alter table without replica identity full")
    assert [str(table.name) for table in source.tables()] == ["public.fine", "public.partly", "public.without"]
    # One that is published loses its key: that makes no difference to it any more.
    source.prepare(source.tables())
    source_database.execute("alter table without replica identity default")
    assert len(source.tables()) == 3
    source.destroy()
    source.close()


@pytest.mark.parametrize("major", [13, 18])
def test_a_partition_that_was_attached_is_told_from_one_that_was_made_in_place(
    new_database: Callable[[int], Database], replication: str, major: int
) -> None:
    database = new_database(major)
    columns = "id int not null, v text not null default 'x', g int generated always as (id * 2) stored"
    attached = set()
    for root, form in (("p", "id int, v text default 'x', constraint c check (id >= 0)"), ("q", columns)):
        database.execute(
            f"create table {root} ({form}) partition by range (id)",
            f"alter table {root} replica identity full",
            f"create table {root}_1 partition of {root} for values from (0) to (10)",
            f"begin; create table {root}_2 partition of {root} (id default 15) for values from (10) to (20); "
            f"insert into {root} values (11); alter table {root}_2 alter v set statistics 9; commit",
            f"begin; create table {root}_3 partition of {root} for values from (20) to (30) partition by range (id); "
            f"create table {root}_4 partition of {root}_3 for values from (20) to (30); commit",
            f"begin; create table {root}_5 (like {root} including all); insert into {root}_5 values (31); "
            f"alter table {root} attach partition {root}_5 for values from (30) to (40); "
            f"insert into {root} values (32); commit",
            f"create table {root}_6 ({form})",
            f"alter table {root} attach partition {root}_6 for values from (40) to (50)",
            *(
                f"alter table {root}{leaf} replica identity full"
                for leaf in ("_1", "_2", "_4", "_5", "_6")
                if root == "p"
            ),
        )
        found = database.rows(f"select '{root}_5'::regclass::oid::int8, '{root}_6'::regclass::oid::int8")[0]
        attached |= set(found)
    source = database_of(settings_for(database, replication))
    tables = source.readable()
    source.close()
    assert [len(table.partitions) for table in tables] == [5, 5]
    assert {leaf for table in tables for leaf in table.attached} == attached
