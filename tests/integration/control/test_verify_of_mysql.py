"""MySQL's and MariaDB's tables and their copies are equal in one form, and a changed value of any type is found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from schemas.settings import parse
from tests.integration.control.test_verify_across_engines import compared, copy
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.servers import Database


class Value(NamedTuple):
    """What a column holds, and what it holds once somebody has changed it at the target, in the SQL of each."""

    source: str | None
    postgresql: str
    mysql: str


COLUMNS = {
    "tiny tinyint": Value("-1", "0", "0"),
    "small smallint unsigned": Value("65535", "65534", "65534"),
    "medium mediumint": Value("-8388608", "1", "1"),
    "number int unsigned": Value("4294967295", "4294967294", "4294967294"),
    "big bigint unsigned": Value("18446744073709551615", "18446744073709551614", "18446744073709551614"),
    "exact decimal(65,30)": Value("-0.1", "-0.100000000000000000000000000001", "-0.100000000000000000000000000001"),
    "half float": Value("1.1", "1.2", "1.2"),
    "twice double": Value("-1e300", "-1e299", "-1e299"),
    "flag bit(1)": Value("b'1'", "false", "b'0'"),
    "bits bit(9)": Value("b'101010101'", "B'101010100'", "b'101010100'"),
    "born year": Value("1901", "1902", "1902"),
    "day date": Value("'1000-01-01'", "'1000-01-02'", "'1000-01-02'"),
    # Null by the policy.
    "no_day date": Value("'0000-00-00'", "'2000-01-01'", "'2000-01-01'"),
    "span time(6)": Value("'-838:59:58.999999'", "'-838:59:58.999998'", "'-838:59:58.999998'"),
    "at datetime(6)": Value(
        "'9999-12-31 23:59:59.999999'", "'9999-12-31 23:59:59.999998'", "'9999-12-31 23:59:59.999998'"
    ),
    "seen timestamp(6) null": Value(
        "'2024-02-29 12:00:00.5'", "'2024-02-29 12:00:00.500001+00'", "'2024-02-29 12:00:00.500001'"
    ),
    "padded char(5)": Value("'a '", "'b'", "'b'"),
    "word varchar(20) character set latin1": Value("'é '", "'é'", "'é'"),
    "words text character set gbk": Value("'中'", "'文'", "'文'"),
    "raw varbinary(10)": Value("x'00ff'", "'\\x00fe'", "x'00fe'"),
    "filled binary(4)": Value("x'0100'", "'\\x01000001'", "x'01000001'"),
    "large longblob": Value("repeat(x'ab', 70000)", "'\\xab'", "x'ab'"),
    "mood enum('a','b')": Value("'a'", "'b'", "'b'"),
    "tags set('x','y')": Value("'x,y'", "'x'", "'x'"),
    "doc json": Value(
        """'{"b": [1.50, null], "a": "é"}'""",
        """'{"a": "é", "b": [1.5, false]}'""",
        """'{"a": "é", "b": [1.5, false]}'""",
    ),
    "place point": Value("point(1, 2)", "'\\x00'", "point(1, 3)"),
    "made int as (tiny * 2) stored": Value(None, "7", "7"),
}
MYSQL_9 = {"spot vector(2)": Value("to_vector('[1,2]')", "'\\x00'", "x'00'")}
MARIADB = {
    "code uuid": Value(
        "'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'",
        "'f81d4fae-7dec-11d0-a765-00a0c91e6bf7'",
        "'f81d4fae-7dec-11d0-a765-00a0c91e6bf7'",
    ),
    "net inet6": Value("'2001:db8::1'", "'2001:db8::2'", "'2001:db8::2'"),
    "host inet4": Value("'10.0.0.1'", "'10.0.0.2'", "'10.0.0.2'"),
}


@pytest.fixture(params=["mysql-postgresql", "mysql-mariadb", "mariadb-postgresql", "mariadb-mysql"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[MysqlDatabase, Database | MysqlDatabase]]:
    """A source and a target of other kinds."""
    with contextlib.ExitStack() as stack:

        def make(kind: str) -> MysqlDatabase:
            made = create_mysql_database(request.getfixturevalue(f"{kind}_server"))
            stack.callback(drop_mysql_database, made)
            return made

        source, target = request.param.split("-")
        yield make(source), request.getfixturevalue("target_database") if target == "postgresql" else make(target)


def test_values_are_compared_in_one_form(pair: tuple[MysqlDatabase, Database | MysqlDatabase]) -> None:
    source, target = pair
    own = MARIADB if source.is_mariadb else MYSQL_9 if source.version() >= (9,) else {}
    columns = COLUMNS | own
    given = {name.split()[0]: value.source for name, value in columns.items() if value.source is not None}
    names, values = ", ".join(given), ", ".join(given.values())
    keys = [(("k", "K")[n % 2] + str(n // 2), n) for n in range(len(columns) + 1)]
    rows = ", ".join(f"('{name}', {n}, {values})" for name, n in keys)
    source.execute(
        f"create table keyed (name varchar(9), id bigint, {', '.join(columns)}, primary key (name, id))",
        f"insert into keyed (name, id, {names}) values {rows}",
        f"create table bag ({', '.join(columns)})",
        f"insert into bag ({names}) values {', '.join([f'({values})'] * 3)}",
    )
    settings = parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "127.0.0.1:1"},
            "source": {**source.settings, "zero_dates": "null"},
            "targets": {"replica": target.target_settings},
        }
    )
    copy(settings)
    is_mysql = isinstance(target, MysqlDatabase)
    schema = target.name if is_mysql else source.name
    assert compared(settings, schema) == {}
    for (key, n), (name, value) in zip(keys, columns.items(), strict=False):
        changed = value.mysql if is_mysql else value.postgresql
        where = f"where name = '{key}' and id = {n}"
        target.execute(f"update {schema}.keyed set {name.split()[0]} = {changed} {where}")
    key, n = keys[-1]
    one = "limit 1" if is_mysql else f"where ctid = (select min(ctid) from {schema}.bag)"
    target.execute(f"delete from {schema}.keyed where name = '{key}' and id = {n}", f"delete from {schema}.bag {one}")
    found = compared(settings, schema)
    wanted = {(key, str(n), "different") for key, n in keys[:-1]} | {(keys[-1][0], str(keys[-1][1]), "missing")}
    assert found[f"{source.name}.keyed"] == wanted
    assert len(found[f"{source.name}.bag"]) == 1
