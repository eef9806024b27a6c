"""Inserts of which the log did not hold all, while nobody could tell the rest: the row was gone when capture looked.

Its end follows in the log, or its table is loaded again. Until then a target does without the row, since whatever stood
for its values would be made up; but where rows of other tables may refer to it, by a foreign key of the source, it is
there, with null or an empty value in each such column: so a unique index that only the target has meets none that
nobody needs. Not where that could be in the way of a row that is true, or refer to none, or be refused: a
row that never was must keep nothing out. Nor where its end may never come: it may have left a partitioned table with a
partition, of which no log tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from apply.batching.net_change import Change
from schemas.changes import UNCHANGED, Row
from schemas.table import TableName, TableSchema, mentions
from schemas.types.blank import blank

LEFT_OUT_MAX = 10_000
"""Keys of a topic that are remembered."""


class IncompleteInserts:
    """Sees to it that inserts are whole, or are none."""

    def __init__(self, is_referred: Callable[[TableName], bool]) -> None:
        """`is_referred` tells whether rows at the target may refer to those of a table."""
        self._is_referred = is_referred
        self.left_out: defaultdict[str, set[bytes | None]] = defaultdict(set)
        """By topic, keys of rows that the target lacks for it: what follows them does not contradict the target."""

    def settled(
        self, topic: str, table: TableSchema, keys: Sequence[bytes | None], changes: Sequence[Change]
    ) -> Sequence[Change]:
        """Return changes whose inserts are whole: where values lack, the insert has some, or is the row's deletion."""
        lacking = [
            place
            for place, (op, _, after) in enumerate(changes)
            if op == "c" and after.__class__ is not bytes and UNCHANGED in after
        ]
        if not lacking:
            return changes
        made, left_out, is_referred = list(changes), self.left_out[topic], self._is_referred(table.name)
        for place in lacking:
            after = made[place][2]
            row = _stand_in(table, after) if is_referred else None
            made[place] = ("d", after, None) if row is None else ("c", None, row)
            if row is None:
                if len(left_out) >= LEFT_OUT_MAX:
                    left_out.clear()
                left_out.add(keys[place])
        return made


def _stand_in(table: TableSchema, row: Row) -> Row | None:
    """Return the row with what its columns take; None where there is none that fits, or it would stay for good."""
    if table.partitions:
        return None
    columns = [column for column, value in zip(table.columns, row, strict=True) if value is UNCHANGED]
    unique = [index.definition for index in table.indexes if index.unique]
    if unique:
        # One may be of a computed column.
        unique += [column.expression for column in table.generated]
    names = {column.name for column in columns}
    if any(mentions(text, names) for text in unique):
        return None
    # A domain may refuse whatever it is given, null as well.
    domains = {f"{type_.schema}.{type_.name}" for type_ in table.user_types if type_.kind == "domain"}
    if any(column.native.replace('"', "") in domains for column in columns):
        return None
    full = [column for column in columns if not column.nullable]
    made = {column.name: blank(column.type.family, column.native) for column in full}
    if None in made.values() or not made.keys().isdisjoint(name for key in table.foreign_keys for name in key.columns):
        return None
    return tuple(
        made.get(column.name) if value is UNCHANGED else value for column, value in zip(table.columns, row, strict=True)
    )
