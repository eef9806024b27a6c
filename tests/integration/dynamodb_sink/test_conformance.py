"""The DynamoDB sink passes the conformance suite of sinks on the imitation of AWS, with throttling injected."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar, cast

import pytest

from apply.schema_catalog import Dropped
from apply.sink import Sink, TableBatch, TopicPartition
from apply.sinks import target_findings, target_grants
from apply.sinks.dynamodb.reader import DynamodbReader
from apply.sinks.dynamodb.sink import DynamodbSink
from deploy.local.aws import AwsServer
from deploy.local.moto import MotoServer
from schemas.changes import UNCHANGED, Row
from schemas.endpoints.dynamodb import DynamodbTarget
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.findings import Severity
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.settings import parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from schemas.types.numbers import NAN
from tests.conformance.changes import Giver
from tests.conformance.sink_suite import EVENTS, INT64, ORDERS, SEATS, STRING, SinkSuite
from tests.kit.type_samples import SAMPLES, TypeSample
from tests.unit.apply.rig import Rig
from tests.unit.apply.test_completion import completion

pytestmark = pytest.mark.integration


def _without_display_scale(samples: Sequence[TypeSample]) -> tuple[TypeSample, ...]:
    """Return the samples with numbers as DynamoDB keeps them: without zeros at the end that say nothing."""
    return tuple(
        replace(sample, values=tuple(map(_shortest, sample.values))) if sample.type.family is Family.NUMERIC else sample
        for sample in samples
    )


def _shortest(value: Decimal) -> Decimal:
    text = format(value, "f")
    if "." in text and value.is_finite() and len(value.as_tuple().digits) <= 38:
        text = text.rstrip("0").rstrip(".")
    return Decimal(text)


class TestDynamodb(SinkSuite):
    samples: ClassVar[Sequence[TypeSample]] = _without_display_scale(SAMPLES)

    @pytest.fixture
    def sink(self, moto_server: MotoServer) -> Iterator[Sink]:
        yield from self.sink_at(moto_server)

    def sink_at(self, server: AwsServer, **more: Any) -> Iterator[Sink]:
        self.client = server.client("dynamodb")
        self.prefix = f"t{secrets.token_hex(5)}"
        section = {
            "engine": "dynamodb",
            "table_name": f"{self.prefix}-{{schema}}.{{table}}",
            "control_table": f"{self.prefix}-control",
            **server.settings,
            **more,
        }
        self.section = DynamodbTarget.model_validate(section)
        self.opened: list[DynamodbSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()
        for name in self.client.list_tables()["TableNames"]:
            if name.startswith(self.prefix):
                self.client.update_table(TableName=name, DeletionProtectionEnabled=False)
                self.client.delete_table(TableName=name)
        self.client.close()

    def open(self, rules: Sequence[ObjectMappingRule] = ()) -> Sink:
        self.opened.append(DynamodbSink("shop", "items", self.section, rules, drops=True))
        return self.opened[-1]

    def give(self, sink: Sink, batch: TableBatch, number: int = 0) -> None:
        """As the service does: who has no claim yet gets one before it writes."""
        partition = TopicPartition(f"shop.{batch.table.name}", number)
        if partition not in cast("DynamodbSink", sink)._fences._claims:
            sink.load_offsets([partition])
        super().give(sink, batch, number)

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def items(self, name: str) -> list[dict[str, Any]]:
        pages = self.client.get_paginator("scan").paginate(TableName=name, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        with contextlib.closing(DynamodbReader(self.section, ())) as reader:
            return list(reader.rows(table))

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        """Let a request that writes be cancelled for a conflict, or be answered with an error after all."""
        api = cast("DynamodbSink", sink)._client.api
        before, calls = api.transact_write_items, itertools.count()
        throttled = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}

        def transact_write_items(**request: Any) -> Any:
            if next(calls) != number // 2:
                return before(**request)
            if number % 2:
                before(**request)
                raise api.exceptions.ClientError(throttled, "TransactWriteItems")
            # The first action meets another transaction; the others are well.
            reasons = [{"Code": "TransactionConflict"}, *({"Code": "None"} for _ in request["TransactItems"][1:])]
            cancelled = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise api.exceptions.TransactionCanceledException(cancelled, "TransactWriteItems")

        api.transact_write_items = transact_write_items
        try:
            yield
        finally:
            api.transact_write_items = before

    @pytest.fixture
    def _truncates_at_barriers(self, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
        truncate = sink.truncate

        def at_a_barrier(tables: Sequence[TableSchema]) -> None:
            sink.arrive("truncate", TopicPartition(f"shop.{ORDERS.name}", 0), 1)
            assert sink.pass_barrier("truncate")
            truncate(tables)

        monkeypatch.setattr(sink, "truncate", at_a_barrier)

    @pytest.mark.usefixtures("_truncates_at_barriers")
    def test_truncate_empties_within_the_transaction(self, sink: Sink) -> None:
        super().test_truncate_empties_within_the_transaction(sink)

    def test_who_has_lost_its_partition_writes_nothing_more(self, sink: Sink) -> None:
        """However late its requests come, and wherever it dies: none of them is carried out."""
        own, other_ones = TopicPartition(f"shop.{ORDERS.name}", 0), TopicPartition(f"shop.{ORDERS.name}", 1)
        sink.prepare(ORDERS)
        sink.load_offsets([own, other_ones])
        self.write(sink, TableBatch(ORDERS, upserts=[(0, "a", None)], fresh=True))
        late = [
            TableBatch(ORDERS, upserts=[(i, "loaded", None) for i in range(1, 61)], fresh=True),
            TableBatch(ORDERS, upserts=[(1, "changed", None)], deletes=[(4,)]),
            TableBatch(ORDERS, updates=[(5, "late", UNCHANGED)]),
        ]
        for batch in late:
            self.giver.given(batch, sink.capabilities)
        other = self.other_sink(sink)
        other.load_offsets([own])
        other.prepare(ORDERS)
        deleted = TableBatch(ORDERS, deletes=[(i,) for i in range(1, 61) if i not in (4, 5)])
        self.write(other, *late, deleted)
        for key in self.items(self.section.control_table):
            if key["id"]["S"].startswith("deleted/"):
                # As after `deleted_kept_s`.
                self.client.delete_item(TableName=self.section.control_table, Key={"id": key["id"]})
        expected = {(0, "a", None), (5, "late", None)}
        assert self.rows(other, ORDERS) == expected
        # Also what comes to an empty table, as its loads do.
        cast("DynamodbSink", sink)._found_empty[ORDERS.name] = True
        for batch in late:
            with pytest.raises(TailraceError, match="fenced") as caught:
                sink.apply(self.giver.given(batch, sink.capabilities))
            assert caught.value.kind is ErrorKind.INVARIANT
            assert self.rows(other, ORDERS) == expected
        # Its other partition is its own.
        self.write(sink, TableBatch(ORDERS, upserts=[(7, "mine", None)]), number=1)
        assert self.rows(sink, ORDERS) == expected | {(7, "mine", None)}

    def test_a_truncate_is_only_its_owners(self, sink: Sink) -> None:
        where = TopicPartition(f"shop.{ORDERS.name}", 0)
        sink.prepare(ORDERS)
        sink.load_offsets([where])
        late = TableBatch(ORDERS, upserts=[(i, "old", None) for i in range(150)])
        self.write(sink, late)
        sink.arrive("truncate-1", where, 1)
        assert sink.pass_barrier("truncate-1")
        # It stands still here; another one goes on.
        other = self.other_sink(sink)
        other.load_offsets([where])
        other.prepare(ORDERS)
        other.arrive("truncate-1", where, 1)
        assert other.pass_barrier("truncate-1")
        other.truncate([ORDERS])
        other.flush()
        assert self.rows(other, ORDERS) == set()
        self.write(other, TableBatch(ORDERS, upserts=[(1, "new", None)]))
        with pytest.raises(TailraceError, match="fenced"):
            sink.truncate([ORDERS])
        sink.rollback()
        with pytest.raises(TailraceError, match="fenced"):
            sink.apply(self.giver.given(late, sink.capabilities))
        assert self.rows(other, ORDERS) == {(1, "new", None)}
        assert sink.forget()
        assert not [item for item in self.items(self.section.control_table) if "deleted/" not in item["id"]["S"]]

    @pytest.mark.parametrize("when", ["before it lifts the protection", "before it asks", "before it deletes"])
    def test_a_drop_that_comes_late_takes_no_other_table(self, sink: Sink, when: str) -> None:
        """It stands still on its way; another one has its partition, drops the table, and makes it anew, by then."""
        where = TopicPartition(f"shop.{ORDERS.name}", 0)
        name = f"{self.prefix}-{ORDERS.name}"
        sink.load_offsets([where])
        sink.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "old", None)]))
        other = self.other_sink(sink)

        def others_go_on() -> None:
            other.load_offsets([where])
            other.arrive("drop-1", where, 1)
            assert other.pass_barrier("drop-1")
            other.drop(ORDERS)
            other.flush()
            assert name not in self.client.list_tables()["TableNames"]
            other.prepare(ORDERS)
            self.write(other, TableBatch(ORDERS, upserts=[(2, "new", None)]))

        def first(do: Callable[..., Any]) -> Callable[..., Any]:
            turns = iter([others_go_on])

            def late(*given: Any, **named: Any) -> Any:
                next(turns, lambda: None)()
                return do(*given, **named)

            return late

        late = cast("DynamodbSink", sink)
        sink.arrive("drop-1", where, 1)
        assert sink.pass_barrier("drop-1")
        if when == "before it asks":
            late._fences.ask = first(late._fences.ask)  # type: ignore[method-assign]
        else:
            api, operation = late._client.api, "delete_table" if "deletes" in when else "update_table"
            setattr(api, operation, first(getattr(api, operation)))
        with pytest.raises(TailraceError) as caught:
            sink.drop(ORDERS)
        assert caught.value.action is (Action.RETRY if "deletes" in when else Action.STOP)
        assert self.rows(other, ORDERS) == {(2, "new", None)}
        assert self.client.describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"]

    def test_an_applier_drops_what_the_source_has_dropped(self, sink: Sink) -> None:
        rig, name = Rig([ORDERS]), f"{self.prefix}-{ORDERS.name}"
        rig.topics.put(ORDERS, "c", None, (1, "a", None))
        rig.topics.put(ORDERS, "c", None, (2, "b", None))
        member = rig.member(take_all=True, other=sink)
        rig.settle(member)
        assert self.rows(sink, ORDERS) == {(1, "a", None), (2, "b", None)}
        rig.topics.schemas[f"shop.{ORDERS.name}"].dropped = Dropped(ORDERS.version, {0: 1, 1: 1})
        done = completion(rig, member)
        for _ in range(2):
            assert member.applier.checkpoint()
            done.attend(member.applier.reached)
        assert name not in self.client.list_tables()["TableNames"]

    def test_a_table_that_is_there_is_protected_where_tables_are_dropped(self, sink: Sink) -> None:
        name, where = f"{self.prefix}-{ORDERS.name}", TopicPartition(f"shop.{ORDERS.name}", 0)
        key = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
        self.client.create_table(
            TableName=name, AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}], **key
        )
        sink.prepare(ORDERS)
        assert self.client.describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"]
        sink.load_offsets([where])
        sink.arrive("drop-1", where, 1)
        assert sink.pass_barrier("drop-1")
        sink.drop(ORDERS)
        assert name not in self.client.list_tables()["TableNames"]

    def test_a_partition_that_nobody_has_claimed_is_not_written(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        sink.load_offsets([TopicPartition(f"shop.{ORDERS.name}", 0)])
        with pytest.raises(TailraceError, match="not claimed") as caught:
            sink.apply(self.giver.given(TableBatch(ORDERS, upserts=[(1, "a", None)]), sink.capabilities, 1))
        assert caught.value.kind is ErrorKind.INVARIANT
        for work in (sink.truncate, lambda tables: sink.drop(tables[0])):
            with pytest.raises(TailraceError, match="no partition waits"):
                work([ORDERS])
        assert self.rows(sink, ORDERS) == set()

    def test_many_requests_at_a_time_ask_for_their_claims(self, sink: Sink) -> None:
        where = [TopicPartition(f"shop.{ORDERS.name}", number) for number in range(3)]
        sink.prepare(ORDERS)
        sink.load_offsets(where)
        for number in range(3):
            rows = [(i, "x", None) for i in range(number, 900, 3)]
            self.write(sink, TableBatch(ORDERS, upserts=rows, fresh=True), number=number)
        assert len(self.rows(sink, ORDERS)) == 900

    def test_what_no_item_can_be_is_refused(self, sink: Sink) -> None:
        with pytest.raises(TailraceError) as caught:
            sink.prepare(EVENTS)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        sink.prepare(SEATS)
        sink.load_offsets([TopicPartition(f"shop.{SEATS.name}", 0)])
        rows: list[Row] = [("", None, 1), ("h" * 1025, None, 2), ("a", "x" * (400 << 10), 3), ("b", "y" * 300_000, 4)]
        batch = TableBatch(SEATS, upserts=rows)
        rejections = sink.apply(self.giver.given(batch, sink.capabilities))
        assert sorted(r.index for r in rejections) == [0, 1, 2]
        assert {r.error.kind for r in rejections} == {ErrorKind.ROW_REJECTED}
        assert self.rows(sink, SEATS) == {rows[3]}
        # Another key than the one that is there.
        with pytest.raises(TailraceError) as caught:
            sink.prepare(replace(SEATS, key=(0,)))
        assert (caught.value.kind, caught.value.table) == (ErrorKind.TARGET_SCHEMA, "public.seats")

    def test_keys_are_of_their_types(self, sink: Sink) -> None:
        decimal = LogicalType(Family.DECIMAL, precision=38, scale=2)
        columns = (Column("a", decimal, "numeric(38,2)"), Column("b", LogicalType(Family.BYTES), "bytea"))
        table = TableSchema(TableName("public", "keys"), columns, (0, 1))
        sink.prepare(table)
        sink.load_offsets([TopicPartition(f"shop.{table.name}", 0)])
        rows = [(10**38 - 1, b"\0"), (-(10**38) + 1, b"\xff" * 1024), (NAN, b"x")]
        rejections = sink.apply(self.giver.given(TableBatch(table, upserts=list(rows)), sink.capabilities))
        assert [r.index for r in rejections] == [2]
        assert self.rows(sink, table) == set(rows[:2])
        wide = replace(table, name=TableName("public", "wide"), columns=(*columns, ORDERS.columns[0]), key=(2, 0, 1))
        sink.prepare(wide)
        self.write(sink, TableBatch(wide, upserts=[(5, b"k", 1), (6, b"l", 2)]))
        self.write(sink, TableBatch(wide, deletes=[(1, 5, b"k")]))
        assert [item["tailrace_key"] for item in self.items(f"{self.prefix}-{wide.name}")] == [
            {"S": '[2,"0.06","bA=="]'}
        ]

    @pytest.mark.parametrize("action", ["map-record-to-record", "map-record-to-document"])
    def test_rules_of_object_mapping_make_items(self, sink: Sink, action: str) -> None:
        """The customer of the DMS user guide's page on DynamoDB."""
        names = ("FirstName", "LastName", "HomeAddress", "WorkPhone", "NickName", "income")
        columns = tuple(Column(name, STRING if name != "income" else INT64, "text") for name in names)
        table = TableSchema(TableName("test", "customer"), columns, (0, 1))
        home = {"M": {"Address": {"S": "${HomeAddress}"}, "Floor": {"N": "3"}}}
        rule = {
            "rule-type": "object-mapping",
            "rule-id": "2",
            "rule-action": action,
            "object-locator": {"schema-name": "test", "table-name": "customer"},
            "target-table-name": f"{self.prefix}-customer_t",
            "mapping-parameters": {
                "partition-key-name": "CustomerName",
                "exclude-columns": list(names[:4]),
                "attribute-mappings": [
                    {
                        "target-attribute-name": "CustomerName",
                        "attribute-type": "scalar",
                        "attribute-sub-type": "string",
                        "value": "${FirstName},${LastName}",
                    },
                    {
                        "target-attribute-name": "ContactDetails",
                        "attribute-type": "document",
                        "attribute-sub-type": "dynamodb-map",
                        "value": {"M": {"Home": home, "Work": {"M": {"Phone": {"S": "${WorkPhone}"}}}}},
                    },
                ],
            },
        }
        mapped = self.open([ObjectMappingRule.model_validate(rule)])
        mapped.prepare(table)
        self.write(
            mapped, TableBatch(table, upserts=[("Randy", "Marsh", "Quahog", None, "R", 5), ("A", "B", *("c",) * 3, 1)])
        )
        self.write(mapped, TableBatch(table, deletes=[("A", "B")]))
        self.write(mapped, TableBatch(table, updates=[("Randy", "Marsh", UNCHANGED, UNCHANGED, "Ra", None)]))
        (item,) = self.items(f"{self.prefix}-customer_t")
        item.pop("tailrace_seq")
        nick = {"NickName": {"S": "Ra"}}
        contact = {"Home": {"M": {"Address": {"S": "Quahog"}, "Floor": {"N": "3"}}}, "Work": {"M": {}}}
        assert item == {
            "CustomerName": {"S": "Randy,Marsh"},
            "ContactDetails": {"M": contact},
            **({"_doc": {"M": nick}} if action.endswith("document") else nick),
        }
        rule["mapping-parameters"]["sort-key-name"] = "income"  # type: ignore[index]
        with pytest.raises(TailraceError, match="income") as caught:
            self.open([ObjectMappingRule.model_validate(rule)]).prepare(table)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA


