"""Compare databases of MySQL and MariaDB row by row, as both servers print them alike, by a client of our own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pymysql

from tests.kit.compare import list_tables
from tests.kit.random_tables import quoted
from tests.kit.servers import Database

_MOMENTS = frozenset({"datetime", "timestamp"})
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector", "geometry"})
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json"})
_SHOWN = 2

_COLUMNS = """
select table_name, column_name, data_type, extra from information_schema.columns
 where table_schema = database() and table_name in (select table_name from information_schema.tables
 where table_schema = database() and table_type = 'BASE TABLE') order by table_name, ordinal_position
"""


def mysql_differences(source: pymysql.Connection, target: pymysql.Connection) -> list[str]:
    """Return what differs, in words. The target is read in the form of the source's types."""
    found = []
    there = _tables(target)
    for table, columns in _tables(source).items():
        names = [name for name, _ in columns]
        if table not in there or not set(names) <= {name for name, _ in there[table]}:
            found.append(f"{table}: the target has {[name for name, _ in there.get(table, [])]}, the source {names}")
            continue
        query = f"select {', '.join(_printed(*column) for column in columns)} from {quoted(table)}"
        try:
            wanted, have = (Counter(map(tuple, _rows(connection, query))) for connection in (source, target))
        except pymysql.err.Error as error:
            found.append(f"{table}: {error.args[0]}")
            continue
        if wanted != have:
            extra, missing = have - wanted, wanted - have
            shown = [str(row)[:400] for row in (*[*extra][:_SHOWN], *[*missing][:_SHOWN])]
            found.append(f"{table}: {extra.total()} too many, {missing.total()} missing: {shown}")
    return found


def count_differences(source: pymysql.Connection, target: Database) -> list[str]:
    """Return which tables have another number of rows at a PostgreSQL target."""
    found = []
    (schema,) = _rows(source, "select database()")[0]
    there = {name for (name,) in target.rows(f"select tablename::text from pg_tables where schemaname = '{schema}'")}
    for table in _tables(source):
        (wanted,) = _rows(source, f"select count(*) from {quoted(table)}")[0]
        have = target.rows(f'select count(*) from "{schema}".{quoted(table)}')[0][0] if table in there else None
        if wanted != have:
            found.append(f"{table}: {wanted} rows at the source, {have} at the target")
    return found


def count_differences_from(source: Database, target: pymysql.Connection) -> list[str]:
    """Return which tables of a PostgreSQL source have another number of rows."""
    found = []
    there = _tables(target)
    with source.connect() as connection:
        tables = list_tables(connection)
    for schema, table in tables:
        ((wanted,),) = source.rows(f"select count(*) from {quoted(schema)}.{quoted(table)}")
        have = _rows(target, f"select count(*) from {quoted(str(table))}")[0][0] if table in there else None
        if wanted != have:
            found.append(f"{table}: {wanted} rows at the source, {have} at the target")
    return found


def _tables(connection: pymysql.Connection) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind, extra in _rows(connection, _COLUMNS):
        columns = found.setdefault(table, [])
        if "VIRTUAL" not in str(extra).upper():
            columns.append((column, kind))
    return found


def _printed(name: str, kind: str) -> str:
    """Return the expression that prints a column of a type the same on every server."""
    column = quoted(name)
    if kind in _MOMENTS:
        return f"date_format({column}, '%Y-%m-%d %H:%i:%s.%f')"
    if kind == "time":
        return f"timestampdiff(microsecond, '2000-01-01', addtime(cast('2000-01-01' as datetime(6)), {column}))"
    if kind in _BYTES or kind.endswith(("point", "string", "polygon", "collection")):
        return f"hex({column})"
    if kind in ("bit", "year") or kind.endswith("int"):
        # The number: `zerofill`, which says how it is printed, does not travel.
        return f"{column} + 0"
    if kind in ("float", "double"):
        return f"{column} + 0e0"
    if kind in _TEXTS:
        return f"hex(convert({column} using utf8mb4))"
    return f"cast({column} as char)"


def _rows(connection: pymysql.Connection, query: str) -> Sequence[Sequence[Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())
