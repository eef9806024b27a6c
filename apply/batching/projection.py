"""Rows of one version of a table, for a target that has another one: matched column by column, by name.

Partitions and appliers advance at different speeds, so rows of an older version come after the target was altered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter

from apply.sink import Origin, TableBatch
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from schemas.matching import matches
from schemas.table import TableSchema


class Projection:
    """Cuts rows that one version wrote down to the columns that the target's version still has."""

    def __init__(self, written: TableSchema, target: TableSchema, *, comes_again: bool = True) -> None:
        """Raise TARGET_SCHEMA if the target has lost a column of the key that the rows are identified by.

        `comes_again`: a rewriting of the source's rows is followed by the rows themselves. So values of an earlier type
        are left out: they need not convert to the later one, and what they became is on its way.
        """
        names = [found.name if found is not None else None for found in matches(written, target)]
        if comes_again and written.version < target.version:
            names = _without_rewritten(written, target, names)
        self._kept = [i for i, name in enumerate(names) if name is not None]
        self.plain = written.version == target.version or (
            len(self._kept) == len(written.columns) and list(names) == list(written.column_names)
        )
        """Whether rows go as they are."""
        lost = [written.columns[i].name for i in written.key if names[i] is None]
        if lost:
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                f"rows of version {written.version} are identified by {', '.join(lost)}, which version "
                f"{target.version} no longer has",
                table=str(written.name),
                remedy="nothing loads a table anew under its new key in mode `cdc`: `tailrace reset`, copy it by hand, "
                "then start again",
            )
        if self.plain:
            self.table = written
        else:
            columns = tuple(
                replace(column, name=name)
                for column, name in zip(written.columns, names, strict=True)
                if name is not None
            )
            self.table = replace(written, columns=columns, key=tuple(self._kept.index(i) for i in written.key))
        self._row = _row_getter(self._kept)

    def batch(self, batch: TableBatch) -> TableBatch:
        """Return the batch with its rows cut down. Keys stay as they are."""
        if self.plain:
            return batch
        row = self._row
        return TableBatch(
            self.table,
            [row(r) for r in batch.upserts],
            [row(r) for r in batch.updates],
            batch.deletes,
            [(op, b and row(b), a and row(a)) for op, b, a in batch.sequence],
            batch.fresh,
        )

    def origins(self, origins: dict[str, list[Origin]]) -> dict[str, list[Origin]]:
        """Return the origins of a batch with their old rows cut down."""
        if self.plain:
            return origins
        row = self._row
        return {
            kind: [one if one.before is None else one._replace(before=row(one.before)) for one in some]
            for kind, some in origins.items()
        }


def same_shape(one: TableSchema, other: TableSchema) -> bool:
    """Tell whether two versions agree in all that rows show: a change between them needs no alteration for rows."""
    return one.columns == other.columns and one.key_names == other.key_names


def _without_rewritten(written: TableSchema, target: TableSchema, names: Sequence[str | None]) -> list[str | None]:
    if target.is_rewritten(written) is False:
        return list(names)
    natives = {column.name: column.native for column in target.columns}
    return [
        name if name is None or place in written.key or natives[name] == column.native else None
        for place, (column, name) in enumerate(zip(written.columns, names, strict=True))
    ]


def _row_getter(kept: list[int]) -> Callable[[Row], Row]:
    if len(kept) == 1:
        only = kept[0]
        return lambda row: (row[only],)
    if not kept:
        return lambda _row: ()
    return itemgetter(*kept)
