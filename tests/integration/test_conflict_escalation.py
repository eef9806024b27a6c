"""`ApplyError…Policy` and its escalation, as a task of DMS states them: changes that the target's rows contradict are
left out and counted from each start; too many suspend their table, and that too often, or at once, ends the service.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.mysql import MysqlAddress
from runtime import exit_codes
from tests.integration.services import Services
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.servers import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BEHIND = "select max(id) from others"


@pytest.fixture
def mysql_target(mysql_server: MysqlAddress) -> Iterator[MysqlDatabase]:
    """An empty database on MySQL."""
    database = create_mysql_database(mysql_server)
    yield database
    drop_mysql_database(database)


def _task(control: str, **errors: Any) -> str:
    behaviour = {
        "DataErrorPolicy": "LOG_ERROR",
        "ApplyErrorInsertPolicy": "LOG_ERROR",
        "ApplyErrorUpdatePolicy": "LOG_ERROR",
        "ApplyErrorDeletePolicy": "IGNORE_RECORD",
        "ApplyErrorEscalationPolicy": "SUSPEND_TABLE",
        "ApplyErrorEscalationCount": 3,
        **errors,
    }
    tables = {"ControlSchema": control, "SuspendedTablesTableEnabled": True}
    batches = {"BatchApplyEnabled": True}
    return json.dumps({"TargetMetadata": batches, "ControlTablesSettings": tables, "ErrorBehavior": behaviour})


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_conflicts_are_counted_from_each_start_and_too_many_are_their_tables_trouble(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    source_database: Database,
    request: pytest.FixtureRequest,
    engine: str,
) -> None:
    source = source_database
    target: Any = request.getfixturevalue("target_database" if engine == "postgresql" else "mysql_target")
    control = "dms" if engine == "postgresql" else target.name
    source.execute(
        "create table items (id int primary key, v text)",
        "create table others (id int primary key)",
        "insert into items select g, 'ours' from generate_series(1, 30) g",
        "insert into others values (1)",
    )
    (tmp_path / "task.json").write_text(_task(control))
    more: dict[str, Any] = {
        "settings": "task.json",
        "topics": {"partitions": 1},
        "apply": {"suspended_retry_s": 1, "conflict_wait_s": 1},
    }
    behind = 1

    def at_target(query: str) -> list[tuple[str, ...]]:
        return [tuple(map(str, row)) for row in target.rows(query)]

    def has_reached(number: int) -> bool:
        return at_target("select max(id) from items") == [(str(number),)]

    def change(*statements: str) -> None:
        """Let what was changed so far be applied or left out, one statement after the other."""
        nonlocal behind
        for statement in statements:
            behind += 1
            source.execute(statement, f"insert into items values ({1000 + behind}, 'behind')")
            services.wait(partial(has_reached, 1000 + behind), statement)

    def others_go_on() -> None:
        nonlocal behind
        behind += 1
        source.execute(f"insert into others values ({behind})")
        services.wait(lambda: at_target(BEHIND) == [(str(behind),)], "other tables")

    def suspended() -> list[tuple[str, ...]]:
        return at_target(f"select * from {control}.awsdms_suspended_tables")

    arguments: Any = (tmp_path, replication, kafka_server, source, target)
    with Services(*arguments, **more) as services:
        services.start("capture")
        services.start("apply")
        services.wait(lambda: _is_loaded(services), "the load")
        target.execute("delete from items where id <= 20", "insert into items values (101, 'theirs'), (102, 'theirs')")
        # An insert of a row that is there, and an update of one that is not: left out, and all else goes on.
        change("insert into items values (101, 'ours')", "update items set v = 'new' where id = 1")
        assert at_target("select id, v from items where id in (1, 101)") == [("101", "theirs")]
        # What an applier has counted goes with it: three more may come, the third of which is too many.
        assert services.stop("apply") == 0
        services.start("apply")
        change("delete from items where id = 2", "insert into items values (102, 'ours')")
        assert suspended() == []
        source.execute("update items set v = 'new' where id = 3", "insert into items values (900, 'waits')")
        services.wait(lambda: len(suspended()) == 1, "the suspended table")
        others_go_on()
        assert "items" in suspended()[0]
        assert services.said("apply", "the row to update is missing")
        # Neither the third nor what stands behind it is left out: they wait until the row is there.
        assert at_target("select id from items where id in (3, 900)") == []
        waiting = "select v from items where id in (3, 900) order by id"
        target.execute("insert into items values (3, 'brought')")
        services.wait(lambda: at_target(waiting) == [("new",), ("waits",)], "the table goes on")
        services.wait(lambda: suspended() == [], "no suspended table")

        # Three tries of a suspended table end the service, which says why; the next one goes on from there.
        assert services.stop("apply") == 0
        (tmp_path / "task.json").write_text(_task(control, TableErrorEscalationCount=3))
        services.start("apply")
        source.execute("update items set v = 'new' where id between 4 and 14")
        assert services.join("apply") == exit_codes.STOPPED
        assert services.count("apply", "table suspended") == 3
        assert services.said("apply", "the row to update is missing")

        # So do three conflicts with STOP_TASK. Fewer are left out by each start, if they come in a batch before.
        (tmp_path / "task.json").write_text(_task(control, ApplyErrorEscalationPolicy="STOP_TASK"))
        services.start("apply")
        assert services.join("apply") == exit_codes.STOPPED
        assert services.count("apply", "table suspended") == 0
        brought = ", ".join(f"({number}, 'brought')" for number in range(4, 15))
        target.execute(f"insert into items values {brought}")
        services.start("apply")
        change("update items set v = 'last' where id = 30")
        assert at_target("select v from items where id between 8 and 14") == [("new",)] * 7

        # Without a limit any number is left out.
        assert services.stop("apply") == 0
        (tmp_path / "task.json").write_text(_task(control, ApplyErrorEscalationPolicy="LOG_ERROR"))
        services.start("apply")
        change(*(f"update items set v = 'new' where id = {number}" for number in (15, 16, 17, 18)))
        others_go_on()
        assert suspended() == []
        assert at_target("select id from items where id = 1 or id between 15 and 20") == []
        assert at_target("select v from items where id in (101, 102)") == [("theirs",)] * 2
        others = "select * from items where id between 8 and 14 or id between 21 and 100 or id > 102 order by id"
        assert at_target(others) == [tuple(map(str, row)) for row in source.rows(others)]
        assert services.stop("apply") == 0
        assert services.stop("capture") == 0


def _is_loaded(services: Services) -> bool:
    """Tell whether an applier says that both tables are loaded: what precedes that is judged by nobody."""
    (target,) = json.loads(services.run("status", "--json").stdout)["targets"]
    facts = [table for each in target["instances"] for table in each["facts"].get("tables", {}).values()]
    return [table["load_completed"] for table in facts] == [True, True]
