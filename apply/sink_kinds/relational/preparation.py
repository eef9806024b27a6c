"""Makes a target's table fit a version of a source's table: creates it, alters it, or says why rows cannot go there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from apply.sink_kinds.relational.catalog import FoundColumn, FoundTable
from apply.sink_kinds.relational.control_tables import RelationalControlTables
from apply.sink_kinds.relational.difference import as_found
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import ExistingTables
from schemas.table import Column, TableName, TableSchema

log = get_logger(__name__)


T = TypeVar("T", bound=FoundTable)
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class _Behind(Generic[T]):
    """A table that the target has not, or in an older version."""

    table: TableSchema
    name: TableName
    """At the target."""
    recorded: TableSchema | None
    """The version that was prepared last."""
    target: T | None
    """The table as the target has it."""


class RelationalPreparation(ABC, Generic[T, S]):
    """Prepares tables. `T` is a table as the target has it, `S` how the target spells a version's types."""

    def __init__(self, control: RelationalControlTables, existing_tables: ExistingTables = ExistingTables.KEEP) -> None:
        """`existing_tables` says what becomes of a table that was not made, and never prepared, by us; one that the
        source only has after this side stays.
        """
        self._control = control
        self._existing_tables = existing_tables
        self._latest: dict[TableName, T] = {}
        """The tables that were prepared for this transaction, as the target has them: they are about to be written."""

    def prepare(self, tables: Sequence[TableSchema]) -> None:
        """Create or alter tables, each of another name. A version older than the prepared one changes nothing.

        Driver errors pass. New tables are made together; of others each is announced alone, since somebody who is
        writing several of them may be waited for.
        """
        self._control.install()
        behind = self._behind(tables)
        if new := [one.table for one in behind if one.recorded is None]:
            self._prepare(new)
        for one in behind:
            if one.recorded is not None:
                self._prepare([one.table])

    def read(self, table: TableSchema) -> T:
        """Return the table as the target has it. Raises TARGET_SCHEMA if it is gone, or hidden."""
        name = self.target_name(table.name)
        target = self._latest.pop(name, None) or self.find(name)
        if target is None:
            raise self._missing(table, name, f"the target has no table {name}")
        return self._as_named(target, table)

    def ended(self) -> None:
        """Forget what was read for the transaction that has ended: others may alter the tables from now on."""
        self._latest.clear()

    # What an engine does

    @abstractmethod
    def target_name(self, name: TableName) -> TableName:
        """Return a table's name at the target."""

    @abstractmethod
    def find(self, name: TableName) -> T | None:
        """Return a table as the target has it."""

    def find_all(self, names: Sequence[TableName]) -> dict[TableName, T]:
        """Return those of some tables that the target has, as it has them."""
        found = {name: self.find(name) for name in names}
        return {name: table for name, table in found.items() if table is not None}

    def exists(self, name: TableName) -> bool:
        """Tell whether the target has a table of this name."""
        return self.find(name) is not None

    def _is_hidden(self, name: TableName) -> bool:
        """Tell whether the target may have a table that `find` does not see, for want of a right to it."""
        return False

    @abstractmethod
    def translated(self, table: TableSchema) -> TableSchema:
        """Return a version in the target's own types, whatever engine it comes from."""

    @abstractmethod
    def _spelling(self, table: TableSchema) -> S:
        """Return how the target spells the types of a version; make those that it lacks."""

    @abstractmethod
    def _create(self, table: TableSchema, name: TableName, spelling: S) -> None:
        """Create the table, and the schema that it stands in."""

    @abstractmethod
    def _alter(self, old: TableSchema, new: TableSchema, target: T, spelling: S) -> None:
        """Bring the target's table from one version to another."""

    @abstractmethod
    def _empty(self, table: TableSchema, target: T) -> None:
        """Take out all rows of an earlier life. Foreign keys that we made come back when the table is loaded again."""

    @abstractmethod
    def _clear(self, target: T) -> None:
        """Take out all rows of a table that was there before us, and of no other: no foreign key acts, none goes."""

    @abstractmethod
    def _drop(self, target: T) -> None:
        """Drop a table that was there before us, and the foreign keys that refer to it."""

    @abstractmethod
    def _problems(self, table: TableSchema, target: T, spelling: S) -> list[str]:
        """Return in words why the target's table cannot take the rows of a version; empty if it can."""

    def _as_named(self, target: T, table: TableSchema) -> T:
        """Return the target's table with its columns under the names that a version has for them."""
        return target

    def _may_take(self, tables: Sequence[tuple[TableSchema, TableName]]) -> None:
        """Raise TARGET_SCHEMA if a name is not free for its table of the source, or none that the target takes."""

    def _recorded(self, table: TableSchema, name: TableName) -> None:
        """Take away from a table what marked it as altered until its version was recorded."""

    # The frame

    def _behind(self, tables: Sequence[TableSchema]) -> list[_Behind[T]]:
        """Return those tables that the target has not, or in an older version."""
        names = [self.target_name(table.name) for table in tables]
        recorded, found = self._control.recorded_all([table.name for table in tables]), self.find_all(names)
        all_ = [_Behind(t, name, recorded.get(t.name), found.get(name)) for t, name in zip(tables, names, strict=True)]
        return [
            one
            for one in all_
            if one.recorded is None or one.recorded.version < one.table.version or one.target is None
        ]

    def _prepare(self, tables: Sequence[TableSchema]) -> None:
        with self._control.alone():
            # Another applier may have been at it.
            behind = self._behind(tables)
            if not behind:
                return
            self._may_take([(one.table, one.name) for one in behind])
            self._control.announce([one.table for one in behind])
            made = [(self.translated(one.table), one) for one in behind]
            brought = [self._bring_forward(table, one.name, one.recorded, one.target) for table, one in made]
            found = self.find_all([one.name for one in behind])
            for (table, one), (spelling, _) in zip(made, brought, strict=True):
                problems = (
                    self._problems(table, self._as_named(found[one.name], table), spelling)
                    if one.name in found
                    else ["it is not there"]
                )
                if problems:
                    remedy = "alter or drop the target's table, or leave the table out"
                    raise schema_error(table, "; ".join(problems), remedy)
            self._control.record([table for table, _ in made])
            for table, one in made:
                self._recorded(table, one.name)
        self._latest |= found
        for (table, _), (_, created) in zip(made, brought, strict=True):
            log.info("table prepared", table=str(table.name), version=table.version, created=created)

    def _bring_forward(
        self, table: TableSchema, name: TableName, recorded: TableSchema | None, target: T | None
    ) -> tuple[S, bool]:
        """Create or alter a table; return how its types are spelled, and whether it was created."""
        if target is not None:
            target = self._as_named(target, recorded or table)
        is_void = recorded is not None and recorded.life < table.life
        if recorded is not None and target is None and not is_void:
            said = f"the target's table {name} was dropped by somebody else, and its rows with it"
            raise self._missing(table, name, said)
        if is_void and target is not None:
            self._empty(table, target)
            self._control.mark_loaded(table.name, is_loaded=False)
            log.info("table emptied: it is loaded anew", table=str(table.name), version=table.version)
        if recorded is None and target is not None and target.kind == "table" and not table.follows:
            target = self._make_way(table, target)
        spelling = self._spelling(table)
        if target is None:
            self._control.tell("created", name)
            self._create(table, name, spelling)
        elif target.kind != "table":
            raise schema_error(
                table, f"{target.name} is a {target.kind} at the target", "drop it, or map the schema to another one"
            )
        else:
            # A table that we did not make is taken as it is, plus the columns that it lacks. So is one that the source
            # has altered after this side: it may have gone on since, and what it holds must not go.
            comes_back = recorded is not None and 0 < table.follows <= recorded.version
            old = as_found(table, target.columns) if recorded is None or comes_back else recorded
            if old is not table:
                self._control.tell("altered", name)
            self._alter(old, table, target, spelling)
        return spelling, target is None

    def _missing(self, table: TableSchema, name: TableName, said: str) -> TailraceError:
        """Return the error of a table that the target had: `said`, where it is known to be gone."""
        if not self._is_hidden(name):
            return schema_error(table, said, "reload the table, or reset the replication")
        return schema_error(
            table,
            f"the user has no right to the target's table {name}, and does not see whether it is there",
            "grant the user what `tailrace plan --grants` prints: the next try goes on",
        )

    def _make_way(self, table: TableSchema, target: T) -> T | None:
        """Do to a table that was there before us what the settings say. A crash before its version is recorded repeats
        it: no row of ours is in it before that. One that other tables of the source are written to has rows of ours.
        """
        if self._existing_tables is ExistingTables.KEEP or self._is_shared(table):
            return target
        if self._existing_tables is ExistingTables.EMPTY:
            self._clear(target)
            log.warning("table emptied before the load", table=str(target.name))
            return target
        self._control.tell("dropped", target.name)
        self._drop(target)
        log.warning("table dropped before the load", table=str(target.name))
        return None

    def _is_shared(self, table: TableSchema) -> bool:
        name = self.target_name(table.name)
        return any(other != table.name and self.target_name(other) == name for other in self._control.names())


