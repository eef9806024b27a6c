"""What is left to do at a target before applications write it: the SQL for the day when nothing is replicated any more.

While rows are on their way some things would stand in it: sequences, constraints that are newer than rows, what foreign
keys do. Only what differs from the source's tables is printed, and all of it may be run again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from apply.sinks.postgresql.catalog import TargetTable, read_table
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.names import listed, literal, qualified, quoted
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.table import Column, ForeignKey, TableName, TableSchema
from schemas.types import Family

_NEXTVAL = re.compile(r"nextval\('((?:[^']|'')+)'::regclass\)")
_NAME = re.compile(r'("(?:[^"]|"")+"|[^".]+)')
_INTEGERS = frozenset({Family.INT16, Family.INT32, Family.INT64})

_ACTIONS = """
select confdeltype::text, confupdtype::text from pg_constraint
 where contype = 'f' and conname = %s and conrelid = to_regclass(%s)
"""
_LETTERS = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}


def statements(link: Link, target: PostgresqlTarget, tables: Sequence[TableSchema]) -> list[str]:
    """Return the statements for these tables, without semicolons. Driver errors pass through."""
    names = {table.name: _mapped(table.name, target.schema_map) for table in tables}
    found: list[str] = []
    highest: dict[TableName, list[str]] = defaultdict(list)
    for table in tables:
        present = read_table(link, names[table.name])
        if present is None or table.is_view:
            continue
        for column in table.columns:
            if column.name in present.columns:
                found += _of_column(column, present, target.schema_map, highest)
        for key in table.foreign_keys:
            found += _of_foreign_key(link, key, present, _mapped(key.target, target.schema_map))
    for sequence, values in sorted(highest.items()):
        last = f"(select last_value from {qualified(sequence)})"
        found.append(f"select setval({literal(qualified(sequence))}, greatest({last}, {', '.join(values)}))")
    return found


def _of_column(
    column: Column, present: TargetTable, schema_map: Mapping[str, str], highest: dict[TableName, list[str]]
) -> Iterator[str]:
    alter = f"alter table {present.sql} alter column {quoted(column.name)}"
    top = f"(select max({quoted(column.name)}) from {present.sql})"
    if column.identity:
        if not present.columns[column.name].identity:
            yield f"{alter} set not null"
            yield f"{alter} add generated {column.identity} as identity"
        elif column.identity == "always":
            yield f"{alter} set generated always"
        own = f"pg_get_serial_sequence({literal(present.sql)}, {literal(column.name)})"
        yield f"select setval({own}, {top}) where {top} is not null"
    elif column.from_sequence:
        for match in _NEXTVAL.finditer(column.from_sequence):
            sequence = _sequence(match, schema_map)
            yield f"create sequence if not exists {qualified(sequence)}"
            if column.type.family in _INTEGERS and match[0] == column.from_sequence:
                highest[sequence].append(top)
        default = _NEXTVAL.sub(
            lambda match: f"nextval({literal(qualified(_sequence(match, schema_map)))}::regclass)", column.from_sequence
        )
        yield f"{alter} set default {default}"
    if not column.nullable and not column.identity and not present.columns[column.name].not_null:
        yield f"{alter} set not null"


def _of_foreign_key(link: Link, key: ForeignKey, present: TargetTable, parent: TableName) -> Iterator[str]:
    actions = link.rows(_ACTIONS, (key.name, present.sql))
    if not actions:
        return
    on_delete, on_update = (_LETTERS[letter] for letter in actions[0])
    if (on_delete, on_update) != (key.on_delete, key.on_update):
        deferrable = " deferrable" if key.deferrable else ""
        yield (
            f"alter table {present.sql} drop constraint {quoted(key.name)}, add constraint {quoted(key.name)} "
            f"foreign key ({listed(key.columns)}) references {qualified(parent)} ({listed(key.target_columns)}) "
            f"on delete {key.on_delete} on update {key.on_update}{deferrable}"
        )


def _mapped(name: TableName, schema_map: Mapping[str, str]) -> TableName:
    return TableName(schema_map.get(name.schema, name.schema), name.table)


def _sequence(match: re.Match[str], schema_map: Mapping[str, str]) -> TableName:
    """Return the sequence that a default asks: printed with its schema, since we read without a search path."""
    parts = [
        part[1:-1].replace('""', '"') if part.startswith('"') else part
        for part in _NAME.findall(match[1].replace("''", "'"))
    ]
    return _mapped(TableName(*parts), schema_map)
