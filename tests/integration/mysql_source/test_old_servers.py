"""What an old server cannot do is said before anything is read."""

from __future__ import annotations

import pytest

from capture.sources.mysql.source import MysqlServer
from deploy.local.mysql import MysqlAddress
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import SERVER_ID, without_gtids
from tests.kit.mysql import create_mysql_database, drop_mysql_database


def test_without_gtids_an_old_server_is_refused_in_words(mysql8_server: MysqlAddress) -> None:
    """It lacks the function that tells our own locks from others': it answered that no database is selected."""
    database = create_mysql_database(mysql8_server)
    try:
        source = MysqlServer(database.source(), SERVER_ID)
        with without_gtids(database), pytest.raises(TailraceError) as caught:
            source.prepare(source.tables())
        source.close()
        assert caught.value.kind is ErrorKind.PREREQUISITE
        assert "8.0.16" in caught.value.message
        assert caught.value.remedy == "set gtid_mode = ON"
    finally:
        drop_mysql_database(database)
