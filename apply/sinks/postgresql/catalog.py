"""What the target's catalogue says of a table: read once per version, never per batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.names import qualified
from schemas.table import TableName

_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialised view", "f": "foreign table"}

_TABLES = """
select n.nspname, c.relname, c.oid::bigint, c.relkind::text,
       exists (select from pg_constraint f where f.confrelid = c.oid and f.contype = 'f'
               and (f.confdeltype <> 'a')) as acts_on_delete
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where (n.nspname, c.relname) in (select s::name, t::name from unnest(%s::text[], %s::text[]) wanted (s, t))
  and c.relkind in ('r', 'p', 'v', 'm', 'f')
"""

_COLUMNS = """
with recursive base (relation, number, type) as (
    select a.attrelid, a.attnum, a.atttypid from pg_attribute a
    where a.attrelid = any(%s::oid[]) and a.attnum > 0 and not a.attisdropped
    union all
    select b.relation, b.number, t.typbasetype from base b join pg_type t on t.oid = b.type where t.typtype = 'd'
)
select a.attrelid::bigint, a.attname, qualifier.text || format_type(a.atttypid, a.atttypmod),
       case when t.typtype = 'e' then 'enum' else t.typname end,
       a.attnotnull, a.atthasdef or a.attidentity <> '', a.attgenerated <> '', a.attidentity::text
from base b
join pg_type t on t.oid = b.type and t.typtype <> 'd'
join pg_attribute a on a.attrelid = b.relation and a.attnum = b.number
join pg_type w on w.oid = a.atttypid
join pg_type named on named.oid = case when w.typcategory = 'A' and w.typelem <> 0 then w.typelem else w.oid end
join pg_namespace n on n.oid = named.typnamespace
cross join lateral (select case when n.nspname <> 'pg_catalog' and pg_type_is_visible(named.oid)
                           then quote_ident(n.nspname) || '.' else '' end) qualifier (text)
order by a.attrelid, a.attnum
"""

_UNIQUE = """
select i.indrelid::bigint, i.indimmediate, i.indisprimary,
       array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k (number, place)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
             where k.place <= i.indnkeyatts order by k.place)
from pg_index i
where i.indrelid = any(%s::oid[]) and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
"""


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column as the target has it."""

    name: str
    type: str
    """As `format_type` prints it, with its schema whatever the search path is."""
    base: str
    """The name in pg_type, domains resolved; `enum` for any enumeration."""
    not_null: bool
    has_default: bool
    generated: bool
    identity: str


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """A unique index over plain columns, of all rows."""

    columns: frozenset[str]
    immediate: bool
    """False for a deferrable constraint: `on conflict` does not take it for an arbiter."""
    primary: bool


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table as the target has it."""

    name: TableName
    oid: int
    kind: str
    columns: dict[str, TargetColumn]
    unique: tuple[UniqueIndex, ...]
    acts_on_delete: bool
    """Whether a foreign key of some table restricts, cascades or sets values when a row here is deleted."""

    @property
    def sql(self) -> str:
        """The qualified name in quotes."""
        return qualified(self.name)

    def arbiter(self, key: frozenset[str]) -> bool:
        """Tell whether `on conflict (key)` finds a unique index."""
        return any(index.columns == key and index.immediate for index in self.unique)


def read_table(link: Link, name: TableName) -> TargetTable | None:
    """Return the table of this name, or None. Driver errors pass through."""
    return read_tables(link, [name]).get(name)


def read_tables(link: Link, names: Sequence[TableName]) -> dict[TableName, TargetTable]:
    """Return those of these tables that there are. Driver errors pass through."""
    tables = link.rows(_TABLES, ([name.schema for name in names], [name.table for name in names]))
    if not tables:
        return {}
    oids = [oid for _, _, oid, _, _ in tables]
    columns: dict[int, dict[str, TargetColumn]] = {oid: {} for oid in oids}
    for oid, *column in link.rows(_COLUMNS, (oids,)):
        columns[oid][column[0]] = TargetColumn(*column)
    unique: dict[int, list[UniqueIndex]] = {oid: [] for oid in oids}
    for oid, immediate, primary, of_columns in link.rows(_UNIQUE, (oids,)):
        unique[oid].append(UniqueIndex(frozenset(of_columns), immediate, primary))
    found = {}
    for schema, table, oid, kind, acts_on_delete in tables:
        name = TableName(schema, table)
        found[name] = TargetTable(name, oid, _KINDS[kind], columns[oid], tuple(unique[oid]), acts_on_delete)
    return found
