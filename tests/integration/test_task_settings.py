"""Documents of AWS DMS end to end, as AWS tells them: what a task and its endpoints state is what happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Services
from tests.kit.servers import Database
from tests.kit.topics import read_raw

DOCUMENT: dict[str, dict[str, Any]] = {
    "TargetMetadata": {
        "TargetSchema": "landing",
        "BatchApplyEnabled": True,
        "SupportLobs": True,
        "LimitedSizeLobMode": True,
        "LobMaxSize": 1,
    },
    "CharacterSetSettings": {
        "CharacterReplacements": [{"SourceCharacterCodePoint": 62, "TargetCharacterCodePoint": 61}],
        "CharacterSetSupport": {"CharacterSet": "ISO8859_1", "ReplaceWithCharacterCodePoint": "3F"},
    },
    "BeforeImageSettings": {"EnableBeforeImage": True, "FieldName": "old", "ColumnFilter": "non-lob"},
    "FullLoadSettings": {
        "TargetTablePrepMode": "DROP_AND_CREATE",
        "MaxFullLoadSubTasks": 2,
        "CommitRate": 5000,
        "StopTaskCachedChangesApplied": True,
    },
    "ControlTablesSettings": {
        "ControlSchema": "dms",
        "StatusTableEnabled": True,
        "SuspendedTablesTableEnabled": True,
        "HistoryTableEnabled": True,
        "HistoryTimeslotInMinutes": 7,
    },
    "ChangeProcessingDdlHandlingPolicy": {"HandleSourceTableTruncated": False},
    "ErrorBehavior": {
        "DataErrorPolicy": "LOG_ERROR",
        "ApplyErrorInsertPolicy": "LOG_ERROR",
        "ApplyErrorUpdatePolicy": "LOG_ERROR",
        "ApplyErrorDeletePolicy": "LOG_ERROR",
        "DataErrorEscalationPolicy": "SUSPEND_TABLE",
        "DataErrorEscalationCount": 3,
    },
    "StreamBufferSettings": {"StreamBufferCount": 3},
    "ValidationSettings": {"EnableValidation": True},
}


AT_SOURCE = (
    "create table customers (id int primary key, name text)",
    "create table orders (id int primary key, customer int references customers, amount int)",
    "create table bag (id int primary key)",
    "create table notes (id text primary key, body text, data bytea)",
    """insert into notes select 'b' || g, repeat('b', 1000 + g), decode(repeat('ab', 2000), 'hex')
       from generate_series(1, 50) g""",
    "insert into notes values ('bЖ', 'Ж of б', null)",
    "alter table orders replica identity full",
    "insert into customers select g, 'n' || g from generate_series(1, 500) g",
    "insert into orders select g, g, g from generate_series(1, 500) g",
    "insert into bag select generate_series(1, 50)",
)
AT_TARGET = (
    # What was there before, in another form, with rows of its own and keys in each other's way.
    "create schema landing",
    "create table landing.customers (id int primary key, old text not null)",
    "create table landing.orders (id int primary key, customer int references landing.customers, amount int)",
    "create table landing.bystander (id int primary key, customer int references landing.customers)",
    "insert into landing.customers values (-1, 'old')",
    "insert into landing.orders values (-1, -1, 1)",
)
NUMBERS = "select to_regclass('landing.customers')::oid::int8, to_regclass('landing.orders')::oid::int8"
NOTES = """select translate(id, 'bЖ', 'a?'), left(translate(body, 'bЖб', 'a??'), 1024), substr(data, 1, 1024)
           from notes order by 1"""
SUSPENDED = 'select "TABLE_NAME", "TASK_NAME" from dms.awsdms_suspended_tables'
STATUS = 'select "TASK_STATUS" from dms.awsdms_status'


def _task(document: dict[str, Any]) -> str:
    """Return a task as `aws dms describe-replication-tasks` prints it: its documents are texts in it."""
    place = {"schema-name": "public", "table-name": "%"}
    rule = {"rule-type": "selection", "rule-id": "1", "rule-action": "include", "object-locator": place}
    task = {"ReplicationTaskIdentifier": "shop", "MigrationType": "full-load-and-cdc", "Status": "running"}
    task |= {"TableMappings": json.dumps({"rules": [rule]}), "ReplicationTaskSettings": json.dumps(document)}
    return json.dumps({"ReplicationTasks": [task]})


def _at_aws(section: dict[str, Any], kind: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a database's section as an endpoint of `aws dms describe-endpoints`, and what AWS does not tell of it."""
    names = {"host": "ServerName", "port": "Port", "database": "DatabaseName", "user": "Username"}
    login = {name: section[ours] for ours, name in names.items() if ours in section}
    about = {"EndpointIdentifier": f"shop-{kind}", "EndpointType": kind.upper(), "EngineName": "aurora-postgresql"}
    own = {"PostgreSQLSettings": {**login, "CaptureDdls": True, "HeartbeatEnable": False}}
    left = {name: value for name, value in section.items() if name not in {*names, "engine", "tables"}}
    return {**about, **login, "SslMode": "none", **own, **more}, {**left, "endpoint_settings": "endpoints.json"}


