"""What the catalogue says of tables: schemas in Tailrace's terms, read set-wise.

Virtual columns hold nothing and are left out; stored generated columns are columns like others, since targets of
another engine could not compute them. The key is the primary key, else the first unique index without nulls, prefixes
or expressions, as InnoDB chooses it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from capture.sources.mysql import queries
from capture.sources.mysql.connection import Cells, Connection
from capture.sources.mysql.natives import Charsets, of_catalogue, parse_native
from capture.sources.mysql.quoting import identifier, literal
from capture.sources.mysql.rights import read_in_part
from capture.sources.mysql.types import logical_type, reader
from schemas.errors import ErrorKind, TailraceError
from schemas.selection import Selection
from schemas.table import Column, ForeignKey, GeneratedColumn, Index, TableName, TableSchema
from schemas.types import Family, LogicalType

ENGINE = "mysql"

NO_VIEWS = Selection(())

DATES = (Family.DATE, Family.TIMESTAMP, Family.TIMESTAMPTZ)
"""What may have a zero part."""

READS_MAX = 10
"""So often the catalogue is read where a table is altered between two of its queries."""


class _TornError(Exception):
    """An index is over a column that the table did not have a moment ago: the names of both."""


@dataclass(frozen=True, slots=True)
class RelationFacts:
    """One row of `information_schema.tables`."""

    name: TableName
    kind: str
    """`BASE TABLE`, `VIEW`, `SYSTEM VERSIONED`, `SEQUENCE`."""
    storage: str
    """The storage engine."""
    row_estimate: int
    comment: str | None
    is_partial: bool = False
    """Whether it is a table of which the user may not read all columns: the catalogue shows no others."""

    @property
    def is_table(self) -> bool:
        """Whether its rows are logged, and no others."""
        return self.kind == "BASE TABLE"

    @property
    def is_versioned(self) -> bool:
        """Whether it keeps its history (MariaDB): among the log's rows of it are those that were."""
        return self.kind == "SYSTEM VERSIONED"

    @property
    def is_view(self) -> bool:
        """Whether it is a view: rows to load, and none in the log."""
        return self.kind == "VIEW"


