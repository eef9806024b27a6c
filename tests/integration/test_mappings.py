"""Table mappings of AWS DMS end to end: what arrives is what the rules say, by load and by log, over a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.local.kafka import KafkaAddress
from tests.integration.services import Serve, Services
from tests.kit.servers import Database
from tests.kit.topics import read_raw

RULES: list[dict[str, Any]] = [
    {"rule-type": "selection", "rule-action": "include", "object-locator": {"schema-name": "shop", "table-name": "%"}},
    {
        "rule-type": "selection",
        "rule-action": "exclude",
        "object-locator": {"schema-name": "shop", "table-name": "audit%"},
    },
    {
        "rule-type": "selection",
        "rule-action": "explicit",
        "object-locator": {"schema-name": "shop", "table-name": "visit"},
        "load-order": 5,
        "filters": [
            {
                "filter-type": "source",
                "column-name": "grade",
                "filter-conditions": [
                    {"filter-operator": "between", "start-value": "5", "end-value": "7"},
                    {"filter-operator": "gte", "value": "100.5"},
                ],
            },
            {"column-name": "place", "filter-conditions": [{"filter-operator": "gte", "value": "B"}]},
        ],
    },
    {
        "rule-type": "selection",
        "rule-action": "include",
        "object-locator": {"schema-name": "shop", "table-name": "bag"},
        "filters": [{"column-name": "a", "filter-conditions": [{"filter-operator": "noteq", "value": 2}]}],
    },
]


def transformation(action: str, target: str, table: str = "%", column: str | None = None, **more: Any) -> None:
    locator = {"schema-name": "shop", "table-name": table} | ({"column-name": column} if column else {})
    RULES.append(
        {
            "rule-type": "transformation",
            "rule-action": action,
            "rule-target": target,
            "object-locator": locator,
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
    )


transformation("rename", "schema", value="crm")
transformation("add-prefix", "table", value="t_")
transformation("rename", "column", "customer", "name", value="full_name")
transformation("remove-column", "column", "customer", "secret%", at="capture")
transformation("data-masking-digits-mask", "column", "customer", "passport", value="#")
transformation("data-masking-hash-mask", "column", "customer", "email", at="capture")
transformation("change-data-type", "column", "customer", "score", data_type={"type": "int4"})
transformation(
    "add-column",
    "column",
    "customer",
    value="label",
    expression="upper($name) || '-' || $id",
    data_type={"type": "string"},
)
transformation("change-data-type", "column", "orders", "customer_id", data_type={"type": "string", "length": 20})
transformation("replace-prefix", "column", "journey", "note", value="re", old_value="no")
transformation("add-suffix", "column", "journey", "at", value="_day")
transformation("convert-uppercase", "column", "journey", "kind")


def table_settings(table: str, **settings: Any) -> None:
    RULES.append(
        {
            "rule-type": "table-settings",
            "object-locator": {"schema-name": "shop", "table-name": table},
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
    )


transformation(
    "add-column",
    "column",
    "flagged",
    value="state",
    expression="operation_indicator('gone', 'changed', 'new')",
    data_type={"type": "string", "length": 9},
)

table_settings("journey", parallel_load={"type": "subpartitions-auto"})
# By columns that rows change without another key, with nulls, and with large values that the log leaves out.
table_settings("orders", parallel_load={"type": "ranges", "columns": ["customer_id"], "boundaries": [[900], ["2000"]]})
table_settings(
    "visit", parallel_load={"type": "ranges", "columns": ["place", "grade"], "boundaries": [["B", 6], ["C", "1.5"]]}
)
table_settings("paper", lob_settings={"mode": "limited", "bulk-max-size": 2})
for number, rule in enumerate(RULES):
    rule["rule-id"] = str(number)

EXPECTED = {
    "customer": """
        select id, name full_name, translate(passport, '0123456789', '##########') passport,
               upper(encode(sha256(convert_to(email, 'utf8')), 'hex')) email, score::int score,
               upper(name) || '-' || id as label
        from shop.customer order by id""",
    "orders": "select id, customer_id::varchar(20) customer_id, at from shop.orders order by id",
    "bag": "select * from shop.bag where a <> 2 order by 1, 2",
    "journey": "select id, at, note, kind from shop.journey order by 1, 2",
    "paper": "select id, left(essay, 2048) from shop.paper order by 1",
    "visit": """
        select id, grade, place, md5(essay) essay from shop.visit
        where (grade between 5 and 7 or grade >= 100.5) and place >= 'B' collate "C" order by id""",
}
FOUND = {
    "customer": "select id, full_name, passport, email, score, label from crm.t_customer order by id",
    "orders": "select id, customer_id, at from crm.t_orders order by id",
    "bag": "select * from crm.t_bag order by 1, 2",
    "journey": 'select id, at_day, rete, "KIND" from crm.t_journey order by 1, 2',
    "paper": "select id, essay from crm.t_paper order by 1",
    "visit": "select id, grade, place, md5(essay) from crm.t_visit order by id",
}


SCHEMA = (
    "create schema shop",
    """create table shop.customer (id bigint primary key, name text, passport text, email text, score numeric(8,2),
       secret text, secret_too int)""",
    "create table shop.orders (id bigint primary key, customer_id bigint references shop.customer, at timestamptz)",
    "create index by_customer on shop.orders (customer_id)",
    "create table shop.bag (a int, b text)",
    "alter table shop.bag replica identity full",
    """create table shop.visit (id bigint primary key, grade numeric, place text, essay text)""",
    "alter table shop.visit alter essay set storage external",
    """insert into shop.visit
       select g, g % 12, (array['Aa', 'Bb', 'ba', 'Éa'])[1 + g % 4], repeat(md5(g::text), 200)
       from generate_series(1, 3000) g""",
    "create table shop.audit_log (id bigint primary key)",
    "create table shop.flagged (id int primary key, word text)",
    "insert into shop.flagged select g, 'w' || g from generate_series(1, 4) g",
    "create table shop.paper (id bigint primary key, essay text)",
    "insert into shop.paper select g, repeat('e' || g, 1900) from generate_series(1, 20) g",
    """create table shop.journey (id bigint, at date, note text, kind text, primary key (id, at))
       partition by range (at)""",
    "create table shop.journey_old partition of shop.journey for values from (minvalue) to ('2020-01-01')",
    """create table shop.journey_new partition of shop.journey for values from ('2020-01-01') to (maxvalue)
       partition by hash (id)""",
    "create table shop.journey_new_0 partition of shop.journey_new for values with (modulus 2, remainder 0)",
    "create table shop.journey_new_1 partition of shop.journey_new for values with (modulus 2, remainder 1)",
    """insert into shop.journey select g, date '2016-01-01' + g, repeat(md5(g::text), 9), 'k' || g % 5
       from generate_series(1, 3000) g""",
    """insert into shop.customer select g, 'né ' || g, 'C' || g || 'X', g || '@x', g, 'hidden', 1
       from generate_series(1, 3000) g""",
    "insert into shop.orders select g, g, '2026-01-01Z' from generate_series(1, 3000) g",
    "insert into shop.bag select g % 3, null from generate_series(1, 30) g",
)
CHANGES = (
    "update shop.customer set score = 7, name = 'new' where id <= 100",
    "insert into shop.customer values (5000, 'x', '12', '5@x', null, 'hidden', null)",
    "update shop.customer set id = 6000 where id = 5000",
    "delete from shop.orders where id > 2900",
    "update shop.orders set customer_id = case when id % 3 = 0 then null else id % 2 + 1 end where id % 9 < 5",
    "update shop.journey set at = at - 1461 where id % 7 = 0",
    "update shop.journey set note = 'seen' where id % 7 = 1",
    "delete from shop.journey where id % 7 = 2",
    "update shop.paper set essay = repeat('z', 9000) where id < 5",
    "delete from shop.bag where a = 1",
    "insert into shop.bag values (9, 'z'), (9, 'z'), (2, 'z')",
    "update shop.bag set a = 2 where a = 0",
    # In, out, in and out at once, with the large text unchanged and so not in the log.
    "update shop.visit set grade = 6 where id % 12 = 1",
    "update shop.visit set grade = 8 where id % 24 = 6",
    "update shop.visit set place = 'A' where id % 36 = 5",
    "update shop.visit set id = id + 10000, grade = 101 where id % 60 = 9",
    "delete from shop.visit where id between 100 and 200",
    "insert into shop.visit values (20000, 5, 'C', 'e'), (20001, 8, 'C', 'e'), (20002, null, 'C', 'e')",
)


def _differing(source: Database, target: Database) -> list[str]:
    there = {
        name for (name,) in target.rows("select table_name from information_schema.tables where table_schema = 'crm'")
    }
    return [
        name for name in EXPECTED if f"t_{name}" not in there or source.rows(EXPECTED[name]) != target.rows(FOUND[name])
    ]


def _parked(services: Services) -> list[dict[str, Any]]:
    return list(json.loads(services.run("parked list", "--target", "replica", "--json").stdout))


def _skip(services: Services, value: str) -> None:
    """Look at the one row that is parked, which has a value, and give it up."""
    (parked,) = _parked(services)
    shown = services.run("parked show", "--target", "replica", parked["identifier"])
    assert value in shown.stdout, shown.stdout + shown.stderr
    assert services.run("parked skip", "--target", "replica", parked["identifier"]).returncode == 0
    services.wait(lambda: _parked(services) == [], "nothing parked any more")
    assert parked["identifier"] in services.run("parked audit", "--target", "replica").stdout


def test_the_rules_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "mappings.json"
    path.write_text(json.dumps({"rules": RULES}))
    command = [sys.executable, "-m", "control.cli", "mappings", "check", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "column name of shop.customer: is called full_name" in said
    path.write_text(json.dumps({"rules": [{"rule-type": "selection"}]}))
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "the rule at place 1: rule-id is missing" in failed.stderr


def _plan_and_preview(services: Services) -> None:
    plan = services.run("plan", "--json")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert sorted(table["name"] for table in json.loads(plan.stdout)["tables"]) == [
        "shop.bag",
        "shop.customer",
        "shop.flagged",
        "shop.journey",
        "shop.orders",
        "shop.paper",
        "shop.visit",
    ]
    preview = services.run("mappings preview", "--target", "replica", "--table", "shop.customer", "--rows", "1")
    assert preview.returncode == 0, preview.stderr
    assert "to crm.t_customer" in preview.stdout
    assert "C#X" in preview.stdout


def _verify_says_what_differs(services: Services, source: Database) -> None:
    verified = json.loads(services.run("verify", "--target", "replica", "--json").stdout)
    assert sorted((t["table"], t["error"], t["equal"], t["source_rows"]) for t in verified["tables"]) == [
        ("shop.bag", None, True, source.rows("select count(*) from shop.bag where a <> 2")[0][0]),
        ("shop.customer", None, True, 3001),
        ("shop.flagged", None, True, 4),
        ("shop.journey", None, True, source.rows("select count(*) from shop.journey")[0][0]),
        ("shop.orders", None, True, 2900),
        # What is cut off on the way is another value.
        ("shop.paper", None, False, 20),
        ("shop.visit", None, True, len(source.rows(EXPECTED["visit"]))),
    ]


def _deleted_rows_stay(source: Database, target: Database, services: Services) -> None:
    source.execute(
        "update shop.flagged set word = 'x' where id = 1",
        "delete from shop.flagged where id = 2",
        "update shop.flagged set id = 30 where id = 3",
    )
    flagged = [
        (1, "x", "changed"),
        (2, "w2", "gone"),
        (3, "w3", "gone"),
        (4, "w4", "new"),
        (30, "w3", "new"),
    ]
    services.wait(lambda: target.rows("select * from crm.t_flagged order by id") == flagged, "the flags")


def test_a_document_of_dms_runs_as_it_is(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    new_database: Callable[..., Database],
) -> None:
    source, target = new_database(18, "source"), new_database(16, "target")
    source.execute(*SCHEMA, "alter table shop.customer replica identity full")
    (tmp_path / "mappings.json").write_text(json.dumps({"rules": RULES}))
    with Services(
        tmp_path, replication, kafka_server, source, target, at_source={"tables": None}, mappings="mappings.json",
        topics={"partitions": 3}, capture={"chunk_rows": 250},
    ) as services:  # fmt: skip
        _plan_and_preview(services)
        # Killed with segments half read: what they were cut by goes on.
        services.start("capture", failpoint="capture.load.finished:6")
        services.start("apply")
        source.execute(*CHANGES)
        services.meet("capture", "capture.load.finished:6")
        services.kill("apply")
        services.start("capture")
        services.start("apply")
        services.wait(lambda: _differing(source, target) == [], "all rows as the rules have them")
        _verify_says_what_differs(services, source)
        _deleted_rows_stay(source, target, services)
        # What cannot become an integer parks its key, and nothing else.
        source.execute(
            "update shop.customer set score = 1.5 where id = 1",
            "update shop.customer set score = 2 where id = 2",
            "truncate shop.bag",
        )
        source.execute("insert into shop.bag values (1, 'after')")
        services.wait(lambda: _differing(source, target) == ["customer"], "all but the parked row")
        services.wait(lambda: len(_parked(services)) == 1, "a parked key")
        scores = "select score from crm.t_customer where id in (1, 2) order by id"
        services.wait(lambda: target.rows(scores) == [(7,), (2,)], "the row beside it")
        _skip(services, "1.5")
        # A rule that comes later makes a new version, and brings the rows again.
        document = json.loads((tmp_path / "mappings.json").read_text())
        mask = next(rule for rule in document["rules"] if rule["rule-action"] == "data-masking-digits-mask")
        (tmp_path / "mappings.json").write_text(json.dumps({"rules": [*document["rules"], mask | LATER]}))
        assert services.stop("capture") == 0
        source.execute("update shop.customer set name = '07' where id = 3")
        services.start("capture")
        digits = "select count(*) from crm.t_customer where full_name ~ '[0-9]' or label ~ '[0-9].*-'"
        services.wait(lambda: target.rows(digits) == [(0,)], "every name without digits")
        assert target.rows("select full_name, label from crm.t_customer where id = 3") == [("**", "**-3")]
        assert services.stop("capture") == 0
        assert services.stop("apply") == 0
    topic = f"{replication}.shop.customer"
    values = [value or b"" for *_, value in read_raw(kafka_server.bootstrap, [topic])]
    assert len(values) > 6000
    assert not any(b"@x" in value or b"hidden" in value for value in values), "what is masked never reaches Kafka"


LATER = {
    "rule-id": "later",
    "at": "capture",
    "value": "*",
    "object-locator": {"schema-name": "shop", "table-name": "customer", "column-name": "name"},
}


def _rule(number: int, action: str, target: str, schema: str, table: str, **more: Any) -> dict[str, Any]:
    kind = "selection" if action in ("include", "exclude") else "transformation"
    found = {
        "rule-type": kind,
        "rule-id": str(number),
        "rule-action": action,
        "object-locator": {"schema-name": schema, "table-name": table},
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return found if kind == "selection" else found | {"rule-target": target}


SHARDS = [
    _rule(1, "include", "", "shard%", "%"),
    _rule(2, "rename", "schema", "shard%", "%", value="whole"),
    _rule(
        3,
        "add-column",
        "column",
        "shard%",
        "account",
        value="shard",
        expression="$AR_M_SOURCE_SCHEMA",
        data_type={"type": "string", "length": 20},
    ),
    _rule(4, "define-primary-key", "table", "shard%", "account", primary_key_def={"columns": ["shard", "id"]}),
    _rule(5, "define-primary-key", "table", "shard1", "loose", primary_key_def={"columns": ["a", "b"]}),
    _rule(
        6,
        "add-column",
        "column",
        "shard1",
        "loose",
        value="seq",
        expression="$AR_H_CHANGE_SEQ",
        data_type={"type": "int8"},
    ),
]


def test_shards_become_one_table_and_a_table_without_a_key_gets_one(
    tmp_path: Path, serve: Serve, new_database: Callable[..., Database]
) -> None:
    source, target = new_database(16, "source"), new_database(16, "target")
    for shard in ("shard1", "shard2"):
        source.execute(
            f"create schema {shard}",
            f"create table {shard}.account (id bigint primary key, name text)",
            f"insert into {shard}.account select g, '{shard}' || g from generate_series(1, 1500) g",
        )
    source.execute(
        "create table shard1.loose (a int, b int, c text)",
        "alter table shard1.loose replica identity full",
        "insert into shard1.loose select g, 0, 'c' || g from generate_series(1, 1500) g",
    )
    (tmp_path / "mappings.json").write_text(json.dumps({"rules": SHARDS}))
    more: dict[str, Any] = {"at_source": {"tables": None}, "mappings": "mappings.json"}
    with serve(source, target, **more) as services:
        plan = services.run("plan", "--json")
        assert plan.returncode == 0, plan.stdout + plan.stderr
        services.start("capture")
        services.start("apply")
        source.execute(
            "update shard1.account set name = 'new' where id <= 50",
            "update shard2.account set id = id + 5000 where id <= 20",
            "delete from shard1.account where id between 100 and 200",
            "update shard1.loose set b = 1, c = 'moved' where a <= 30",
            "delete from shard1.loose where a > 1400",
        )
        services.crash("apply")
        expected = source.rows(
            """select 'shard1', id, name from shard1.account union all select 'shard2', id, name from shard2.account
               order by 1, 2"""
        )
        loose = source.rows("select a, b, c from shard1.loose order by 1")

        def is_equal() -> bool:
            there = target.rows("select count(*) from pg_tables where schemaname = 'whole'")
            if there != [(2,)]:
                return False
            rows = target.rows("select shard, id, name from whole.account order by 1, 2")
            return rows == expected and target.rows("select a, b, c from whole.loose order by 1") == loose

        services.wait(is_equal, "both shards and the keyed table")
        # Of one shard a row is missing at the target, and of the other one differs.
        target.execute(
            "delete from whole.account where shard = 'shard1' and id = 300",
            "update whole.account set name = 'other' where shard = 'shard2' and id = 301",
        )
        verified = json.loads(services.run("verify", "--target", "replica", "--json").stdout)
        assert {t["table"]: (t["error"], t["differences"], t["target_rows"]) for t in verified["tables"]} == {
            "shard1.account": (None, [{"key": ["shard1", "300"], "kind": "missing"}], 1398),
            "shard2.account": (None, [{"key": ["shard2", "301"], "kind": "different"}], 1500),
            "shard1.loose": (None, [], 1400),
        }
        keys = """select pg_get_constraintdef(oid) from pg_constraint
                  where contype = 'p' and connamespace = 'whole'::regnamespace"""
        assert sorted(target.rows(keys)) == [("PRIMARY KEY (a, b)",), ("PRIMARY KEY (shard, id)",)]
        _change_shards(services, source, target)
        # The log's changes come behind the rows of the load.
        seqs = "select count(*) filter (where b = 1 and seq > 0), bool_and(seq > 0) from whole.loose"
        assert target.rows(seqs) == [(30, True)]
        assert services.stop("capture") == 0
        assert services.stop("apply") == 0


def _change_shards(services: Services, source: Database, target: Database) -> None:
    """One of them is emptied, one begins anew, and both are changed, the one earlier and oftener than the other."""
    target.execute("insert into whole.account (shard, id, name) values ('shard1', 300, 'shard1300')")
    source.execute(
        "truncate shard2.account",
        "insert into shard2.account values (1, 'after')",
        "create index on shard1.account (name)",
        "alter table shard1.account add column more int",
        "update shard1.account set more = 1 where id < 10",
        "alter table shard1.account rename name to called",
        "update shard1.account set more = 2 where id = 20",
        "alter table shard2.account add column more int",
        "alter table shard2.account rename name to called",
        "update shard2.account set more = 3",
    )
    services.wait(lambda: _are_shards_equal(source, target), "both shards, changed alike")
    source.execute(
        "drop table shard1.account",
        "create table shard1.account (id bigint primary key, called text, more int)",
        "insert into shard1.account values (7, 'anew', 7)",
    )
    services.wait(lambda: _are_shards_equal(source, target), "one of them made anew")


def _are_shards_equal(source: Database, target: Database) -> bool:
    named = "select count(*) from pg_attribute where attrelid = 'whole.account'::regclass and attname = 'called'"
    if target.rows(named) != [(1,)]:
        return False
    expected = """select 'shard1', id, called, more from shard1.account
                  union all select 'shard2', id, called, more from shard2.account order by 1, 2"""
    return target.rows("select shard, id, called, more from whole.account order by 1, 2") == source.rows(expected)
