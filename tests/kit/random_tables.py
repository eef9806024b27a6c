"""Random tables: what they look like, and the SQL that makes them. Every choice comes from one generator of numbers.

The model is what the writer (`random_writer.py`) needs to know to write statements that mostly succeed. The server has
the last word: a statement that it refuses is rolled back, and the model with it.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from tests.kit.postgresql_samples import NativeSample
from tests.kit.type_walk import SHAPES, make_types, shaped

NAMES = ("id", "Mixed", "select", "a.b", "é", 'q"uote', "🚂", " lead", "op", "after", "ts", "n" * 60, "c0", "x y", "%s")
SCHEMAS = ("public", "Odd.Schema")
LARGE = ("repeat('x', 9000)", "(select string_agg(md5(i::text), '') from generate_series(1, 400) i)", "'small'")


@dataclass(frozen=True, slots=True)
class Kind:
    """A type, and the expressions of values of it."""

    native: str
    values: tuple[str, ...]
    is_large: bool = False


INTEGER = Kind("integer", ("0", "1", "-7", "2147483647"))
LARGE_TEXT = Kind("text", LARGE, is_large=True)
KEYS: tuple[Kind, ...] = (
    INTEGER,
    Kind("bigint", tuple(str(n) for n in (-9, 0, 1, 2, 3, 2**62))),
    Kind("smallint", tuple(str(n) for n in range(-3, 30))),
    Kind("text", (*(f"'k{n}'" for n in range(30)), "''", "' '", "'é'", "'e\u0301'", "'🚂'", "'a,b\"c'")),
    Kind("varchar(12)", tuple(f"'v{n}'" for n in range(30))),
    Kind("character(4)", ("'a'", "'b c'", "''", "'abcd'", "'é'")),
    Kind("uuid", tuple(f"md5('{n}')::uuid" for n in range(30))),
    Kind("numeric", ("0", "1.0", "1.00", "1.5", "-0.001", "1e30", "'NaN'", "17", "17.0")),
    Kind("numeric(8,2)", tuple(f"{n}.5" for n in range(30))),
    Kind("double precision", ("0", "'-0'", "1.5", "'NaN'", "'Infinity'", "5e-324")),
    Kind("interval", ("'1 mon'", "'30 days'", "'1 day'", "'24 hours'", "'0'", "'-1 day 1 hour'")),
    Kind("jsonb", ("'{\"a\": 1}'", "'{\"a\": 1.0}'", "'null'", "'[1, 2]'")),
    Kind("date", (*(f"date '2024-01-01' + {n}" for n in range(30)), "'infinity'", "'0044-03-15 BC'")),
    Kind("timestamptz", tuple(f"timestamptz '2024-01-01' + {n} * interval '1 h'" for n in range(30))),
    Kind("bytea", ("''", "'\\x00'", "'\\xff00'", "'\\x01'")),
    Kind("boolean", ("true", "false")),
    Kind("integer[]", ("'{}'", "'{1,NULL}'", "'{1,2}'", "'[2:3]={1,2}'")),
    Kind("inet", ("'10.0.0.1'", "'10.0.0.1/8'", "'::1'")),
    Kind("int4range", ("'empty'", "'[1,5)'", "'(,)'", "'[1,4]'")),
    Kind("time", ("'00:00'", "'24:00'", "'12:34:56.789'")),
)
"""Types of keys; the texts are short enough for an index."""


@dataclass(slots=True)
class Column:
    """A column as the writer knows it."""

    name: str
    kind: Kind
    nullable: bool = True
    identity: bool = False


@dataclass(slots=True)
class Table:
    """A table as the writer knows it."""

    schema: str
    name: str
    columns: list[Column]
    key: list[str]
    """Names of the columns of the primary key; empty: a table without one, with replica identity full."""
    generated: list[tuple[str, str]] = field(default_factory=list)
    """Name and expression of computed columns."""
    partition_by: str = ""
    """The column of an integer type that the rows are parted by; partitions hold ten values each."""
    partitions: dict[str, int] = field(default_factory=dict)
    """Name and first value."""

    @property
    def sql(self) -> str:
        """The quoted name."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    def column(self, name: str) -> Column:
        """Return a column by its name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def plain(self) -> list[Column]:
        """The columns that are not of the key."""
        return [column for column in self.columns if column.name not in self.key and column.name != self.partition_by]


class Designer(ABC):
    """Designs columns and tables."""

    def __init__(self, choose: random.Random) -> None:
        self._choose = choose
        self._made = 0

    @abstractmethod
    def kind(self) -> Kind:
        """Return a random type."""

    @abstractmethod
    def table(self, taken: Sequence[tuple[str, str]]) -> tuple[Table, list[str]]:
        """Return a random table with a name that is none of these, and the statements that make it."""

    def name(self, taken: Sequence[str]) -> str:
        """Return a name of a column or a table that is none of these."""
        self._made += 1
        name = self._choose.choice(NAMES) if self._choose.random() < 0.4 else f"c{self._made}"
        while name in taken:
            name = f"c{self._made}"
            self._made += 1
        return name

    def columns(self, taken: list[str], count: int) -> list[Column]:
        """Return columns of random types and names."""
        columns = []
        for _ in range(count):
            column = Column(self.name(taken), self.kind())
            taken.append(column.name)
            columns.append(column)
        return columns

    def keyed(self, names: list[str], kinds: Sequence[Kind]) -> list[Column]:
        """Return the columns of a key, of one type or several, and add their names."""
        choose = self._choose
        chosen = [INTEGER] if choose.random() < 0.4 else [choose.choice(kinds) for _ in range(choose.randint(1, 3))]
        columns = [Column(self.name(names), kind, nullable=False) for kind in chosen]
        for i, column in enumerate(columns):
            column.name = column.name if column.name not in names else f"key{i}"
            names.append(column.name)
        return columns


class PostgresqlDesigner(Designer):
    """Makes the types that its columns need, too."""

    schemas: Sequence[str] = SCHEMAS
    keys: Sequence[Kind] = KEYS
    """Types of keys."""

    def __init__(self, choose: random.Random, samples: Sequence[NativeSample], connection: psycopg.Connection) -> None:
        super().__init__(choose)
        self._samples = samples
        self._connection = connection

    def kind(self) -> Kind:
        """Return a random type, and make it."""
        choose = self._choose
        if choose.random() < 0.15:
            return LARGE_TEXT
        while True:
            i = choose.randrange(len(self._samples))
            shape = "plain" if choose.random() < 0.5 else choose.choice(SHAPES)
            found = shaped(shape, i, self._samples[i])
            if found is not None:
                make_types(self._connection, found)
                return Kind(found.native, found.values)

    def table(self, taken: Sequence[tuple[str, str]]) -> tuple[Table, list[str]]:
        """Return a random table, and the statements that make it."""
        choose = self._choose
        schema = choose.choice(self.schemas)
        name = self.name([t for s, t in taken if s == schema])
        names: list[str] = []
        keyed = self.keyed(names, self.keys)
        shape = choose.choices(("plain", "bag", "index", "partitioned", "identity"), (40, 15, 10, 20, 15))[0]
        if shape == "identity":
            keyed = [Column(keyed[0].name, INTEGER, nullable=False, identity=True)]
        table = Table(schema, name, keyed + self.columns(names, choose.randint(0, 7)), [c.name for c in keyed])
        choose.shuffle(table.columns)
        if shape == "bag":
            table.key = []
            for column in table.columns:
                column.nullable = True
        if shape == "partitioned":
            parted = Column(self.name(names), INTEGER, nullable=False)
            table.columns.append(parted)
            table.key.append(parted.name)
            table.partition_by = parted.name
        return table, [*self._statements(table, by_index=shape == "index"), *self._partitions(table)]

    def _statements(self, table: Table, *, by_index: bool) -> list[str]:
        choose = self._choose
        parts = [definition(column) for column in table.columns]
        numbers = [column for column in table.columns if column.kind is INTEGER]
        # From PostgreSQL 18 on, not together with replica identity full.
        if table.key and numbers and choose.random() < 0.3:
            base = quoted(numbers[0].name)
            generated = self.name([column.name for column in table.columns])
            table.generated.append((generated, base))
            parts.append(f"{quoted(generated)} bigint generated always as ({base}::bigint * 2) stored")
            choose.shuffle(parts)
        if table.key and not by_index:
            parts.append(f"primary key ({', '.join(map(quoted, table.key))})")
        parted = f" partition by range ({quoted(table.partition_by)})" if table.partition_by else ""
        statements = [f"create table {table.sql} ({', '.join(parts)}){parted}"]
        if by_index:
            index = quoted(f"{table.name[:20]}_identity")
            statements.append(f"create unique index {index} on {table.sql} ({', '.join(map(quoted, table.key))})")
            statements.append(f"alter table {table.sql} replica identity using index {index}")
        elif not table.key or (not table.generated and choose.random() < 0.2):
            statements.append(f"alter table {table.sql} replica identity full")
        statements += [
            f"alter table {table.sql} alter column {quoted(column.name)} set storage external"
            for column in table.columns
            if column.kind.is_large
        ]
        return statements

    def _partitions(self, table: Table) -> list[str]:
        if not table.partition_by:
            return []
        statements = []
        for first in (0, 10):
            name = f"{table.name[:20]}_p{first}_{self._made}"
            table.partitions[name] = first
            statements.append(
                f"create table {quoted(table.schema)}.{quoted(name)} partition of {table.sql} "
                f"for values from ({first}) to ({first + 10})"
            )
        return statements


def definition(column: Column) -> str:
    """Return a column as `create table` takes it."""
    text = f"{quoted(column.name)} {column.kind.native}"
    if column.identity:
        return f"{text} generated by default as identity"
    return text + ("" if column.nullable else " not null")


def quoted(name: str) -> str:
    """Quote an identifier. Percent signs stay: statements are sent without parameters."""
    return '"' + name.replace('"', '""') + '"'
