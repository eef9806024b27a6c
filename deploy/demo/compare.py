"""The demo's own comparison of source and target: every row, every column, by the text that each server prints.

It shares nothing with `tailrace verify`: both sides are sorted by the servers and read side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

_SESSION = "-c datestyle=ISO -c intervalstyle=iso_8601 -c timezone=UTC -c extra_float_digits=3"
SHOWN_MAX = 5


@dataclass(slots=True)
class TableDifference:
    """What the comparison of one table found."""

    table: str
    source_rows: int = 0
    target_rows: int = 0
    only_source: int = 0
    """Rows of the source that the target lacks, or has with another value in some column."""
    only_target: int = 0
    shown: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether each row is there as often on one side as on the other."""
        return not (self.only_source or self.only_target)


def connect(dsn: str) -> psycopg.Connection[Any]:
    """Connect with the settings that the text of values depends on."""
    return psycopg.connect(dsn, autocommit=True, options=_SESSION)


def count_rows(connection: psycopg.Connection[Any], tables: tuple[str, ...]) -> dict[str, int]:
    """Count the rows of the tables that are there."""
    found = connection.execute(
        "select c.relname from pg_class c where c.relnamespace = to_regnamespace('public') and c.relname = any(%s)"
        " and c.relkind = 'r'",
        (list(tables),),
    ).fetchall()
    names = [name for (name,) in found]
    if not names:
        return {}
    query = sql.SQL(" union all ").join(
        sql.SQL("select {}, count(*) from {}").format(sql.Literal(name), sql.Identifier("public", name))
        for name in names
    )
    return dict(connection.execute(query).fetchall())


def compare(source: psycopg.Connection[Any], target: psycopg.Connection[Any], table: str) -> TableDifference:
    """Compare one table; memory holds only what differs."""
    columns = [
        name
        for (name,) in source.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
            " order by attnum",
            (f"public.{table}",),
        )
    ]
    result = TableDifference(table)
    left, right = _sorted_rows(source, table, columns), _sorted_rows(target, table, columns)
    only_source: Counter[bytes] = Counter()
    only_target: Counter[bytes] = Counter()
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if a == b:
            result.source_rows += 1
            result.target_rows += 1
            a, b = next(left, None), next(right, None)
        elif b is None or (a is not None and a < b):
            assert a is not None
            result.source_rows += 1
            only_source[a] += 1
            a = next(left, None)
        else:
            result.target_rows += 1
            only_target[b] += 1
            b = next(right, None)
    result.only_source, result.only_target = only_source.total(), only_target.total()
    result.shown = [
        f"{side}: {bytes.fromhex(row.decode()).decode()[:200]}"
        for side, rows in (("source only", only_source), ("target only", only_target))
        for row in list(rows)[:SHOWN_MAX]
    ]
    return result


def _sorted_rows(connection: psycopg.Connection[Any], table: str, columns: list[str]) -> Iterator[bytes]:
    # Hexadecimal digits: nothing that COPY would escape or that a collation could sort its own way.
    fields = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(column)) for column in columns)
    query = sql.SQL(
        "copy (select encode(convert_to(row({})::text, 'UTF8'), 'hex') from {} t order by 1) to stdout"
    ).format(fields, sql.Identifier("public", table))
    rest = b""
    with connection.cursor().copy(query) as copy:
        for block in copy:
            lines = (rest + bytes(block)).split(b"\n")
            rest = lines.pop()
            yield from lines
