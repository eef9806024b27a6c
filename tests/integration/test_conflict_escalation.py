"""`ApplyError…Policy` and its escalation, as a task of DMS states them: changes that the target's rows contradict are
left out and counted from each start; too many suspend their table, and that too often, or at once, ends the service.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runtime import exit_codes
from tests.integration.services import Serve, Services
from tests.kit.servers import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


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


class _Pair:
    """A source's table of items, and one of others, with what a task makes of them at the target."""

    def __init__(self, directory: Path, services: Services, source: Database, target: Any, control: str) -> None:
        self._directory = directory
        self._behind = 1
        self._control = control
        self.services = services
        self.source = source
        self.target = target

    def say(self, **errors: Any) -> None:
        (self._directory / "task.json").write_text(_task(self._control, **errors))

    def rows(self, query: str) -> list[tuple[str, ...]]:
        """Return rows of the target as texts."""
        return [tuple(map(str, row)) for row in self.target.rows(query)]

    def suspended(self) -> list[tuple[str, ...]]:
        return self.rows(f"select * from {self._control}.awsdms_suspended_tables")

    def change(self, *statements: str) -> None:
        """Let what was changed so far be applied or left out, one statement after the other."""
        for statement in statements:
            self._behind += 1
            self.source.execute(statement, f"insert into items values ({1000 + self._behind}, 'behind')")
            self.services.wait(partial(self._has_reached, "items", 1000 + self._behind), statement)

    def see_that_others_go_on(self) -> None:
        self._behind += 1
        self.source.execute(f"insert into others values ({self._behind})")
        self.services.wait(partial(self._has_reached, "others", self._behind), "other tables")

    def _has_reached(self, table: str, number: int) -> bool:
        return self.rows(f"select max(id) from {table}") == [(str(number),)]


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_conflicts_are_counted_from_each_start_and_too_many_are_their_tables_trouble(
    tmp_path: Path, serve: Serve, source_database: Database, request: pytest.FixtureRequest, engine: str
) -> None:
    target: Any = request.getfixturevalue("target_database" if engine == "postgresql" else "mysql_target")
    control = "dms" if engine == "postgresql" else target.name
    source_database.execute(
        "create table items (id int primary key, v text)",
        "create table others (id int primary key)",
        "insert into items select g, 'ours' from generate_series(1, 30) g",
        "insert into others values (1)",
    )
    more: dict[str, Any] = {
        "settings": "task.json",
        "topics": {"partitions": 1},
        "apply": {"conflict_wait_s": 1},
    }
    (tmp_path / "task.json").write_text(_task(control))
    with serve(source_database, target, **more) as services:
        pair = _Pair(tmp_path, services, source_database, target, control)
        services.start("capture")
        services.start("apply")
        # What precedes that is judged by nobody.
        services.wait(lambda: services.completed() == 2, "the load")
        target.execute("delete from items where id <= 20", "insert into items values (101, 'theirs'), (102, 'theirs')")
        _too_many_suspend_their_table(pair)
        _too_many_tries_or_conflicts_end_the_service(pair)
        _without_a_limit_any_number_is_left_out(pair)
        assert services.stop("capture") == 0


def _too_many_suspend_their_table(pair: _Pair) -> None:
    services = pair.services
    # An insert of a row that is there, and an update of one that is not: left out, and all else goes on.
    pair.change("insert into items values (101, 'ours')", "update items set v = 'new' where id = 1")
    assert pair.rows("select id, v from items where id in (1, 101)") == [("101", "theirs")]
    # What an applier has counted goes with it: three more may come, the third of which is too many.
    assert services.stop("apply") == 0
    services.start("apply")
    pair.change("delete from items where id = 2", "insert into items values (102, 'ours')")
    assert pair.suspended() == []
    pair.source.execute("update items set v = 'new' where id = 3", "insert into items values (900, 'waits')")
    services.wait(lambda: len(pair.suspended()) == 1, "the suspended table")
    pair.see_that_others_go_on()
    assert "items" in pair.suspended()[0]
    assert services.said("apply", "the row to update is missing")
    # Neither the third nor what stands behind it is left out: they wait until the row is there.
    waiting = "select v from items where id in (3, 900) order by id"
    assert pair.rows(waiting) == []
    pair.target.execute("insert into items values (3, 'brought')")
    services.wait(lambda: pair.rows(waiting) == [("new",), ("waits",)], "the table goes on")
    services.wait(lambda: pair.suspended() == [], "no suspended table")
    assert services.stop("apply") == 0


def _too_many_tries_or_conflicts_end_the_service(pair: _Pair) -> None:
    """It says why, and the next one goes on from there."""
    services = pair.services
    pair.say(TableErrorEscalationCount=3)
    services.start("apply")
    pair.source.execute("update items set v = 'new' where id between 4 and 14")
    assert services.join("apply") == exit_codes.STOPPED
    assert services.count("apply", "table suspended") == 3
    assert services.said("apply", "the row to update is missing")
    # Fewer than three are left out by each start, if they come in a batch before.
    pair.say(ApplyErrorEscalationPolicy="STOP_TASK")
    services.start("apply")
    assert services.join("apply") == exit_codes.STOPPED
    assert services.count("apply", "table suspended") == 0
    brought = ", ".join(f"({number}, 'brought')" for number in range(4, 15))
    pair.target.execute(f"insert into items values {brought}")
    services.start("apply")
    pair.change("update items set v = 'last' where id = 30")
    assert pair.rows("select v from items where id between 8 and 14") == [("new",)] * 7
    assert services.stop("apply") == 0


def _without_a_limit_any_number_is_left_out(pair: _Pair) -> None:
    pair.say(ApplyErrorEscalationPolicy="LOG_ERROR")
    pair.services.start("apply")
    pair.change(*(f"update items set v = 'new' where id = {number}" for number in (15, 16, 17, 18)))
    pair.see_that_others_go_on()
    assert pair.suspended() == []
    assert pair.rows("select id from items where id = 1 or id between 15 and 20") == []
    assert pair.rows("select v from items where id in (101, 102)") == [("theirs",)] * 2
    others = "select * from items where id between 8 and 14 or id between 21 and 100 or id > 102 order by id"
    assert pair.rows(others) == [tuple(map(str, row)) for row in pair.source.rows(others)]
    assert pair.services.stop("apply") == 0
