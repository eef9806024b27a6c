"""Limits that a server sets for what sessions do: they are for others."""

from __future__ import annotations

import time

import pytest

from apply.sinks.mysql.connection import Link
from schemas.endpoints.mysql import MysqlTarget
from tests.kit.mysql import MysqlDatabase


@pytest.mark.parametrize("database", ["strict"], indirect=True)
def test_what_takes_long_is_not_ended(database: MysqlDatabase) -> None:
    """A load, a merge or an index was ended again and again."""
    database.execute("create table a (id int primary key)")
    link = Link(MysqlTarget.model_validate(database.target_settings))
    link.begin()
    link.run(f"insert into {database.name}.a select 1 from (select sleep(2)) s")
    time.sleep(2)
    link.commit()
    link.discard()
    assert database.rows("select id from a") == [["1"]]
