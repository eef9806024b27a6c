"""Definitions that MySQL and MariaDB understand in their own ways, while a replication follows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.integration.services import DEADLINE_S, Serve, Services
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.kit.sides import MysqlSide, PostgresqlSide, Side, wait_until_alike


class Pair:
    """A database of MySQL or MariaDB, and what follows it."""

    def __init__(self, serve: Serve, source: MysqlDatabase, target: Database | MysqlDatabase) -> None:
        self._serve = serve
        self.source = source
        self.target = target
        self.original: Side = MysqlSide(source)
        self.copy: Side = PostgresqlSide(target) if isinstance(target, Database) else MysqlSide(target)
        self.services: Services

    @contextmanager
    def moving(self, *statements: str, **settings: Any) -> Iterator[Services]:
        """Move what statements make at the source, and what becomes of it."""
        self.source.execute(*statements)
        self.services = self._serve(self.source, self.target, **settings)
        with self.services, self.services.running():
            yield self.services

    def follow(self, *statements: str) -> None:
        """Run statements at the source, and wait until the target is like it."""
        self.source.execute(*statements)
        differing = wait_until_alike(self.original, self.copy, DEADLINE_S)
        assert differing == [], "\n".join([*statements, *map(self.services.log_tail, self.services.names)])

    def holds(self, query: str, *rows: tuple[Any, ...]) -> bool:
        """Tell whether a query at the target has these rows; no, while its table or a column is not there yet."""
        try:
            return list(self.copy.rows(query)) == list(rows)
        except Exception as error:
            if not self.copy.is_missing(error):
                raise
            return False


@pytest.fixture
def pair(
    request: pytest.FixtureRequest,
    serve: Serve,
    new_database: Callable[..., Database],
    new_mysql_database: Callable[[str], MysqlDatabase],
) -> Pair:
    """Empty databases of two kinds of server, as `mysql-postgresql`."""
    source, target = request.param.split("-")
    copy = new_database(18, "target") if target == "postgresql" else new_mysql_database(target)
    return Pair(serve, new_mysql_database(source), copy)


def between(*pairs: str) -> pytest.MarkDecorator:
    """Let a test run between these kinds of servers."""
    return pytest.mark.parametrize("pair", pairs, indirect=True)


@between("mysql-postgresql", "mysql-mariadb", "mariadb-mysql", "mariadb-postgresql")
def test_rows_that_are_there_get_a_new_columns_default_as_at_the_source(pair: Pair) -> None:
    """It was once passed on as it looks: `'007'` as the number 7, bytes as the digits that the catalogue shows."""
    with pair.moving("create table a (id int primary key)", "insert into a values (1), (2)"):
        pair.follow()
        pair.follow(
            "alter table a add column code varchar(9) not null default '007', add quoted varchar(9) default '''q''', "
            "add word varchar(9) default 'NULL', add label enum('2','1') default '1', add note text default ('noted')",
            "insert into a (id) values (3)",
        )
        pair.follow(r"alter table a add column slash varchar(9) default 'a\b'", "insert into a (id) values (4)")
        pair.follow(
            "set time_zone = '+05:30'",
            "alter table a add column seen timestamp not null default '2024-01-01 00:00:00'",
            "insert into a (id) values (5)",
        )
        pair.follow("alter table a add column raw binary(4) default 'ab'", "insert into a (id) values (6)")


@between("mysql-postgresql", "mariadb-mysql")
def test_a_default_that_is_a_zero_date_holds_nothing_up(pair: Pair) -> None:
    """Targets may refuse it, and rows that are there hold what `zero_dates` makes of it, as those do that come."""
    days = f"select id, cast(made as char(10)){{}}, n from {pair.copy.copy_of(pair.original)}.a order by id"
    day = "1970-01-02"
    with pair.moving(
        "create table a (id int primary key, made datetime not null default '0000-00-00 00:00:00', n int default 5)",
        "insert into a (id) values (1)",
        at_source={"zero_dates": day},
    ) as services:
        services.wait(lambda: pair.holds(days.format(""), (1, day, 5)), "the table is there")
        pair.source.execute(
            "alter table a add column seen date not null default '0000-00-00'", "insert into a (id) values (2)"
        )
        both = days.format(", cast(seen as char(10))")
        services.wait(lambda: pair.holds(both, (1, day, day, 5), (2, day, day, 5)), "so is the column")


@between("mysql-postgresql", "mariadb-mysql")
def test_dates_that_become_null_are_so_in_columns_that_have_no_nulls_at_the_source(pair: Pair) -> None:
    """Every such row was parked."""
    table = f"{pair.copy.copy_of(pair.original)}.a"
    with pair.moving(
        "create table a (id int primary key, made datetime not null default '0000-00-00 00:00:00', n int not null)",
        "insert into a (id, n) values (1, 1)",
        at_source={"zero_dates": "null"},
    ) as services:
        pair.source.execute("insert into a values (2, '2024-02-29', 2), (3, '0000-00-00', 3)")
        pair.source.execute("alter table a add column seen date not null", "update a set made = '2024-00-10'")
        pair.source.execute("update a set seen = '2024-02-29' where id = 3")
        wanted = [(1, None, None, 1), (2, None, None, 2), (3, None, "2024-02-29", 3)]
        query = f"select id, made, cast(seen as char(10)), n from {table} order by id"
        services.wait(lambda: pair.holds(query, *wanted), "all rows are there")


@pytest.fixture
def nameless_log(pair: Pair) -> Iterator[None]:
    """Let the source's log hold no names of columns."""
    ((before,),) = pair.source.rows("select @@global.binlog_row_metadata")
    pair.source.execute("set global binlog_row_metadata = 'MINIMAL'")
    yield
    pair.source.execute(f"set global binlog_row_metadata = '{before}'")