def _differing(source: Database, target: Database) -> list[str]:
    present = {name for (name,) in target.rows("select tablename from pg_tables where schemaname = 'landing'")}
    return [
        name
        for name in ("customers", "orders", "bag")
        if name not in present
        or source.rows(f"select * from {name} order by 1") != target.rows(f"select * from landing.{name} order by 1")
    ]


def _runs(services: Services) -> bool:
    return bool(services.status().get("state") == "running")


def _plan_says_what_goes(services: Services) -> None:
    plan = services.run("plan", "--json")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    found = json.loads(plan.stdout)["findings"]
    assert sorted(f["table"] for f in found if f["code"] == "target-table-existing") == [
        "landing.customers",
        "landing.orders",
    ]
    notes = [f["message"] for f in found if f["place"] == "task settings"]
    assert any(note.startswith("StreamBufferSettings.StreamBufferCount: meaningless here") for note in notes)
    told = {(f["place"], f["message"].partition(":")[0]) for f in found if f["code"] == "endpoint-setting"}
    assert {("source", "HeartbeatEnable"), ("target replica", "LoadUsingCSV")} <= told


def _rows_in_error_are_left_out_until_there_are_too_many(
    services: Services, source: Database, target: Database, task: str
) -> None:
    target.execute("alter table landing.orders add constraint small check (amount < 1000)")
    before = services.count("apply", "record skipped")
    for number in (1, 2):
        source.execute(f"insert into orders values ({9000 + number}, 1, 5000)")
    source.execute("insert into orders values (9010, 1, 10)")
    services.wait(lambda: target.rows("select 1 from landing.orders where id = 9010") == [(1,)], "the good row")
    services.wait(lambda: services.count("apply", "record skipped") == before + 2, "two rows are left out")
    # The third one suspends its table, and nothing else.
    source.execute("insert into orders values (9003, 1, 5000)")
    source.execute("insert into customers values (9000, 'behind')")
    services.wait(lambda: target.rows("select 1 from landing.customers where id = 9000") == [(1,)], "other tables")
    services.wait(lambda: target.rows(SUSPENDED) == [("orders", task)], "the suspended table")
    exceptions = (
        'select "TABLE_OWNER", "TABLE_NAME", "TASK_NAME" from dms.awsdms_apply_exceptions where "TABLE_NAME" <> \'bag\''
    )
    services.wait(lambda: len(target.rows(exceptions)) >= 3, "the exceptions")
    assert set(target.rows(exceptions)) == {("public", "orders", task)}
    assert target.rows("select 1 from dms.awsdms_apply_exceptions where \"ERROR\" like '%5000%'") == []
    # The reason goes: the table goes on, with the row that suspended it.
    target.execute("alter table landing.orders drop constraint small")
    services.wait(lambda: target.rows("select 1 from landing.orders where id = 9003") == [(1,)], "the table goes on")
    assert target.rows("select id from landing.orders where id in (9001, 9002)") == []


