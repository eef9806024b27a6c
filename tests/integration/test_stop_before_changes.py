"""`StopTaskCachedChangesNotApplied`: appliers end where the load ends, and go on with the changes when told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.apply.waiting import until
from tests.integration.services import Serve, Services
from tests.kit.servers import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TABLES = ("customers", "orders")
ROWS = "select * from {table} order by id"


def _task(*, stops: bool, in_batches: bool) -> dict[str, Any]:
    load = {"StopTaskCachedChangesNotApplied": stops, "StopTaskCachedChangesApplied": stops}
    return {"TargetMetadata": {"BatchApplyEnabled": in_batches}, "FullLoadSettings": load}


def _texts(rows: Any) -> list[list[str]]:
    return [[str(value) for value in row] for row in rows]


@pytest.mark.parametrize(
    ("engine", "in_batches"), [("postgresql", True), ("postgresql", False), ("mysql", True), ("mysql", False)]
)
def test_a_task_stops_before_the_changes_since_its_load(
    tmp_path: Path,
    serve: Serve,
    source_database: Database,
    request: pytest.FixtureRequest,
    engine: str,
    *,
    in_batches: bool,
) -> None:
    name = "target_database" if engine == "postgresql" else "mysql_target"
    target: Any = request.getfixturevalue(name)
    source_database.execute(
        "create table customers (id int primary key, name text not null)",
        "create table orders (id int primary key, customer int references customers, amount int)",
        "insert into customers select g, 'n' || g from generate_series(1, 400) g",
        "insert into orders select g, 1 + g % 400, g from generate_series(1, 900) g",
    )
    settings: dict[str, Any] = {"settings": "task.json", "topics": {"partitions": 2}, "capture": {"chunk_rows": 100}}

    def at_source() -> list[list[list[str]]]:
        return [_texts(source_database.rows(ROWS.format(table=table))) for table in TABLES]

    def at_target() -> list[list[list[str]]]:
        return [_texts(target.rows(ROWS.format(table=table))) for table in TABLES]

    def say(*, stops: bool) -> None:
        (tmp_path / "task.json").write_text(json.dumps(_task(stops=stops, in_batches=in_batches)))

    say(stops=True)
    with serve(source_database, target, **settings) as services:
        services.start("capture")
        services.wait(lambda: services.announced() == set(TABLES), "the load")
        loaded = at_source()
        source_database.execute(
            "insert into customers values (1000, 'new')",
            "insert into orders values (1000, 1000, 1)",
            "update orders set amount = -1 where id < 50",
            "delete from orders where id between 100 and 200",
        )
        services.wait(lambda: _is_published(services), "the changes")
        for _ in range(2):
            # Once more: it has nothing to do, and applies none of the changes, either.
            services.start("apply")
            assert services.join("apply") == 0, services.log_tail("apply")
            assert at_target() == loaded
        # What is published now ends there, too.
        services.start("apply", "--stop-at", "now")
        assert services.join("apply") == 0, services.log_tail("apply")
        assert at_target() == loaded
        source_database.execute("update customers set name = 'later' where id = 7")
        say(stops=False)
        services.start("apply")
        expected = at_source()
        services.wait(lambda: at_target() == expected, "the changes")
        assert services.stop("apply") == 0
        assert services.stop("capture") == 0


def _is_published(services: Services) -> bool:
    status = services.status()
    return bool(status.get("position_commit", 0) and status.get("rows", 0) >= 400 + 900 + 2 + 49 + 101)


def test_appliers_stop_where_loads_end_while_the_source_is_written(
    serve: Serve, source_database: Database, target_database: Database
) -> None:
    """Two appliers, one of which is killed, beside a writer: what they end with is of one moment for each table."""
    source_database.execute(
        "create table t (id int primary key, v int not null)",
        "insert into t select g, 0 from generate_series(1, 20000) g",
    )
    settings: dict[str, Any] = {
        "apply": {"stop_before_changes": True},
        "topics": {"partitions": 3},
        "capture": {"chunk_rows": 500},
    }
    with serve(source_database, target_database, **settings) as services:
        services.start("capture")
        services.start("apply", failpoint="apply.flush.after")
        # (It may die as soon as the load ends: nobody asks whether it lives.)
        until(lambda: services.said("apply", "partitions assigned"))
        services.start("apply-2")
        number = 0

        def write() -> None:
            nonlocal number
            with source_database.connect() as connection:
                for _ in range(20):
                    number += 1
                    connection.execute(f"update t set v = {number} where id % 100 = {number % 100}")

        def is_announced() -> bool:
            write()
            return services.announced() == {"t"}

        until(is_announced)
        last = number
        write()
        services.meet("apply", "apply.flush.after")
        services.start("apply")
        for name in ("apply", "apply-2"):
            assert services.join(name) == 0, services.log_tail(name)
        found = "select count(*), count(distinct id) from t"
        assert target_database.rows(found) == [(20000, 20000)]
        # Of each row one of the source's values; the last ones came behind the end of the load.
        ((newest,),) = target_database.rows("select max(v) from t")
        assert isinstance(newest, int)
        assert newest <= last
        services.configuration.write_text(
            services.configuration.read_text().replace('"stop_before_changes": true', '"stop_before_changes": false')
        )
        services.start("apply")
        rows = "select id, v from t order by id"
        expected = source_database.rows(rows)
        services.wait(lambda: target_database.rows(rows) == expected, "the changes")
        assert services.stop("apply") == 0
        assert services.stop("capture") == 0


@pytest.mark.parametrize(("engine", "policy"), [("postgresql", "park"), ("postgresql", "skip"), ("mysql", "park")])
def test_children_of_later_parents_come_with_the_changes(
    serve: Serve, source_database: Database, request: pytest.FixtureRequest, engine: str, policy: str
) -> None:
    """Rows of a load whose parents are changes, where the target has the foreign key before: none is lost by kills."""
    target: Any = request.getfixturevalue("target_database" if engine == "postgresql" else "mysql_target")
    parents = "create table customers (id int primary key, name varchar(40) not null)"
    children = """create table orders (id int primary key, customer int, amount int,
                  foreign key (customer) references customers (id))"""
    source_database.tell_statements()
    source_database.execute(parents, "insert into customers select g, 'n' || g from generate_series(1, 100) g")
    target.execute(parents, children)
    settings: dict[str, Any] = {
        "apply": {"stop_before_changes": True, "conflict_wait_s": 1, "errors": {"row_conflict": policy}},
        "topics": {"partitions": 2},
    }

    def at_target(query: str) -> list[list[str]]:
        return _texts(target.rows(query))

    with serve(source_database, target, **settings) as services:
        services.start("capture")
        services.wait(lambda: services.announced() == {"customers"}, "the parents' load")
        source_database.execute("insert into customers values (1000, 'late'), (1001, 'late')")
        with source_database.connect() as connection:
            connection.execute(children)
            connection.execute("insert into orders select g, g, g from generate_series(1, 100) g")
            connection.execute("insert into orders values (1000, 1000, 1), (1001, 1001, 1), (1002, 1001, 1)")
        services.wait(lambda: services.announced() == {"customers", "orders"}, "the children's load")
        loaded = _texts(source_database.rows("select * from orders where id <= 100 order by id"))
        # Killed when what was left is said, and its partition's offsets are not durable.
        services.start("apply", failpoint="apply.park.after")
        services.meet("apply", "apply.park.after")
        for _ in range(2):
            services.start("apply")
            assert services.join("apply") == 0, services.log_tail("apply")
            assert at_target("select * from orders order by id") == loaded
            assert at_target("select count(*) from customers") == [["100"]]
        parked = json.loads(services.run("parked list", "--target", "replica", "--json").stdout)
        assert len(parked) == 3
        assert all(key["error"].startswith("before-changes: ") for key in parked)
        # What comes of them meanwhile waits behind them.
        source_database.execute("update orders set amount = 77 where id = 1000", "delete from orders where id = 1002")
        services.configuration.write_text(
            services.configuration.read_text().replace('"stop_before_changes": true', '"stop_before_changes": false')
        )
        # Killed when a row is written, which is still said to wait.
        services.start("apply", failpoint="apply.release.applied")
        services.meet("apply", "apply.release.applied")
        services.start("apply")
        expected = _texts(source_database.rows("select * from orders order by id"))
        services.wait(lambda: at_target("select * from orders order by id") == expected, "the children")
        services.wait(
            lambda: services.run("parked list", "--target", "replica", "--json").stdout.strip() == "[]",
            "nothing is parked",
        )
        assert services.stop("apply") == 0
        assert services.stop("capture") == 0
