"""What somebody else does to a target while it is written: rights that are taken away, a server that takes no rows."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.settings import parse
from tests.conformance.sink_suite import EVENTS, ORDERS
from tests.integration.apply.publishing import Publisher
from tests.integration.apply.test_service import Running
from tests.integration.apply.waiting import until
from tests.kit.servers import Database

pytestmark = pytest.mark.integration


@pytest.fixture
def role(target_database: Database) -> Iterator[str]:
    """A role that may make tables at the target, and owns nothing yet."""
    name = f"r{secrets.token_hex(5)}"
    target_database.execute(
        f"create role {name} login password 'p'",
        f"grant create on database {target_database.name} to {name}",
        f"grant create on schema public to {name}",
    )
    yield name
    target_database.execute(f"drop owned by {name} cascade", f"drop role {name}")


def test_a_right_that_is_taken_away_is_one_tables_trouble(
    document: dict[str, Any], target_database: Database, role: str
) -> None:
    """Rows wait, as truncates do; other tables go on, and so does this one once the right is there again."""
    target = {**target_database.settings, "user": role, "password": "p"}
    settings = parse({**document, "targets": {"replica": target}, "apply": {"suspended_retry_s": 1}})
    owned = "alter table public.orders owner to {}"
    with Publisher(settings) as publisher, Running(settings):
        publisher.add(ORDERS, EVENTS)
        publisher.load(ORDERS, [(n, "new", False) for n in range(10)])
        publisher.loaded(ORDERS)
        publisher.loaded(EVENTS)
        until(lambda: _rows(target_database, "orders") == 10)
        target_database.execute(owned.format("current_user"), f"revoke all on public.orders from {role}")
        publisher.change(ORDERS, ("c", None, (20, "kept", True)))
        publisher.change(EVENTS, ("c", None, ("a", 1)))
        until(lambda: _rows(target_database, "events") == 1)
        assert _rows(target_database, "orders") == 10
        target_database.execute(f"grant all on public.orders to {role}", owned.format(role))
        until(lambda: _rows(target_database, "orders") == 11)
        target_database.execute(owned.format("current_user"), f"revoke all on public.orders from {role}")
        publisher.truncate(ORDERS)
        publisher.change(EVENTS, ("c", None, ("b", 2)))
        until(lambda: _rows(target_database, "events") == 2)
        assert _rows(target_database, "orders") == 11
        target_database.execute(owned.format(role))
        until(lambda: _rows(target_database, "orders") == 0)


def test_a_server_that_takes_no_rows_any_more_is_waited_for(
    document: dict[str, Any], target_database: Database
) -> None:
    """As after a failover: whoever is still connected to the former primary connects anew until that is another one."""
    settings, name = parse(document), target_database.name
    others = f"from pg_stat_activity where datname = '{name}' and pid <> pg_backend_pid()"
    with Publisher(settings) as publisher, Running(settings):
        publisher.add(EVENTS)
        publisher.change(EVENTS, ("c", None, ("a", 1)))
        until(lambda: _rows(target_database, "events") == 1)
        read_only = f"alter database {name} set default_transaction_read_only"
        target_database.execute(f"{read_only} = on", f"select pg_terminate_backend(pid) {others}")
        publisher.change(EVENTS, ("c", None, ("b", 2)))
        seen: set[Any] = set()

        def several_sessions() -> bool:
            seen.update(target_database.rows(f"select pid, backend_start {others}"))
            return len(seen) > 2

        until(several_sessions)
        with target_database.connect() as connection:
            connection.execute("set default_transaction_read_only = off")
            connection.execute(f"alter database {name} reset default_transaction_read_only")
        until(lambda: _rows(target_database, "events") == 2)


def _rows(database: Database, table: str) -> int:
    if database.rows(f"select to_regclass('public.{table}')") == [(None,)]:
        return 0
    [(count,)] = database.rows(f"select count(*) from public.{table}")
    assert isinstance(count, int)
    return count
