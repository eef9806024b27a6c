"""Rights as they are printed: for servers that revoke in part, and for accounts that are for some hosts only."""

from __future__ import annotations

import pytest

from apply.sink import TableBatch
from apply.sinks.mysql.findings import findings, grants
from apply.sinks.mysql.sink import MysqlSink
from capture.sources.mysql.quoting import any_table
from schemas.endpoints.mysql import MysqlTarget
from schemas.findings import Finding
from tests.integration.mysql_sink.test_writes import PEOPLE, loaded, people, write
from tests.kit.mysql import MysqlDatabase


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_rights_are_printed_as_the_server_reads_names(database: MysqlDatabase) -> None:
    """They were given to a database whose name has backslashes, so that the user had none to its own."""
    user = f"u{database.name[-10:]}"
    section = MysqlTarget.model_validate({**database.target_settings, "user": user, "password": "pass"})
    escaped = database.name.replace("_", "\\_")

    def lacking() -> list[Finding]:
        return [f for f in findings("shop", "replica", section, [PEOPLE]) if f.code == "target-rights"]

    (asked_too_early,) = {line.partition(" on ")[2] for line in grants(section, ["public"]) if "grant" in line}
    assert asked_too_early == f"`{escaped}`.* /* without backslashes where partial_revokes is on */ to '{user}'@'%';"
    database.execute(f"create user {user}@'%' identified by 'pass'")
    try:
        assert grants(section, ["public"])[-1].endswith(f" on `{escaped}`.* to '{user}'@'%';")
        database.execute("set global partial_revokes = on")
        printed = grants(section, ["public"])
        assert printed[-1].endswith(f" on `{database.name}`.* to '{user}'@'%';")
        database.execute(*(line.replace("'…'", "'pass'") for line in printed))
        assert not lacking()
        sink = MysqlSink("shop", "replica", section)
        loaded(sink, PEOPLE)
        assert write(sink, TableBatch(PEOPLE, upserts=[(1, "one", 1)])) == []
        sink.close()
        assert people(database) == {1: ("one", "1")}
        database.execute(f"revoke delete on `{database.name}`.* from {user}@'%'")
        found = lacking()
        assert found
        database.execute(*(str(finding.remedy) for finding in found))
        assert not lacking()
    finally:
        database.execute(f"drop user {user}@'%'", "set global partial_revokes = off")


@pytest.mark.parametrize("database", ["mariadb", "mysql"], indirect=True)
def test_rights_are_printed_for_the_account_that_the_user_is_logged_in_as(database: MysqlDatabase) -> None:
    """It was given none, where it is for some hosts only: those of another account were printed. Nor were the rights
    found that a user has whose name has the sign that stands before hosts.
    """
    user = f"u@{database.name[-10:]}"
    section = MysqlTarget.model_validate({**database.target_settings, "user": user, "password": "pass"})

    def lacking() -> list[Finding]:
        return [f for f in findings("shop", "replica", section, [PEOPLE]) if f.code == "target-rights"]

    database.execute(f"create user '{user}'@'127.0.0.1' identified by 'pass'")
    try:
        database.execute(*(line.replace("'…'", "'pass'") for line in grants(section, ["public"])))
        assert database.rows(f"select host from mysql.user where user = '{user}'") == [["127.0.0.1"]]
        assert not lacking()
        database.execute(f"revoke delete on {any_table(database.name)} from '{user}'@'127.0.0.1'")
        (finding, *others) = lacking()
        database.execute(str(finding.remedy), *(str(other.remedy) for other in others))
        assert not lacking()
    finally:
        database.execute(f"drop user '{user}'@'127.0.0.1'")
