"""Values of enums that came to a type after its table's version was made: nothing in the log announces them.

`alter type … add value` is no change of the tables that use the type, so no relation message follows. A column's values
are looked at instead, a set per run of rows; an unknown one makes the catalogue be read and a new version be announced.
So are those of arrays of enums. Enums within composites and domains are not looked into: the catalogue tells, when it
is read now and then.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from schemas.changes import UNCHANGED, Change, RowChanges, SchemaChange
from schemas.table import TableName, TableSchema
from schemas.types import Family

Renew = Callable[[TableSchema, int], TableSchema]
"""Returns a table with its types as they are now, under a number above the one that is given: the table itself, if it
has both.
"""

Checks = list[tuple[int, set[Any]]]
"""For each column of an enum, or of an array of one: its index, and the values that are known."""


class Labels:
    """Watches the enum columns of the tables of a log."""

    def __init__(self, renew: Renew) -> None:
        self._renew = renew
        self._checks: dict[int, tuple[TableSchema, Checks]] = {}

    def watches(self, table: TableSchema) -> bool:
        """Tell whether a table has such columns."""
        return bool(self._of(table))

    def announce(self, changes: list[Change]) -> dict[int, TableSchema]:
        """Put new versions before the first rows that need them. Return them by the `id` of the former version."""
        renewed: dict[int, TableSchema] = {}
        newest: dict[TableName, TableSchema] = {}
        places: list[tuple[int, SchemaChange]] = []
        # They are kept, so that an `id` stays that of one table.
        for place, change in enumerate([*changes]):
            if isinstance(change, SchemaChange) and change.name in newest:
                changes[place] = self._behind(change, renewed, newest)
            if not isinstance(change, RowChanges):
                continue
            change.table = renewed.get(id(change.table), change.table)
            old = change.table
            if self._has_unknown(change):
                new = self._renew(old, 0)
                # A value that is unknown even now was renamed or dropped with its type since: asked once.
                self._learn(change, new)
                if new is not old:
                    places.append((place, SchemaChange(old.name, old, new)))
                    renewed |= {key: new for key, table in renewed.items() if table is old}
                    renewed[id(old)] = newest[old.name] = change.table = new
        for place, announcement in reversed(places):
            changes.insert(place, announcement)
        return renewed

    def _behind(
        self, change: SchemaChange, renewed: dict[int, TableSchema], newest: dict[TableName, TableSchema]
    ) -> SchemaChange:
        """Return the change of a table behind rows that had labels of their own: its types were read before theirs, and
        labels that it lacks would seem to be gone, its number to be that of theirs.
        """
        earlier, after = newest[change.name], change.after
        if after is None:
            del newest[change.name]
        else:
            if id(after) not in renewed:
                renewed[id(after)] = newest[change.name] = self._renew(after, earlier.version)
            after = renewed[id(after)]
        return replace(change, before=earlier, after=after)

    def _has_unknown(self, run: RowChanges) -> bool:
        return any(not known.issuperset(_values(run, index, known)) for index, known in self._of(run.table))

    def _learn(self, run: RowChanges, table: TableSchema) -> None:
        for index, known in self._of(table):
            known.update(_values(run, index, known))

    def _of(self, table: TableSchema) -> Checks:
        entry = self._checks.get(id(table))
        if entry is None or entry[0] is not table:
            entry = self._checks[id(table)] = (table, _checks(table))
        return entry[1]


def _values(run: RowChanges, index: int, known: set[Any]) -> set[Any]:
    values = {row[index] for row in run.after if row is not None}
    if run.table.columns[index].type.family is Family.ENUM:
        return values
    # Arrays, as text: their elements.
    return {_unquoted(element) for text in values - known for element in _ELEMENTS.findall(text[text.index("{") :])}


def _unquoted(element: str) -> str | None:
    if element.startswith('"'):
        return re.sub(r"\\(.)", r"\1", element[1:-1])
    return None if element == "NULL" else element


_ELEMENTS = re.compile(r'"(?:[^"\\]|\\.)*"|[^{},"\s]+')
"""The elements of an array's text, whatever its dimensions, from the first brace on."""


def _checks(table: TableSchema) -> Checks:
    labels = {f"{t.schema}.{t.name}": t.labels for t in table.user_types if t.kind == "enum"}
    every = [label for each in labels.values() for label in each]
    found: Checks = []
    for index, column in enumerate(table.columns):
        native = column.native.replace('"', "")
        is_array = native.endswith("[]") and native[:-2] in labels
        if column.type.family is Family.ENUM or is_array:
            found.append((index, {None, UNCHANGED, *labels.get(native.removesuffix("[]"), every)}))
    return found
