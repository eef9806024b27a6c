"""Checksums of PostgreSQL tables, computed by the server: the same text of statements for source and target.

A row's checksum is the md5 of the text of the whole row (`row(…)::text`: the types' own output functions, unambiguous
about null and empty). A table is cut into buckets by a hash of the key's text, so that no collation has a say in
which rows belong together; a bucket's checksum is the count and the sum of its rows' checksums, which does not depend
on their order. A table without a key takes the whole row for its key: the sums then compare multisets.

The scan goes piece by piece through the table's pages (TID range scans, PostgreSQL 14 and later: "TID Range Scan" in
the planner's documentation), each piece a short statement, so that no snapshot is held for long. A row that moves
between pieces while they are read makes its bucket differ, and differing buckets are looked at again by key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from control.verify.side import Key, Sum
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

BLOCK_BYTES = 8192
"""PostgreSQL's page size unless it was built otherwise; only the size of pieces depends on it."""

PIECE_PAGES = 16_384
"""Pages of one statement: 128 MiB."""

SESSION = {
    "application_name": "tailrace verify",
    "client_encoding": "UTF8",
    "datestyle": "ISO",
    "intervalstyle": "iso_8601",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "default_transaction_read_only": "on",
    "statement_timeout": "0",
}
"""What the text of values depends on must be equal on both sides. A time-out of the role is not meant for a scan."""


class Shape(NamedTuple):
    """A table as one side has it: what its statements are composed of."""

    name: TableName
    columns: tuple[str, ...]
    """The columns to compare, in the source's order."""
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    pages: int
    kind: str
    """`pg_class.relkind`."""


