"""Rules that speak of changes and not of rows alone, and those that give tables another key, or several one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from apply.error_handling.policies import Policies
from apply.mapped_sink import MappedSink, mapped_tables
from apply.schema_catalog import Known
from apply.sink import Capabilities, Origin, Rejection, TableBatch, TopicPartition
from apply.sink_kinds.history import HistorySink
from apply.values import Values
from apply.writer import Writer
from schemas.changes import UNCHANGED, Row
from schemas.errors import TailraceError
from schemas.mappings.rules import TransformationRule, parse
from schemas.substitution import ValueSettings
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.memory_sink import MemorySink, MemoryTarget
from tests.kit.shards import fill
from tests.unit.apply.rig import DeadLettersDouble

INT = LogicalType(Family.INT64)
TABLE = TableSchema(
    TableName("shop", "customer"),
    (
        Column("id", INT, "bigint", nullable=False),
        Column("name", LogicalType(Family.STRING, length=20), "character varying(20)"),
        Column("essay", LogicalType(Family.STRING), "text"),
    ),
    (0,),
)
PLACE = TopicPartition("t", 0)
SECOND_US = 1_000_000


class Recorder(HistorySink):
    """A sink that keeps every change, in memory."""

    capabilities = Capabilities(
        stores_offsets=False, truncates=True, alters=True, keyless=True, history=True, origins=True
    )

    def __init__(self) -> None:
        self.batches: list[TableBatch] = []

    def apply(self, batch: TableBatch) -> list[Rejection]:
        self.batches.append(batch)
        return []

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


def rule(action: str, column: str | None = None, *, target: str = "column", **more: Any) -> TransformationRule:
    document = {
        "rule-type": "transformation",
        "rule-id": action,
        "rule-action": action,
        "rule-target": target,
        "object-locator": {"schema-name": "shop", "table-name": "%", "column-name": column or "%"},
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    (parsed,) = parse({"rules": [document]}).transformations
    return parsed


def header(name: str, type_: str) -> TransformationRule:
    return rule("add-column", value=name.lower(), expression=f"${name}", data_type={"type": type_})


def before_image(column_filter: str, **more: str) -> TransformationRule:
    return rule("add-before-image-columns", before_image_def={"column-filter": column_filter, **more})


def test_a_target_of_rows_is_told_of_each_rows_last_change() -> None:
    target = MemoryTarget()
    rules = [
        header("AR_H_COMMIT_TIMESTAMP", "datetime"),
        header("AR_H_CHANGE_SEQ", "int8"),
        header("AR_H_USER", "string"),
    ]
    sink = MappedSink(MemorySink(target), [*rules, header("AR_H_STREAM_POSITION", "string")])
    assert sink.capabilities.origins
    assert not MappedSink(MemorySink(target), [rule("rename", value="x")]).capabilities.origins
    sink.prepare(TABLE)
    origins = [Origin(PLACE, n, 7 + n, n * SECOND_US, None, 90 + n) for n in range(3)]
    batch = TableBatch(TABLE, [(1, "a", "x"), (2, "b", "y")], deletes=[(3,)])
    batch.origins = {"upserts": origins[:2], "updates": [], "deletes": origins[2:], "sequence": []}
    assert sink.apply(batch) == []
    again = TableBatch(TABLE, updates=[(2, "c", UNCHANGED)])
    again.origins = {
        "upserts": [],
        "updates": [Origin(PLACE, 9, 20, 5 * SECOND_US, None)],
        "deletes": [],
        "sequence": [],
    }
    sink.apply(again)
    sink.flush()
    assert sorted(target.read(TABLE.name)) == [
        (1, "a", "x", 0, 7, None, "90"),
        (2, "c", "y", 5 * SECOND_US, 20, None, None),
    ]


def test_deleted_rows_stay_and_are_flagged() -> None:
    target = MemoryTarget()
    flagged = rule(
        "add-column",
        value="state",
        expression="lower(operation_indicator('D', 'U', 'I'))",
        data_type={"type": "string"},
    )
    sink = MappedSink(
        MemorySink(target), [flagged, header("AR_H_OPERATION", "string"), rule("rename", "id", value="n")]
    )
    sink.prepare(TABLE)

    def write(batch: TableBatch, **operations: str) -> None:
        batch.origins = {
            kind: [Origin(PLACE, 1, 1, 1, None, 1, op) for op in operations.get(kind, "")]
            for kind in ("upserts", "updates", "deletes", "sequence")
        }
        assert sink.apply(batch) == []
        sink.flush()

    write(TableBatch(TABLE, [(1, "a", "x"), (2, "b", "y"), (3, "c", "z")]), upserts="rcu")
    write(TableBatch(TABLE, updates=[(3, "d", UNCHANGED)], deletes=[(1,), (9,)]), updates="u", deletes="dd")
    assert sorted(target.read(TABLE.name)) == [
        (1, "a", "x", "d", "INSERT"),
        (2, "b", "y", "i", "INSERT"),
        (3, "d", "z", "u", "UPDATE"),
    ]
    # A part of a batch, as writers make them, and a row that comes back.
    part = TableBatch(TABLE, deletes=[(2,)])
    write(part, updates="u", upserts="c", deletes="d")
    write(TableBatch(TABLE, [(1, "e", "x")]), upserts="c", deletes="d")
    assert [row[3] for row in sorted(target.read(TABLE.name))] == ["i", "d", "u"]
    # What is left of a batch that met conflicts has the origins of its own kinds only.
    again = TableBatch(TABLE, [(4, "f", "x")])
    again.origins = {"upserts": [Origin(PLACE, 2, 2, 2, None, 2, "c")]}
    assert sink.apply(again) == []
    again = TableBatch(TABLE, deletes=[(3,)])
    again.origins = {"deletes": [Origin(PLACE, 3, 3, 3, None, 3, "d")]}
    assert sink.apply(again) == []
    sink.flush()
    assert [row[3] for row in sorted(target.read(TABLE.name))] == ["i", "d", "d", "i"]
    # A flagged row is no reason to leave an insert out.
    assert sink.present(TABLE, [(2,), (9,)]) == [None, False]


def test_a_target_of_changes_is_told_the_operation_and_the_values_before() -> None:
    recorder = Recorder()
    rules = [
        header("AR_H_OPERATION", "string"),
        before_image("non-lob", **{"column-prefix": "BI_"}),
        rule("data-masking-digits-mask", "name", value="#"),
        rule("rename", "name", value="called"),
    ]
    sink = MappedSink(recorder, rules)
    changes: list[tuple[str, Row | None, Row | None]] = [
        ("r", None, (1, "a1", "x")),
        ("u", (1, "a1", "x"), (1, "b2", "x")),
        ("u", None, (1, "b2", "y")),
        ("d", (1, UNCHANGED, UNCHANGED), None),
        # Its key has changed.
        ("c", (1, UNCHANGED, UNCHANGED), (2, "b2", "y")),
        ("t", None, None),
    ]
    batch = TableBatch(TABLE, sequence=changes)
    batch.origins = {"sequence": [Origin(PLACE, n, n, n, None) for n in range(6)]}
    assert sink.apply(batch) == []
    (made,) = recorder.batches
    assert made.table.column_names == ("id", "called", "essay", "ar_h_operation", "BI_id", "BI_called")
    assert made.table.columns[4].nullable
    assert made.sequence == [
        ("r", None, (1, "a#", "x", "INSERT", None, None)),
        ("u", (1, "a#", "x", "UPDATE", None, None), (1, "b#", "x", "UPDATE", 1, "a#")),
        ("u", None, (1, "b#", "y", "UPDATE", 1, None)),
        ("d", (1, UNCHANGED, UNCHANGED, "DELETE", None, None), None),
        ("c", (1, UNCHANGED, UNCHANGED, "INSERT", None, None), (2, "b#", "y", "INSERT", 1, None)),
        ("t", None, None),
    ]


def test_a_target_of_rows_has_the_values_before_each_rows_last_change() -> None:
    target = MemoryTarget()
    sink = MappedSink(MemorySink(target), [before_image("all"), rule("data-masking-digits-mask", "name", value="#")])
    assert sink.capabilities.origins
    sink.prepare(TABLE)

    def write(batch: TableBatch, *changes: tuple[str, Row | None], kind: str = "upserts") -> None:
        batch.origins = {kind: [Origin(PLACE, 1, 1, 1, None, None, op, before) for op, before in changes]}
        assert sink.apply(batch) == []
        sink.flush()

    rows: list[Row] = [(1, "a", "x"), (2, "b2", "y"), (3, "c", "z"), (4, "d", "z")]
    write(TableBatch(TABLE, rows), ("r", None), ("c", None), ("u", (3, "c0", "w")), ("u", None))
    assert sorted(target.read(TABLE.name)) == [
        (1, "a", "x", None, None, None),
        (2, "b#", "y", None, None, None),
        (3, "c", "z", 3, "c#", "w"),
        # The log told nothing: an update that has the key of its row still has the key.
        (4, "d", "z", 4, None, None),
    ]
    # What a minimal image left out was not changed by this one, and what it was is not known.
    changes = [("u", (2, "b2", UNCHANGED)), ("u", None)]
    write(TableBatch(TABLE, updates=[(2, "b", UNCHANGED), (3, UNCHANGED, "q")]), *changes, kind="updates")
    write(TableBatch(TABLE, deletes=[(1,)]), ("d", (1, "a", "x")), kind="deletes")
    assert sorted(target.read(TABLE.name)) == [
        (2, "b", "y", 2, "b#", None),
        (3, "c", "q", 3, None, None),
        (4, "d", "z", 4, None, None),
    ]


def test_values_before_are_cut_off_and_substituted_as_rows_are() -> None:
    target = MemoryTarget()
    settings = ValueSettings.model_validate({"characters": {"61": "62"}, "lob_max_kb": 1})
    sink = MappedSink(MemorySink(target), [before_image("all")], Values(settings, "replica"))
    sink.prepare(TABLE)
    batch = TableBatch(TABLE, [(1, "ca", "x")])
    batch.origins = {"upserts": [Origin(PLACE, 1, 1, 1, None, None, "u", (1, "da", "y" * 3000))]}
    assert sink.apply(batch) == []
    sink.flush()
    assert target.read(TABLE.name) == [(1, "cb", "x", 1, "db", "y" * 1024)]


def test_a_row_without_a_key_is_found_by_what_the_log_tells_of_it() -> None:
    """Not by columns of the change before, which this one does not know."""
    bag = replace(TABLE, key=(), primary_key=False, full_before=True)
    target = MemoryTarget()
    sink = MappedSink(MemorySink(target), [before_image("all"), header("AR_H_CHANGE_SEQ", "int8")])
    sink.prepare(bag)
    first, second, third = (1, "a", "x"), (1, "b", "x"), (1, "c", "x")
    changes: list[tuple[str, Row | None, Row | None]] = [
        ("r", None, first),
        ("r", None, (2, "a", "x")),
        ("u", first, second),
        ("u", second, third),
        ("d", (2, "a", "x"), None),
    ]
    for n, change in enumerate(changes):
        batch = TableBatch(bag, sequence=[change])
        batch.origins = {"sequence": [Origin(PLACE, n, n, n, None, None, change[0])]}
        assert sink.apply(batch) == []
    sink.flush()
    assert target.read(bag.name) == [(1, "c", "x", 3, 1, "b", "x")]


@pytest.mark.parametrize(
    ("column_filter", "added"),
    [("pk-only", ["id_old"]), ("non-lob", ["id_old", "name_old"]), ("all", ["id_old", "name_old", "essay_old"])],
)
def test_which_columns_have_an_earlier_one(column_filter: str, added: list[str]) -> None:
    rules = [before_image(column_filter, **{"column-prefix": "", "column-suffix": "_old"})]
    for keeps_history in (True, False):
        (mapped,), found = mapped_tables(rules, [TABLE], keeps_history=keeps_history)
        assert found == []
        assert list(mapped.column_names[3:]) == added


def key(*columns: str, origin: str = "primary-key") -> TransformationRule:
    definition = {"name": "pk", "origin": origin, "columns": list(columns)}
    return rule("define-primary-key", target="table", primary_key_def=definition)


def constant(name: str, expression: str) -> TransformationRule:
    return rule("add-column", value=name, expression=expression, data_type={"type": "string", "length": 20})


def one_table(name: str = "all_customers") -> list[TransformationRule]:
    return [rule("rename", target="schema", value="all"), rule("rename", target="table", value=name)]


SHARDED = [constant("shard", "'of ' || $AR_M_SOURCE_TABLE_NAME"), key("shard", "id"), *one_table()]
EAST, WEST = (replace(TABLE, name=TableName("shop", name)) for name in ("east", "west"))


def test_several_tables_go_into_one_by_a_key_with_a_constant_of_each() -> None:
    target = MemoryTarget()
    sink = MappedSink(MemorySink(target), SHARDED)
    for table in (EAST, WEST):
        sink.prepare(table)
        assert sink.apply(TableBatch(table, [(1, table.name.table, "x"), (2, "b", "y")])) == []
    sink.apply(TableBatch(EAST, [(3, "c", "z")], [(2, "new", UNCHANGED)], deletes=[(1,)]))
    sink.flush()
    into = TableName("all", "all_customers")
    assert sorted(target.read(into)) == [
        (1, "west", "x", "of west"),
        (2, "b", "y", "of west"),
        (2, "new", "y", "of east"),
        (3, "c", "z", "of east"),
    ]
    (mapped, _), found = mapped_tables(SHARDED, [EAST, WEST])
    assert found == []
    assert mapped.key_names == ("shard", "id")


INTO = TableName("all", "all_customers")
WESTERN = (5, "e", "w", "of west")


def shared(target: MemoryTarget, *known: TableSchema, gone: Sequence[TableSchema] = ()) -> MappedSink:
    """An applier that has heard of these tables."""
    return MappedSink(MemorySink(target), SHARDED, tables=lambda: [Known(t, t in gone) for t in (*known, *gone)])


def with_rows_of_both() -> MemoryTarget:
    target = MemoryTarget()
    sink = shared(target, EAST, WEST)
    for table, row in ((EAST, (1, "a", "x")), (WEST, (5, "e", "w"))):
        sink.prepare(table)
        sink.apply(TableBatch(table, [row]))
    sink.flush()
    return target


def test_a_table_that_shares_one_is_emptied_of_its_own_rows() -> None:
    target = with_rows_of_both()
    # By a process that has written nothing of the other one; and made anew, whatever its life.
    sink = shared(target, EAST, WEST)
    again = replace(EAST, version=2, life=2)
    sink.prepare(again)
    sink.truncate([again])
    sink.flush()
    assert target.read(INTO) == [WESTERN]
    writer = Writer(sink, DeadLettersDouble(), Policies(), lambda _: 0)
    assert not writer.stays(EAST, is_gone=False)
    # What the source drops is left.
    assert writer.stays(WEST, is_gone=True)
    sink.drop(WEST)
    sink.flush()
    assert target.read(INTO) == [WESTERN]
    # Of the last one nothing is shared.
    shared(target, EAST, gone=[WEST]).drop(EAST)
    assert INTO not in target.tables


def test_a_table_that_might_share_one_and_is_alone_begins_anew_as_any_other() -> None:
    target = MemoryTarget()
    # Whoever prepares it empties it first, so that any other columns may come.
    again = replace(EAST, columns=(*EAST.columns[:2], Column("essay", INT, "bigint")), version=2, life=2)
    shared(target, EAST).prepare(EAST)
    shared(target, again).prepare(again)
    stored = target.tables[INTO]
    assert (stored.schema.version, stored.schema.life) == (2, 2)
    # From the second one on it is nobody's own, and stays so.
    west = replace(again, name=WEST.name, version=1, life=1)
    shared(target, again, west).prepare(west)
    assert (stored.schema.version, stored.schema.life) == (3, 1)
    shared(target, replace(again, version=3, life=3), gone=[west]).prepare(replace(again, version=3, life=3))
    assert (stored.schema.version, stored.schema.life) == (4, 1)


def test_tables_that_share_one_tell_what_each_was_filled_with() -> None:
    target = MemoryTarget()
    fill(MemorySink(target), SHARDED, (EAST, WEST))
    region = next(column for column in target.tables[INTO].schema.columns if column.name == "region")
    west, north = (("shard", "of west"),), (("shard", "of north"),)
    assert (region.filling, region.fillings) == ("it's east", ((west, "west"), (north, None)))
    # One that was dropped before has left rows without a value.
    assert region.nullable
    assert region.loosened


def test_a_table_that_is_gone_and_came_again_under_another_name_has_what_its_heir_was_filled_with() -> None:
    target = MemoryTarget()
    one = [constant("shard", "'all'"), key("shard", "id"), *one_table()]
    text = Column("region", LogicalType(Family.TEXT), "text", nullable=False, filling="x")
    heir = replace(EAST, columns=(*EAST.columns, text), version=2)
    MappedSink(MemorySink(target), one, tables=lambda: [Known(heir, False), Known(WEST, True)]).prepare(heir)
    region = next(column for column in target.tables[INTO].schema.columns if column.name == "region")
    assert (region.filling, region.fillings, region.nullable) == ("x", (), False)


@pytest.mark.parametrize("first", ["east", "west"])
def test_a_constant_of_one_alone_tells_no_rows_apart(first: str) -> None:
    # The other one has the column from the source, with any values.
    east = {"schema-name": "shop", "table-name": "east", "column-name": "%"}
    text = {"type": "string", "length": 20}
    shard = rule("add-column", value="shard", expression="'east'", data_type=text, object_locator=east)
    rules = [shard, key("shard", "id"), *one_table()]
    column = Column("shard", LogicalType(Family.STRING, length=20), "character varying(20)", nullable=False)
    west = replace(WEST, columns=(*WEST.columns, column), key=(0, 3))
    tables = sorted((EAST, west), key=lambda table: table.name.table != first)
    _, (finding,) = mapped_tables(rules, tables)
    assert "nothing in its key tells their rows apart" in finding.message
    known = [Known(tables[0], is_gone=False)]
    sink = MappedSink(MemorySink(MemoryTarget()), rules, tables=lambda: known)
    sink.prepare(tables[0])
    known.append(Known(tables[1], is_gone=False))
    with pytest.raises(TailraceError, match="nothing in its key tells their rows apart"):
        sink.prepare(tables[1])


def test_where_no_statement_takes_out_the_rows_of_one_alone_it_is_suspended() -> None:
    target = with_rows_of_both()
    sink = shared(target, EAST, WEST)
    sink._sink.capabilities = replace(sink._sink.capabilities, clears=False)
    with pytest.raises(TailraceError, match=r"it was emptied, and the target's table all.all_customers") as caught:
        sink.truncate([WEST])
    assert caught.value.table == "shop.west"
    with pytest.raises(TailraceError, match="it was made anew"):
        sink.prepare(replace(WEST, version=2, life=2))
    assert sink.stays(WEST, is_gone=False)


def test_tables_that_share_one_change_it_when_all_of_them_have_changed() -> None:
    target = with_rows_of_both()
    column = Column("added", INT, "bigint")
    east, west = (replace(t, columns=(*t.columns, column), version=v) for t, v in ((EAST, 7), (WEST, 2)))
    with pytest.raises(TailraceError, match="their columns differ"):
        shared(target, east, WEST).prepare(east)
    # What was written before goes on being written, until it is prepared anew.
    assert target.tables[INTO].schema.version == 2
    both = shared(target, east, west)
    for table, row in ((WEST, (6, "f", "w")), (west, (7, "g", "w", 8)), (east, (2, "b", "x", 9))):
        both.prepare(table)
        assert both.apply(TableBatch(table, [row])) == []
    both.flush()
    stored = target.tables[INTO]
    assert (stored.schema.version, stored.schema.life) == (9, 1)
    assert {row[0]: row[3] for row in target.read(INTO)} == {1: None, 5: None, 6: None, 7: 8, 2: 9}
    # It allows what any of them allows.
    strict = replace(column, nullable=False)
    for number, (of_east, of_west) in enumerate([(strict, column), (strict, replace(column, loosened=True))], 10):
        east = replace(east, columns=(*EAST.columns, of_east), version=number)
        west = replace(west, columns=(*WEST.columns, of_west))
        shared(target, east, west).prepare(east)
        made = next(one for one in stored.schema.columns if one.name == "added")
        assert (made.nullable, made.loosened) == (True, of_west.loosened)
    # One that was dropped counts on, so that what comes later is later.
    shared(target, replace(east, version=12), gone=[west]).prepare(replace(east, version=12))
    assert stored.schema.version == 14


@pytest.mark.parametrize(
    ("rules", "west", "message"),
    [
        (one_table(), WEST, "nothing in its key tells their rows apart"),
        ([constant("shard", "'one'"), key("shard", "id"), *one_table()], WEST, "nothing in its key tells"),
        (SHARDED, replace(WEST, columns=(*WEST.columns[:2],)), "their columns differ: essay text; shard"),
        (
            [*SHARDED, rule("rename", "old%", value="x")],
            replace(WEST, columns=(*WEST.columns, Column("old", INT, "bigint"))),
            "their columns differ: shard character varying.20.; x bigint",
        ),
    ],
)
def test_tables_that_do_not_go_into_one_are_refused_by_name(
    rules: list[TransformationRule], west: TableSchema, message: str
) -> None:
    _, (finding,) = mapped_tables(rules, [EAST, west])
    assert "make all.all_customers of both shop.east and shop.west, and " in finding.message
    known = [Known(EAST, is_gone=False)]
    sink = MappedSink(MemorySink(MemoryTarget()), rules, tables=lambda: known)
    sink.prepare(EAST)
    known.append(Known(west, is_gone=False))
    with pytest.raises(TailraceError, match=message):
        sink.prepare(west)


def test_a_table_without_a_key_gets_one() -> None:
    target = MemoryTarget()
    keyless = replace(TABLE, key=(), full_before=True)
    sink = MappedSink(MemorySink(target), [key("id", "called"), rule("rename", "name", value="called")])
    sink.prepare(keyless)
    changes: list[tuple[str, Row | None, Row | None]] = [
        ("r", None, (1, "a", "x")),
        ("r", None, (2, "b", "y")),
        ("u", (1, "a", "x"), (1, "c", UNCHANGED)),
        ("c", None, (3, "d", "z")),
        ("d", (3, "d", "z"), None),
    ]
    sink.apply(TableBatch(keyless, sequence=changes[:3]))
    sink.apply(TableBatch(keyless, sequence=changes[3:]))
    sink.flush()
    assert sorted(target.read(TABLE.name)) == [(1, "c", "x"), (2, "b", "y")]
    (mapped,), _ = mapped_tables([key("id", origin="unique-index")], [keyless])
    assert (mapped.key, mapped.primary_key) == ((0,), False)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("id", "name"), "name is not known of rows that are deleted"),
        (("shard",), "without id, which the source tells rows apart by"),
        (("id", "nobody"), "there is no column nobody"),
        (("id", "seq"), "seq is another one with each change"),
        (("id", "dice"), "dice is another one with each change"),
    ],
)
def test_a_key_that_rows_cannot_go_by_is_refused(columns: tuple[str, ...], message: str) -> None:
    seq = rule("add-column", value="seq", expression="$AR_H_CHANGE_SEQ", data_type={"type": "int8"})
    dice = constant("dice", "random()")
    _, (finding,) = mapped_tables([constant("shard", "'s'"), seq, dice, key(*columns)], [TABLE])
    assert finding.message.startswith("rule define-primary-key: ")
    assert message in finding.message
