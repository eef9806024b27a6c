"""Users, rights and findings on real servers: what `plan` prints is enough, and what it blocks would fail."""

from __future__ import annotations

import secrets
from contextlib import closing
from types import SimpleNamespace

import pytest

from apply.sinks.mysql.connection import connect as connect_target
from capture.source import Severity
from capture.sources.mysql.connection import connect
from capture.sources.mysql.quoting import any_table
from capture.sources.mysql.snapshot import MysqlSnapshotReader
from capture.sources.mysql.source import MysqlServer
from schemas.endpoints.mysql import MysqlSource, MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import Reading, flatten, read_to
from tests.kit.refusals import refused


def _section(reading: Reading, user: str, **more: object) -> MysqlSource:
    base = {**reading.database.settings, "zero_dates": "null"}
    return MysqlSource.model_validate({**base, "user": user, "password": "s3cret", **more})


def _printed(reading: Reading, user: str) -> list[str]:
    """Return the statements that make a user who may do what capturing the tables of now needs."""
    grants = reading.source.grants(reading.source.tables()).replace("'root'@'127.0.0.1'", f"'{user}'@'%'")
    return [s.strip(";") for s in grants.replace("'…'", "'s3cret'").split(";\n")]


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What snapshots warn of."""
    found: list[dict[str, str]] = []
    log = SimpleNamespace(warning=lambda _event, **fields: found.append(fields))
    monkeypatch.setattr(f"{MysqlSnapshotReader.__module__}.log", log)
    return found


def test_the_printed_grants_are_enough_to_load_and_to_read_the_log(
    reading: Reading, warned: list[dict[str, str]]
) -> None:
    reading.database.execute(
        "create table a (id int primary key, v varchar(9))",
        "insert into a values (1, 'x')",
        "create table bag (v int)",
        "insert into bag values (1), (1)",
    )
    user = f"u{secrets.token_hex(5)}"
    reading.begin()
    statements = _printed(reading, user)
    locks = [s for s in statements if "lock tables" in s]
    expected = f"grant lock tables on {any_table(reading.database.name)} to '{user}'@'%'"
    assert locks == ([] if reading.database.is_mariadb else [expected]), "not to every table, and where it is needed"
    # No right to another table comes with one to lock those of a database.
    reading.database.execute(*statements, "create table later (v int)")
    try:
        own = Reading(reading.database, user=user, password="s3cret", zero_dates="null")
        assert [table.name.table for table in own.tables] == ["a", "bag"]
        assert [own.rows(table) for table in own.tables] == [[(1, "x")], [(1,), (1,)]]
        assert not warned
        assert "lock-tables" not in {f.code for f in own.source.findings(own.tables)}
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


def test_a_table_without_a_key_that_may_not_be_locked_is_read_all_the_same(
    reading: Reading, warned: list[dict[str, str]]
) -> None:
    if reading.database.is_mariadb:
        pytest.skip("no lock is asked for there")
    database, user, role = reading.database, f"u{secrets.token_hex(5)}", f"r{secrets.token_hex(5)}"
    database.execute(
        "create table a (id int primary key)",
        "insert into a values (1)",
        "create table bag (v int)",
        "insert into bag values (1), (1)",
        "create view totals as select count(*) from bag",
    )
    database.execute(*(s for s in _printed(reading, user) if "lock tables" not in s))
    own = Reading(database, user=user, password="s3cret", zero_dates="null", views=[f"{database.name}.totals"])
    right = f"grant lock tables on {any_table(database.name)} to '{user}'@'%'"

    def told() -> list[tuple[Severity, str | None]]:
        return [(f.severity, f.remedy) for f in own.source.findings(own.tables) if f.code == "lock-tables"]

    try:
        assert [table.name.table for table in own.tables] == ["a", "bag"]
        assert told() == [(Severity.WARNS, right)]
        assert [own.rows(table) for table in own.tables] == [[(1,)], [(1,), (1,)]]
        (remedy,) = [warning["remedy"] for warning in warned]
        assert f"grant lock tables on {any_table(database.name)} to the user" in remedy
        database.execute(f"create role {role}", f"grant lock tables on *.* to {role}", f"grant {role} to '{user}'@'%'")
        assert told(), "a role that is none of the session's"
        database.execute(f"set default role {role} to '{user}'@'%'")
        own.close()
        assert not told()
        database.execute(f"drop role {role}", right)
        own.close()
        assert not told()
        assert own.rows(own.tables[1]) == [(1,), (1,)]
        assert len(warned) == 1
    finally:
        own.close()
        database.execute(f"drop user '{user}'@'%'", f"drop role if exists {role}")


def test_a_right_to_lock_that_was_taken_back_in_part_is_given_back(
    reading: Reading, warned: list[dict[str, str]]
) -> None:
    """What was printed, and what capture's log said, gave it to a name that stands for the database otherwise, and not
    here.
    """
    database, user = reading.database, f"u{secrets.token_hex(5)}"
    if database.is_mariadb:
        pytest.skip("no right is taken back in part there")
    database.execute("create table bag (v int)", "set global partial_revokes = ON")
    try:
        printed = [s for s in _printed(reading, user) if "lock tables" not in s]
        taken = f"revoke lock tables on `{database.name}`.* from '{user}'@'%'"
        database.execute(*printed, f"grant lock tables on *.* to '{user}'@'%'", taken)
        own = Reading(database, user=user, password="s3cret", zero_dates="null")

        def told() -> list[str]:
            return [str(f.remedy) for f in own.source.findings(own.tables) if f.code == "lock-tables"]

        (remedy,) = told()
        own.rows(own.tables[0])
        (warning,) = warned
        assert warning["remedy"].startswith(f"grant lock tables on `{database.name}`.* to the user, and ")
        database.execute(remedy)
        own.close()
        assert not told()
        session = own.source._connected()
        session.run(f"lock tables {database.name}.bag read")
        own.close()
    finally:
        database.execute(f"drop user if exists '{user}'@'%'", "set global partial_revokes = OFF")


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
        assert "lock tables" not in source.grants(source.tables()), "the table has a key"
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


@pytest.mark.parametrize("any_reading", ["mariadb", "mysql", "oldest_mysql"], indirect=True)
@pytest.mark.parametrize("password", ["", "pä ss''wörd\\ 😀"])
def test_every_account_is_logged_in_by_its_own_plug_in(any_reading: Reading, password: str) -> None:
    """Also where it is not the server's own, and where there is no password; by either service."""
    database = any_reading.database
    given = password.replace("''", "'")
    how = [f"with caching_sha2_password by '{password}'"]
    if database.is_mariadb:
        how = [f"via mysql_native_password using password('{password}')"]
    elif database.rows("select version() like '8.0.%'") == [["1"]]:
        how.append(f"with mysql_native_password by '{password}'")
    for identified in how:
        user = f"u{secrets.token_hex(5)}"
        database.execute(f"create user '{user}'@'%' identified {identified}")
        try:
            target = {**database.target_settings, "user": user, "password": given}
            for _ in range(2):
                with closing(connect(_section(any_reading, user, password=given))) as connection:
                    assert connection.value("select current_user()") == f"{user}@%"
                connect_target(MysqlTarget.model_validate(target)).close()
            with refused(ErrorKind.PREREQUISITE, "1045"):
                connect(_section(any_reading, user, password="wrong-password"))
        finally:
            database.execute(f"drop user '{user}'@'%'")


