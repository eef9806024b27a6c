"""TLS on real servers: as strict as configured, to read rows and the log, and to write."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from apply.sinks.mysql.connection import connect as connect_target
from capture.sources.mysql.connection import connect
from deploy.local.mysql import MysqlServer
from schemas.endpoints.mysql import MysqlSource, MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import Reading
from tests.kit.certificates import PASSWORD
from tests.kit.mysql import MysqlDatabase, create_mysql_database
from tests.kit.refusals import refused

CIPHER = "show session status like 'Ssl_cipher'"


@pytest.fixture(params=["11.4", "mysql"])
def secured(request: pytest.FixtureRequest, servers_directory: Path, certificates: Path) -> Iterator[MysqlDatabase]:
    """A database on a server with a certificate of its own."""
    files = {"ssl-ca": "ca.pem", "ssl-cert": "server.pem", "ssl-key": "server.key"}
    settings = {name: str(certificates / file) for name, file in files.items()}
    if request.param != "mysql":
        settings["ssl"] = "1"
    directory = servers_directory / f"secured-{secrets.token_hex(4)}"
    with MysqlServer(directory, series=request.param, settings=settings) as server:
        database = create_mysql_database(server.address)
        for user, wanted in (("plain", "none"), ("secured", "ssl"), ("certified", "x509")):
            database.execute(
                f"create user {user}@'%' identified by 'wrong-password' require {wanted}",
                f"grant all on *.* to {user}@'%'",
            )
        yield database


def test_tls_is_as_strict_as_configured_on_every_connection(secured: MysqlDatabase, certificates: Path) -> None:
    def words(user: str, host: str, tls: dict[str, str]) -> dict[str, object]:
        paths = {name: str(certificates / v) if v.endswith((".pem", ".key")) else v for name, v in tls.items()}
        more = {"user": user, "host": host, "tls": paths, "password": "wrong-password"}
        return {**secured.settings, **more}

    def at_source(user: str, host: str, tls: dict[str, str]) -> bool:
        with contextlib.closing(connect(MysqlSource.model_validate(words(user, host, tls)))) as connection:
            return bool(connection.rows(CIPHER)[0][1])

    def at_target(user: str, host: str, tls: dict[str, str]) -> bool:
        section = {name: value for name, value in words(user, host, tls).items() if name != "tables"}
        connection = connect_target(MysqlTarget.model_validate(section))
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(CIPHER)
            return bool(cursor.fetchone()[1])

    trusted, certificate = {"ca": "ca.pem"}, {"cert": "client.pem", "key": "client.key"}
    locked = {"cert": "client.pem", "key": "locked.key"}
    address, name = "127.0.0.1", "localhost"
    for log_in in (at_source, at_target):
        assert not log_in("plain", address, {"mode": "disable"})
        assert log_in("secured", address, {"mode": "prefer"})
        assert log_in("secured", address, {"mode": "require"})
        assert log_in("secured", address, {"mode": "verify-ca", **trusted})
        assert log_in("secured", name, {"mode": "verify-full", **trusted})
        assert log_in("certified", name, {"mode": "verify-full", **trusted, **certificate})
        assert log_in("certified", address, {"mode": "require", **locked, "key_password": PASSWORD})
        for user, host, tls, said in (
            ("secured", address, {"mode": "verify-full", **trusted}, "check"),
            ("secured", name, {"mode": "verify-ca", "ca": "other.pem"}, "check"),
            ("secured", name, {"mode": "verify-full"}, "check"),
            ("secured", name, {"mode": "verify-ca", "ca": "nowhere.pem"}, "there is no file"),
            ("secured", name, {"mode": "verify-ca", "ca": "ca.key"}, "cannot be used"),
            # Nobody is asked for it at a terminal.
            ("certified", name, {"mode": "require", **locked}, "key_password"),
        ):
            with refused(ErrorKind.CONFIGURATION, said):
                log_in(user, host, tls)
        for user, tls in (("secured", {"mode": "disable"}), ("certified", {"mode": "require"})):
            with pytest.raises(TailraceError, match="1045") as caught:
                log_in(user, address, tls)
            assert "tls.mode" in str(caught.value.remedy)
    says = "1045" if secured.is_mariadb and secured.version() < (11,) else "3159"
    secured.execute("set global require_secure_transport = ON")
    for log_in in (at_source, at_target):
        with pytest.raises(TailraceError, match=says) as caught:
            log_in("plain", address, {"mode": "disable"})
        assert caught.value.kind in (ErrorKind.CONFIGURATION, ErrorKind.PREREQUISITE)
        assert "tls.mode" in str(caught.value.remedy)


def test_rows_and_the_log_are_read_over_tls(secured: MysqlDatabase, certificates: Path) -> None:
    """Values of many records of TLS."""
    files = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}
    tls = {"mode": "verify-full", **{key: str(certificates / file) for key, file in files.items()}}
    secured.execute(
        "create table a (id int primary key, v longtext)", "insert into a values (1, repeat('é', 1500000)), (2, 'x')"
    )
    reading = Reading(secured, user="certified", password="wrong-password", host="localhost", tls=tls)
    try:
        (table,) = reading.tables
        assert [(row[0], len(str(row[1]))) for row in sorted(reading.rows(table))] == [(1, 1_500_000), (2, 1)]
        secured.execute(
            "insert into a select id + 10, v from a", "delete from a where id = 2", "insert into a values (3, 'end')"
        )
        assert [(op, (after or before or ())[0]) for _, op, before, after in reading.flat()] == [
            *(("c", 11), ("c", 12), ("d", 2), ("c", 3)),
        ]
    finally:
        reading.close()


def test_a_server_without_tls_is_none_where_it_is_demanded(mysql_database: MysqlDatabase) -> None:
    """The tests' MariaDB has none."""
    if not mysql_database.is_mariadb:
        pytest.skip("MySQL makes itself a certificate")
    words = {**mysql_database.settings, "tls": {"mode": "require"}}
    with refused(ErrorKind.CONFIGURATION, "offers no encryption"):
        connect(MysqlSource.model_validate(words))
    del words["tables"]
    with refused(ErrorKind.CONFIGURATION, "tls"):
        connect_target(MysqlTarget.model_validate(words))
    connect(mysql_database.source(tls={"mode": "prefer"})).close()
    connect_target(MysqlTarget.model_validate({**words, "tls": {"mode": "prefer"}})).close()
