"""Rules that work in capture: what they take away is in no change and no row, and nothing else is lost by them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from capture import mapped_source, table_versions
from capture.mapped_source import MappedReader, MappedSource
from capture.source import Capabilities, LogReader
from schemas.changes import UNCHANGED, Change, Row, RowChanges, SchemaChange, Transaction, Truncate
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings import mapped_table
from schemas.mappings.segments import Partition
from schemas.position import Position
from schemas.settings import Settings, parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

INT, TEXT = LogicalType(Family.INT64), LogicalType(Family.STRING)
PEOPLE = TableSchema(
    TableName("s", "people"),
    (
        Column("id", TEXT, "text", nullable=False),
        Column("name", TEXT, "text"),
        Column("secret", TEXT, "text"),
        Column("grade", INT, "bigint"),
    ),
    (0,),
)
OTHERS = replace(PEOPLE, name=TableName("s", "others"))
TXN = Transaction("1", 1, 1, 1)
U = UNCHANGED
START = Position(1)


def rule(number: int, action: str, column: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a rule about a column of `people`, at capture."""
    locator = {"schema-name": "s", "table-name": "people"} | ({"column-name": column} if column else {})
    return {
        "rule-type": "transformation",
        "rule-id": str(number),
        "rule-target": "column",
        "rule-action": action,
        "object-locator": locator,
        "at": "capture",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


RULES = [
    rule(1, "data-masking-hash-mask", "id"),
    rule(2, "remove-column", "secret"),
    rule(3, "add-column", value="both", expression="$name || $secret", data_type={"type": "string"}),
]
GRADED = {
    "rule-type": "selection",
    "rule-id": "9",
    "rule-action": "include",
    "object-locator": {"schema-name": "s", "table-name": "people"},
    "filters": [{"column-name": "grade", "filter-conditions": [{"filter-operator": "gte", "value": "5"}]}],
}


def settings(*rules: dict[str, Any]) -> Settings:
    """Return a configuration with these rules."""
    source = {"database": "d", "user": "u"} | ({} if GRADED in rules else {"tables": ["*.*"]})
    document = {"name": "n", "kafka": {"bootstrap.servers": "k"}, "source": source, "mappings": {"rules": list(rules)}}
    return parse(document)


class Inside:
    """The source that is mapped: its log is what a test puts into it."""

    capabilities = Capabilities("inside", "inside", truncates=True, schema_changes=True, joins=True)

    def __init__(self, *changes: Change, rows: Sequence[Row] = ()) -> None:
        self.changes = list(changes)
        self.held = list(rows)
        self.given: list[TableSchema] = []
        self.completed = 0
        self.gone: set[Any] = set()
        """Keys of rows that are not there any more."""

    def tables(self) -> list[TableSchema]:
        return [PEOPLE, OTHERS]

    def open_log(self, _position: Position, tables: Sequence[TableSchema]) -> LogReader:
        self.given = list(tables)
        return cast("LogReader", SimpleNamespace(poll=lambda _timeout_s: self.changes))

    def complete(self, changes: RowChanges) -> None:
        assert changes.table is PEOPLE
        for i, after in enumerate(changes.after):
            assert changes.before[i] is not None
            if after is not None and U in after and after[0] not in self.gone:
                self.completed += 1
                changes.after[i] = tuple("now" if v is U else v for v in after)

    def read(self, table: TableSchema, *_arguments: Any) -> Iterator[list[Row]]:
        assert table is PEOPLE
        yield self.held


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest().upper()


def published(inside: Inside, *rules: dict[str, Any]) -> list[Change]:
    """Return what the log yields behind rules."""
    source = MappedSource(cast("Any", inside), settings(*rules))
    return list(source.open_log(START, source.tables()).poll(0))


def changes_of(*changes: tuple[str, Row | None, Row | None]) -> RowChanges:
    ops, before, after = (list(part) for part in zip(*changes, strict=True))
    return RowChanges(PEOPLE, TXN, ops, before, after)


@pytest.mark.parametrize(
    ("chosen", "joins"),
    [
        (rule(1, "rename", "name", value="n") | {"at": "apply"}, True),
        (rule(1, "rename", "name", value="n"), False),
        (GRADED, False),
    ],
)
def test_transactions_are_joined_only_where_no_rule_works_in_capture(chosen: dict[str, Any], joins: bool) -> None:
    assert MappedSource(cast("Any", Inside()), settings(chosen)).capabilities.joins == joins


def test_a_column_that_is_masked_or_removed_is_in_no_change() -> None:
    inside = Inside(
        changes_of(
            ("c", None, ("k", "n", "x", 1)),
            # A new value is computed from what the source has now: the log holds only a part of what it is made of.
            ("u", None, ("k", "m", U, 2)),
            # Another key: a whole row.
            ("u", ("k", U, U, U), ("l", U, U, 3)),
            ("d", ("l", U, U, U), None),
        )
    )
    (found,) = published(inside, *RULES)
    assert isinstance(found, RowChanges)
    assert found.table.column_names == ("id", "name", "grade", "both")
    assert found.table.at_source is PEOPLE
    assert list(zip(found.ops, found.before, found.after, strict=True)) == [
        ("c", None, (hashed("k"), "n", 1, "nx")),
        ("u", None, (hashed("k"), "m", 2, "mnow")),
        ("u", (hashed("k"), U, U, U), (hashed("l"), "now", 3, "nownow")),
        ("d", (hashed("l"), U, U, U), None),
    ]
    assert inside.given == [PEOPLE, OTHERS]
    assert inside.completed == 2


def test_what_is_made_of_values_that_nobody_can_tell_is_not_known_either() -> None:
    """An expression of which some values were known stopped capture; others made something of null."""
    inside = Inside(
        changes_of(
            ("u", ("k", U, U, U), ("l", "m", U, 3)),
            ("u", None, ("k", "o", U, 4)),
            ("c", None, ("p", "n", "x", 5)),
            ("d", ("l", U, U, U), None),
        )
    )
    inside.gone = {"l"}
    (found,) = published(inside, *RULES)
    assert isinstance(found, RowChanges)
    assert found.after == [(hashed("l"), "m", 3, U), (hashed("k"), "o", 4, "onow"), (hashed("p"), "n", 5, "nx"), None]


def test_a_new_key_is_a_whole_row_where_rules_change_nothing_but_names() -> None:
    inside = Inside(changes_of(("u", ("k", U, U, U), ("l", U, U, 3))))
    source = MappedSource(cast("Any", inside), settings(rule(1, "rename", "secret", value="hint")))
    (found,) = source.open_log(START, source.tables()).poll(0)
    assert isinstance(found, RowChanges)
    assert found.table.column_names == ("id", "name", "hint", "grade")
    # As the publisher does it.
    source.complete(found)
    assert found.after == [("l", "now", "now", 3)]
    assert inside.completed == 1


def test_a_filter_sees_what_a_rule_takes_away_and_positions_count_what_it_leaves_out() -> None:
    removes = rule(1, "remove-column", "grade")
    inside = Inside(
        changes_of(("c", None, ("a", "n", "x", 4)), ("c", None, ("b", "n", "x", 5)), ("d", ("c", U, U, U), None)),
        changes_of(("c", None, ("d", "n", "x", 3))),
    )
    some, none = published(inside, GRADED, removes)
    assert isinstance(some, RowChanges)
    assert isinstance(none, RowChanges)
    assert (some.after, some.count, some.left_out) == ([("b", "n", "x"), None], 2, 1)
    assert (none.count, none.left_out) == (0, 1)


def test_rows_that_are_read_are_as_the_logs() -> None:
    inside = Inside(rows=[("k", "n", "x", 1), ("l", None, "y", 7)])
    document = settings(GRADED, *RULES)
    table = MappedSource(cast("Any", inside), document).tables()[0]
    (rows,) = MappedReader(cast("Any", inside), document).read(table, cast("Any", None), 10)
    assert rows == [(hashed("l"), None, 7, None)]


def test_rights_are_asked_for_those_partitions_that_a_rule_cuts_a_table_into() -> None:
    present = [
        Partition("a", "", "1", "grant a;"),
        Partition("a1", "a", "2", "grant a1;"),
        Partition("b", "", "3", "grant b;"),
        Partition("c", "", "4"),
    ]
    inside: Any = SimpleNamespace(partitions=lambda _table: present)

    def refusals(**load: Any) -> list[str]:
        rule: dict[str, Any] = {"rule-type": "table-settings", "rule-id": "1", "parallel-load": load}
        rule["object-locator"] = GRADED["object-locator"]
        return MappedReader(inside, settings(GRADED, rule)).refusals(PEOPLE)

    assert refusals(type="partitions-auto") == ["grant a;", "grant b;"]
    assert refusals(type="partitions-list", partitions=["c"], subpartitions=["a1"]) == ["grant a1;"]
    assert refusals(type="ranges", columns=["grade"], boundaries=[[1]]) == []
    assert MappedReader(inside, settings(GRADED)).refusals(PEOPLE) == []


def test_other_rules_begin_a_new_version_and_none_leave_the_log_alone() -> None:
    before = MappedSource(cast("Any", Inside()), settings(*RULES[:2])).tables()
    stored = [TableSchema.from_document(table.to_document()) for table in before]
    assert [table.fingerprint for table in stored] == [table.fingerprint for table in before]
    assert stored[0].at_source == PEOPLE
    assert "at_source" not in stored[1].to_document()

    truncate = Truncate([PEOPLE, OTHERS], TXN)
    inside = Inside(truncate)
    source = MappedSource(cast("Any", inside), settings(*RULES))
    reader = source.open_log(START, stored)
    first, second = reader.poll(0)
    assert isinstance(first, SchemaChange)
    assert first.before is stored[0]
    assert first.after is not None
    assert first.after.column_names == ("id", "name", "grade", "both")
    assert not first.is_certain, "rows that are there are not as the rules have them"
    assert isinstance(second, Truncate)
    assert [table.column_names for table in second.tables] == [first.after.column_names, OTHERS.column_names]
    assert reader.poll(0) == [second]

    # The same columns, in other words.
    starred = [rule(1, "data-masking-digits-mask", "name", value="*"), rule(2, "rename", "grade", value="grade")]
    hashes = [rule(1, "data-masking-digits-mask", "name", value="#")]
    made = MappedSource(cast("Any", Inside()), settings(*starred)).tables()
    other = MappedSource(cast("Any", Inside()), settings(*hashes))
    assert [type(change) for change in other.open_log(START, made).poll(0)] == [SchemaChange]

    bare = MappedSource(cast("Any", Inside()), settings(rule(1, "rename", "name", value="n") | {"at": "apply"}))
    (back,) = bare.open_log(START, stored).poll(0)
    assert isinstance(back, SchemaChange)
    assert back.after == PEOPLE
    assert bare.open_log(START, bare.tables()).poll(0) == []


def test_what_is_listed_and_read_again_and_again_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[TableSchema] = []

    class Lasting(Inside):
        def tables(self) -> list[TableSchema]:
            return [TableSchema.from_document(PEOPLE.to_document())]

        def read(self, *_arguments: Any) -> Iterator[list[Row]]:
            yield [("k", "n", "x", 1)]

    def map_table(rules: Any, table: TableSchema) -> Any:
        compiled.append(table)
        return mapped_table.map_table(rules, table)

    monkeypatch.setattr(mapped_source, "map_table", map_table)
    inside, document = Lasting(), settings(*RULES)
    source, reader = MappedSource(cast("Any", inside), document), MappedReader(cast("Any", inside), document)
    listed = [source.tables()[0] for _ in range(3)]
    assert listed[0] is listed[2]
    assert len(compiled) == 1
    asked = [TableSchema.from_document(listed[0].to_document()) for _ in range(3)]
    rows = [[*reader.read(table, cast("Any", None), 10)] for table in asked]
    assert rows == [[[(hashed("k"), "n", 1, "nx")]]] * 3
    assert len(compiled) == 2


def _keyed(*rules: dict[str, Any]) -> str:
    return MappedSource(cast("Any", Inside()), settings(*rules)).tables()[0].key_made_by


def test_other_rules_for_the_key_alone_make_other_rows_of_those_that_are_there() -> None:
    def key(*rules: dict[str, Any]) -> Any:
        table = MappedSource(cast("Any", Inside()), settings(*rules)).tables()[0]
        assert table.columns[0].native == "text"
        assert TableSchema.from_document(table.to_document()).key_made_by == table.key_made_by
        return table_versions.key_of(table)

    mask = rule(1, "data-masking-digits-mask", "id", value="#")
    of_another = rule(2, "data-masking-digits-mask", "name", value="#")
    assert key(of_another) == table_versions.key_of(PEOPLE)
    assert key(mask) != key(of_another)
    assert key(mask) != key(mask | {"value": "*"})
    assert key(mask) == key(of_another, mask | {"rule-id": "7"})
    # By its id another type comes before the mask, or behind it.
    hashes = rule(5, "data-masking-hash-mask", "id")

    def typed(number: int) -> dict[str, Any]:
        return rule(number, "change-data-type", "id", data_type={"type": "clob"})

    assert _keyed(hashes, typed(4)) != _keyed(hashes, typed(6))
    assert _keyed(hashes, typed(6)) == _keyed(hashes, typed(7))
    of_a_type = rule(1, "data-masking-hash-mask", "%")
    of_a_type["object-locator"] |= {"data-type": "int8"}
    assert _keyed(of_a_type) == "", "the key has another type"


def test_a_value_that_cannot_be_what_a_rule_says_stops_without_being_told() -> None:
    inside = Inside(changes_of(("c", None, ("k", "hidden", "x", 1))))
    with pytest.raises(TailraceError) as caught:
        published(inside, rule(7, "change-data-type", "name", data_type={"type": "int4"}))
    assert caught.value.kind is ErrorKind.ROW_REJECTED
    assert caught.value.table == "s.people"
    assert "hidden" not in str(caught.value)


def test_random_digits_are_refused_where_rows_go_by_all_their_values() -> None:
    class Bag(Inside):
        def tables(self) -> list[TableSchema]:
            return [replace(PEOPLE, key=(), full_before=True)]

    source = MappedSource(cast("Any", Bag()), settings(rule(4, "data-masking-digits-randomize", "name")))
    with pytest.raises(TailraceError, match="rule 4: name identifies rows"):
        source.tables()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (rule(1, "rename", None, value="x") | {"rule-target": "table"}, "rule 1: `at: capture` is for columns"),
        (
            rule(2, "add-column", value="x", expression="$AR_H_CHANGE_SEQ", data_type={"type": "int8"}),
            "rule 2: `at: capture` is for columns",
        ),
    ],
)
def test_what_is_for_targets_is_refused(bad: dict[str, Any], why: str) -> None:
    with pytest.raises(TailraceError) as caught:
        settings(bad)
    assert why in str(caught.value)


def test_a_targets_own_rules_do_not_work_in_capture() -> None:
    document = {
        "name": "n",
        "kafka": {"bootstrap.servers": "k"},
        "source": {"database": "d", "user": "u", "tables": ["*.*"]},
        "targets": {"t": {"database": "e", "user": "u", "mappings": {"rules": [RULES[0]]}}},
    }
    with pytest.raises(TailraceError, match="belongs into the replication's mappings"):
        parse(document)
