"""What becomes of a target's table when a version comes that its own side has made first."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from apply.sink_kinds.relational.difference import difference
from apply.sink_kinds.relational.preparation import RelationalPreparation
from capture.publishing.schemas_topic import Catalogue
from schemas.policies import ExistingTables
from schemas.registry import TableVersion
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

INT64 = LogicalType(Family.INT64)
NAME = TableName("public", "t")


def _table(*columns: tuple[str, int], version: int = 1) -> TableSchema:
    made = tuple(Column(name, INT64, "bigint", nullable=number > 1, number=number) for name, number in columns)
    return TableSchema(NAME, made, (0,), version=version, number=7)


class _Preparation(RelationalPreparation[Any, None]):
    """A target that has a table with some columns, and says what would be done to it."""

    def __init__(self, recorded: TableSchema | None, *columns: str) -> None:
        self.told: list[str] = []
        self.done: list[tuple[str, str]] = []
        self.found = SimpleNamespace(kind="table", columns=dict.fromkeys(columns), name=NAME)
        control: Any = SimpleNamespace(
            install=lambda: None,
            alone=nullcontext,
            announce=lambda _tables: None,
            recorded_all=lambda names: {name: recorded for name in names if recorded is not None},
            record=lambda _tables: None,
            tell=lambda event, _name: self.told.append(event),
            names=list,
        )
        super().__init__(control, ExistingTables.EMPTY)

    def target_name(self, name: TableName) -> TableName:
        return name

    def find(self, name: TableName) -> Any:
        return self.found

    def translated(self, table: TableSchema) -> TableSchema:
        return table

    def _spelling(self, table: TableSchema) -> None:
        return None

    def _alter(self, old: TableSchema, new: TableSchema, target: Any, spelling: None) -> None:
        change = difference(old, new)
        self.done += [("drop", name) for name in change.dropped] + [("add", column.name) for column in change.added]
        self.done += [("rename", after) for _, after in change.renamed]

    def _problems(self, table: TableSchema, target: Any, spelling: None) -> list[str]:
        return []

    def _create(self, *_: Any) -> None: ...
    def _empty(self, *_: Any) -> None: ...
    def _clear(self, target: Any) -> None:
        self.done.append(("clear", target.name.table))

    def _drop(self, *_: Any) -> None: ...


@pytest.mark.parametrize(
    ("recorded", "follows", "done"),
    [
        # It dropped a column and added one of that name: here it holds values by now.
        (1, 1, []),
        (1, 0, [("drop", "c"), ("add", "c")]),
        # What the source altered itself before has not come here yet.
        (1, 2, [("drop", "c"), ("add", "c")]),
        (2, 2, []),
    ],
)
def test_what_comes_back_alters_nothing(recorded: int, follows: int, done: list[tuple[str, str]]) -> None:
    before = _table(("id", 1), ("c", 2), version=recorded)
    preparation = _Preparation(before, "id", "c")
    preparation.prepare([replace(_table(("id", 1), ("c", 3), version=3), follows=follows)])
    assert preparation.done == done
    assert preparation.told == (["altered"] if done else [])


@pytest.mark.parametrize(("follows", "done"), [(0, [("clear", "t")]), (1, [])])
def test_a_table_that_was_made_here_is_not_emptied_for_the_load(follows: int, done: list[tuple[str, str]]) -> None:
    """No load will bring its rows: the source has them from here."""
    preparation = _Preparation(None, "id")
    preparation.prepare([replace(_table(("id", 1)), follows=follows)])
    assert preparation.done == done


def test_a_column_that_came_since_stays_and_one_that_is_missing_is_added() -> None:
    preparation = _Preparation(_table(("id", 1), ("c", 2)), "id", "c", "later")
    preparation.prepare([replace(_table(("id", 1), ("other", 3), version=2), follows=1)])
    assert preparation.done == [("add", "other")]


def test_a_version_tells_since_when_appliers_alone_have_altered_the_table() -> None:
    catalogue = Catalogue("schemas", "registry")
    assert catalogue.numbered(_table(("id", 1)), is_applied=True).follows == 1, "an applier has made it"
    seen = []
    for number, is_applied in enumerate((False, True, True, False, True), 1):
        # After a restart the source's form of a table is the one that was published.
        base = catalogue.versions[NAME][-1].table if catalogue.versions else _table()
        table = catalogue.numbered(replace(base, columns=_table(("id", number)).columns), is_applied=is_applied)
        catalogue.versions.setdefault(NAME, []).append(TableVersion(table, None, None))
        assert TableSchema.from_document(table.to_document()) == table
        assert table.fingerprint == replace(table, follows=0).fingerprint
        seen.append((table.version, table.follows))
    assert seen == [(1, 0), (2, 1), (3, 1), (4, 0), (5, 4)]