@between("mysql-postgresql", "mariadb-mysql")
@pytest.mark.usefixtures("nameless_log")
def test_a_log_without_names_whose_tables_went_on_costs_a_load(pair: Pair) -> None:
    """It ended capture, and with it every table."""
    with pair.moving(
        "create table a (id int primary key, v varchar(9))",
        "create table b (id int primary key)",
        "insert into a values (1, 'x'), (2, 'y')",
    ) as services:
        pair.follow()
        services.kill("capture")
        pair.source.execute(
            "insert into a values (3, 'z')",
            "alter table a add column w int default 5 first",
            "insert into a values (6, 4, 'with w')",
            "insert into b values (1)",
            "update a set v = 'both'",
            "alter table a drop column w, add column u datetime",
            "delete from a where id = 1",
            "insert into a values (5, 'last', now())",
        )
        services.start("capture")
        pair.follow()
        pair.follow("insert into a values (6, 'after', null)", "delete from a where id = 2")
        assert services.said("capture", "rows left out whose columns nothing tells")


@between("mysql-postgresql", "mariadb-mysql", "mysql-mariadb")
def test_rows_that_statements_wrote_are_brought_by_a_load(pair: Pair) -> None:
    """A session may log statements in the place of rows: what it changed never came."""
    with pair.moving(
        "create table a (id int primary key, v int)",
        "create table bag (v int)",
        "insert into a values (1, 1), (2, 2), (3, 3)",
        "insert into bag values (1), (1), (2)",
    ) as services:
        pair.follow()
        with closing(pair.source.connect()) as session:
            session.run("set session binlog_format = 'STATEMENT'")
            for turn in range(2):
                for statement in (
                    "update a set v = v + 10 where id < 3",
                    f"delete from a where id = {3 + turn}",
                    f"insert into a values ({4 + turn}, 0)",
                    "delete from bag where v = 2",
                    "insert into bag select v from a",
                ):
                    session.run(statement)
                pair.follow(f"insert into a values ({100 + turn}, 1)", "update bag set v = v + 1 where v > 20")
        assert services.said("capture", "a statement wrote rows that are not in the log")


