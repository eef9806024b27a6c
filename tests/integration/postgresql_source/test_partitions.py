"""What the catalogue tells of partitions that come, go, are rewritten and put back, on every major version."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from threading import Thread

import pytest

from capture.sources.postgresql.locks import UNSEEN, Connection
from capture.sources.postgresql.source import PostgresqlDatabase
from capture.table_versions import came_with_rows, rewrites_rows
from deploy.local.postgresql import MAJORS
from schemas.table import TableSchema
from tests.integration.postgresql_source import reading
from tests.kit.servers import Database

TABLES = (
    "create table p (id int primary key, v text) partition by range (id)",
    "create table p_1 partition of p for values from (0) to (10)",
    "create table p_2 partition of p for values from (10) to (20)",
    "insert into p select n, 'v' from generate_series(1, 19) n",
)


class Watched:
    """The versions of `p`, one behind the other."""

    def __init__(self, source: PostgresqlDatabase, database: Database) -> None:
        self._source, self.database = source, database
        self._version = self.look()

    def look(self) -> TableSchema:
        """Return the table as it is."""
        (table,) = self._source.tables()
        return table

    def does(self, *statements: str, is_new: bool = True, came: str = "", rewrites: bool = False) -> None:
        """Run statements, and see whether there is another version by them, which partitions `came` with rows in it,
        and whether all rows are others.
        """
        self.database.execute(*statements)
        before, after = self._version, self.look()
        names = {oid: str(name) for oid, name in self.database.rows("select oid::int8, relname from pg_class")}
        assert (before.fingerprint != after.fingerprint) is is_new, statements
        assert sorted(names[part] for part in came_with_rows(before, after)) == came.split(), statements
        assert rewrites_rows(before, after, before) is rewrites, statements
        if is_new:
            self._version = after


@pytest.mark.parametrize("major", MAJORS)
def test_only_what_brings_rows_along_or_rewrites_all_is_to_be_answered(
    new_database: Callable[[int], Database], replication: str, major: int
) -> None:
    database = new_database(major)
    database.execute(*TABLES)
    with closing(reading.database_of(reading.settings_for(database, replication, "public.p"))) as source:
        watched = Watched(source, database)
        _come(watched)
        _are_rewritten(watched)
        _go(watched, concurrently=major >= 14)


def _come(watched: Watched) -> None:
    watched.does("create table p_3 partition of p for values from (20) to (30)")
    watched.does("create table p_4 (like p including all)", is_new=False)
    watched.does("alter table p attach partition p_4 for values from (30) to (40)", came="p_4")
    # A rename touches the type of its rows, by whose age one that was attached is told.
    watched.does("alter table p_1 rename to p_one", "create table p_5 partition of p for values from (40) to (50)")
    # Taken out, written to and put back, again and again.
    again = "alter table p attach partition p_one for values from (0) to (10)"
    for change in ("update p_one set v = 'w'", "delete from p_one"):
        watched.does(f"begin; alter table p detach partition p_one; {change}; {again}; commit", came="p_one")
    # Several at once: of a subtree the leaves.
    watched.does(
        "create table sub (like p including all) partition by range (id)",
        "create table sub_1 partition of sub for values from (50) to (60)",
        "create table sub_2 (like p including all)",
        "alter table sub attach partition sub_2 for values from (60) to (70)",
        "begin; drop table p_2; create table p_2 partition of p for values from (10) to (20); "
        "alter table p attach partition sub for values from (50) to (70); commit",
        came="sub_1 sub_2",
    )
    watched.does(
        "create table sub_3 partition of sub for values from (-9) to (-5)",
        "begin; alter table p detach partition sub; alter table p attach partition sub for values from (50) to (70); "
        "commit",
        came="sub_1 sub_2 sub_3",
    )


def _are_rewritten(watched: Watched) -> None:
    # One alone is written anew with the values that it has.
    watched.does("vacuum full p_one", "truncate p_4", "cluster p_2 using p_2_pkey", is_new=False)
    watched.does("create table p_6 partition of p for values from (70) to (80)")
    watched.does("alter table p add n int default 5")
    watched.does("alter table p add token uuid default gen_random_uuid()", rewrites=True)
    # One that is not there meanwhile is altered by itself, and written anew or not.
    watched.does(
        "begin; alter table p detach partition p_6; alter table p add mark uuid default gen_random_uuid(); "
        "alter table p_6 add mark uuid; alter table p attach partition p_6 for values from (70) to (80); commit",
        came="p_6",
        rewrites=True,
    )
    watched.does(
        "create table p_7 partition of p for values from (80) to (90)",
        "alter table p alter v type varchar using upper(v)",
        rewrites=True,
    )


def _go(watched: Watched, *, concurrently: bool) -> None:
    watched.does("alter table p detach partition p_3")
    watched.does("drop table p_4")
    if not concurrently:
        return
    with watched.database.connect() as reader:
        # While it waits for those who read the table, it is none of its partitions any more.
        reader.execute("begin; select from p")
        waiting = Thread(target=watched.database.execute, args=("alter table p detach partition p_5 concurrently",))
        waiting.start()
        pending = "select inhdetachpending from pg_inherits where inhrelid = 'p_5'::regclass"
        deadline = time.monotonic() + reading.DEADLINE_S
        while watched.database.rows(pending) != [(True,)]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        watched.does()
        reader.execute("commit")
    waiting.join()
    watched.does(is_new=False)


@pytest.mark.parametrize("major", [13, 18])
def test_a_partition_that_is_captured_by_itself_is_a_table_whatever_it_is_a_part_of(
    new_database: Callable[[int], Database], replication: str, major: int
) -> None:
    database = new_database(major)
    database.execute(*TABLES)
    with closing(reading.database_of(reading.settings_for(database, replication, "public.p_1"))) as source:
        (alone,) = source.tables()
        assert (alone.name.table, alone.partitions) == ("p_1", ())
        database.execute("alter table p detach partition p_1")
        assert source.tables() == [alone]
        database.execute("alter table p attach partition p_1 for values from (0) to (10)")
        assert source.tables() == [alone]


@pytest.mark.parametrize("major", [13, 18])
def test_who_is_in_the_log_and_cannot_be_seen_holds_what_a_writer_locks(
    new_database: Callable[[int], Database], replication: str, major: int
) -> None:
    database = new_database(major)
    database.execute(*TABLES, "create table other (id int primary key)")
    with (
        closing(reading.database_of(reading.settings_for(database, replication))) as source,
        database.connect() as one,
        database.connect() as stranger,
    ):
        stranger.execute("set role pg_signal_backend")
        other, p = source.tables()

        def unseen(table: TableSchema) -> list[int]:
            # To who may not see what others do, idle ones look as others do.
            names = {"schemas": [table.name.schema], "tables": [table.name.table]}
            return [xid for (xid,) in stranger.execute(UNSEEN, names).fetchall()]

        assert [*source.unseen(p), *source.unseen(other), *unseen(p), *unseen(other)] == []
        one.execute("begin; update p_2 set v = 'x' where id = 19")
        (written,) = one.execute("select txid_current()").fetchone() or (None,)
        assert unseen(p) == [written], "a partition is a part of it"
        assert unseen(other) == []
        one.execute("savepoint s; insert into other values (1)")
        assert written in unseen(other)
        _is_waited_for_only_while_it_is_busy(source, p, one, stranger)
        one.execute("prepare transaction 'kept'")
        assert written in source.unseen(p)
        one.execute("commit prepared 'kept'")
        assert [*source.unseen(p), *source.unseen(other), *unseen(p), *unseen(other)] == []
        one.execute("begin; select from p for update; select txid_current()")
        assert unseen(p) == [], "who locks rows has written none"
        one.execute("rollback")


def _is_waited_for_only_while_it_is_busy(
    source: PostgresqlDatabase, table: TableSchema, writer: Connection, other: Connection
) -> None:
    assert [*source.unseen(table)] == []
    other.execute("select pg_advisory_lock(1)")
    busy = Thread(target=writer.execute, args=("select pg_advisory_xact_lock(1)",))
    busy.start()
    deadline = time.monotonic() + reading.DEADLINE_S
    while not source.unseen(table):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    other.execute("select pg_advisory_unlock(1)")
    busy.join()
    while source.unseen(table):
        assert time.monotonic() < deadline
        time.sleep(0.02)