class Catalog:
    """Reads the catalogue over a connection that `connection` returns."""

    def __init__(
        self,
        connection: Callable[[], Connection],
        keeps_old: Callable[[TableName], bool] | None = None,
        zero_dates: str = "error",
    ) -> None:
        """`keeps_old`: of which tables with a key, too, the whole old rows are read. `zero_dates` is the setting."""
        self._connection = connection
        self._zero_dates = zero_dates
        self._keeps_old = keeps_old or (lambda _: False)
        self._charsets: Charsets | None = None

    def read_relations(self, selection: Selection, views: Selection = NO_VIEWS) -> list[RelationFacts]:
        """Return the selected relations, sorted by name: those that can be captured and those that cannot."""
        rows = self._connection().rows(queries.TABLES.format(condition=""))
        found = [_relation(row) for row in rows]
        selected = (r for r in found if selection.takes(r.name) or (r.is_view and views.takes(r.name)))
        return self._marked(sorted(selected, key=lambda r: r.name))

    def names(self) -> list[TableName]:
        """Return the names of all relations, selected or not."""
        return [_relation(row).name for row in self._connection().rows(queries.TABLES.format(condition=""))]

    def keeps_old(self, name: TableName, key: Sequence[int]) -> bool:
        """Tell whether the whole old rows of a table are read: the key alone tells rows apart, if there is one."""
        return not key or self._keeps_old(name)

    def read_tables(self, relations: Sequence[RelationFacts]) -> list[TableSchema]:
        """Return the schemas of these relations, in their order, version 1 each. Raises SOURCE_SCHEMA."""
        torn: tuple[TableName, str] | None = None
        for _ in range(READS_MAX):
            try:
                return self._read_tables(relations) if relations else []
            except _TornError as error:
                if error.args == torn:
                    raise _hidden(*torn) from None
                torn = error.args
        raise TailraceError(
            ErrorKind.SOURCE_CONNECTION, "tables are altered while the catalogue is read, again and again"
        )

    def _read_tables(self, relations: Sequence[RelationFacts]) -> list[TableSchema]:
        names = [r.name for r in relations]
        condition = _condition("table_schema", "table_name", names)
        columns = self._by_table(queries.COLUMNS.format(condition=condition))
        indexes = self._by_table(queries.INDEXES.format(condition=condition))
        foreign_keys = self._by_table(
            queries.FOREIGN_KEYS.format(
                condition=_condition("k.table_schema", "k.table_name", names),
                # Said again for the other view: servers look tables up by constants only.
                constraints=_condition("r.constraint_schema", "r.table_name", names),
            )
        )
        is_mariadb = self._connection().is_mariadb
        return [
            replace(with_nulls(table, self._zero_dates), full_before=self.keeps_old(table.name, table.key))
            for table in (
                _table(
                    r,
                    self._with_moments(r, columns.get(r.name, [])),
                    indexes.get(r.name, []),
                    foreign_keys.get(r.name, []),
                    is_mariadb=is_mariadb,
                )
                for r in relations
                if columns.get(r.name)
            )
        ]

    def find_table(self, name: TableName) -> TableSchema | None:
        """Return one table as it is now, or None where it is gone, or cannot be captured."""
        tables = self.read_tables(capturable(self._find(name)))
        return tables[0] if tables else None

    def is_versioned(self, name: TableName) -> bool:
        """Tell whether a table keeps its history now."""
        return any(r.is_versioned for r in self._find(name))

    def is_partial(self, name: TableName) -> bool:
        """Tell whether the user may not read all columns of a table."""
        return any(r.is_partial for r in self._find(name))

    def _find(self, name: TableName) -> list[RelationFacts]:
        condition = f" and table_schema = {literal(name.schema)} and table_name = {literal(name.table)}"
        rows = self._connection().rows(queries.TABLES.format(condition=condition))
        return self._marked([*map(_relation, rows)])

    def _marked(self, relations: list[RelationFacts]) -> list[RelationFacts]:
        partial = read_in_part(self._connection(), [r.name for r in relations if r.is_table])
        return [replace(r, is_partial=True) if r.name in partial else r for r in relations]

    def natives(self, name: TableName) -> dict[str, str]:
        """Return the native types of a table's columns as they are now; empty where it is gone."""
        rows = self._connection().rows(
            queries.COLUMNS.format(condition=_condition("table_schema", "table_name", [name]))
        )
        return {str(row[2]): _native(str(row[3]), row[4]) for row in rows}

    @property
    def charsets(self) -> Charsets:
        """The server's charsets, asked for once."""
        if self._charsets is None:
            connection = self._connection()
            widths = {str(name): int(str(width)) for name, width in connection.rows(queries.CHARSETS)}
            has_numbers = connection.is_mariadb and connection.version >= (10, 10, 1)
            collations = connection.rows(queries.COLLATIONS[has_numbers])
            names = {int(number): str(charset) for number, charset in collations if number and charset}
            # One name for one charset: servers call it both ways.
            names = {number: "utf8mb3" if name == "utf8" else name for number, name in names.items()}
            widths.setdefault("utf8mb3", 3)
            self._charsets = Charsets(names, widths)
        return self._charsets

    def _with_moments(self, relation: RelationFacts, rows: list[Cells]) -> list[Cells]:
        """Return the rows with each default of a timestamp in UTC, as our sessions have it.

        MySQL's catalogue has it in the zone of the session that made the column; the statement that it shows does not.
        """
        if self._connection().is_mariadb or relation.is_view or not any(map(_is_moment, rows)):
            return rows
        try:
            ((_, statement),) = self._connection().rows(f"show create table {quoted(relation.name)}")
        except TailraceError as error:
            if error.kind is not ErrorKind.SOURCE_SCHEMA:
                raise
            return rows  # It is gone by now.
        moments = dict(_MOMENT.findall(statement or ""))
        return [
            [*row[:6], moments.get(identifier(str(row[2])), row[6]), *row[7:]] if _is_moment(row) else row
            for row in rows
        ]

    def _by_table(self, query: str) -> dict[TableName, list[Cells]]:
        found: dict[TableName, list[Cells]] = defaultdict(list)
        for row in self._connection().rows(query):
            found[TableName(str(row[0]), str(row[1]))].append(row)
        return found


def capturable(relations: Sequence[RelationFacts], views: Selection = NO_VIEWS) -> list[RelationFacts]:
    """Return the tables whose changes are logged and can be read, and the views that are to be loaded."""
    return [r for r in relations if (r.is_table and not r.is_partial) or (r.is_view and views.takes(r.name))]


def quoted(name: TableName) -> str:
    """Return a table's name as statements have it."""
    return f"{identifier(name.schema)}.{identifier(name.table)}"