def _changes_that_rows_contradict_are_left_out(services: Services, source: Database, target: Database) -> None:
    target.execute(
        "insert into landing.customers values (7001, 'theirs')",
        "delete from landing.orders where id in (399, 400)",
        "delete from landing.customers where id = 400",
    )
    source.execute(
        "insert into customers values (7001, 'ours'), (7002, 'ours')",
        "update customers set name = 'missing' where id = 400",
        "delete from orders where id = 399",
        "insert into customers values (7003, 'last')",
        "insert into orders values (7003, 1, 1)",
    )
    services.wait(lambda: target.rows("select 1 from landing.customers where id = 7003") == [(1,)], "the last row")
    services.wait(lambda: target.rows("select 1 from landing.orders where id = 7003") == [(1,)], "the last order")
    found = target.rows("select id, name from landing.customers where id in (400, 7001, 7002) order by id")
    assert found == [(7001, "theirs"), (7002, "ours")]
    exceptions = 'select "TABLE_NAME", "ERROR" from dms.awsdms_apply_exceptions'
    messages = f"""{exceptions} where "ERROR" like 'the row to%' order by 2, 1"""
    expected = [
        ("orders", "the row to delete is missing"),
        # The truncate before was ignored.
        ("bag", "the row to insert is there already"),
        ("customers", "the row to insert is there already"),
        ("customers", "the row to update is missing"),
    ]
    services.wait(lambda: target.rows(messages) == expected, "the exceptions")
    # Written at the same time: the table that went on is not among the suspended ones.
    services.wait(lambda: target.rows(SUSPENDED) == [], "no suspended table")
    # What follows an insert that was left out counts.
    source.execute("update customers set name = 'ours after all' where id = 7001")
    row = "select name from landing.customers where id = 7001"
    services.wait(lambda: target.rows(row) == [("ours after all",)], "the update")


def _what_verify_finds_is_kept(services: Services, target: Database, task: str) -> None:
    failures = """select "TASK_NAME", "TABLE_OWNER", "TABLE_NAME", "KEY_TYPE", "KEY", "FAILURE_TYPE", "DETAILS"
                  from dms.awsdms_validation_failures_v1 order by "KEY" """
    about = (task, "public", "customers", "Row")
    missing, other = '{"key": ["400"]}', '{"key": ["9000"]}'
    # A row that was taken away, and one in which a character became another.
    for mended, kept in (
        (None, [(missing, "MISSING_TARGET"), (other, "RECORD_DIFF")]),
        ("400", [(other, "RECORD_DIFF")]),
    ):
        if mended:
            target.execute(f"insert into landing.customers values ({mended}, 'missing')")
        assert services.run("verify", "--target", "replica", "--table", "public.customers").returncode == 4
        assert target.rows(failures) == [(*about, key, kind, "[]") for key, kind in kept]


def _before_images_reach_a_topic(
    services: Services, source: Database, target: Database, kafka: KafkaAddress, topic: str
) -> None:
    """Of the columns that `ColumnFilter` says, as far as the log holds them, under the name that `FieldName` says."""
    source.execute(
        "update customers set name = '7th' where id = 7",
        "update orders set amount = 70 where id = 7",
        "insert into customers values (8000, 'moves')",
        "update customers set id = 8001 where id = 8000",
        "update orders set id = 8001 where id = 8",
    )
    found = "select (select amount from landing.orders where id = 7), (select name from landing.customers where id = 7)"
    services.wait(lambda: target.rows(found) == [(70, "7th")], "both updates")
    moved = """select (select count(*) from landing.orders where id = 8001)
                    + (select count(*) from landing.customers where id = 8001)"""
    services.wait(lambda: target.rows(moved) == [(2,)], "both changed keys")
    services.start("apply-stream", "--target", "stream", "--stop-at", "now")
    assert services.join("apply-stream") == 0, services.log_tail("apply-stream")

    def changed(table: str) -> list[Any]:
        records = [json.loads(value or b"") for *_, value in read_raw(kafka.bootstrap, [f"{topic}.{table}"])]
        changes = [
            record
            for record in records
            if record["metadata"]["operation"] == "update"
            or (record["metadata"]["operation"] == "insert" and record["data"]["id"] == 8001)
        ]
        assert not any("before" in record or ("old" in record) is not (record in changes) for record in records)
        return [(record["data"], record["old"]) for record in changes if record["data"]["id"] in {7, 8001}]

    # A key that changes is a delete, and an insert that holds the values before it.
    assert sorted(changed("orders"), key=str) == [
        ({"id": 7, "customer": 7, "amount": 70}, {"id": 7, "customer": 7, "amount": 7}),
        ({"id": 8001, "customer": 8, "amount": 8}, {"id": 8, "customer": 8, "amount": 8}),
    ]
    # The name is a text of any length, and so a large value.
    assert sorted(changed("customers"), key=str) == [
        ({"id": 7, "name": "7th"}, {"id": 7}),
        ({"id": 8001, "name": "moves"}, {"id": 8000}),
    ]


