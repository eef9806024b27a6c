"""Documents of AWS DMS between two databases of one MySQL server: the rows arrive as mappings and task settings say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.local.kafka import KafkaAddress
from tests.integration.services import TARGET, Services
from tests.kit.mysql import MysqlDatabase
from tests.kit.topics import read_raw


def _mappings(schema: str) -> dict[str, Any]:
    people = {"schema-name": schema, "table-name": "person"}
    rules: list[dict[str, Any]] = [
        {
            "rule-type": "selection",
            "rule-action": "include",
            "object-locator": people,
            "filters": [{"column-name": "grade", "filter-conditions": [{"filter-operator": "gte", "value": "5"}]}],
        }
    ]
    for action, column, more in (
        ("rename", "name", {"value": "full_name"}),
        ("data-masking-digits-mask", "phone", {"value": "#"}),
        ("data-masking-hash-mask", "email", {"at": "capture"}),
        ("change-data-type", "grade", {"data-type": {"type": "string", "length": 10}}),
        (
            "add-column",
            None,
            {"value": "label", "expression": "$name || '-' || $id", "data-type": {"type": "string", "length": 80}},
        ),
    ):
        locator = people | ({"column-name": column} if column else {})
        rule = {"rule-type": "transformation", "rule-target": "column", "rule-action": action}
        rules.append(rule | {"object-locator": locator, **more})
    for table, lobs in (
        ("memo", None),
        ("essay", {"mode": "unlimited"}),
        ("scan", {"mode": "limited", "bulk-max-size": "2"}),
    ):
        own = {"schema-name": schema, "table-name": table}
        rules.append({"rule-type": "selection", "rule-action": "include", "object-locator": own})
        if lobs is not None:
            rules.append({"rule-type": "table-settings", "object-locator": own, "lob-settings": lobs})
    sizes = {"schema-name": schema, "table-name": "size%", "table-type": "view"}
    rules.append({"rule-type": "selection", "rule-action": "include", "object-locator": sizes})
    visits = {"schema-name": schema, "table-name": "visit"}
    rules.append({"rule-type": "selection", "rule-action": "explicit", "object-locator": visits, "load-order": 2})
    for target, action, column, more in (
        ("table", "rename", None, {"value": "people"}),
        ("table", "add-prefix", "visit", {"value": "v_"}),
        ("column", "replace-prefix", "place", {"value": "spa", "old-value": "pla"}),
        ("column", "add-suffix", "essay", {"value": "_cut"}),
        ("column", "convert-uppercase", "kind", {}),
        ("column", "remove-column", "secret%", {}),
    ):
        locator = people if column is None else visits | ({} if target == "table" else {"column-name": column})
        rule = {"rule-type": "transformation", "rule-target": target, "rule-action": action}
        rules.append(rule | {"object-locator": locator, **more})
    settings = {"parallel-load": {"type": "partitions-auto"}, "lob-settings": {"mode": "limited", "bulk-max-size": 1}}
    rules.append({"rule-type": "table-settings", "object-locator": visits, **settings})
    boundaries = {"type": "ranges", "columns": ["id"], "boundaries": [[300], ["600"]]}
    rules.append({"rule-type": "table-settings", "object-locator": people, "parallel-load": boundaries})
    return {"rules": [rule | {"rule-id": str(number)} for number, rule in enumerate(rules)]}


def _task(control: str, *, stops: bool) -> dict[str, Any]:
    return {
        "TargetMetadata": {"BatchApplyEnabled": True, "LimitedSizeLobMode": True, "LobMaxSize": 1},
        "FullLoadSettings": {"TargetTablePrepMode": "DROP_AND_CREATE", "StopTaskCachedChangesApplied": stops},
        "ControlTablesSettings": {"ControlSchema": control, "StatusTableEnabled": True, "HistoryTableEnabled": True},
        "ErrorBehavior": {
            "DataErrorPolicy": "LOG_ERROR",
            "ApplyErrorInsertPolicy": "LOG_ERROR",
            "ApplyErrorUpdatePolicy": "LOG_ERROR",
            "ApplyErrorDeletePolicy": "LOG_ERROR",
        },
    }


EXPECTED = """select id, name, regexp_replace(phone, '[0-9]', '#'), upper(sha2(email, 256)), cast(grade as char),
              concat(name, '-', id) from person where grade >= 5 order by id"""
LARGE = ("memo", "essay", "scan")
LENGTHS = {table: f"select id, char_length(body), length(data) from {table} order by id" for table in LARGE}
"""Limited at 1 KB as all are, whole although it travels in parts, and limited at 2 KB."""
FOUND = "select id, full_name, phone, email, grade, label from people order by id"
VISITS = "select id, at, place, left(essay, 1024), kind from visit order by id"
FOUND_VISITS = "select id, at, space, essay_cut, KIND from v_visit order by id"


def _fill(source: MysqlDatabase) -> None:
    values = ", ".join(f"({i}, 'näme {i}', '0{i} 12-x', '{i}@x', {i % 11})" for i in range(1, 801))
    source.execute(
        """create table person (id bigint primary key, name varchar(50), phone varchar(20), email varchar(60),
           grade int)""",
        f"insert into person values {values}",
        *(f"create table {table} (id int primary key, body longtext, data longblob)" for table in LARGE),
        *(f"insert into {table} values (1, repeat('é', 1500000), repeat(x'00ff', 3000))" for table in LARGE),
        """create view sizes as select e.id, char_length(e.body) as chars, p.name as nobody, 1.5 as factor
           from essay e left join person p on p.id = -1""",
        """create table visit (id int, at date, place varchar(20), essay longtext, kind int, secret int,
           primary key (id, at)) partition by range columns (at)
           (partition old values less than ('2015-01-01'), partition later values less than (maxvalue))""",
        "insert into visit values "
        + ", ".join(
            f"({i}, '201{i % 10}-02-03' + interval {i} day, 'p{i}', repeat('x{i}', 700), {i}, 7)" for i in range(1, 801)
        ),
    )


def _large_values_are_as_long_as_each_tables_may_be(services: Services, target: MysqlDatabase) -> None:
    expected = {
        "memo": [["1", "512", "1024"], ["2", "1024", None]],
        "essay": [["1", "1500000", "6000"], ["2", "3000", None]],
        "scan": [["1", "1024", "2048"], ["2", "2048", None]],
    }
    services.wait(lambda: {table: target.rows(LENGTHS[table]) for table in LARGE} == expected, "the large values")
    assert services.said("apply", "large values cut off")


def _the_view_is_as_it_was_loaded(services: Services, source: MysqlDatabase, target: MysqlDatabase) -> None:
    assert len(source.rows("select id from sizes")) == 2
    assert target.rows("select * from sizes") == [["1", "1500000", None, "1.5"]]
    # Until somebody asks for it.
    assert services.run("signal reload", "--table", f"{source.name}.sizes").returncode == 0
    expected = source.rows("select * from sizes order by id")
    services.wait(lambda: target.rows("select * from sizes order by id") == expected, "the view's rows of now")


def _rows_that_are_missing_stay_missing(services: Services, source: MysqlDatabase, target: MysqlDatabase) -> None:
    # A row that is missing is neither made nor looked for.
    target.execute("delete from v_visit where id in (10, 11)")
    source.execute(
        "update visit set place = 'missing' where id = 10",
        "delete from visit where id = 11",
        "insert into visit values (9200, '2020-01-01', 'last', 'x', 0, 0)",
    )
    services.wait(lambda: target.rows("select space from v_visit where id = 9200") == [["last"]], "the last visit")
    assert target.rows("select * from v_visit where id in (10, 11)") == []


def test_documents_of_dms_run_as_they_are(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    mysql_source: MysqlDatabase,
    mysql_target: MysqlDatabase,
) -> None:
    source, target = mysql_source, mysql_target
    _fill(source)
    target.execute("create table people (old int)", "insert into people values (1)")
    (tmp_path / "mappings.json").write_text(json.dumps(_mappings(source.name)))
    (tmp_path / "task.json").write_text(json.dumps(_task(target.name, stops=True)))
    documents: dict[str, Any] = {"mappings": "mappings.json", "settings": "task.json", "capture": {"chunk_rows": 100}}
    documents["at_source"] = {"tables": None}
    with Services(tmp_path, replication, kafka_server, source, target, **documents) as services:
        plan = services.run("plan")
        assert plan.returncode == 0, plan.stdout + plan.stderr
        assert "[view]" in plan.stdout
        # Killed with segments half read: what they were cut by goes on.
        services.start("capture", failpoint="capture.load.finished:5")
        services.start("apply")
        services.meet("capture", "capture.load.finished:5")
        source.execute(
            "update visit set at = at + interval 3000 day, kind = -1 where id % 7 = 0",
            "alter table visit reorganize partition later into (partition l1 values less than ('2018-01-01'), "
            "partition l2 values less than (maxvalue))",
            "update person set grade = 11 - grade where id % 5 = 0",
        )
        services.start("capture")
        assert services.join("apply") == 0, services.log_tail("apply")
        services.wait(lambda: target.rows(FOUND) == source.rows(EXPECTED), "people")
        services.wait(lambda: target.rows(FOUND_VISITS) == source.rows(VISITS), "visits")

        (tmp_path / "task.json").write_text(json.dumps(_task(target.name, stops=False)))
        services.start("apply")
        source.execute(
            "update person set grade = 4 where id % 11 = 5",
            "update person set grade = 9, phone = '77' where id % 11 = 3",
            "update person set id = id + 5000, name = 'moved' where id % 10 = 6",
            "delete from person where id between 100 and 150",
            "insert into person values (9000, 'new', '1', 'new@x', 5), (9001, 'none', '1', 'none@x', 4)",
            *(f"insert into {table} values (2, repeat('x', 3000), null)" for table in LARGE),
        )
        services.wait(lambda: target.rows(FOUND) == source.rows(EXPECTED), "the changes as the documents have them")
        _large_values_are_as_long_as_each_tables_may_be(services, target)
        _the_view_is_as_it_was_loaded(services, source, target)
        verified = services.run("verify", "--target", TARGET, "--table", "*.person", "--table", "*.essay")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        status = "select TASK_NAME, TASK_STATUS from awsdms_status"
        services.wait(lambda: target.rows(status) == [[replication, "CHANGE PROCESSING"]], "the status")
        # A row that is there stays, whatever the source inserts.
        target.execute("insert into people values (9100, 'theirs', '1', 'x', '5', 'label')")
        source.execute("insert into person values (9100, 'ours', '1', 'x', 5), (9101, 'last', '1', 'x', 5)")
        last = "select full_name from people where id >= 9100 order by id"
        services.wait(lambda: target.rows(last) == [["theirs"], ["last"]], "the last row")
        _rows_that_are_missing_stay_missing(services, source, target)
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)
        # What the last visit has overtaken is in other partitions.
        services.start("apply", "--stop-at", "now")
        assert services.join("apply") == 0, services.log_tail("apply")
        exceptions = "select distinct TABLE_NAME, ERROR from awsdms_apply_exceptions order by ERROR"
        assert target.rows(exceptions) == [
            ["visit", "the row to delete is missing"],
            ["person", "the row to insert is there already"],
            ["visit", "the row to update is missing"],
        ]
    topic = f"{replication}.{source.name}.person"
    assert not any(b"@x" in (value or b"") for *_, value in read_raw(kafka_server.bootstrap, [topic]))