def with_nulls(table: TableSchema, zero_dates: str) -> TableSchema:
    """Return a table whose dates may be null, but those of the key, where those with a zero part become null."""
    if zero_dates != "null":
        return table
    columns = (
        replace(column, nullable=True) if column.type.family in DATES and index not in table.key else column
        for index, column in enumerate(table.columns)
    )
    return replace(table, columns=tuple(columns))


def layout(table: TableSchema) -> list[tuple[str, str, int | None]]:
    """Return name, native type and place in the row of all columns that the log's maps have.

    The place of a virtual column is None.
    """
    columns: list[tuple[str, str, int | None]] = [(c.name, c.native, i) for i, c in enumerate(table.columns)]
    for generated in sorted(table.generated, key=lambda g: g.position):
        columns.insert(generated.position, (generated.name, generated.native, None))
    return columns


def _condition(schema_column: str, table_column: str, names: Iterable[TableName]) -> str:
    """Return the condition that takes these tables: by schema, since a list of pairs is not looked up by index."""
    parts = []
    for schema, group in groupby(sorted(names), key=lambda name: name.schema):
        tables = [literal(name.table) for name in group]
        chosen = f"= {tables[0]}" if len(tables) == 1 else f"in ({', '.join(tables)})"
        parts.append(f"({schema_column} = {literal(schema)} and {table_column} {chosen})")
    return "(" + " or ".join(parts) + ")"


def _relation(row: Cells) -> RelationFacts:
    schema, table, kind, storage, rows, comment = row
    return RelationFacts(TableName(str(schema), str(table)), str(kind), storage or "", int(rows or 0), comment or None)


def _table(
    relation: RelationFacts,
    column_rows: list[Cells],
    index_rows: list[Cells],
    foreign_key_rows: list[Cells],
    *,
    is_mariadb: bool,
) -> TableSchema:
    columns: list[Column] = []
    generated: list[GeneratedColumn] = []
    for position, row in enumerate(column_rows):
        _, _, name, column_type, charset, nullable, default, extra, expression = row
        try:
            native = of_catalogue(str(column_type), charset)
            kind = logical_type(parse_native(native))
            # Whatever cannot be decoded is refused now, not when the first row comes.
            reader(native, "error")
        except ValueError as error:
            raise TailraceError(
                ErrorKind.SOURCE_SCHEMA,
                f"column {name}: {error}",
                remedy="leave the table out, or give the column another type",
                table=str(relation.name),
            ) from error
        if relation.is_view:
            # Defaults and constraints are those of the tables below it, and no rows are inserted into it.
            columns.append(Column(str(name), kind, native))
            continue
        words = (extra or "").upper()
        if "VIRTUAL" in words:
            generated.append(GeneratedColumn(str(name), native, expression or "", position))
            continue
        is_identity = "AUTO_INCREMENT" in words
        is_computed = "GENERATED" in words and "DEFAULT_GENERATED" not in words
        value = f"({expression})" if is_computed else _default(default, words, kind, native, is_mariadb=is_mariadb)
        columns.append(
            Column(
                str(name),
                kind,
                native,
                nullable == "YES",
                None if is_identity else value,
                "by default" if is_identity else "",
            )
        )
    known = {column.name for column in columns} | {column.name for column in generated} | {None}
    for row in index_rows:
        if row[4] not in known:
            raise _TornError(relation.name, row[4])
    indexes, key, is_primary = _indexes(index_rows, columns)
    if is_mariadb and relation.storage != "MEMORY":
        generated += _hashes(index_rows, len(column_rows))
    return TableSchema(
        relation.name,
        tuple(columns),
        key,
        primary_key=is_primary,
        generated=tuple(generated),
        indexes=tuple(indexes),
        foreign_keys=tuple(_foreign_keys(foreign_key_rows)),
        # A view's own is always `VIEW`.
        comment=None if relation.is_view else relation.comment,
        engine=ENGINE,
        is_view=relation.is_view,
    )


def _native(column_type: str, charset: str | None) -> str:
    """Return a native type; as the catalogue prints it where it is none that we know."""
    try:
        return of_catalogue(column_type, charset)
    except ValueError:
        return column_type


def _hidden(table: TableName, column: str) -> TailraceError:
    """Return the error for an index over a column that the catalogue does not show, whenever it is read."""
    return TailraceError(
        ErrorKind.PREREQUISITE,
        f"the user may not read the column {column} of the table, which has an index",
        remedy=f"grant select on {quoted(table)} to the user: on all of it, or leave the table out: `!{table}`",
        table=str(table),
    )


