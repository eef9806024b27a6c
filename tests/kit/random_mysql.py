"""MySQL and MariaDB under random transactions: tables and types of theirs, and changes of definitions that commit."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import ER

from tests.kit.mysql import MysqlDatabase
from tests.kit.mysql_samples import Sample, samples_of
from tests.kit.random_rows import RowSteps
from tests.kit.random_steps import COLUMNS_MAX, TABLES_MAX, Step, TableSteps
from tests.kit.random_tables import INTEGER, Column, Designer, Kind, Table, quoted
from tests.kit.random_world import World
from tests.kit.random_writer import Writer

TOUCHES_MAX = 20
SQL_MODE = "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO"
LARGE = Kind("longtext", ("repeat('x', 9000)", "repeat('é', 20000)", "'small'"), is_large=True)
KEYS: tuple[Kind, ...] = (
    INTEGER,
    Kind("bigint", tuple(str(n) for n in (-9, 0, 1, 2, 3, 2**62))),
    Kind("bigint unsigned", tuple(str(n) for n in (0, 1, 2**63, 2**64 - 1))),
    Kind("smallint", tuple(str(n) for n in range(-3, 30))),
    Kind("varchar(12)", (*(f"'v{n}'" for n in range(30)), "''", "' '", "'é'", "'V1'", "'v1 '", "'a,b\"c\\'")),
    Kind("varchar(8) character set latin1", (*(f"'l{n}'" for n in range(20)), "'ÿ'")),
    Kind("varbinary(8)", ("x''", "x'00'", "x'ff00'", "x'01'", "x'0100'")),
    Kind("char(4)", ("'a'", "'b c'", "''", "'abcd'", "'é'")),
    Kind("binary(3)", ("x'000000'", "x'010000'", "x'ffffff'")),
    Kind("decimal(8,2)", tuple(f"{n}.5" for n in range(30))),
    Kind("date", tuple(f"date '2024-01-{n:02}'" for n in range(1, 30))),
    Kind("datetime(6)", tuple(f"timestamp '2024-01-01 00:00:00.{n:06}'" for n in range(30))),
    Kind("enum('a','b','c')", ("'a'", "'b'", "'c'")),
    Kind("year", ("0", "1901", "2155")),
)
"""Types of keys; their collations take some of the values for equal."""

_OCTETS = re.compile(r"(var)?binary|\w*blob|bit|point|vector")
_MISTAKES = frozenset({ER.PARSE_ERROR, ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR, ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT})
_CLIENTS = range(2000, 3000)
"""Codes of the client's own: the connection is gone."""


@dataclass(slots=True)
class MysqlEngine:
    """Implements `random_world.Engine`."""

    connection: pymysql.Connection
    is_mariadb: bool
    empty_row: str = "() values ()"

    def run(self, statement: str) -> None:
        """Run a statement."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """Return a query's rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def is_refusal(self, error: Exception) -> bool:
        """Tell a refusal from a mistake."""
        return isinstance(error, pymysql.err.Error) and error.args[0] not in _MISTAKES and error.args[0] not in _CLIENTS

    def some(self, table: Table, salt: int, count: int) -> str:
        """Return an order that the same seed gives to the same rows."""
        return f" order by rand({salt}) limit {count}"

    def insert(self, table: Table, columns: str, rows: str) -> str:
        """Return an insert that leaves out what is there."""
        return f"insert {'ignore ' if table.key else ''}into {table.sql} ({columns}) {rows}"

    def series(self, count: int) -> str:
        """Return numbers from 100 on."""
        last = 99 + count
        return f"(with recursive s(n) as (select 100 union all select n + 1 from s where n < {last}) select n from s) s"


