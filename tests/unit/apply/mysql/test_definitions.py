"""What definitions do at a MySQL target, and how its log tells whose they are."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pymysql
import pytest

from apply.sink_kinds.relational.difference import difference
from apply.sinks.mysql import connection as connections
from apply.sinks.mysql.catalog import TargetColumn, TargetTable
from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.control_tables import ControlTables
from apply.sinks.mysql.foreign import Server
from apply.sinks.mysql.preparation import Preparation
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.loopback import APPLIED_COMMENT, APPLIED_DROP_COMMENT, APPLIED_TABLE
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

NAME = TableName("shop", "a")
TARGET = MysqlTarget(engine="mysql", host="127.0.0.1", user="u", database="shop")
ID = Column("id", LogicalType(Family.INT32), "int", nullable=False, number=1)
ADDED = Column("v", LogicalType(Family.INT32), "int", number=2, filling="7")
FOUND = TargetTable(
    NAME,
    kind="table",
    storage="InnoDB",
    columns={"id": TargetColumn("id", "int", "int", "", "", True, False, False, 0)},
    unique=(),
    referring=(),
)


class Told(Link):
    """Keeps what it is to run."""

    found: Any = 1
    """What it answers."""

    def __init__(self, *, marks: bool) -> None:
        super().__init__(TARGET, marks=marks)
        self.told: list[str] = []

    def run(self, *statements: str) -> int:
        self.told += statements
        return 0

    def rows(self, query: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        return []

    def value(self, query: str, parameters: Any = ()) -> Any:
        return self.found


@pytest.mark.parametrize("marks", [True, False])
def test_definitions_empty_and_fill_tables_under_a_mark(marks: bool) -> None:
    """Else a table that is loaded anew at one side is emptied at the other, which the rows come from."""
    link = Told(marks=marks)
    control = cast("ControlTables", SimpleNamespace(loaded_referring_to=lambda name: []))
    preparation = Preparation(link, control, {}, "")
    old, new = TableSchema(NAME, (ID,), (0,)), TableSchema(NAME, (ID, ADDED), (0,))
    preparation._empty(old, FOUND)
    preparation._clear(FOUND)
    truncates = [text for text in link.told if "truncate" in text]
    assert len(truncates) == 2
    assert all(text.startswith(APPLIED_COMMENT) is marks for text in truncates)
    link.told.clear()
    assert difference(old, new).added
    preparation._alter(old, new, FOUND, Server(False, (9, 0)))
    place = next(i for i, text in enumerate(link.told) if text.startswith("update"))
    assert (APPLIED_TABLE in link.told[place - 1]) is marks
    assert link.told[place + 1] == "commit"


@pytest.mark.parametrize("marks", [True, False])
def test_a_mark_stands_before_a_drop(marks: bool) -> None:
    """The server writes the statement itself anew, without its comment."""
    link = Told(marks=marks)
    link.found = "BASE TABLE"
    control = ControlTables(link, "tailrace", "shop", "replica")
    for event in ("created", "altered", "dropped"):
        control.tell(event, NAME)
    assert link.told == ([f"{APPLIED_DROP_COMMENT} alter table `shop`.`a` comment = ''"] if marks else [])
    link.define("drop table `shop`.`a`")
    assert link.told[-1] == f"{APPLIED_COMMENT} drop table `shop`.`a`" if marks else "drop table `shop`.`a`"


@pytest.mark.parametrize("is_filled", [True, False])
def test_a_key_over_a_new_column_needs_an_empty_table(is_filled: bool) -> None:
    """Mode `cdc` loads nothing anew: an identity would be numbered by the target, and changes meet other rows."""
    link = Told(marks=False)
    link.found = int(is_filled)
    preparation = Preparation(link, cast("ControlTables", None), {}, "")
    number = replace(ADDED, nullable=False, filling=None, identity="by default")
    old, new = TableSchema(NAME, (ID,), (0,)), TableSchema(NAME, (ID, number), (1,))
    if not is_filled:
        preparation._alter(old, new, FOUND, Server(False, (9, 0)))
        assert "add primary key (`v`)" in link.told[-1]
        return
    with pytest.raises(TailraceError, match="nobody knows") as caught:
        preparation._alter(old, new, FOUND, Server(False, (9, 0)))
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert not link.told


def test_a_change_that_takes_names_of_other_columns_is_made_once() -> None:
    """After a crash before the version was recorded, the next applier dropped the column that had been renamed."""
    link = Told(marks=False)
    link.found = "kept"
    control = cast("ControlTables", SimpleNamespace(record=lambda table: None))
    preparation = Preparation(link, control, {}, "")
    old = TableSchema(NAME, (ID, replace(ADDED, filling=None)), ())
    new = TableSchema(NAME, (replace(ID, name="v"), replace(ADDED, name="w", number=3)), (), version=2, comment="kept")
    found = replace(FOUND, columns={name: replace(FOUND.columns["id"], name=name) for name in ("id", "v")})
    preparation._alter(old, new, found, Server(False, (9, 0)))
    (alter, fill) = (text for text in link.told if text.startswith(("alter", "update")))
    assert alter.startswith("alter table `shop`.`a` drop column `v`, change column `id` `v` ")
    assert alter.endswith(", comment = 'tailrace: version 2'")
    link.told.clear()
    link.found = "tailrace: version 2"
    found = replace(FOUND, columns={name: replace(FOUND.columns["id"], name=name) for name in ("v", "w")})
    preparation._alter(old, new, found, Server(False, (9, 0)))
    assert [text for text in link.told if text.startswith(("alter", "update"))] == [fill]
    link.told.clear()
    preparation._recorded(new, NAME)
    assert link.told == ["alter table `shop`.`a` comment = 'kept'"]


def test_a_session_without_its_table_of_marks_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken for whole at the next look, and each table's rows were refused for the one that is missing."""
    made = []

    class Half:
        open = True

        def _force_close(self) -> None:
            self.open = False

    def connect(target: MysqlTarget) -> Any:
        made.append(Half())
        return made[-1]

    def look(self: Link, connection: Any) -> None:
        raise pymysql.OperationalError(1205, "")

    monkeypatch.setattr(connections, "connect", connect)
    monkeypatch.setattr(Link, "_look_around", look)
    link = Link(TARGET, marks=True)
    for _ in range(2):
        with pytest.raises(TailraceError) as caught:
            _ = link.connection
        assert caught.value.kind is ErrorKind.TARGET_THROTTLED
    assert [half.open for half in made] == [False, False]


@pytest.mark.parametrize("kept", ["ascii_bin", "utf8mb4_bin"])
def test_a_text_that_was_made_as_uuids_are_stays_so(kept: str) -> None:
    """A foreign key that is over it does not let its charset go (1832), and the table stood still."""
    link = Told(marks=False)
    preparation = Preparation(link, cast("ControlTables", None), {}, "")
    text = Column("v", LogicalType(Family.STRING, length=36), "char(36)", number=2, collation=kept)
    old = TableSchema(NAME, (ID, text), (0,))
    new = TableSchema(NAME, (ID, replace(text, collation="utf8mb4_0900_bin")), (0,))
    found = replace(FOUND, columns={name: replace(FOUND.columns["id"], name=name) for name in ("id", "v")})
    preparation._alter(old, new, found, Server(False, (9, 0)))
    assert any("change column `v`" in text for text in link.told) is (kept != "ascii_bin")
