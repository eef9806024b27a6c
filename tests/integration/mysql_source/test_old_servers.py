"""What an old server cannot do is said before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from capture.sources.mysql import source as sources
from capture.sources.mysql.connection import connect
from deploy.local.mysql import MysqlAddress, MysqlServer
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import SERVER_ID, without_gtids
from tests.kit.mysql import create_mysql_database, drop_mysql_database


def test_without_gtids_an_old_server_is_refused_in_words(oldest_mysql_server: MysqlAddress) -> None:
    """It lacks the function that tells our own locks from others': it answered that no database is selected."""
    database = create_mysql_database(oldest_mysql_server)
    try:
        source = sources.MysqlServer(database.source(), SERVER_ID)
        with without_gtids(database), pytest.raises(TailraceError) as caught:
            source.prepare(source.tables())
        source.close()
        assert caught.value.kind is ErrorKind.PREREQUISITE
        assert "8.0.16" in caught.value.message
        assert caught.value.remedy == "set gtid_mode = ON"
    finally:
        drop_mysql_database(database)


def test_an_account_is_logged_in_whatever_the_servers_own_plug_in_is(servers_directory: Path) -> None:
    """It was refused for a plug-in that it does not have."""
    place, settings = servers_directory / "other-plug-in", {"default-authentication-plugin": "sha256_password"}
    with MysqlServer(place, series="8.0.15"):
        # The administrator is made by the usual one.
        pass
    with MysqlServer(place, series="8.0.15", settings=settings) as server:
        database = create_mysql_database(server.address)
        for plugin in ("mysql_native_password", "caching_sha2_password"):
            database.execute(f"create user {plugin} identified with {plugin} by 's3cret'")
            section = {**database.settings, "user": plugin, "password": "s3cret"}
            connection = connect(MysqlSource.model_validate(section))
            assert connection.value("select current_user()") == f"{plugin}@%"
            connection.close()