def test_a_log_reader_of_the_same_number_takes_over(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key)")
    reading.begin()
    with reading.log() as first:
        first.poll(0)
        reading.database.execute("insert into a values (1)")
        end = reading.source.current_position()
        with reading.log() as second:
            assert flatten(read_to(second, end)) == [("a", "c", None, (1,))]


@pytest.mark.parametrize(("policy", "said"), [("error", "end capture"), ("null", "become null"), ("2000-01-01",) * 2])
def test_what_becomes_of_dates_with_a_zero_part_is_said(reading: Reading, policy: str, said: str) -> None:
    reading.database.execute("create table a (id int primary key)", "create table b (id int, at timestamp null)")
    source = MysqlServer(reading.database.source(zero_dates=policy), 1)
    try:
        (found,) = [f for f in source.findings(source.tables()) if f.code == "zero-dates"]
        assert found.severity is Severity.NOTE
        assert said in found.message
        assert found.message.endswith(f" in {reading.database.name}.b")
        assert not [f for f in source.findings(source.tables()[:1]) if f.code == "zero-dates"]
    finally:
        source.close()


def test_findings_name_what_is_wrong_with_tables(reading: Reading) -> None:
    reading.database.execute(
        "create table parent (id int primary key)",
        "create table child (id int primary key, p int, foreign key (p) references parent (id) on delete cascade)",
        "create table keyless (a int)",
        "create view v as select 1 as one",
    )
    tables = reading.source.tables()
    found = {(f.code, str(f.table).rpartition(".")[2]): f for f in reading.source.findings(tables)}
    # What is logged of keys: see `test_tables_of_every_kind`.
    assert (("cascades", "child") in found) is not reading.database.logs_cascades()
    assert found["no-key", "keyless"].severity is Severity.NOTE
    assert found["not-a-table", "v"].severity is Severity.WARNS
    assert not [f for f in found.values() if f.severity is Severity.BLOCKS]