class Side:
    """One of the two databases, with one read-only connection. Implements `control.verify.side.Side`."""

    def __init__(self, role: str, conninfo: dict[str, str]) -> None:
        """Connect; `role` is `source` or `target`, for messages and for the kind of error."""
        self.role = role
        self._lost = ErrorKind.SOURCE_CONNECTION if role == "source" else ErrorKind.TARGET_CONNECTION
        self._schema = ErrorKind.SOURCE_SCHEMA if role == "source" else ErrorKind.TARGET_SCHEMA
        try:
            self._connection = psycopg.connect(**conninfo, autocommit=True)  # type: ignore[arg-type]
            for name, value in SESSION.items():
                self._connection.execute("select set_config(%s, %s, false)", (name, value))
        except psycopg.Error as error:
            raise self._classified(error, None) from error
        self._ranges = self._connection.info.server_version >= 140_000

    def position(self) -> int:
        """Return the end of the server's log: what is committed now is visible in the log below it."""
        ((text,),) = self._rows(
            sql.SQL(
                "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end"
            )
        )
        high, low = str(text).split("/")
        return int(high, 16) << 32 | int(low, 16)

    def shape(self, name: TableName, schema: TableSchema) -> Shape:
        """Look a table up. Raises SOURCE_SCHEMA or TARGET_SCHEMA when it or one of its columns is not there."""
        columns, key = schema.column_names, schema.key_names
        rows = self._rows(
            sql.SQL(
                "select c.relkind::text, a.attname, quote_ident(tn.nspname) || '.' || quote_ident(t.typname)"
                " from pg_class c"
                " join pg_namespace n on n.oid = c.relnamespace"
                " left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
                " left join pg_type t on t.oid = a.atttypid left join pg_namespace tn on tn.oid = t.typnamespace"
                " where n.nspname = {} and c.relname = {}"
            ).format(sql.Literal(name.schema), sql.Literal(name.table)),
            table=name,
        )
        if not rows:
            raise TailraceError(self._schema, f"the {self.role} has no such table", table=str(name))
        # A table without columns has rows, too.
        types = {str(column): str(native) for _, column, native in rows if column is not None}
        if missing := [column for column in columns if column not in types]:
            raise TailraceError(
                self._schema, f"the {self.role}'s table has no column {', '.join(missing)}", table=str(name)
            )
        key_types = tuple(types[column] for column in key)
        return Shape(name, tuple(columns), tuple(key), key_types, self._pages(name), str(rows[0][0]))

    def buckets(self, shape: Shape, count: int, on_piece: Callable[[float], None] | None = None) -> dict[int, Sum]:
        """Return the checksums of the table's `count` buckets; empty ones are left out. Reads the whole table.

        `on_piece` is called with the fraction that each piece was of the whole.
        """
        statement = sql.SQL(
            "select bucket, count(*), sum(checksum) from (select {bucket} as bucket, {checksum} as checksum"
            " from {table} t{piece}) b group by bucket"
        )
        sums: dict[int, Sum] = {}
        pieces = list(self._pieces(shape))
        for piece in pieces:
            query = statement.format(
                bucket=_bucket(shape, count),
                checksum=sql.SQL("('x' || left(md5({}), 16))::bit(64)::bigint").format(_row(shape.columns)),
                table=_from(shape),
                piece=piece,
            )
            for bucket, rows, total in self._rows(query, table=shape.name):
                old = sums.get(bucket, Sum(0, 0))
                sums[bucket] = Sum(old.rows + rows, old.total + int(total))
            if on_piece:
                on_piece(1 / len(pieces))
        return sums

    def keys(self, shape: Shape, count: int, buckets: Sequence[int], rows_max: int) -> dict[Key, tuple[str, ...]]:
        """Return the keys of some buckets, each with the checksums of its rows (one, or as many as equal rows).

        At most `rows_max` rows are returned: the caller asks for buckets that hold fewer.
        """
        query = sql.SQL("select {key}, md5({row}) from {table} t where {bucket} = any({buckets}) limit {limit}").format(
            key=_key_text(shape),
            row=_row(shape.columns),
            table=_from(shape),
            bucket=_bucket(shape, count),
            buckets=sql.Literal(list(buckets)),
            limit=sql.Literal(rows_max),
        )
        return _grouped(self._rows(query, table=shape.name))

    def rows(self, shape: Shape, keys: Sequence[Key]) -> dict[Key, tuple[str, ...]]:
        """Return the checksums of the rows with these keys; a key that is not there is left out."""
        if not shape.key:
            query = sql.SQL("select {key}, md5({row}) from {table} t where md5({row}) = any({keys})").format(
                key=_key_text(shape),
                row=_row(shape.columns),
                table=_from(shape),
                keys=sql.Literal([key[0] for key in keys]),
            )
            return _grouped(self._rows(query, table=shape.name))
        try:
            return self._by_key(shape, keys, "t.{} = q.{}::{}")
        except TailraceError as error:
            if not isinstance(error.__cause__, psycopg.DataError | psycopg.IntegrityError):
                raise
        # The other side's key is of another type by now, and this side's takes not all of its values.
        return self._by_key(shape, keys, "t.{}::text = q.{}")

    def _by_key(self, shape: Shape, keys: Sequence[Key], equal: LiteralString) -> dict[Key, tuple[str, ...]]:
        names = [sql.Identifier(f"k{i}") for i in range(len(shape.key))]
        query = sql.SQL(
            "select {key}, md5({row}) from unnest({arrays}) q({names}) join {table} t on {condition}"
        ).format(
            key=_key_text(shape),
            row=_row(shape.columns),
            arrays=sql.SQL(", ").join(
                sql.SQL("{}::text[]").format(sql.Literal([key[i] for key in keys])) for i in range(len(shape.key))
            ),
            names=sql.SQL(", ").join(names),
            table=_from(shape),
            condition=sql.SQL(" and ").join(
                # A type's name is quoted where it was read from the catalogue.
                sql.SQL(equal).format(sql.Identifier(column), name, sql.SQL(native))
                for column, name, native in zip(shape.key, names, shape.key_types, strict=True)
            ),
        )
        return _grouped(self._rows(query, table=shape.name))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _pages(self, name: TableName) -> int:
        ((size,),) = self._rows(
            sql.SQL(
                "select coalesce(max(pg_relation_size(l.oid)), 0) from pg_class c join pg_namespace n"
                " on n.oid = c.relnamespace cross join lateral (select c.oid union all"
                " select p.relid from pg_partition_tree(c.oid) p union all"
                " select i.inhrelid from pg_inherits i where i.inhparent = c.oid) l"
                " where n.nspname = {} and c.relname = {}"
            ).format(sql.Literal(name.schema), sql.Literal(name.table)),
            table=name,
        )
        return int(size) // BLOCK_BYTES + 1

    def _pieces(self, shape: Shape) -> Iterator[sql.Composable]:
        if not self._ranges or shape.pages <= PIECE_PAGES:
            yield sql.SQL("")
            return
        for first in range(0, shape.pages, PIECE_PAGES):
            lower = sql.SQL(" where t.ctid >= {}::tid").format(sql.Literal(f"({first},0)"))
            if first + PIECE_PAGES < shape.pages:
                upper = sql.Literal(f"({first + PIECE_PAGES},0)")
                yield lower + sql.SQL(" and t.ctid < {}::tid").format(upper)
            else:
                # The last piece has no end: pages that were added since the size was read belong to it.
                yield lower

    def _rows(self, query: sql.SQL | sql.Composed, *, table: TableName | None = None) -> list[tuple[Any, ...]]:
        # Without parameters: a `%` in a name would be taken for a placeholder.
        try:
            rows: list[tuple[Any, ...]] = self._connection.execute(query).fetchall()
        except psycopg.Error as error:
            raise self._classified(error, table) from error
        return rows

    def _classified(self, error: psycopg.Error, table: TableName | None) -> TailraceError:
        state = error.sqlstate or ""
        name = None if table is None else str(table)
        if state == "42501":
            return TailraceError(
                ErrorKind.PREREQUISITE,
                f"the role may not read the {self.role}'s table",
                table=name,
                remedy="grant select on the table to the role of the configuration",
            )
        if state.startswith("42"):
            return TailraceError(self._schema, f"the {self.role} refuses the comparison (SQLSTATE {state})", table=name)
        return TailraceError(
            self._lost,
            f"the {self.role} cannot be read (SQLSTATE {state or 'none: connection lost or refused'})",
            table=name,
        )


def _from(shape: Shape) -> sql.Composable:
    """Return the table, without the rows of those that inherit from it: they are tables of their own."""
    return sql.SQL("only {}" if shape.kind == "r" else "{}").format(sql.Identifier(*shape.name))


def _row(columns: Sequence[str]) -> sql.Composable:
    fields = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(column)) for column in columns)
    return sql.SQL("row({})::text").format(fields)


def _key_text(shape: Shape) -> sql.Composable:
    if not shape.key:
        return sql.SQL("array[md5({})]").format(_row(shape.columns))
    return sql.SQL("array[{}]").format(
        sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(column)) for column in shape.key)
    )


def _bucket(shape: Shape, count: int) -> sql.Composable:
    # bit(32)::bigint is 0 to 2**32 - 1: a bit string is extended with zeroes.
    hashed = sql.SQL("('x' || left(md5({}), 8))::bit(32)::bigint").format(_row(shape.key or shape.columns))
    return sql.SQL("mod({}, {})").format(hashed, sql.Literal(count))


def _grouped(rows: Sequence[tuple[Any, ...]]) -> dict[Key, tuple[str, ...]]:
    found: dict[Key, tuple[str, ...]] = {}
    for key, checksum in rows:
        found[tuple(key)] = (*found.get(tuple(key), ()), str(checksum))
    return found
