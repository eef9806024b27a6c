"""Finds the rows of a batch that a foreign key or a unique index refuses, in one query instead of by halving.

Both are violated in passing whenever partitions advance at different speeds, and then often by many rows at once. The
server says which constraint it was; its catalogue says what the constraint compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from apply.sinks.postgresql.errors import UNIQUE_VIOLATION
from apply.sinks.postgresql.names import qualified, quoted
from apply.sinks.postgresql.rows import HEADER, TRAILER
from apply.sinks.postgresql.stages import Stages
from apply.sinks.postgresql.statements import StagedColumn, TablePlan
from schemas.changes import UNCHANGED
from schemas.table import TableName

_KEY = """
select cn.nspname, c.relname, pn.nspname, p.relname,
       array(select a.attname::text from unnest(k.conkey) with ordinality u (number, place)
             join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number order by u.place),
       array(select a.attname::text from unnest(k.confkey) with ordinality u (number, place)
             join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.number order by u.place)
from pg_constraint k
join pg_class c on c.oid = k.conrelid join pg_namespace cn on cn.oid = c.relnamespace
join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace
where k.contype = 'f' and cn.nspname = %s and c.relname = %s and k.conname = %s
"""

_INDEX = """
select array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality u (number, place)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.number
             where u.place <= i.indnkeyatts order by u.place)