class MysqlDesigner(Designer):
    """Tables with and without keys, in parts, of all types that the server has."""

    def __init__(
        self, choose: random.Random, schema: str, samples: Sequence[Sample], *, takes_nul: bool, is_keyed: bool
    ) -> None:
        """`takes_nul`: whether the target has texts with the character 0; `is_keyed`: whether all tables have keys."""
        super().__init__(choose)
        self.takes_nul = takes_nul
        self.is_keyed = is_keyed
        self._schema = schema
        self._kinds = [
            # What reads as null is a date that is none: a policy decides, not the way there.
            Kind(
                native.removesuffix(" null"),
                tuple(
                    literal
                    for literal, value in values
                    if value is not None and (takes_nul or not isinstance(value, str) or "\0" not in value)
                ),
            )
            for native, values in samples
        ]
        self._kinds = [kind for kind in self._kinds if kind.values]

    def name(self, taken: Sequence[str]) -> str:
        """Return a name; servers take none with characters beyond the first plane."""
        name = super().name(taken)
        return name if all(ord(letter) <= 0xFFFF for letter in name) else self.name(taken)

    def kind(self) -> Kind:
        """Return a random type."""
        return LARGE if self._choose.random() < 0.1 else self._choose.choice(self._kinds)

    def table(self, taken: Sequence[tuple[str, str]]) -> tuple[Table, list[str]]:
        """Return a random table, and the statement that makes it."""
        choose = self._choose
        name = self.name([t for _, t in taken])
        names: list[str] = []
        keyed = self.keyed(names, KEYS)
        weights = (40, 0 if self.is_keyed else 15, 10, 20, 15)
        shape = choose.choices(("plain", "bag", "index", "partitioned", "identity"), weights)[0]
        if shape == "identity":
            keyed = [Column(keyed[0].name, INTEGER, nullable=False, identity=True)]
        table = Table(self._schema, name, keyed + self.columns(names, choose.randint(0, 7)), [c.name for c in keyed])
        if shape == "bag":
            table.key = []
            for column in table.columns:
                column.nullable = True
        parted = ""
        if shape == "partitioned":
            column = Column(self.name(names), INTEGER, nullable=False)
            table.columns.append(column)
            table.key.append(column.name)
            table.partition_by = column.name
            table.partitions = {f"p{first}": first for first in (0, 10, 20)}
            ranges = ", ".join(f"partition p{n} values less than ({n + 10})" for n in table.partitions.values())
            parted = f" partition by range ({quoted(column.name)}) ({ranges})"
        choose.shuffle(table.columns)
        parts = [definition(column) for column in table.columns]
        if table.key:
            words = "unique key named_by_us" if shape == "index" else "primary key"
            parts.append(f"{words} ({', '.join(map(quoted, table.key))})")
        if not table.partition_by and choose.random() < 0.3 and INTEGER in [c.kind for c in keyed]:
            base = next(c.name for c in keyed if c.kind is INTEGER and not c.identity) if shape != "identity" else ""
            if base:
                generated = self.name([column.name for column in table.columns])
                table.generated.append((generated, quoted(base)))
                kind = choose.choice(("stored", "virtual"))
                parts.insert(
                    choose.randrange(len(table.columns)),
                    f"{quoted(generated)} bigint generated always as ({quoted(base)} * 2) {kind}",
                )
        return table, [f"create table {table.sql} ({', '.join(parts)}){parted}"]


def definition(column: Column) -> str:
    """Return a column as `create table` takes it."""
    text = f"{quoted(column.name)} {column.kind.native} {'null' if column.nullable else 'not null'}"
    return f"{text} auto_increment" if column.identity else text


