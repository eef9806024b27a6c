"""Users, rights and findings on real servers: what `plan` prints is enough, and what it blocks would fail."""

from __future__ import annotations

import secrets

import pytest

from capture.source import Severity
from capture.sources.mysql.connection import connect
from capture.sources.mysql.source import MysqlServer
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import Reading, flatten, read_to


def _section(reading: Reading, user: str, **more: object) -> MysqlSource:
    base = {**reading.database.settings, "zero_dates": "null"}
    return MysqlSource.model_validate({**base, "user": user, "password": "s3cret", **more})


def test_the_printed_grants_are_enough_to_load_and_to_read_the_log(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key, v varchar(9))", "insert into a values (1, 'x')")
    user = f"u{secrets.token_hex(5)}"
    reading.begin()
    grants = reading.source.grants(reading.tables).replace("'root'", f"'{user}'")
    reading.database.execute(*(s for s in grants.replace("'…'", "'s3cret'").split(";\n") if s.strip(" ;\n")))
    try:
        own = Reading(reading.database, user=user, password="s3cret", zero_dates="null")
        assert [table.name.table for table in own.tables] == ["a"]
        assert own.rows(own.tables[0]) == [(1, "x")]
        reading.database.execute("insert into a values (2, 'y')")
        assert own.flat() == [("a", "c", None, (2, "y"))]
        own.source.check_position(own.source.identity(), own.start)
        assert not [f for f in own.source.findings(own.tables) if f.severity is Severity.BLOCKS]
        own.close()
        wrong = _section(reading, user, password="an0ther")
        with pytest.raises(TailraceError) as caught:
            connect(wrong)
        assert caught.value.kind is ErrorKind.PREREQUISITE
        assert "an0ther" not in str(caught.value)
    finally:
        reading.database.execute(f"drop user '{user}'@'%'")


def test_a_login_that_sees_nothing_is_given_what_the_patterns_name(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key)", "create table b (id int primary key)")
    user, name = f"u{secrets.token_hex(5)}", reading.database.name
    right = "binlog monitor" if reading.database.is_mariadb else "replication client"
    reading.database.execute(
        f"create user '{user}'@'%' identified by 's3cret'", f"grant {right} on *.* to '{user}'@'%'"
    )
    source = MysqlServer(_section(reading, user, tables=[f"{name}.a", "other%_.*", "!other.b", "x*.c"]), 1)
    try:
        assert source.tables() == []
        statements = source.grants([]).split(";\n")
        assert [s.partition(" on ")[2] for s in statements if " on `" in s] == [
            f"`other\\%\\_`.* to '{user}'@'%'",
            f"`{name}`.`a` to '{user}'@'%';",
        ]
        reading.database.execute(*(s.rstrip(";").replace("'…'", "'another'") for s in statements))
        assert [table.name.table for table in source.tables()] == ["a"]
        assert source.grants(source.tables()).count("grant select") == 1
    finally:
        source.close()
        reading.database.execute(f"drop user '{user}'@'%'")


def test_passwords_are_proved_by_every_plug_in_with_and_without_tls(reading: Reading) -> None:
    """MySQL only has TLS in tests; `caching_sha2_password` is asked fully, then by the cached hash."""
    plugin = "mysql_native_password" if reading.database.is_mariadb else "caching_sha2_password"
    modes = ["disable"] if reading.database.is_mariadb else ["disable", "require"]
    for mode in modes:
        user = f"u{secrets.token_hex(5)}"
        how = (
            "via mysql_native_password using password('s3cret')"
            if reading.database.is_mariadb
            else (f"with {plugin} by 's3cret'")
        )
        reading.database.execute(f"create user '{user}'@'%' identified {how}")
        try:
            for _ in range(2):
                connection = connect(_section(reading, user, tls={"mode": mode}))
                assert connection.value("select current_user()") == f"{user}@%"
                cipher = connection.rows("show session status like 'Ssl_cipher'")[0][1]
                assert bool(cipher) is (mode == "require")
                connection.close()
        finally:
            reading.database.execute(f"drop user '{user}'@'%'")
    if not reading.database.is_mariadb:
        with pytest.raises(TailraceError) as caught:
            connect(_section(reading, "root", tls={"mode": "verify-full"}))
        assert caught.value.kind is ErrorKind.CONFIGURATION


def test_a_log_reader_of_the_same_number_takes_over(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key)")
    reading.begin()
    with reading.log() as first:
        first.poll(0)
        reading.database.execute("insert into a values (1)")
        end = reading.source.current_position()
        with reading.log() as second:
            assert flatten(read_to(second, end)) == [("a", "c", None, (1,))]


def test_findings_name_what_is_wrong_with_tables(reading: Reading) -> None:
    reading.database.execute(
        "create table parent (id int primary key)",
        "create table child (id int primary key, p int, foreign key (p) references parent (id) on delete cascade)",
        "create table keyless (a int)",
        "create view v as select 1 as one",
    )
    tables = reading.source.tables()
    found = {(f.code, str(f.table).rpartition(".")[2]): f for f in reading.source.findings(tables)}
    # MySQL 9.7 logs what its keys do: see `test_tables_of_every_kind`.
    assert (("cascades", "child") in found) is reading.database.is_mariadb
    assert found["no-key", "keyless"].severity is Severity.NOTE
    assert found["not-a-table", "v"].severity is Severity.WARNS
    assert not [f for f in found.values() if f.severity is Severity.BLOCKS]