@between("mysql-postgresql", "mariadb-mysql", "mysql-mariadb")
def test_a_column_that_is_computed_in_another_way_has_its_new_values_in_all_rows(pair: Pair) -> None:
    """No row of the log tells of them: the target kept the old ones."""
    with pair.moving(
        "create table a (id int primary key, v int, g int as (v * 2) stored, w int)",
        "insert into a (id, v, w) values (1, 10, 0), (2, 20, 0)",
    ):
        pair.follow()
        pair.follow("alter table a modify g int as (v * 3) stored")
        pair.follow("alter table a modify w int as (g + 1) stored")
        pair.follow("alter table a modify g int")
        pair.follow("insert into a (id, v, g) values (3, 30, 5)")


@between("mysql-postgresql", "mariadb-mysql", "mysql-mariadb")
def test_a_table_changes_places_as_tools_for_online_changes_let_it_while_capture_is_away(pair: Pair) -> None:
    """As pt-online-schema-change does: triggers, a copy, and a swap. The other table is selected by nobody."""
    name = pair.source.name
    with pair.moving(
        "create table a (id int primary key, v varchar(9))",
        "insert into a values " + ", ".join(f"({n}, 'v{n}')" for n in range(500)),
        at_source={"tables": [f"{name}.*", f"!{name}._a_*"]},
    ) as services:
        pair.follow()
        pair.source.execute(
            "create table _a_new like a",
            "alter table _a_new add column w int not null default 5 first, modify v varchar(50)",
            "create trigger ins after insert on a for each row replace into _a_new (id, v) values (new.id, new.v)",
            "create trigger del after delete on a for each row delete from _a_new where id = old.id",
            "create trigger upd after update on a for each row replace into _a_new (id, v) values (new.id, new.v)",
            "insert ignore into _a_new (id, v) select id, v from a where id < 250",
            "update a set v = 'changed' where id % 100 = 7",
            "delete from a where id % 100 = 8",
        )
        services.kill("capture")
        pair.source.execute(
            "insert ignore into _a_new (id, v) select id, v from a where id >= 250",
            "insert into a values (1000, 'before')",
            "rename table a to _a_old, _a_new to a",
            "insert into a values (6, 1001, 'behind the swap, and longer')",
            "delete from a where id % 100 = 9",
            "drop trigger ins",
            "drop trigger del",
            "drop trigger upd",
            "drop table _a_old",
            "update a set w = 7 where id = 3",
        )
        services.start("capture")
        pair.follow()
        pair.follow("update a set v = 'last' where id > 990", "insert into a (id) values (2000)")


@between("mysql-postgresql", "mariadb-mysql")
def test_a_table_is_emptied_that_was_altered_without_a_row(pair: Pair) -> None:
    """The catalogue had told of the alteration, and the log not yet: capture ended at the truncate."""
    with pair.moving("create table a (id int primary key, v int)", "insert into a values (1, 1)") as services:
        pair.follow()
        pair.source.execute("alter table a add column w varchar(9) default 'new' first")
        services.wait(lambda: services.said("capture", '"version": 2, "event": "table changed"'), "it is known")
        pair.follow("truncate table a", "insert into a values ('behind', 3, 3)")


@between("mysql-postgresql", "mariadb-mysql")
def test_a_change_that_is_undone_before_a_row_comes_ends_nothing(pair: Pair) -> None:
    """The catalogue had told of it, and the log of nothing: capture ended at the next row."""
    with pair.moving("create table a (id int primary key, v int)", "insert into a values (1, 1)") as services:
        pair.follow()
        pair.source.execute("alter table a add column w varchar(9) default 'new' first")
        services.wait(lambda: services.said("capture", '"version": 2, "event": "table changed"'), "it is known")
        pair.follow("alter table a drop column w", "insert into a values (3, 3)")
        pair.follow("update a set v = 4 where id = 1")