from pg_index i join pg_class x on x.oid = i.indexrelid join pg_namespace n on n.oid = x.relnamespace
where i.indisunique and i.indpred is null and i.indexprs is null and n.nspname = %s and x.relname = %s
"""


@dataclass(frozen=True, slots=True)
class _ForeignKey:
    child: TableName
    parent: TableName
    columns: tuple[str, ...]
    referred: tuple[str, ...]


class Culprits:
    """Looks for the rows that violate a constraint, within a savepoint of the caller. Driver errors pass through."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._link = stages.link
        self._keys: dict[tuple[str | None, ...], _ForeignKey | None] = {}
        self._indexes: dict[tuple[str | None, ...], tuple[str, ...]] = {}

    def find(self, plan: TablePlan, kind: str, rows: Sequence[Any], violation: psycopg.Error) -> set[int]:
        """Return the indexes of the rows that cannot stand while the other rows of the target are as they are.

        Empty if that cannot be told, or if the rows are only in each other's way. The failed attempt has been undone.
        """
        diag = violation.diag
        if violation.sqlstate == UNIQUE_VIOLATION:
            columns = self._index((diag.schema_name, diag.constraint_name))
            staged = _staged(plan, columns)
            return self._takers(plan, rows, staged) if staged and kind != "deletes" else set()
        key = self._foreign_key((diag.schema_name, diag.table_name, diag.constraint_name))
        if key is None:
            return set()
        if kind == "deletes":
            return self._still_referred(plan, rows, key) if key.parent == plan.target.name else set()
        referring = _staged(plan, key.columns)
        return self._orphans(plan, rows, referring, key) if key.child == plan.target.name and referring else set()

    def _takers(self, plan: TablePlan, rows: Sequence[Any], unique: Sequence[StagedColumn]) -> set[int]:
        """Find rows with a unique value that a row has which this batch does not change."""
        known, first = self._copy_known(plan, rows, unique)
        stage = self._stages.stage(plan)
        among = f"between {first} and {first + len(known) - 1}"
        same = " and ".join(f"t.{column.sql} = {column.compared()}" for column in unique)
        query = (
            f"select s.part from {stage} s join {plan.target.sql} t on {same} where s.part {among} "
            f"and not ({plan.same_key()}) "
            f"and not exists (select from {stage} o where o.part {among} and {plan.same_key('o')})"
        )
        return {known[n] for n in self._ask(first, query)}

    def _still_referred(self, plan: TablePlan, rows: Sequence[Any], key: _ForeignKey) -> set[int]:
        """Find keys to delete that rows of another table refer to."""
        first = self._copy(plan, rows, plan.delete_encoder())
        refers = " and ".join(
            f"c.{quoted(column)} = t.{quoted(referred)}"
            for column, referred in zip(key.columns, key.referred, strict=True)
        )
        query = (
            f"select s.part from {self._stages.stage(plan)} s join {plan.target.sql} t on {plan.same_key()} "
            f"where s.part between {first} and {first + len(rows) - 1} "
            f"and exists (select from {qualified(key.child)} c where {refers})"
        )
        return self._ask(first, query)

    def _orphans(
        self, plan: TablePlan, rows: Sequence[Any], referring: Sequence[StagedColumn], key: _ForeignKey
    ) -> set[int]:
        """Find rows whose parent is neither in the target nor among them."""
        known, first = self._copy_known(plan, rows, referring)
        stage = self._stages.stage(plan)
        among = f"between {first} and {first + len(known) - 1}"
        pairs = list(zip(referring, key.referred, strict=True))
        given = " and ".join(f"s.c{column.place} is not null" for column in referring)
        parent = " and ".join(f"p.{quoted(referred)} = {column.compared()}" for column, referred in pairs)
        query = (
            f"select s.part from {stage} s where s.part {among} and {given} "
            f"and not exists (select from {qualified(key.parent)} p where {parent})"
        )
        places = {column.target.name: column.place for column in plan.key}
        if key.parent == plan.target.name and all(referred in places for referred in key.referred):
            sibling = " and ".join(f"o.c{places[referred]} = s.c{column.place}" for column, referred in pairs)
            query += f" and not exists (select from {stage} o where o.part {among} and {sibling})"
        return {known[n] for n in self._ask(first, query)}

    def _copy_known(
        self, plan: TablePlan, rows: Sequence[Any], columns: Sequence[StagedColumn]
    ) -> tuple[list[int], int]:
        """Stage key and `columns` of the rows that hold them all; return their indexes, and the first part's number."""
        known = [n for n, row in enumerate(rows) if not any(row[column.index] is UNCHANGED for column in columns)]
        encode = plan.update_encoder([column for column in columns if column not in plan.key])
        return known, self._copy(plan, [rows[n] for n in known], encode)

    def _copy(self, plan: TablePlan, rows: Sequence[Any], encode: Any) -> int:
        """Stage each row as a part of its own; return the first part's number."""
        stage = self._stages.stage(plan)
        first = self._stages.next_parts(len(rows))
        pieces = [HEADER]
        for n, row in enumerate(rows):
            pieces += encode((row,), first + n)
        pieces.append(TRAILER)
        self._link.copy(plan.stage_copy(stage), b"".join(pieces))
        self._stages.undone(plan)
        return first

    def _ask(self, first: int, query: str) -> set[int]:
        return {part - first for (part,) in self._link.rows(query)}

    def _index(self, name: tuple[str | None, ...]) -> tuple[str, ...]:
        """Return the columns of a unique index of all rows over plain columns; none for another index."""
        if name not in self._indexes:
            found = self._link.rows(_INDEX, name)
            self._indexes[name] = tuple(found[0][0]) if found else ()
        return self._indexes[name]

    def _foreign_key(self, name: tuple[str | None, ...]) -> _ForeignKey | None:
        if name not in self._keys:
            found = self._link.rows(_KEY, name)
            self._keys[name] = None
            if found:
                child_schema, child, parent_schema, parent, columns, referred = found[0]
                self._keys[name] = _ForeignKey(
                    TableName(child_schema, child), TableName(parent_schema, parent), tuple(columns), tuple(referred)
                )
        return self._keys[name]


def _staged(plan: TablePlan, names: Sequence[str]) -> list[StagedColumn]:
    """Return the columns of these names, or none if one of them is not written."""
    by_name = {column.target.name: column for column in plan.columns}
    return [by_name[name] for name in names] if all(name in by_name for name in names) else []