def test_tables_that_are_made_have_the_capacity_that_is_said(moto_server: MotoServer) -> None:
    suite = TestDynamodb()
    sinks = suite.sink_at(moto_server, billing_mode="provisioned", write_capacity_units=7)
    sink = next(sinks)
    suite.giver = Giver()
    sink.prepare(SEATS)
    rows: list[Row] = [(f"h{i}", "z" * (390_000 if i % 9 == 0 else 9), i) for i in range(60)]
    suite.write(sink, TableBatch(SEATS, upserts=rows, fresh=True))
    assert suite.rows(sink, SEATS) == {*rows}
    described = suite.client.describe_table(TableName=f"{suite.prefix}-{SEATS.name}")["Table"]
    assert described["ProvisionedThroughput"]["WriteCapacityUnits"] == 7
    sink.arrive("drop", TopicPartition(f"shop.{SEATS.name}", 0), 1)
    assert sink.pass_barrier("drop")
    sink.truncate([SEATS])
    assert sink.is_empty(SEATS)
    sink.drop(SEATS)
    made = [name for name in suite.client.list_tables()["TableNames"] if name.startswith(suite.prefix)]
    assert made == [f"{suite.prefix}-control"]
    for _ in sinks:
        pass


def test_plan_says_what_stands_in_the_way_and_what_the_role_needs(moto_server: MotoServer) -> None:
    prefix = f"t{secrets.token_hex(5)}"
    section = {"engine": "dynamodb", **moto_server.settings, "table_name": f"{prefix}.{{table}}"}
    document = {
        "name": "shop",
        "kafka": {"bootstrap.servers": "127.0.0.1:9092"},
        "source": {"database": "shop", "user": "capture", "tables": ["public.*"]},
        "targets": {"items": section},
    }
    settings = parse(document)
    client = moto_server.client("dynamodb")
    key = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    types = [{"AttributeName": "id", "AttributeType": "S"}]
    client.create_table(TableName=f"{prefix}.orders", AttributeDefinitions=types, **key)
    other = replace(SEATS, name=TableName("other", "seats"))
    found = target_findings(settings, "items", [ORDERS, SEATS, other, EVENTS])
    assert [(f.code, f.table) for f in found] == [
        ("key-differs", ORDERS.name),
        ("shared-place", other.name),
        ("no-key", EVENTS.name),
    ]
    assert all(f.severity is Severity.BLOCKS and f.remedy for f in found)
    assert "id (S) and not id (N)" in found[0].message
    (policy,) = map(json.loads, target_grants(settings, "items", [ORDERS]))
    rows, control = policy["Statement"]
    assert rows["Resource"] == [f"arn:aws:dynamodb:us-east-1:*:table/{prefix}.orders"]
    assert {"dynamodb:UpdateTable", "dynamodb:DeleteTable", "dynamodb:PutItem", "dynamodb:DeleteItem"} <= set(
        rows["Action"]
    )
    assert "dynamodb:ConditionCheckItem" in control["Action"]
    assert control["Resource"] == ["arn:aws:dynamodb:us-east-1:*:table/tailrace-control"]
    client.delete_table(TableName=f"{prefix}.orders")
    client.close()