def misfits(
    table: TableSchema, columns: Mapping[str, Any], unfit: Callable[[Column, Any, bool], str | None]
) -> list[str]:
    """Return in words why the columns (`FoundColumn`) of a target's table cannot take the rows of a version.

    `unfit(column, found, is_key)` says what is wrong with a column that is there; None if nothing is.
    """
    problems = []
    for index, column in enumerate(table.columns):
        found: FoundColumn | None = columns.get(column.name)
        if found is None:
            problems.append(f"column {column.name!r} is missing at the target")
            continue
        said = "is generated at the target" if found.generated else unfit(column, found, index in table.key)
        needs_null = column.nullable and not column.loosened and index not in table.key
        if said is None and found.not_null and needs_null:
            said = "allows no nulls at the target"
        if said is not None:
            problems.append(f"column {column.name!r} {said}")
    names: Container[str] = set(table.column_names) | {column.name for column in table.generated}
    problems += [
        f"column {extra.name!r} exists only at the target and is neither nullable nor has a default"
        for name, extra in columns.items()
        if name not in names and extra.not_null and not extra.has_default and not extra.generated
    ]
    return problems


def schema_error(table: TableSchema, message: str, remedy: str) -> TailraceError:
    """Return the error of a table that the target has, or lacks."""
    return TailraceError(ErrorKind.TARGET_SCHEMA, message, remedy=remedy, table=str(table.name))
