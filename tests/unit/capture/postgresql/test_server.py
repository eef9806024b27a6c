"""Positions, snapshots, slots and findings: judgement over facts, without a server."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.source import Severity
from capture.sources.postgresql import findings
from capture.sources.postgresql.catalog import RelationFacts
from capture.sources.postgresql.connection import classify
from capture.sources.postgresql.facts import PublicationFacts, ServerFacts
from capture.sources.postgresql.grants import grants
from capture.sources.postgresql.position import format_position, last_record_end, parse_lsn, parse_position
from capture.sources.postgresql.server import STANDBY, Slot, check_position, check_slot, timeline_end
from capture.sources.postgresql.snapshot import parse_snapshot
from capture.sources.postgresql.source import capturable
from schemas.changes import Transaction
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position
from schemas.selection import Selection
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

SLOT = Slot("tailrace_shop", "pgoutput", "shop", None, 100, 50, "reserved", None, None)
IDENTITY = {"system_identifier": "7", "timeline": "1", "database": "shop", "slot": "tailrace_shop"}


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**15))
def test_positions_print_and_are_read_again(commit: int, row: int) -> None:
    position = Position(commit, row)
    assert parse_position(format_position(position)) == position
    assert parse_lsn(format_position(Position(commit))) == commit


def test_positions_look_like_the_servers() -> None:
    assert format_position(Position(0x16B3748)) == "0/16B3748"
    assert format_position(Position(0x1A_00000010, 12)) == "1A/10+12"


@pytest.mark.parametrize("text", ["", "12", "0/16B3748+", "0/16B3748+x", "g/1", "123456789/0", "0/1 2"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(TailraceError) as caught:
        parse_position(text)
    assert caught.value.kind is ErrorKind.CONFIGURATION


def test_the_end_of_the_log_is_never_within_a_page_header() -> None:
    assert last_record_end(8192 * 5 + 24) == 8192 * 5
    assert last_record_end(8192 * 2048 + 40) == 8192 * 2048
    assert last_record_end(8192 * 5 + 64) == 8192 * 5 + 64
    assert last_record_end(8192 * 5) == 8192 * 5


def _txn(xid: int) -> Transaction:
    return Transaction(str(xid), xid, 1, 1)


def test_a_snapshot_sees_what_had_ended() -> None:
    snapshot = parse_snapshot("10:20:10,14,15", "0/100")
    assert [snapshot.sees(_txn(xid)) for xid in (9, 10, 13, 14, 19, 20, 21)] == [
        True, False, True, False, True, False, False,
    ]  # fmt: skip
    assert [snapshot.settled(_txn(xid)) for xid in (9, 10, 13)] == [True, False, False]
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot


@given(st.integers(2**31, 2**40), st.integers(-(2**31) + 1, 2**31 - 1))
def test_transaction_ids_wrap_around(xmax: int, distance: int) -> None:
    snapshot = parse_snapshot(f"{xmax}:{xmax}:", "0/100")
    assert snapshot.sees(_txn((xmax + distance) % 2**32)) == (distance < 0)


def test_on_a_standby_whatever_may_be_running_is_unseen() -> None:
    snapshot = parse_snapshot("10:20:", "0/100", is_exact=False)
    assert [snapshot.sees(_txn(xid)) for xid in (9, 10, 13, 20)] == [True, False, False, False]


@pytest.mark.parametrize(
    ("stored", "position", "slot", "end", "match"),
    [
        ({"system_identifier": "8"}, 100, SLOT, 200, "another server"),
        ({"database": "other"}, 100, SLOT, 200, "another database"),
        ({"slot": "other"}, 100, SLOT, 200, "another replication slot"),
        ({}, 100, None, 200, "is gone"),
        ({}, 99, SLOT, 200, "starts at"),
        ({}, 300, SLOT, 200, "ends at"),
        ({}, 100, replace(SLOT, invalidation="wal_removed"), 200, "invalidated"),
        ({}, 100, replace(SLOT, wal_status="lost"), 200, "invalidated"),
    ],
)
def test_a_position_that_the_log_does_not_hold_is_refused(
    stored: dict[str, str], position: int, slot: Slot | None, end: int, match: str
) -> None:
    with pytest.raises(TailraceError, match=match) as caught:
        check_position(IDENTITY | stored, IDENTITY, Position(position), slot, Position(end))
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    assert caught.value.remedy
    # A reset takes away what the right server goes on with: it is not the first thing to do at the wrong one.
    assert ("`name` of its own" in caught.value.remedy) == ("another" in match)


def test_a_position_that_the_log_holds_is_accepted() -> None:
    check_position(IDENTITY, IDENTITY, Position(150, 3), SLOT, Position(200))


def test_a_promoted_server_must_have_all_that_was_captured() -> None:
    promoted, slot, end = IDENTITY | {"timeline": "3"}, SLOT, Position(900)
    # A failover slot that came along, and the old timeline was left behind our position.
    check_position(IDENTITY, promoted, Position(150), slot, end, 150)
    with pytest.raises(TailraceError, match="left timeline 1 at 0/95, before the position") as caught:
        check_position(IDENTITY, promoted, Position(150), slot, end, 149)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    with pytest.raises(TailraceError, match="does not descend"):
        check_position(IDENTITY, promoted, Position(150), slot, end, None)
    with pytest.raises(TailraceError, match="did not come along when the server was promoted"):
        check_position(IDENTITY, promoted, Position(150), None, end, 150)
    # A standby that was captured from, and was promoted under the open stream.
    check_position(IDENTITY | {STANDBY: "true"}, promoted, Position(150), slot, end, 149)


def test_a_standby_of_the_captured_server_is_waited_for() -> None:
    for slot in (SLOT, None):
        with pytest.raises(TailraceError, match="is a standby") as caught:
            check_position(IDENTITY, IDENTITY | {STANDBY: "true"}, Position(150), slot, Position(200))
        assert caught.value.kind is ErrorKind.SOURCE_CONNECTION


def test_a_timeline_ends_where_the_history_says() -> None:
    history = "1\t0/3000110\tno recovery target specified\n\n2\t1A/500\tbefore 2026-01-01\n"
    assert timeline_end(history, 1) == 0x3000110
    assert timeline_end(history, 2) == 0x1A_00000500
    assert timeline_end(history, 3) is None


def test_a_slot_of_another_kind_is_refused() -> None:
    for slot in (replace(SLOT, plugin="wal2json"), replace(SLOT, database="other"), replace(SLOT, plugin="")):
        with pytest.raises(TailraceError) as caught:
            check_slot(slot, "shop")
        assert caught.value.kind is ErrorKind.PREREQUISITE


def test_errors_are_classified_by_code() -> None:
    assert classify(None) is ErrorKind.SOURCE_CONNECTION
    assert classify("57P01") is ErrorKind.SOURCE_CONNECTION
    assert classify("42501") is ErrorKind.PREREQUISITE
    assert classify("42703") is ErrorKind.SOURCE_SCHEMA
    assert classify("28P01") is ErrorKind.CONFIGURATION
    assert classify("58P01") is ErrorKind.SOURCE_LOG_LOST
    assert classify("22012") is ErrorKind.INVARIANT


NAME = TableName("public", "orders")
RELATION = RelationFacts(1, NAME, "r", "p", "d", (), 10, "owner", True, True, "", None, True, 1)
TABLE = TableSchema(NAME, (), ())
GOOD = ServerFacts(
    version=180000,
    version_text="18.1",
    wal_level="logical",
    is_standby=False,
    role="capture",
    may_replicate=True,
    slots_max=10,
    slots=1,
    senders_max=10,
    senders=1,
    may_create=True,
    slot_wal_keep="10GB",
    encoding="UTF8",
    slot=None,
    publication=None,
    row_security=frozenset(),
)


def _codes(facts: ServerFacts, *relations: RelationFacts, **source: Any) -> dict[str, Severity]:
    source = {"database": "shop", "user": "capture", "tables": ["public.*"], **source}
    tables = [TableSchema(r.name, (), ()) for r in capturable(relations)]
    found = findings.find(PostgresqlSource(**source), "tailrace_shop", "tailrace_shop", facts, relations, tables)
    assert all(finding.remedy for finding in found if finding.severity is Severity.BLOCKS and finding.table)
    return {finding.code: finding.severity for finding in found}


def test_a_good_server_gives_no_findings() -> None:
    assert _codes(GOOD, RELATION) == {}


@pytest.mark.parametrize(
    ("change", "code", "severity"),
    [
        ({"version": 120000}, "server-version", Severity.BLOCKS),
        ({"version": 130005}, "text-form", Severity.NOTE),
        ({"wal_level": "replica"}, "wal-level", Severity.BLOCKS),
        ({"may_replicate": False}, "no-replication-right", Severity.BLOCKS),
        ({"slots": 10}, "replication-slots-full", Severity.BLOCKS),
        ({"senders": 10}, "wal-senders-full", Severity.BLOCKS),
        ({"is_standby": True}, "standby", Severity.WARNS),
        ({"is_standby": True, "version": 150000}, "standby", Severity.BLOCKS),
        ({"encoding": "SQL_ASCII"}, "encoding", Severity.WARNS),
        ({"slot_wal_keep": "-1"}, "slot-unbounded", Severity.NOTE),
        ({"slot": replace(SLOT, wal_status="lost")}, "slot-lost", Severity.BLOCKS),
        ({"slot": replace(SLOT, wal_status="unreserved")}, "slot-at-risk", Severity.WARNS),
        ({"slot": replace(SLOT, plugin="wal2json")}, "slot-foreign", Severity.BLOCKS),
        ({"may_create": False}, "publication-missing", Severity.BLOCKS),
        ({"row_security": frozenset({NAME})}, "row-security", Severity.BLOCKS),
        (
            {"publication": PublicationFacts(True, True, False, frozenset())},
            "publication-lacks-tables",
            Severity.BLOCKS,
        ),
        (
            {"publication": PublicationFacts(False, True, True, frozenset({NAME}))},
            "publication-options",
            Severity.NOTE,
        ),
    ],
)
def test_what_is_wrong_at_the_server_is_found(change: dict[str, Any], code: str, severity: Severity) -> None:
    assert _codes(replace(GOOD, **change), RELATION) == {code: severity}


@pytest.mark.parametrize(
    ("change", "code", "severity"),
    [
        ({"identity": "n", "refusal": "nothing"}, "no-replica-identity", Severity.WARNS),
        ({"refusal": "no key", "has_primary_key": False}, "no-replica-identity", Severity.WARNS),
        ({"identity": "f", "refusal": "generated"}, "no-replica-identity", Severity.WARNS),
        ({"refusal": "partition"}, "no-replica-identity", Severity.WARNS),
        ({"identity": "f", "narrow": (TableName("public", "p1"),)}, "partition-identity", Severity.WARNS),
        ({"identity": "f", "has_primary_key": False}, "keyless", Severity.NOTE),
        ({"kind": "p"}, "partitioned", Severity.NOTE),
        ({"inherits": True}, "inheritance", Severity.NOTE),
        ({"can_select": False}, "no-select-right", Severity.BLOCKS),
        ({"is_owner": False}, "publication-missing", Severity.BLOCKS),
        ({"kind": "v"}, "view", Severity.WARNS),
        ({"kind": "f"}, "foreign-table", Severity.WARNS),
        ({"persistence": "u"}, "unlogged", Severity.WARNS),
    ],
)
def test_what_is_wrong_with_a_table_is_found(change: dict[str, Any], code: str, severity: Severity) -> None:
    assert _codes(GOOD, replace(RELATION, **change)) == {code: severity}


def test_what_a_tables_own_values_mean_is_told() -> None:
    document = Column("d", LogicalType(Family.XML), "xml")
    table = TableSchema(RELATION.name, (document,), (), loose_key=True)
    source = PostgresqlSource(database="shop", user="cap", tables=["public.*"])
    found = findings.find(source, "s", "p", GOOD, [RELATION], [table])
    assert {finding.code: finding.severity for finding in found} == {
        "xml-declaration": Severity.NOTE,
        "loose-key": Severity.NOTE,
    }


def test_a_table_that_is_named_must_be_one() -> None:
    assert _codes(GOOD, replace(RELATION, kind="v"), tables=["public.orders"]) == {"view": Severity.BLOCKS}


def test_views_are_loaded_where_they_are_named_and_never_published() -> None:
    view = replace(RELATION, oid=5, kind="m", name=TableName("public", "totals"))
    views = Selection(["public.tot*"])
    assert capturable([RELATION, view], views) == [RELATION, view]
    assert capturable([RELATION, view]) == [RELATION]
    source = PostgresqlSource(database="shop", user="cap", tables=["public.*"], views=["public.tot*"])
    tables = [TableSchema(RELATION.name, (), ()), TableSchema(view.name, (), (), is_view=True)]
    (found,) = findings.find(source, "s", "p", replace(GOOD, may_create=False), [RELATION, view], tables)[1:]
    assert (found.code, found.severity, found.table) == ("view", Severity.NOTE, view.name)
    text = grants(source, "p", [RELATION.name], [view.name])
    assert 'select on "public"."orders", "public"."totals"' in text
    assert """array['"public"."orders"']""" in text


def test_partitions_are_left_out_where_their_root_is_taken() -> None:
    root = replace(RELATION, oid=2, kind="p", name=TableName("public", "root"))
    leaf = replace(RELATION, oid=3, ancestors=(2,), name=TableName("public", "leaf"))
    assert capturable([leaf, root]) == [root]
    assert capturable([leaf]) == [leaf]


def test_grants_name_exactly_what_is_needed() -> None:
    source = PostgresqlSource(database="shop", user="cap", tables=["public.*"])
    text = grants(source, "tailrace_shop", [NAME])
    assert 'grant select on "public"."orders" to "cap";' in text
    assert "superuser" not in text