def _is_moment(row: Cells) -> bool:
    """Tell whether a column's default is a moment that the catalogue may have in any zone."""
    _, _, _, column_type, _, _, default, extra, _ = row
    return (
        str(column_type).startswith("timestamp")
        and default is not None
        and not default.startswith("0000-")
        and "DEFAULT_GENERATED" not in (extra or "").upper()
    )


_MOMENT = re.compile(r"^ +(`(?:[^`]|``)+`) timestamp\b.*? DEFAULT '([^']*)'", re.MULTILINE)
"""A timestamp's name and default in what `show create table` shows."""


def _default(default: str | None, extra: str, column_type: LogicalType, native: str, *, is_mariadb: bool) -> str | None:
    """Return a default as SQL, and as a plain literal only what any server takes for the same value.

    MySQL shows the bare value, which may look like a number or an expression; MariaDB shows SQL, where a backslash
    escapes. What either shows of bytes is not all of them.
    """
    if default is None or (is_mariadb and default == "NULL"):
        return None
    is_value = _LITERAL.fullmatch(default) is not None if is_mariadb else "DEFAULT_GENERATED" not in extra
    if not is_value or column_type.family in _NUMBERS or native.lower().startswith("bit("):
        return default
    if column_type.family is Family.BYTES:
        return f"_binary {default}" if is_mariadb else default or "x''"
    return literal(_UNESCAPED.sub(_unescape, default[1:-1]) if is_mariadb else default)


_NUMBERS = frozenset(
    {
        *(Family.BOOLEAN, Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.UINT64),
        *(Family.FLOAT32, Family.FLOAT64, Family.DECIMAL),
    }
)
_LITERAL = re.compile(r"'(?:[^'\\]|''|\\.)*'", re.DOTALL)
_UNESCAPED = re.compile(r"''|\\(.)", re.DOTALL)


def _unescape(found: re.Match[str]) -> str:
    escaped = found[1]
    return {None: "'", "0": "\0", "n": "\n", "r": "\r", "Z": "\x1a"}.get(escaped, escaped)


def _indexes(rows: list[Cells], columns: Sequence[Column]) -> tuple[list[Index], tuple[int, ...], bool]:
    places = {column.name: i for i, column in enumerate(columns)}
    indexes: list[Index] = []
    primary: tuple[int, ...] = ()
    unique: tuple[int, ...] = ()
    for name, group in groupby(rows, key=lambda row: row[2]):
        parts = list(group)
        is_unique = parts[0][3] == "0"
        is_plain = all(part[4] in places and part[5] is None for part in parts)
        names = [identifier(part[4] or "") + (f"({part[5]})" if part[5] else "") for part in parts]
        key = tuple(places[str(part[4])] for part in parts) if is_plain else ()
        if name == "PRIMARY":
            # A prefix of a column is no key for anybody else: the whole column is one, and unique as well.
            primary = tuple(places[str(part[4])] for part in parts)
            continue
        if is_unique and key and not unique and not any(columns[i].nullable for i in key):
            unique = key
        method = str(parts[0][6]).lower()
        if all(part[4] for part in parts):
            indexes.append(Index(str(name), is_unique, f"using {method} ({', '.join(names)})"))
    return indexes, primary or unique, bool(primary) or not unique


def is_hash(name: str | None) -> bool:
    """Tell whether a column has a name of those that MariaDB makes for itself: of a value that is too long for an index
    that is unique it keeps a hash (`sql/sql_table.cc`, `add_hash_field`). The log has them, behind all other columns,
    and the catalogue does not.
    """
    return re.fullmatch(r"DB_ROW_HASH_\d+", name or "") is not None


def _hashes(index_rows: list[Cells], column_count: int) -> list[GeneratedColumn]:
    hashed = dict.fromkeys(row[2] for row in index_rows if row[3] == "0" and row[6] == "HASH")
    return [
        GeneratedColumn(f"DB_ROW_HASH_{n + 1}", "bigint unsigned", "", column_count + n) for n in range(len(hashed))
    ]


def _foreign_keys(rows: list[Cells]) -> list[ForeignKey]:
    found = []
    for name, group in groupby(rows, key=lambda row: row[2]):
        parts = list(group)
        target = TableName(str(parts[0][4]), str(parts[0][5]))
        found.append(
            ForeignKey(
                str(name),
                tuple(str(part[3]) for part in parts),
                target,
                tuple(str(part[6]) for part in parts),
                str(parts[0][7]).lower(),
                str(parts[0][8]).lower(),
            )
        )
    return found
