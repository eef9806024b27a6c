"""Names in the configuration that mean nothing at a real server: each is told with what it is near to."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from capture.named_tables import look_for_named
from capture.sources.mysql.source import MysqlServer
from schemas.errors import TailraceError
from schemas.settings import parse
from tests.kit.mysql import MysqlDatabase


def told(database: MysqlDatabase, *patterns: str, **more: Any) -> list[str]:
    """Return what `plan` says of names; a start says the same, and is refused where nothing is left."""
    section = database.settings | {"tables": patterns} | more
    settings = parse({"name": "shop", "kafka": {"bootstrap.servers": "nowhere"}, "source": section})
    source = MysqlServer(database.source(**{"tables": patterns} | more), 1)
    try:
        tables = source.tables()
        found = [f.message for f in source.findings(tables) if f.code in ("table-missing", "schema-missing")]
        if tables:
            look_for_named(settings, source, tables)
        else:
            with pytest.raises(TailraceError, match="no table matches") as raised:
                look_for_named(settings, source, tables)
            assert all(message in str(raised.value) for message in found)
        return [message.replace(database.name, "shop") for message in found]
    finally:
        source.close()


def test_a_name_that_means_nothing_is_told_with_the_one_that_is_near(mysql_database: MysqlDatabase) -> None:
    shop = mysql_database.name
    mysql_database.execute("create table orders (id int primary key)", "create view totals as select 1 as one")
    lost = "there is no table {}, or this role may not see it; did you mean {}?"
    assert told(mysql_database, f"{shop}.orders", f"{shop}.ordres") == [lost.format("shop.ordres", "shop.orders")]
    assert told(mysql_database, f"{shop}.Orders") == [lost.format("shop.Orders", "shop.orders")]
    views = [f"{shop}.totals", f"{shop}.total"]
    assert told(mysql_database, f"{shop}.*", views=views) == [lost.format("shop.total", "shop.totals")]
    # A pattern may match tables that are yet to be made, in a database that is there.
    assert told(mysql_database, f"{shop}.new_*", "*.newer_?") == []
    (lacking,) = told(mysql_database, f"{shop}x.*")
    assert lacking.endswith("; did you mean shop?")


def test_a_user_who_may_not_see_a_table_is_told_so(mysql_database: MysqlDatabase) -> None:
    user, right = f"u{secrets.token_hex(5)}", "binlog monitor" if mysql_database.is_mariadb else "replication client"
    mysql_database.execute(
        "create table orders (id int primary key)",
        f"create user '{user}'@'%' identified by 's3cret'",
        f"grant {right} on *.* to '{user}'@'%'",
    )
    login = {"user": user, "password": "s3cret"}
    try:
        patterns = [f"{mysql_database.name}.orders", f"{mysql_database.name}.ordres"]
        said = "there is no table shop.{}, or this role may not see it"
        assert told(mysql_database, *patterns, **login) == [said.format("orders"), said.format("ordres")]
        mysql_database.execute(f"grant select on orders to '{user}'@'%'")
        assert told(mysql_database, *patterns, **login) == [said.format("ordres") + "; did you mean shop.orders?"]
    finally:
        mysql_database.execute(f"drop user '{user}'@'%'")