@dataclass
class MysqlDefinitionSteps(TableSteps):
    """Each step is one statement: the server commits with it, and takes nothing of it back."""

    designer: MysqlDesigner

    alone_share = 0.3

    def alone(self) -> list[Step]:
        """Return the steps, the frequent ones several times."""
        steps: list[tuple[Step, int]] = [
            (self.add_column, 6),
            (self.drop_column, 3),
            (self.rename_column, 3),
            (self.swap_names, 2),
            (self.retype, 4),
            (self.default, 2),
            (self.reorder, 2),
            (self.rename_table, 1),
            (self.exchange_tables, 1),
            (self.drop_table, 1),
            (self.create_table, 2),
            (self.drop_key, 0 if self.designer.is_keyed else 1),
            (self.other_key, 1),
            (self.index, 1),
            (self.truncate, 2),
            (self.partition, 2),
            (self.rebuild, 1),
            (self.copy_table, 1),
        ]
        return [step for step, weight in steps for _ in range(weight)]

    def add_column(self) -> None:
        """Add a column anywhere, with a default or without."""
        table = self.world.table()
        if len(table.columns) >= COLUMNS_MAX:
            return
        choose = self.world.choose
        column = Column(self._name(table), self.designer.kind(), nullable=choose.random() < 0.7)
        default = ""
        if choose.random() < 0.4 and not column.kind.is_large:
            default = f" default ({choose.choice(column.kind.values)})"
        at = choose.choice(("", "", " first", f" after {quoted(choose.choice(table.columns).name)}"))
        self.world.alter(table, f"add column {definition(column)}{default}{at}")
        table.columns.append(column)

    def swap_names(self) -> None:
        """Let two columns change their names in one statement."""
        table = self.world.table()
        if len(table.plain) >= 2:
            one, other = self.world.choose.sample(table.plain, 2)
            a, b = quoted(one.name), quoted(other.name)
            self.world.alter(table, f"rename column {a} to {b}, rename column {b} to {a}")
            one.name, other.name = other.name, one.name

    def retype(self) -> None:
        """Give a column another type, as far as its values convert."""
        table = self.world.table()
        based = {base for _, base in table.generated}
        free = [c for c in table.plain if not c.identity and quoted(c.name) not in based]
        if not self.designer.takes_nul:
            # As text their octets would have the character 0.
            free = [c for c in free if not _OCTETS.match(c.kind.native)]
        if free:
            column = self.world.choose.choice(free)
            text = Kind("longtext", ("'w'", "''"))
            changed = Column(
                column.name, self.designer.kind() if self.world.choose.random() < 0.6 else text, column.nullable
            )
            self.world.alter(table, f"modify column {definition(changed)}")
            column.kind = changed.kind

    def default(self) -> None:
        """Set or drop a default."""
        table = self.world.table()
        free = [c for c in table.plain if not c.identity and not c.kind.is_large]
        if free:
            column = self.world.choose.choice(free)
            new = self.world.choose.choice(
                (f"set default ({self.world.choose.choice(column.kind.values)})", "drop default")
            )
            self.world.alter(table, f"alter column {quoted(column.name)} {new}")

    def reorder(self) -> None:
        """Move a column, and let it be null or not."""
        table = self.world.table()
        free = [c for c in table.plain if not c.identity]
        if free and len(table.columns) > 1:
            choose = self.world.choose
            column = choose.choice(free)
            changed = Column(column.name, column.kind, choose.random() < 0.8)
            other = choose.choice([c for c in table.columns if c is not column])
            at = choose.choice(("first", f"after {quoted(other.name)}"))
            self.world.alter(table, f"modify column {definition(changed)} {at}")
            column.nullable = changed.nullable

    def exchange_tables(self) -> None:
        """Let two tables change their names, as tools for online changes do."""
        one, other = self.world.choose.sample(self.world.tables, 2)
        aside = f"{quoted(one.schema)}.{quoted('aside for a moment')}"
        self.world.run(f"rename table {one.sql} to {aside}, {other.sql} to {one.sql}, {aside} to {other.sql}")
        one.name, other.name = other.name, one.name

    def drop_key(self) -> None:
        """Take a table's key away."""
        keyed = [t for t in self.world.tables if t.key and not t.partition_by and not t.generated]
        keyed = [t for t in keyed if not any(c.identity for c in t.columns)]
        if keyed:
            table = self.world.choose.choice(keyed)
            self.world.alter(table, "drop primary key")
            table.key = []

    def other_key(self) -> None:
        """Give a table another key: a new column's."""
        plain = [t for t in self.world.tables if not t.partition_by and not any(c.identity for c in t.columns)]
        if plain:
            table = self.world.choose.choice(plain)
            column = Column(self._name(table), INTEGER, nullable=False, identity=True)
            dropped = "drop primary key, " if table.key else ""
            self.world.alter(
                table, f"{dropped}add column {definition(column)}, add primary key ({quoted(column.name)})"
            )
            table.columns.append(column)
            table.key = [column.name]

    def index(self) -> None:
        """Make an index."""
        table = self.world.table()
        natives = {kind.native for kind in KEYS}
        sortable = [c for c in table.plain if c.kind.native in natives]
        if sortable:
            column = self.world.choose.choice(sortable)
            name = self.designer.name([])[:40] + str(self.world.choose.randrange(1000))
            self.world.run(f"create index {quoted(name)} on {table.sql} ({quoted(column.name)})")

    def truncate(self) -> None:
        """Truncate a table."""
        self.world.run(f"truncate table {self.world.table().sql}")

    def partition(self) -> None:
        """Add, empty or drop a part of a table, or let it have none any more."""
        parted = [t for t in self.world.tables if t.partition_by and t.partitions]
        if not parted:
            return
        choose = self.world.choose
        table = choose.choice(parted)
        first = max(table.partitions.values()) + 10
        some = choose.choice([*table.partitions])
        how = choose.choice(("add", "add", "truncate", "drop", "remove"))
        if how == "add":
            self.world.alter(table, f"add partition (partition p{first} values less than ({first + 10}))")
            table.partitions[f"p{first}"] = first
        elif how == "remove":
            self.world.alter(table, "remove partitioning")
            table.partition_by, table.partitions = "", {}
        elif how == "truncate" or len(table.partitions) > 1:
            self.world.alter(table, f"{how} partition {some}")
            if how == "drop":
                del table.partitions[some]

    def rebuild(self) -> None:
        """Let the server write a table anew, in another character set perhaps."""
        table = self.world.table()
        self.world.alter(table, self.world.choose.choice(("force", "engine = InnoDB", "comment = 'it''s \\'")))

    def copy_table(self) -> None:
        """Make a table like another one; its rows come later."""
        if len(self.world.tables) < TABLES_MAX:
            like = self.world.table()
            name = self.designer.name([t.name for t in self.world.tables])
            columns = [Column(c.name, c.kind, c.nullable, c.identity) for c in like.columns]
            made = Table(
                like.schema, name, columns, [*like.key], [*like.generated], like.partition_by, {**like.partitions}
            )
            self.world.run(f"create table {made.sql} like {like.sql}")
            self.world.tables.append(made)

    def _name(self, table: Table) -> str:
        return self.designer.name([c.name for c in table.columns] + [name for name, _ in table.generated])


