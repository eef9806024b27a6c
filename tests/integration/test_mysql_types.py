"""Every type of MySQL and MariaDB moves, and every one of PostgreSQL to them, in full load and in streaming.

See `tests/kit/mysql_samples.py` and `tests/kit/postgresql_samples.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import pymysql
import pytest

from tests.integration.services import TARGET, Serve, Services
from tests.integration.test_types import churn
from tests.kit.compare_mysql import count_differences, count_differences_from, mysql_differences
from tests.kit.mysql import MysqlDatabase
from tests.kit.mysql_samples import Sample, samples_of
from tests.kit.random_mysql import open_session
from tests.kit.random_portable import has_place
from tests.kit.servers import Database
from tests.kit.type_walk import make_walk, usable_samples

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize(
    ("source_kind", "target_kind", "format_"),
    [
        ("mysql", "postgresql", "avro"),
        ("mariadb", "postgresql", "json"),
        ("mysql", "mariadb", "json"),
        ("mariadb", "mysql", "avro"),
    ],
)
def test_every_type_moves_in_full_load_and_in_streaming(
    serve: Serve,
    new_database: Callable[..., Database],
    new_mysql_database: Callable[[str], MysqlDatabase],
    source_kind: str,
    target_kind: str,
    format_: str,
) -> None:
    source = new_mysql_database(source_kind)
    target = new_database(18, "target") if target_kind == "postgresql" else new_mysql_database(target_kind)
    takes_nul = target_kind != "postgresql"
    with contextlib.closing(open_session(source)) as session:
        for name, samples in (("types", samples_of(source)), ("forms", samples_of(source, forms=True))):
            _run(session, *_tables(name, samples, takes_nul=takes_nul))
        topics = {"format": format_, "partitions": 2}
        with serve(source, target, topics=topics) as services, services.moving():
            _wait_until_equal(services, session, target)
            for name in ("types", "forms"):
                _run(session, *_churn(session, name))
            _wait_until_equal(services, session, target)


@pytest.mark.parametrize(("kind", "format_", "binary"), [("mysql", "avro", True), ("mariadb", "json", False)])
def test_every_type_of_postgresql_moves_as_far_as_there_is_a_place_for_its_values(
    serve: Serve,
    new_database: Callable[..., Database],
    new_mysql_database: Callable[[str], MysqlDatabase],
    kind: str,
    format_: str,
    binary: bool,
) -> None:
    """Also in arrays, under domains, and in composites; equal is what `verify` says is equal, in as many rows."""
    source, target = new_database(18, "source"), new_mysql_database(kind)
    with source.connect() as connection:
        samples = [
            replace(sample, literals=literals)
            for sample in usable_samples(connection, source)
            # Arrays of domains over boxes: docs/targets/mysql.md.
            if (sample.printable or not binary)
            and sample.native not in ("box", "box[]")
            and (literals := tuple(one for one in sample.literals if has_place(sample.native, one)))
        ]
        tables = make_walk(connection, samples)
    left: list[str] = []

    def is_equal(services: Services) -> bool:
        with contextlib.closing(open_session(target)) as session:
            left[:] = count_differences_from(source, session)
        return not left and _is_verified(services, left)

    with serve(source, target, topics={"format": format_, "partitions": 2}) as services, services.moving():
        _wait(services, lambda: is_equal(services), left)
        with source.connect() as connection:
            for table in tables:
                churn(connection, table)
        _wait(services, lambda: is_equal(services), left)


def _tables(name: str, samples: Sequence[Sample], *, takes_nul: bool) -> list[str]:
    """Return what makes a table with a key and one without, with every value in some row, and a row of nulls.

    What is null at the target, as dates that no calendar has, is for other tests.
    """
    columns: list[str] = []
    literals: list[list[str]] = []
    for native, values in samples:
        kept = [literal for literal, value in values if _is_kept(value, takes_nul=takes_nul)]
        if kept:
            columns.append(f"c{len(columns):02} {native.removesuffix(' null')} null")
            literals.append(kept)
    rows = [", ".join(some[at % len(some)] for some in literals) for at in range(max(map(len, literals)))]
    rows.append(", ".join(["null"] * len(columns)))
    return [
        f"create table {name} (id int primary key, {', '.join(columns)})",
        f"insert into {name} values {', '.join(f'({i}, {row})' for i, row in enumerate(rows))}",
        f"create table {name}_bag (id int, {', '.join(columns)})",
        f"insert into {name}_bag select * from {name}",
    ]


def _is_kept(value: object, *, takes_nul: bool) -> bool:
    return value is not None and (takes_nul or not isinstance(value, str) or "\0" not in value)


def _churn(session: pymysql.Connection, name: str) -> list[str]:
    """Return what inserts every value anew, moves every value to another row, changes keys, and deletes."""
    with session.cursor() as cursor:
        cursor.execute(f"select * from {name} limit 0")
        columns = [column[0] for column in cursor.description if column[0] != "id"]
    return [
        f"insert into {name} select id + 100, {', '.join(columns)} from {name}",
        f"update {name} a join {name} b on b.id = a.id - 99 set {', '.join(f'a.{c} = b.{c}' for c in columns)}",
        f"update {name} set id = id + 1000 where id > 100 and id % 2 = 0",
        f"delete from {name} where id % 3 = 1",
        f"insert into {name}_bag select * from {name}_bag where id > 0",
        f"update {name}_bag set id = id + 100, c00 = null where id % 2 = 1",
        f"delete from {name}_bag where id % 3 = 0",
    ]


def _run(session: pymysql.Connection, *statements: str) -> None:
    with session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _wait_until_equal(services: Services, session: pymysql.Connection, target: Database | MysqlDatabase) -> None:
    """Wait until the servers print the same; of PostgreSQL until `verify` says so, of as many rows."""
    left: list[str] = []

    def is_equal() -> bool:
        if isinstance(target, MysqlDatabase):
            with contextlib.closing(open_session(target)) as other:
                left[:] = mysql_differences(session, other)
            return not left
        left[:] = count_differences(session, target)
        return not left and _is_verified(services, left)

    _wait(services, is_equal, left)


def _is_verified(services: Services, left: list[str]) -> bool:
    verified = services.run("verify", "--target", TARGET)
    left[:] = [verified.stdout + verified.stderr] if verified.returncode else []
    return not left


def _wait(services: Services, is_equal: Callable[[], bool], left: list[str]) -> None:
    """Wait, and say what is left where that is in vain."""
    try:
        services.wait(is_equal, "the copy is equal")
    except AssertionError as error:
        raise AssertionError("\n".join([*left, str(error)])) from error
