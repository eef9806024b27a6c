"""What somebody else does to a target while it is written: rights that are taken away, a server that takes no rows."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from apply.error_handling.dead_letters import read_lot
from apply.sinks.mysql.findings import CONTROL_RIGHTS
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import parse
from tests.conformance.sink_suite import EVENTS, ORDERS
from tests.integration.apply.publishing import Publisher
from tests.integration.apply.test_service import Running
from tests.integration.apply.waiting import until
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.servers import Database

pytestmark = pytest.mark.integration

NO_SUCH_SESSION = "(1094)"
"""What MySQL says where one that it listed has ended by itself."""


@dataclass(frozen=True, slots=True)
class User:
    """Whoever writes a target, whose right to write `orders` is taken away and given again there."""

    database: Database | MysqlDatabase
    settings: Mapping[str, Any]
    making: Sequence[str]
    taking: Sequence[str]
    giving: Sequence[str]
    password: str
    """The statement that gives it another password, which stands for `{}`."""
    dropping: Sequence[str]
    making_again: Sequence[str]
    """What makes it the owner again of what it had, once it is there."""
    sessions: str
    """The query for statements that end its sessions."""

    def take(self) -> None:
        """Take the right away."""
        self.database.execute(*self.taking)

    def give(self) -> None:
        """Give it back."""
        self.database.execute(*self.giving)

    def end_sessions(self) -> None:
        """Let it log in anew."""
        for (statement,) in self.database.rows(self.sessions):
            try:
                self.database.execute(str(statement))
            except TailraceError as error:
                if NO_SUCH_SESSION not in error.message:
                    raise


@pytest.fixture(params=["postgresql", "mysql", "mariadb"])
def user(request: pytest.FixtureRequest) -> Iterator[User]:
    """One that may make tables at the target, and owns nothing yet."""
    if request.param == "postgresql":
        yield from _role(request.getfixturevalue("target_database"))
    else:
        yield from _account(create_mysql_database(request.getfixturevalue(f"{request.param}_server")))


def _role(database: Database) -> Iterator[User]:
    name = f"r{secrets.token_hex(5)}"
    making = (
        f"create role {name} login password 'secret-p'",
        f"grant create on database {database.name} to {name}",
        f"grant create on schema public to {name}",
    )
    database.execute(*making)
    owned = "alter table public.orders owner to {}"
    yield User(
        database,
        {**database.settings, "user": name, "password": "secret-p"},
        making,
        taking=(owned.format("current_user"), f"revoke all on public.orders from {name}"),
        giving=(f"grant all on public.orders to {name}", owned.format(name)),
        password=f"alter role {name} password '{{}}'",
        dropping=(
            f"create role keeper_{name}",
            f"reassign owned by {name} to keeper_{name}",
            f"drop owned by {name}",
            f"drop role {name}",
        ),
        making_again=(f"reassign owned by keeper_{name} to {name}", f"drop role keeper_{name}"),
        sessions="select format('select pg_terminate_backend(%s)', pid) from pg_stat_activity "
        f"where usename = '{name}'",
    )
    database.execute(f"drop owned by {name} cascade", f"drop role {name}")


def _account(database: MysqlDatabase) -> Iterator[User]:
    name, control, rights = f"u{secrets.token_hex(5)}", f"{database.name}_control", "insert, update, delete, drop"
    making = (
        f"create user {name}@'%' identified by 'secret-p'",
        f"grant {CONTROL_RIGHTS} on {control}.* to {name}@'%'",
        # A table is made with the rights to it that there are already.
        f"grant select, create, alter, index, references, trigger on {database.name}.* to {name}@'%'",
        *(f"grant create, {rights} on {database.name}.{table} to {name}@'%'" for table in ("orders", "events")),
    )
    database.execute(f"create database {control}", *making)
    yield User(
        database,
        {**database.target_settings, "control_schema": control, "user": name, "password": "secret-p"},
        making,
        taking=(f"revoke {rights} on {database.name}.orders from {name}@'%'",),
        giving=(f"grant {rights} on {database.name}.orders to {name}@'%'",),
        password=f"alter user {name}@'%' identified by '{{}}'",
        dropping=(f"drop user {name}@'%'",),
        making_again=(),
        sessions=f"select concat('kill ', id) from information_schema.processlist where user = '{name}'",
    )
    database.execute(f"drop user {name}@'%'", f"drop database {control}")
    drop_mysql_database(database)


def test_a_right_that_is_taken_away_is_one_tables_trouble(document: dict[str, Any], user: User) -> None:
    """Rows wait, as truncates do; other tables go on, and so does this one once the right is there again."""
    target = user.database
    settings = parse({**document, "targets": {"replica": user.settings}, "apply": {"suspended_retry_s": 1}})
    with Publisher(settings) as publisher, Running(settings):
        publisher.add(ORDERS, EVENTS)
        publisher.load(ORDERS, [(n, "new", False) for n in range(10)])
        publisher.loaded(ORDERS)
        publisher.loaded(EVENTS)
        until(lambda: _rows(target, "orders") == 10)
        user.take()
        publisher.change(ORDERS, ("c", None, (20, "kept", True)))
        publisher.change(EVENTS, ("c", None, ("a", 1)))
        until(lambda: _rows(target, "events") == 1)
        assert _rows(target, "orders") == 10
        user.give()
        until(lambda: _rows(target, "orders") == 11)
        user.take()
        publisher.truncate(ORDERS)
        publisher.change(EVENTS, ("c", None, ("b", 2)))
        until(lambda: _rows(target, "events") == 2)
        assert _rows(target, "orders") == 11
        user.give()
        until(lambda: _rows(target, "orders") == 0)
    assert read_lot(settings, "replica").keys == {}


@pytest.mark.parametrize("user", ["postgresql", "mysql", "mariadb"], indirect=True)
def test_whoever_can_log_in_no_more_says_so_and_goes_on_when_mended(document: dict[str, Any], user: User) -> None:
    """The applier ends, says who could not log in and what to do, and has parked nothing."""
    target = user.database
    settings = parse({**document, "targets": {"replica": user.settings}, "apply": {"suspended_retry_s": 1}})

    def fails(seq: int, happening: Sequence[str], *, ends_sessions: bool) -> TailraceError:
        """Let it happen to an applier that is at work, beside a change; return what this ends with."""
        with Running(settings) as running:
            # It has logged in by then: so long as there are sessions, those of before are let go below.
            until(lambda: _is_made(target, "events") and _rows(target, "events") == seq)
            target.execute(*happening)
            if ends_sessions:
                user.end_sessions()
            publisher.change(EVENTS, ("c", None, (f"e{seq}", seq)))
            found = running.failure()
        assert "secret" not in f"{found.message}{found.remedy}"
        return found

    with Publisher(settings) as publisher:
        publisher.add(ORDERS, EVENTS)
        publisher.loaded(ORDERS)
        publisher.loaded(EVENTS)
        refused = fails(0, [user.password.format("secret-q")], ends_sessions=True)
        assert refused.kind is ErrorKind.CONFIGURATION
        assert str(user.settings["user"]) in refused.message
        assert "`password`" in (refused.remedy or "")
        target.execute(user.password.format("secret-p"))
        # MySQL lets sessions of a user that is gone go on.
        dropped = fails(1, user.dropping, ends_sessions=isinstance(target, MysqlDatabase))
        assert dropped.kind in (ErrorKind.PREREQUISITE, ErrorKind.CONFIGURATION)
        assert dropped.remedy
        user.end_sessions()
        again = fails(1, [], ends_sessions=False)
        assert again.kind is ErrorKind.CONFIGURATION
        assert "`user`" in (again.remedy or "")
        target.execute(*user.making, *user.making_again)
        with Running(settings):
            until(lambda: _rows(target, "events") == 3)
    assert read_lot(settings, "replica").keys == {}


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


def _rows(database: Database | MysqlDatabase, table: str) -> int:
    if not _is_made(database, table):
        return 0
    [(count,)] = database.rows(f"select count(*) from {_schema(database)}.{table}")
    return int(str(count))


def _is_made(database: Database | MysqlDatabase, table: str) -> bool:
    where = f"table_schema = '{_schema(database)}' and table_name = '{table}'"
    return bool(database.rows(f"select 1 from information_schema.tables where {where}"))


def _schema(database: Database | MysqlDatabase) -> str:
    return database.name if isinstance(database, MysqlDatabase) else "public"
