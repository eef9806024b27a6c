"""What only MariaDB's newest series has: vectors, and passwords that are proved by its own plug-ins."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from capture.sources.mysql.connection import connect
from deploy.local.mysql import MysqlAddress
from schemas.changes import UNCHANGED
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind
from tests.integration.mysql_source.reading import Reading
from tests.integration.mysql_source.test_types import same_by_full_load_and_by_log
from tests.kit.mysql import create_mysql_database, drop_mysql_database
from tests.kit.mysql_samples import samples_of
from tests.kit.refusals import refused


@pytest.fixture
def reading(newest_mariadb_server: MysqlAddress) -> Iterator[Reading]:
    """A source over a database of the test's own."""
    database = create_mysql_database(newest_mariadb_server)
    found = Reading(database, zero_dates="null")
    yield found
    found.close()
    drop_mysql_database(database)


def test_vectors_and_all_other_values_arrive_as_they_were(reading: Reading) -> None:
    vector = bytes.fromhex("0000803f0000004000006040")
    vectors = ("vector(3)", [("vec_fromtext('[1,2,3.5]')", vector), (f"x'{'00' * 12}'", bytes(12))])
    # Beyond 31 bits of seconds.
    late = ("timestamp(6) null", [("'2106-02-07 06:28:15.999999'", 4_294_967_295_999_999)])
    same_by_full_load_and_by_log(reading, [*samples_of(reading.database), vectors, late])


@pytest.mark.parametrize("metadata", ["FULL", "NO_LOG"])
def test_a_vector_is_told_from_bytes(reading: Reading, metadata: str) -> None:
    """In the log it is a `varbinary`, with and without what tells more of columns."""
    database = reading.database
    database.execute(f"set global binlog_row_metadata = '{metadata}'")
    try:
        database.execute("create table a (id int primary key, v vector(2) not null, b varbinary(8), vector index (v))")
        reading.begin()
        database.execute(
            "insert into a values (1, vec_fromtext('[1,2]'), x'0102030405060708')",
            "update a set v = vec_fromtext('[3,4]')",
        )
        one, three = bytes.fromhex("0000803f00000040"), bytes.fromhex("0000404000008040")
        some = bytes(range(1, 9))
        changes = reading.flat()
        assert [flat for flat in changes if flat[1] != "s"] == [
            ("a", "c", None, (1, one, some)),
            ("a", "u", None, (1, three, some)),
        ]
        assert not [flat for flat in changes if flat[1] == "s"]
    finally:
        database.execute("set global binlog_row_metadata = 'FULL'")


def test_passwords_are_proved_by_its_plug_ins(reading: Reading) -> None:
    database = reading.database
    user = f"u{secrets.token_hex(5)}"

    def at(password: str, name: str = user) -> MysqlSource:
        return MysqlSource.model_validate({**database.settings, "user": name, "password": password})

    database.execute(
        "install soname 'auth_ed25519'",
        f"create user '{user}'@'%' identified via ed25519 using password('s3cret ü')",
    )
    try:
        connection = connect(at("s3cret ü"))
        assert connection.value("select current_user()") == f"{user}@%"
        connection.close()
        with refused(ErrorKind.PREREQUISITE, "1045"):
            connect(at("wrong-password"))
    finally:
        database.execute(f"drop user '{user}'@'%'", "uninstall soname 'auth_ed25519'")


def test_two_phases_of_an_alter_are_one_change(reading: Reading) -> None:
    database = reading.database
    database.execute("create table a (id int primary key, v int)")
    reading.begin()
    session = database.connect()
    for statement in (
        "set session binlog_alter_two_phase = 1",
        "insert into a values (1, 1)",
        "alter table a add w int not null default 3 first, algorithm = copy",
        "insert into a values (5, 2, 2)",
        "delete from a where id = 1",
    ):
        session.run(statement)
    session.close()
    assert reading.flat() == [
        ("a", "c", None, (1, 1)),
        ("a", "s", None, ("w", "id", "v")),
        ("a", "c", None, (5, 2, 2)),
        ("a", "d", (UNCHANGED, 1, UNCHANGED), None),
    ]
