"""Parked keys of tables to which everything else happens, too: each is over, or still there to be released."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apply.error_handling.dead_letters import read_lot
from control import parked, signals
from runtime.configuration import load
from runtime.status import read_status
from schemas.settings import Settings
from tests.integration.services import DEADLINE_S, TARGET, Serve
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.kit.sides import MysqlSide, PostgresqlSide, Side, wait_until_alike

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]

COLUMNS = "(id bigint primary key, word text, number integer)"

OVER = {
    "truncated": ("truncate truncated", "insert into truncated values (1, 'new', 1)"),
    "deleted": ("delete from deleted where id = 1", "insert into deleted values (1, 'new', 2)"),
    "renamed": ("alter table renamed rename to named_anew", "insert into named_anew values (9, 'new', 1)"),
    "dropped": ("drop table dropped",),
    "reborn": ("drop table reborn", f"create table reborn {COLUMNS}", "insert into reborn values (1, 'new', 1)"),
    "replaced": (
        "alter table replaced rename to put_aside",
        f"create table replaced {COLUMNS}",
        "insert into replaced values (1, 'new', 1)",
        "update put_aside set number = 6 where id = 1",
    ),
    "reloaded": ("update reloaded set number = 8 where id = 1", "update reloaded set word = 'tame' where id = 1"),
    "halted": ("update halted set number = 9", "drop table halted"),
}
"""What is done to tables, after which nothing of them is parked any more. Of one the target lacks a column by then, and
one is loaded again.
"""
KEPT = {
    "altered": (
        "alter table altered add column more text default 'm'",
        "alter table altered rename column number to digits",
        "update altered set digits = 6 where id = 1",
        "insert into altered values (9, 'new', 1, 'n')",
    ),
    "retyped": ("alter table retyped alter number type bigint", "update retyped set number = 5000000000 where id = 1"),
    "rekeyed": (
        "alter table rekeyed drop constraint rekeyed_pkey, add primary key (number, id)",
        "update rekeyed set number = 7 where id = 1",
    ),
    "moved": ("update moved set id = 101 where id = 1", "update moved set number = 8 where id = 101"),
    "shrunk": ("alter table shrunk drop column number", "update shrunk set word = 'wild' where id = 1"),
    "suspended": ("update suspended set number = 9",),
}
"""The same of tables whose row is still refused. One of them lacks its column at the target, too."""
SUSPENDED = {"halted", "suspended"}


@pytest.fixture
def target(
    request: pytest.FixtureRequest,
    new_database: Callable[..., Database],
    new_mysql_database: Callable[[str], MysqlDatabase],
) -> Side:
    """An empty database."""
    if request.param == "postgresql":
        return PostgresqlSide(new_database(16, "target"))
    return MysqlSide(new_mysql_database("mysql"))


@pytest.mark.parametrize("target", ["postgresql", "mysql"], indirect=True)
def test_whatever_happens_to_their_tables_parked_keys_lose_nothing(
    serve: Serve, source_database: Database, target: Side
) -> None:
    copy, tables = target.database, {**OVER, **KEPT}
    assert isinstance(copy, Database | MysqlDatabase)
    source_database.tell_statements()
    for table in tables:
        source_database.execute(
            f"create table {table} {COLUMNS}", f"insert into {table} select g, 'tame', g from generate_series(1, 5) g"
        )
    with serve(source_database, copy, topics={"partitions": 2}) as services:
        settings = load(services.configuration)
        for name in ("capture", "apply", "apply-2"):
            services.start(name)
        source = PostgresqlSide(source_database)
        assert wait_until_alike(source, target, DEADLINE_S) == []
        at_target = f"alter table {target.copy_of(source)}."
        copy.execute(*(f"{at_target}{table} add constraint tame_{table} check (word <> 'wild')" for table in tables))
        for table in tables:
            source_database.execute(
                f"update {table} set word = 'wild' where id = 1",
                f"update {table} set number = 5 where id = 1",
                f"update {table} set number = 5 where id = 2",
            )
        services.wait(lambda: _parked(settings) == set(tables), "every table has a parked key")
        # They are known to whoever has their partitions next.
        services.crash("apply-2")
        copy.execute(*(f"{at_target}{table} drop column number" for table in SUSPENDED))
        for table, statements in tables.items():
            source_database.execute(*statements[: 1 if table == "halted" else None])
        services.wait(lambda: _suspended(settings) == SUSPENDED, "two tables are suspended")
        _retry(settings, "suspended")
        source_database.execute(*OVER["halted"][1:])
        signals.reload(settings, ["public.reloaded"], None, None, empty=False, identifier=None)
        services.wait(lambda: _parked(settings) == set(KEPT), "what counts no more is over")
        services.wait(lambda: services.said("apply-2", "partitions assigned"), "the other one is there again")
        for name in ("apply", "apply-2"):
            assert services.stop(name) == 0, services.log_tail(name)
        services.start("apply")
        copy.execute(
            f"{at_target}suspended add column number integer",
            *(f"{at_target}{table} drop constraint tame_{table}" for table in KEPT),
        )

        def all_are_released() -> bool:
            _retry(settings, *KEPT)
            return not _parked(settings)

        services.wait(all_are_released, "all that was parked is released")
        # What the suspended table lost with its column is brought again.
        signals.reload(settings, ["public.suspended"], None, None, empty=False, identifier=None)
        assert wait_until_alike(source, target, DEADLINE_S) == []
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)


def _table(topic: str) -> str:
    return topic.rpartition(".")[2]


def _parked(settings: Settings) -> set[str]:
    """Return the tables of which a key is parked."""
    return {_table(key.topic) for key in read_lot(settings, TARGET).keys.values()}


def _retry(settings: Settings, *tables: str) -> None:
    """Ask for keys of tables to be tried again, but for those that are asked for already."""
    for key in read_lot(settings, TARGET).keys.values():
        if _table(key.topic) in tables and key.command is None:
            parked.retry(settings, TARGET, key.records[0].reference)


def _suspended(settings: Settings) -> set[str]:
    """Return the tables that an applier says are suspended."""
    return {
        _table(topic)
        for document in read_status(settings.kafka, settings.name).values()
        if "target" in document
        for topic, table in document.get("tables", {}).items()
        if table["state"] == "suspended"
    }