def test_a_document_of_dms_runs_as_it_is(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    new_database: Callable[..., Database],
) -> None:
    source, target = new_database(18, "source"), new_database(18, "target")
    source.execute(*AT_SOURCE)
    target.execute(*AT_TARGET)
    ((old_customers, old_orders),) = target.rows(NUMBERS)
    (tmp_path / "task.json").write_text(_task(DOCUMENT))
    settings: dict[str, Any] = {
        "settings": "task.json",
        "mappings": "task.json",
        "topics": {"partitions": 2},
        "apply": {"conflict_wait_s": 1},
    }

    def made_anew() -> bool:
        ((customers, orders),) = target.rows(NUMBERS)
        return customers not in {None, old_customers} and orders not in {None, old_orders}

    with Services(tmp_path, replication, kafka_server, source, target, **settings) as services:
        document = json.loads(services.configuration.read_text())
        stream = {"engine": "kafka", "kafka": kafka_server.settings, "topic": f"{replication}.stream.{{table}}"}
        origin, document["source"] = _at_aws(document["source"], "source")
        attributes = "executeTimeout=900;loadUsingCSV=true;ConnectionTimeout=20"
        copy, replica = _at_aws(document["targets"]["replica"], "target", ExtraConnectionAttributes=attributes)
        document["targets"] = {"replica": replica, "stream": stream}
        (tmp_path / "endpoints.json").write_text(json.dumps({"Endpoints": [origin, copy]}))
        services.configuration.write_text(json.dumps(document))
        _plan_says_what_goes(services)
        services.start("capture")
        services.start("apply")
        # It ends by itself when the load is completed, and goes on when that is not asked for any more.
        assert services.join("apply") == 0, services.log_tail("apply")
        assert made_anew()
        assert _differing(source, target) == []
        foreign_keys = (
            "select count(*) from pg_constraint where contype = 'f' and conrelid = 'landing.orders'::regclass"
        )
        assert target.rows(foreign_keys) == [(1,)]
        load = DOCUMENT["FullLoadSettings"] | {"StopTaskCachedChangesApplied": False}
        (tmp_path / "task.json").write_text(_task(DOCUMENT | {"FullLoadSettings": load}))
        services.start("apply")

        # Characters become others, and large values are cut off: by load and by log, in keys, too.
        source.execute("update notes set body = repeat('b', 3000) where id = 'b7'", "delete from notes where id = 'b8'")
        notes = source.rows(NOTES)
        services.wait(lambda: target.rows("select * from landing.notes order by 1") == notes, "the notes")
        assert services.said("apply", "large values cut off")

        # A truncate is ignored, and what follows it is not.
        source.execute("truncate bag", "insert into bag values (1), (99)")
        services.wait(lambda: target.rows("select count(*) from landing.bag") == [(51,)], "the row behind the truncate")

        _rows_in_error_are_left_out_until_there_are_too_many(services, source, target, replication)
        _changes_that_rows_contradict_are_left_out(services, source, target)
        services.wait(lambda: target.rows(STATUS) == [("CHANGE PROCESSING",)], "the status")
        _what_verify_finds_is_kept(services, target, replication)
        _before_images_reach_a_topic(services, source, target, kafka_server, f"{replication}.stream")
        # What is there is not dropped again.
        target.execute("insert into landing.bag values (777)")
        assert services.stop("apply") == 0
        assert target.rows(STATUS) == [("NOT RUNNING",)]
        history = """select "TIMESLOT_TYPE", "TIMESLOT_DURATION", sum("RECORDS") > 0 from dms.awsdms_history
                     group by 1, 2 order by 1"""
        assert target.rows(history) == [("CHANGE PROCESSING", 7, True), ("FULL LOAD", 7, True)]
        services.start("apply")
        source.execute("insert into bag values (100)")
        services.wait(
            lambda: target.rows("select id from landing.bag where id >= 100 order by 1") == [(100,), (777,)], "the row"
        )
        assert services.stop("apply") == 0
        assert services.stop("capture") == 0
