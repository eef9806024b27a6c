"""DynamoDB as a target: what `apply.sinks` asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing

from apply.sink_kinds.guarded import table_findings
from apply.sinks.dynamodb.client import Client
from apply.sinks.dynamodb.items import Items
from apply.sinks.dynamodb.reader import DynamodbReader
from apply.sinks.dynamodb.sink import DynamodbSink
from apply.sinks.dynamodb.tables import Tables, key_difference
from schemas.endpoints.dynamodb import DynamodbTarget
from schemas.findings import Finding, blocks, note
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.policies import DdlPolicy
from schemas.settings import Settings
from schemas.table import TableSchema


def open_sink(settings: Settings, target: str) -> DynamodbSink:
    """Return the sink of a target. Connects when it is first used."""
    section, rules = settings.section(target, DynamodbTarget), settings.object_mappings(target)
    return DynamodbSink(settings.name, target, section, rules, drops=_drops(settings))


def open_reader(settings: Settings, target: str) -> DynamodbReader:
    """Return what reads the rows back."""
    return DynamodbReader(settings.section(target, DynamodbTarget), settings.object_mappings(target))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """Check that the service answers, and that each table can be one there. Never changes anything."""
    section, rules = settings.section(target, DynamodbTarget), settings.object_mappings(target)
    found: list[Finding] = []
    with closing(Client(section)) as client:
        made = Tables(client, section)
        made.describe(section.control_table)
        for table, name, problem in table_findings(tables, lambda t: _items(section, rules, t).name, *_WORDS):
            if problem is not None:
                found.append(problem)
                continue
            there = made.describe(name)
            if there:
                different = key_difference(there, _items(section, rules, table).key)
                found.append(_of_table(table, name, different))
    return found


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """Return the policy that the role needs, and nothing more."""
    section, rules = settings.section(target, DynamodbTarget), settings.object_mappings(target)
    names = sorted({_items(section, rules, table).name for table in tables})
    region = section.region or "*"
    rows = ["Scan", "PutItem", "UpdateItem", "DeleteItem"]
    make = ["DescribeTable", "CreateTable"]
    drop = ["UpdateTable", "DeleteTable"] if _drops(settings) else []
    control = [*make, *rows, "GetItem", "ConditionCheckItem", "UpdateTimeToLive"]
    statements = [
        _statement([*make, *drop, *rows], region, names),
        _statement(control, region, [section.control_table]),
    ]
    return [json.dumps({"Version": "2012-10-17", "Statement": statements})]


_WORDS = ("an item", "table_name")


def _items(section: DynamodbTarget, rules: Sequence[ObjectMappingRule], table: TableSchema) -> Items:
    return Items(table, rules, section.table_name, section.sequence_attribute)


def _of_table(table: TableSchema, name: str, different: str) -> Finding:
    if different:
        message = f"the table {name} is there already, and {different}"
        remedy = "delete it, or set `table_name` of the target"
        return blocks("key-differs", message, remedy, table.name)
    message = f"the table {name} is there already: items of other keys stay, those of equal keys are written over"
    return note("table-exists", message, table=table.name)


def _statement(actions: list[str], region: str, names: list[str]) -> dict[str, object]:
    resources = [f"arn:aws:dynamodb:{region}:*:table/{name}" for name in names]
    return {"Effect": "Allow", "Action": [f"dynamodb:{action}" for action in actions], "Resource": resources}


def _drops(settings: Settings) -> bool:
    return settings.ddl.dropped is DdlPolicy.APPLY
