"""Finds the rows of a batch that a foreign key or a unique index refuses, in one query instead of by halving.

Both are violated in passing whenever partitions advance at different speeds, and then often by many rows at once. The
server says which constraint it was; its catalogue says what the constraint compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import psycopg

from apply.sinks.postgresql.errors import FOREIGN_KEY_VIOLATION
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

_UNIQUE = """
select array(select pg_get_indexdef(i.indexrelid, n, true) from generate_series(1, i.indnkeyatts) n order by n),
       coalesce(pg_get_expr(i.indpred, i.indrelid, true), 'true'),
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false)
from pg_index i
where i.indrelid = %s and i.indisunique and i.indisvalid and not i.indisprimary
order by i.indexrelid
"""

Item = tuple[str, int, Any]
"""(list of the batch, index there, row), as the writer has them: deletes, then upserts, then updates."""


@dataclass(frozen=True, slots=True)
class _Unique:
    """A unique index: what it compares, of which rows, as expressions over the table's columns."""

    compared: tuple[str, ...]
    predicate: str
    nulls_equal: bool


@dataclass(frozen=True, slots=True)
class _Staged:
    """Rows of a batch in the staging table, each a part of its own."""

    stage: str
    first: int
    items: list[int]
    """By part, counted from `first`: which of the batch's items it is."""
    complete: str
    """The query of the rows as they would stand in the table; empty if all are deletions."""

    @property
    def among(self) -> str:
        return f"between {self.first} and {self.first + len(self.items) - 1}"


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
        self._unique: WeakKeyDictionary[TablePlan, list[_Unique]] = WeakKeyDictionary()

    def find(self, plan: TablePlan, items: Sequence[Item], violation: psycopg.Error) -> set[int]:
        """Return the places in `items` of rows that cannot stand while the other rows of the target are as they are.

        Empty if that cannot be told, or if the rows are only in each other's way. The failed attempt has been undone.
        """
        if violation.sqlstate != FOREIGN_KEY_VIOLATION:
            return self._takers(plan, items)
        diag = violation.diag
        key = self._foreign_key((diag.schema_name, diag.table_name, diag.constraint_name))
        if key is None:
            return set()
        found: set[int] = set()
        deleted = [n for n, (kind, _, _) in enumerate(items) if kind == "deletes"]
        written = [n for n, (kind, _, _) in enumerate(items) if kind != "deletes"]
        if key.parent == plan.target.name and deleted:
            found |= {deleted[n] for n in self._still_referred(plan, [items[n][2] for n in deleted], key)}
        referring = _staged(plan, key.columns)
        if key.child == plan.target.name and referring and written:
            found |= {written[n] for n in self._orphans(plan, [items[n][2] for n in written], referring, key)}
        return found

    def _takers(self, plan: TablePlan, items: Sequence[Item]) -> set[int]:
        """Find rows with a unique value of a row that stays as it is: it is not in the batch, or waits itself."""
        indexes = self._unique_of(plan)
        staged = self._stage_all(plan, items) if indexes else None
        if staged is None or not staged.complete:
            return set()
        waiting: set[int] = set()
        followers: dict[int, list[int]] = {}
        for index in indexes:
            same: list[set[int]] = [set(group) for (group,) in self._link.rows(_equal_rows(index, staged))]
            holders = self._link.rows(_holders(plan, index, staged))
            keeping = {(taker, holder) for group in same for taker in group for holder in group}
            for taker, holder in holders:
                if holder is None or (taker, holder) in keeping:
                    waiting.add(taker)
                else:
                    followers.setdefault(holder, []).append(taker)
            for group in same:
                # Of several rows that want one value only one can have it: others are behind.
                waiting |= set(sorted(group - waiting)[1:])
        open_ends = list(waiting)
        while open_ends:
            for taker in followers.get(open_ends.pop(), ()):
                if taker not in waiting:
                    waiting.add(taker)
                    open_ends.append(taker)
        return {staged.items[part - staged.first] for part in waiting}

    def _stage_all(self, plan: TablePlan, items: Sequence[Item]) -> _Staged | None:
        """Stage what a batch writes, each row as a part of its own; None if it writes nothing."""
        groups: dict[tuple[StagedColumn, ...] | None, list[int]] = {}
        for n, (kind, _, row) in enumerate(items):
            whole = None if kind == "deletes" else plan.columns
            changed = plan.changed_by(row) if kind == "updates" else whole
            if changed is None or changed:
                groups.setdefault(changed, []).append(n)
        order = [n for group in groups.values() for n in group]
        if not order:
            return None
        stage, first = self._stages.stage(plan), self._stages.next_parts(len(order))
        pieces, complete, part = [HEADER], [], first
        for changed, group in groups.items():
            encode = plan.delete_encoder() if changed is None else plan.update_encoder(changed)
            if changed is not None:
                parts = f"s.part between {part} and {part + len(group) - 1}"
                complete.append(plan.complete_rows(stage, parts, changed))
            for n in group:
                pieces += plan.numbered(encode((items[n][2],)), part)
                part += 1
        pieces.append(TRAILER)
        self._link.copy(plan.stage_copy(stage), pieces)
        self._stages.undone(plan)
        return _Staged(stage, first, order, " union all ".join(complete))

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
            pieces += plan.numbered(encode((row,)), first + n)
        pieces.append(TRAILER)
        self._link.copy(plan.stage_copy(stage), pieces)
        self._stages.undone(plan)
        return first

    def _ask(self, first: int, query: str) -> set[int]:
        return {part - first for (part,) in self._link.rows(query)}

    def _unique_of(self, plan: TablePlan) -> list[_Unique]:
        """Return the unique indexes of the target's table, but for its primary key."""
        if plan not in self._unique:
            self._unique[plan] = [
                _Unique(tuple(compared), where, nulls)
                for compared, where, nulls in self._link.rows(_UNIQUE, (plan.target.oid,))
            ]
        return self._unique[plan]

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


def _wanted(index: _Unique, staged: _Staged) -> str:
    """Return the query of what an index would compare of the staged rows: part, key, values."""
    values = "".join(f", {expression} as tailrace_v{n}" for n, expression in enumerate(index.compared))
    return f"select x.*{values} from ({staged.complete}) x where {index.predicate}"


def _equal_rows(index: _Unique, staged: _Staged) -> str:
    """Return the query of the staged rows that would have the same values, as arrays of parts."""
    names = [f"tailrace_v{n}" for n in range(len(index.compared))]
    given = "true" if index.nulls_equal else " and ".join(f"{name} is not null" for name in names)
    return (
        f"select array_agg(tailrace_part order by tailrace_part) from ({_wanted(index, staged)}) w where {given} "
        f"group by {', '.join(names)} having count(*) > 1"
    )


def _holders(plan: TablePlan, index: _Unique, staged: _Staged) -> str:
    """Return the query of (part of a row, part of another row that has its value now; null if it is not staged)."""
    key = [column.sql for column in plan.key]
    values = "".join(f", {expression} as tailrace_v{n}" for n, expression in enumerate(index.compared))
    present = f"select {', '.join(key)}{values} from {plan.target.sql} where {index.predicate}"
    equal = "is not distinct from" if index.nulls_equal else "="
    same = " and ".join(f"t.tailrace_v{n} {equal} w.tailrace_v{n}" for n in range(len(index.compared)))
    itself = " and ".join(f"t.{name} = w.{name}" for name in key)
    return (
        f"select w.tailrace_part, h.part from ({_wanted(index, staged)}) w join ({present}) t on {same} "
        f"left join {staged.stage} h on h.part {staged.among} and {plan.same_key('h')} where not ({itself})"
    )
