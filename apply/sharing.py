"""Tables of the source that go into one table of the target, each under a constant of its own in the key.

What the target's table is to be is read from all of them as the source has them now, never from the one at hand: so
every applier comes to the same, in whatever order their changes arrive, and none of them undoes another one's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from apply.schema_catalog import Known
from schemas.errors import TailraceError
from schemas.mappings.keys import Claims
from schemas.mappings.mapped_table import MappedTable
from schemas.table import Column, Part, TableName, TableSchema
from schemas.types import Family

_PLAIN = {Family.STRING, Family.INT16, Family.INT32, Family.INT64}
"""Constants that are parameters of a statement as they are."""


class Sharing:
    """Knows which tables go where."""

    def __init__(self, map_: Callable[[TableSchema], MappedTable], tables: Callable[[], Iterable[Known]]) -> None:
        """`tables` returns what is known of those of the source: only other processes may have written some of them."""
        self._map = map_
        self._tables = tables
        self._claims = Claims()

    def claim(self, table: TableSchema, *, agree: bool) -> TableSchema:
        """Return the table at the target that a table of the source needs: it has a place for all that go there.

        With `agree` it is the same whichever of them asks, for sinks that can take out the rows of one. Raises
        TARGET_SCHEMA if another one goes there that has other columns, or whose rows cannot be told from these.
        """
        mapped = self._map(table)
        if not mapped.constants:
            self._claims.claim(table.name, mapped.table, ())
            return mapped.table
        # One without constants, which comes later, asks this alone.
        self._claims.note(table.name, mapped.table, mapped.constants)
        sharers = self._sharers(mapped.table.name)
        if sharers.keys() <= {table.name}:
            # Nobody else has ever gone there: as long as it is so, its lives are those of the target's table.
            return mapped.table
        known = sharers.get(table.name)
        own = known.newest if known is not None and known.newest.version > table.version else table
        forms = {name: self._map(one.newest) for name, one in sharers.items() if not one.is_gone}
        forms[table.name] = self._map(own)
        claims = Claims()
        for name, form in forms.items():
            if name != table.name:
                claims.note(name, form.table, form.constants)
        claims.claim(table.name, forms[table.name].table, forms[table.name].constants)
        if not agree:
            return mapped.table
        versions = {name: one.newest.version for name, one in sharers.items()} | {table.name: own.version}
        # The sum: it rises whenever one of them changes. One life: that of one of them is not theirs.
        first, *others = (forms[name] for name in sorted(forms))
        gone = [self._map(one.newest) for name, one in sorted(sharers.items()) if name not in forms]
        return replace(first.table, columns=_for_all(first, others, gone), version=sum(versions.values()), life=1)

    def release(self, table: TableSchema) -> None:
        """Let a table of the source go nowhere any more."""
        self._claims.release(table.name, self._map(table).table.name)

    def is_shared(self, table: TableSchema) -> bool:
        """Tell whether others are in the target's table of a table of the source."""
        sharers = self._sharers(self._map(table).table.name)
        return any(not one.is_gone for name, one in sharers.items() if name != table.name)

    def part(self, table: TableSchema) -> dict[int, str | int]:
        """Return what tells a table's rows at the target from all others': values of columns; empty if nothing does."""
        mapped = self._map(table)
        if any(mapped.table.columns[index].type.family not in _PLAIN for index, _ in mapped.constants):
            return {}
        return dict(mapped.constants)

    def _sharers(self, name: TableName) -> dict[TableName, Known]:
        return {one.newest.name: one for one in self._tables() if self._goes_to(one.newest, name)}

    def _goes_to(self, table: TableSchema, name: TableName) -> bool:
        try:
            return self._map(table).table.name == name
        except TailraceError:
            # It cannot follow the rules, and so is nowhere.
            return False


def _for_all(form: MappedTable, others: Sequence[MappedTable], gone: Sequence[MappedTable]) -> tuple[Column, ...]:
    """Return a table's columns with the nulls that those of other tables of the same columns allow, and with what each
    of these was filled with when a column was added. A table that is gone by then has left rows, which have nothing.
    """
    parts = [_part_of(other) for other in others]
    left = {part: other.table for other in gone if (part := _part_of(other)) not in (_part_of(form), *parts)}
    columns = []
    for column, *same in zip(form.table.columns, *(other.table.columns for other in others), strict=True):
        loose = [one for one in (column, *same) if one.nullable]
        is_loosened = all(one.loosened for one in loose)
        filled = [*zip(parts, (one.filling for one in same), strict=True)]
        if any(filling is not None for filling in (column.filling, *(one.filling for one in same))):
            had = {part: {one.name: one for one in table.columns}.get(column.name) for part, table in left.items()}
            filled += [(part, one and one.filling) for part, one in had.items()]
            if not loose and None in had.values():
                loose = [column]
        column = replace(column, fillings=tuple(each for each in filled if each[1] != column.filling))
        columns.append(replace(column, nullable=True, loosened=is_loosened) if loose else column)
    return tuple(columns)


def _part_of(form: MappedTable) -> Part:
    return tuple((form.table.columns[i].name, value) for i, value in form.constants)
