"""What a server says of a user's rights, and which databases they are for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from capture.sources.mysql import findings, server
from capture.sources.mysql.connection import Connection
from capture.sources.mysql.server import ServerFacts
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

ME = "`me`@`%`"


def _lacking(databases: list[str], *lines: str, revokes_in_part: bool = False) -> list[str]:
    connection = SimpleNamespace(rows=lambda _: [[line] for line in lines])
    return server.not_lockable(cast("Connection", connection), databases, revokes_in_part=revokes_in_part)


@pytest.mark.parametrize(
    ("lines", "lacking"),
    [
        (["GRANT USAGE ON *.* TO `me`@`%`"], ["a_b", "axb"]),
        (["GRANT SELECT, LOCK TABLES, REPLICATION SLAVE ON *.* TO `me`@`%` WITH GRANT OPTION"], []),
        (["GRANT ALL PRIVILEGES ON `a_b`.* TO `me`@`%`"], []),
        (["GRANT SELECT, LOCK TABLES ON `a\\_b`.* TO `me`@`%`"], ["axb"]),
        (["GRANT LOCK TABLES ON `a%`.* TO `me`@`%`"], []),
        (["GRANT SELECT ON `a_b`.* TO `me`@`%`", "GRANT ALL PRIVILEGES ON `a_b`.`t` TO `me`@`%`"], ["a_b", "axb"]),
        (["GRANT `lock tables`@`%` TO `me`@`%`", "GRANT PROXY ON ``@`` TO `me`@`%`"], ["a_b", "axb"]),
    ],
)
def test_the_right_to_lock_is_one_to_all_databases_or_to_those_that_a_name_stands_for(
    lines: list[str], lacking: list[str]
) -> None:
    assert _lacking(["axb", "a_b"], *lines) == lacking


@pytest.mark.parametrize(
    ("lines", "lacking"),
    [
        (["GRANT SELECT, LOCK TABLES ON *.* TO `me`@`%`", "REVOKE LOCK TABLES ON `axb`.* FROM `me`@`%`"], ["axb"]),
        (["GRANT SELECT, LOCK TABLES ON *.* TO `me`@`%`", "REVOKE LOCK TABLES ON `a_b`.* FROM `me`@`%`"], ["a_b"]),
        (["GRANT LOCK TABLES ON *.* TO `me`@`%`", "REVOKE SELECT ON `axb`.* FROM `me`@`%`"], []),
        (["GRANT LOCK TABLES ON `a_b`.* TO `me`@`%`"], ["axb"]),
        (["GRANT LOCK TABLES ON `a\\_b`.* TO `me`@`%`"], ["axb"]),
        (["GRANT LOCK TABLES ON `a%`.* TO `me`@`%`"], ["a_b", "axb"]),
    ],
)
def test_where_rights_may_be_revoked_in_part_names_stand_for_themselves(lines: list[str], lacking: list[str]) -> None:
    assert _lacking(["axb", "a_b"], *lines, revokes_in_part=True) == lacking


def test_names_with_quotes_are_told_apart() -> None:
    assert _lacking(["a`b", "a.*b"], f"GRANT LOCK TABLES ON `a``b`.* TO {ME}") == ["a.*b"]
    assert _lacking(["a.b"], f"GRANT LOCK TABLES ON `a.b`.* TO {ME}") == []
    assert _lacking(["axb"], f"GRANT LOCK TABLES ON `a.b`.* TO {ME}") == ["axb"]


def test_nothing_is_asked_where_nothing_is_locked() -> None:
    assert server.not_lockable(cast("Connection", None), [], revokes_in_part=False) == []


@pytest.mark.parametrize(
    ("line", "may_ask", "lacking"),
    [
        ("GRANT USAGE ON *.* TO `me`@`%`", False, ["replication client", "replication slave"]),
        ("GRANT REPLICATION SLAVE ON *.* TO `me`@`%`", False, ["replication client"]),
        ("GRANT REPLICATION SLAVE ADMIN, REPLICATION CLIENT ON *.* TO `me`@`%`", True, ["replication slave"]),
        ("GRANT ALL PRIVILEGES ON `a`.* TO `me`@`%`", False, ["replication client", "replication slave"]),
        ("GRANT ALL PRIVILEGES ON *.* TO `me`@`%` WITH GRANT OPTION", True, []),
        # Whoever gets an answer may ask, by whatever right.
        ("GRANT REPLICATION SLAVE, SUPER ON *.* TO `me`@`%`", True, []),
    ],
)
def test_a_login_may_lack_rights_to_the_log_and_is_told_which(line: str, may_ask: bool, lacking: list[str]) -> None:
    found = server.read_facts(_login(line, may_ask=may_ask))
    assert found.lacking == lacking
    settings = MysqlSource.model_validate({"engine": "mysql", "user": "me", "tables": ["*.*"]})
    told = [f.remedy for f in findings.find(settings, found, [], []) if f.code == "log-rights"]
    assert told == [f"grant {right} on *.* to 'me'@'%'" for right in lacking]


@pytest.mark.parametrize(
    ("account", "printed"),
    [("me@10.0.%", "'me'@'10.0.%'"), ("m@e@::1", "'m@e'@'::1'"), ("@localhost", "'me'@'%'"), ("?", "'me'@'%'")],
)
def test_rights_are_for_the_account_that_the_user_is_logged_in_as(account: str, printed: str) -> None:
    """What was granted to the one for all hosts did nothing for another one of its name."""
    user = account.rpartition("@")[0] or "me"
    settings = MysqlSource.model_validate({"engine": "mysql", "user": user, "tables": ["*.*"]})
    facts = ServerFacts("9.7", is_mariadb=False, variables={}, user=account)
    assert f" to {printed};" in findings.grants(settings, facts, [])


def test_another_refusal_is_no_right_that_is_lacking() -> None:
    with pytest.raises(TailraceError, match="not now"):
        server.read_facts(_login("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `me`@`%`", may_ask=False))


def _login(line: str, *, may_ask: bool) -> Connection:
    def rows(query: str) -> list[list[str]]:
        if query == "show binary log status" and not may_ask:
            raise TailraceError(ErrorKind.PREREQUISITE, "not now")
        return [[line]] if query == "show grants" else []

    said = SimpleNamespace(rows=rows, is_mariadb=False, version=(9, 7, 0), version_text="9.7.0", value=lambda _: "me@%")
    return cast("Connection", said)


def test_the_right_is_printed_for_databases_of_mysql_that_have_tables_without_a_key() -> None:
    column = Column("v", LogicalType(Family.INT32), "int")
    tables = [
        TableSchema(TableName("shop", "orders"), (column,), (0,)),
        TableSchema(TableName("sh_op", "bag"), (column,), ()),
        TableSchema(TableName("sh_op", "heap"), (column,), ()),
        TableSchema(TableName("views", "totals"), (column,), (), is_view=True),
    ]
    settings = MysqlSource.model_validate({"engine": "mysql", "user": "me", "tables": ["*.*"]})
    mysql = ServerFacts("9.7", is_mariadb=False, variables={"gtid_mode": "on"}, user="me@%")
    mariadb = replace(mysql, is_mariadb=True)
    printed = findings.grants(settings, mysql, tables)
    assert printed.count("lock tables") == 1
    assert printed.endswith("\ngrant lock tables on `sh\\_op`.* to 'me'@'%';")
    assert "lock tables" not in findings.grants(settings, mariadb, tables)
    assert "lock tables" not in findings.grants(settings, mysql, [])
    found = findings.locked(mysql, tables)
    assert found == {"sh_op": [TableName("sh_op", "bag"), TableName("sh_op", "heap")]}
    said = findings.not_lockable(settings, mysql, found["sh_op"])
    assert said.remedy == "grant lock tables on `sh\\_op`.* to 'me'@'%'"
    assert "sh_op.bag, sh_op.heap" in said.message
    # One that was taken back in this database would stay so.
    in_part = replace(mysql, variables={"gtid_mode": "on", "partial_revokes": "on"})
    exact = "grant lock tables on `sh_op`.* to 'me'@'%'"
    assert findings.not_lockable(settings, in_part, found["sh_op"]).remedy == exact
    assert findings.grants(settings, in_part, tables).endswith(f"\n{exact};")
