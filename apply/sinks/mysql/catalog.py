"""What the target's catalogue says of a table: read once per version, never per batch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from apply.sinks.mysql.connection import Link
from apply.sinks.mysql.names import folded, qualified
from schemas.table import TableName

_TABLE = """
select table_type, engine, table_rows from information_schema.tables where table_schema = %s and table_name = %s
"""

_COLUMNS = """
select column_name, column_type, data_type, character_set_name, collation_name, is_nullable, column_default, extra,
       generation_expression, character_maximum_length
  from information_schema.columns where table_schema = %s and table_name = %s order by ordinal_position
"""

_UNIQUE = """
select index_name, column_name, sub_part from information_schema.statistics
 where table_schema = %s and table_name = %s and non_unique = 0 order by index_name, seq_in_index
"""

_REFERRING = """
select k.constraint_name, k.table_schema, k.table_name, k.column_name, k.referenced_column_name
  from information_schema.key_column_usage k
 where k.referenced_table_schema = %s and k.referenced_table_name = %s
 order by k.table_schema, k.table_name, k.constraint_name, k.ordinal_position
"""

_TRIGGERS = """
select exists (select 1 from information_schema.triggers where event_object_schema = %s and event_object_table = %s)
"""

_TRAITS = r"""
select 'column', column_name, coalesce(generation_expression, '') <> '' from information_schema.columns
 where table_schema = %s and table_name = %s
union all
select 'unique', concat(index_name, '.', coalesce(column_name, '')), coalesce(sub_part, 0)
  from information_schema.statistics where table_schema = %s and table_name = %s and non_unique = 0
union all
select 'refers', constraint_name, 0 from information_schema.table_constraints
 where table_schema = %s and table_name = %s and constraint_type = 'FOREIGN KEY'
union all
select 'trigger', trigger_name, 0 from information_schema.triggers
 where event_object_schema = %s and event_object_table = %s
union all
select 'unseen', 'triggers', 0 from dual
 where not exists (select 1 from information_schema.user_privileges
                    where privilege_type = 'TRIGGER' and replace(grantee, '''', '') = current_user())
   and not coalesce((select min(sees) from (
         select max(privilege_type = 'TRIGGER') as sees from information_schema.schema_privileges
          where replace(grantee, '''', '') = current_user() and %s like table_schema escape '\' group by table_schema
       ) as matching), 0)
    /*!80016 or @@global.partial_revokes */
"""
"""By the user's own rights: those of a role are not looked for. Of several patterns for a database only one counts,
so all must give the right; and MySQL may have taken back a part of it. In our sessions a backslash is a plain one.
"""

PRIMARY = "PRIMARY"

Trait = tuple[str, str, int]
"""What could tell a row that is written over from one that is updated: ("column", name, whether it is computed),
("unique", index and column, length of its beginning), ("refers", foreign key, 0), ("trigger", name, 0), and
("unseen", "triggers", 0) where there may be some.
"""


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column as the target has it."""

    name: str
    """As the target spells it: that may be another case than the source's."""
    type: str
    """As the catalogue prints it: `bigint(20) unsigned`, `enum('a','b')`."""
    base: str
    """The type's bare name: `bigint`."""
    charset: str
    collation: str
    """Both empty for types without characters."""
    not_null: bool
    has_default: bool
    generated: bool
    length: int
    """Of character and binary types, in characters or bytes; 0 elsewhere."""

    @property
    def pads(self) -> bool:
        """Whether values are equal that differ by blanks at their end only, which they keep."""
        keeps = self.base not in ("char", "enum", "set") and self.collation not in ("", "binary")
        return keeps and "nopad" not in self.collation and "_0900_" not in self.collation


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """A unique index."""

    name: str
    columns: frozenset[str]
    whole: bool
    """False where it is over an expression or the beginning of a column."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key of some table to this one."""

    name: str
    child: TableName
    columns: tuple[str, ...]
    referred: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table as the target has it."""

    name: TableName
    kind: str
    storage: str
    columns: dict[str, TargetColumn]
    unique: tuple[UniqueIndex, ...]
    referring: tuple[Reference, ...]
    traits: frozenset[Trait] = frozenset()

    @property
    def sql(self) -> str:
        """The qualified name in quotes."""
        return qualified(self.name)

    def has_unique(self, key: frozenset[str]) -> bool:
        """Tell whether some unique index is over these columns and no others."""
        return any(index.whole and index.columns == key for index in self.unique)

    def only_unique(self, key: frozenset[str]) -> bool:
        """Tell whether nothing else is unique: a duplicate can then be one of the key only."""
        return self.has_unique(key) and all(index.whole and index.columns == key for index in self.unique)


def read_table(link: Link, name: TableName) -> TargetTable | None:
    """Return the table of this name, or None. Driver errors pass through."""
    found = link.rows(_TABLE, name)
    if not found:
        return None
    kind, storage, _ = found[0]
    columns = {
        row[0]: TargetColumn(
            name=row[0],
            type=row[1],
            base=str(row[2]).lower(),
            charset=row[3] or "",
            collation=row[4] or "",
            not_null=row[5] == "NO",
            has_default=row[6] is not None or "auto_increment" in row[7] or "DEFAULT_GENERATED" in row[7],
            generated=bool(row[8]),
            length=int(row[9] or 0),
        )
        for row in link.rows(_COLUMNS, name)
    }
    parts: dict[str, list[tuple[str | None, int | None]]] = {}
    for index, column, prefix in link.rows(_UNIQUE, name):
        parts.setdefault(index, []).append((column, prefix))
    unique = tuple(
        UniqueIndex(
            index,
            frozenset(column for column, _ in some if column),
            all(column is not None and prefix is None for column, prefix in some),
        )
        for index, some in parts.items()
    )
    return TargetTable(
        name,
        "table" if kind == "BASE TABLE" else str(kind).lower(),
        storage or "",
        columns,
        unique,
        referring(link, name),
        traits(link, name),
    )


def traits(link: Link, name: TableName) -> frozenset[Trait]:
    """Return by what a row that is written over would be told from one that is updated, in one query."""
    return frozenset((kind, of, int(number)) for kind, of, number in link.rows(_TRAITS, (*name * 4, name.schema)))


def has_triggers(link: Link, name: TableName) -> bool:
    """Tell whether the user sees triggers of a table."""
    return bool(link.value(_TRIGGERS, name))


def spelled(table: TargetTable, names: Collection[str]) -> TargetTable:
    """Return the table with its columns under these names where nothing but case tells them from its own."""
    wanted = {folded(name): name for name in names}
    spelling = {
        own: wanted[folded(own)] for own in table.columns if own not in names and wanted.get(folded(own)) is not None
    }
    if not spelling:
        return table
    unique = (replace(i, columns=frozenset(spelling.get(name, name) for name in i.columns)) for i in table.unique)
    return replace(
        table,
        columns={spelling.get(name, name): column for name, column in table.columns.items()},
        unique=tuple(unique),
    )


def referring(link: Link, name: TableName) -> tuple[Reference, ...]:
    """Return the foreign keys that refer to a table, its own included."""
    found: dict[tuple[str, TableName], tuple[list[str], list[str]]] = {}
    for constraint, schema, table, column, referred in link.rows(_REFERRING, name):
        columns, targets = found.setdefault((constraint, TableName(schema, table)), ([], []))
        columns.append(column)
        targets.append(referred)
    return tuple(Reference(name_, child, tuple(a), tuple(b)) for (name_, child), (a, b) in found.items())