def open_session(database: MysqlDatabase) -> pymysql.Connection:
    """Connect with a driver that shares nothing with capture, and let names stand in double quotes."""
    address = database.address
    connection = pymysql.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=database.name,
        charset="utf8mb4",
        autocommit=True,
    )
    with connection.cursor() as cursor:
        cursor.execute(f"set session sql_mode = '{SQL_MODE}', time_zone = '+00:00'")
        if not database.is_mariadb:
            cursor.execute("set session cte_max_recursion_depth = 100000")
        else:
            cursor.execute("set session max_recursive_iterations = 100000")
    return connection


def begin_writer(
    connection: pymysql.Connection, seed: int, database: MysqlDatabase, *, takes_nul: bool, row_image: str = "FULL"
) -> Writer:
    """Make the first tables, with rows. The log has such images of them: only whole ones serve tables without keys."""
    choose = random.Random(seed)
    engine = MysqlEngine(connection, database.is_mariadb)
    if not database.is_mariadb and choose.random() < 0.3:
        engine.run("set session binlog_transaction_compression = on")
    engine.run(f"set session binlog_row_image = '{row_image}'")
    world = World(engine, choose)
    is_keyed = row_image != "FULL"
    designer = MysqlDesigner(choose, database.name, samples_of(database), takes_nul=takes_nul, is_keyed=is_keyed)
    writer = Writer(world, RowSteps(world).weighted(), MysqlDefinitionSteps(world, designer))
    writer.begin()
    return writer


def touch_tables(writer: Writer) -> None:
    """Write a row to every table: what changed in its columns reaches a target with the next one."""
    world = writer.world
    tables = world.tables
    for table in tables:
        world.tables = [table]
        for _ in range(TOUCHES_MAX):
            count = world.engine.rows(f"select count(*) from {table.sql}")
            try:
                world.insert()
            except pymysql.err.Error as error:
                if not world.engine.is_refusal(error):
                    raise
            if world.engine.rows(f"select count(*) from {table.sql}") != count:
                break
        else:
            world.run(f"delete from {table.sql} limit 1")
    world.tables = tables
