"""Accounts with what `tailrace plan --grants` prints, and nothing more, run everything on MySQL and MariaDB."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest

from capture.sources.mysql.server import LOG_RIGHTS
from runtime import exit_codes
from tests.integration.services import DEADLINE_S, TARGET, Serve, Services
from tests.kit.mysql import MysqlDatabase
from tests.kit.sides import MysqlSide, wait_until_alike

pytestmark = pytest.mark.timeout(1800)

PASSWORD = "s3cret"


@pytest.mark.parametrize(("source_kind", "target_kind"), [("mysql", "mariadb"), ("mariadb", "mysql")])
def test_accounts_that_have_what_is_printed_are_enough(
    serve: Serve,
    replication: str,
    new_mysql_database: Callable[[str], MysqlDatabase],
    source_kind: str,
    target_kind: str,
) -> None:
    source, target = new_mysql_database(source_kind), new_mysql_database(target_kind)
    account = {"user": f"u{replication}", "password": PASSWORD}
    names = {source: f"'{account['user']}'@'127.0.0.%'", target: f"'{account['user']}'@'%'"}
    control = f"{target.name}_control"
    workload = MysqlSide(source).workload(17, MysqlSide(target))
    workload.create(300)
    with contextlib.ExitStack() as stack:
        for database, name in names.items():
            database.execute(f"create user {name} identified by '{PASSWORD}'")
            stack.callback(database.execute, f"drop user {name}")
        stack.callback(target.execute, f"drop database if exists {control}")
        at_target = {**account, "control_schema": control}
        services = stack.enter_context(serve(source, target, at_source=account, at_target=at_target))

        def is_alike() -> None:
            found = wait_until_alike(MysqlSide(source), MysqlSide(target), DEADLINE_S)
            assert found == [], "\n".join(map(services.log_tail, services.names))

        plan = services.run("plan", "--json")
        assert plan.returncode == exit_codes.CONFIGURATION
        name = names[source]
        told = {f["remedy"] for f in json.loads(plan.stdout)["findings"] if f["code"] == "log-rights"}
        assert told == {f"grant {right} on *.* to {name}" for right in LOG_RIGHTS[source.is_mariadb]}
        _obey(services, source, target)
        # Now it sees the tables, and needs no more than what is printed for these.
        for database, name in names.items():
            database.execute(f"drop user {name}", f"create user {name} identified by '{PASSWORD}'")
        name = names[source]
        source.execute(f"grant select on `{source.name}`.* to {name}")
        printed = services.run("plan", "--grants").stdout
        source.execute(f"revoke select on `{source.name}`.* from {name}")
        _run(printed, source, target)
        _run(printed, source, target)
        plan = services.run("plan", "--json")
        assert plan.returncode == 0, plan.stdout
        assert [f for f in json.loads(plan.stdout)["findings"] if f["severity"] == "blocks"] == []
        services.start("capture")
        services.start("apply")
        workload.run(40)
        is_alike()
        _change(source)
        workload.run(20)
        is_alike()
        for words in (["wl_items"], ["wl_log"], ["wl_idle", "--above", "0", "--up-to", "2"]):
            done = services.run("signal reload", "--wait", "120", "--table", f"{source.name}.{words[0]}", *words[1:])
            assert done.returncode == 0, done.stdout + done.stderr
        workload.run(20)
        is_alike()
        verified = services.run("verify", "--target", TARGET, "--wait", "120")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        _take_the_log_away(services, source, name)
        workload.run(20)
        is_alike()
        for service in ("capture", "apply"):
            assert services.stop(service) == 0, services.log_tail(service)
        assert services.run("reset", "--yes").returncode == 0


def _obey(services: Services, source: MysqlDatabase, target: MysqlDatabase) -> None:
    """Run what is printed for a login that sees no table yet."""
    printed = services.run("plan", "--grants").stdout
    assert "this login sees no table yet" in printed
    _run(printed, source, target)


def _run(printed: str, source: MysqlDatabase, target: MysqlDatabase) -> None:
    for_source, for_target = printed.split("-- target ")
    for database, text in ((source, for_source), (target, f"-- {for_target}")):
        lines = [line for line in text.splitlines() if line and not line.startswith("--")]
        database.execute(*(line.removesuffix(";").replace("'…'", f"'{PASSWORD}'") for line in lines))


def _change(source: MysqlDatabase) -> None:
    """Do what makes capture look at the catalogue and at rows, and an applier at definitions."""
    session = source.connect()
    for statement in (
        "alter table wl_idle add column more varchar(9) default 'there', add unique key by_more (id, more)",
        "insert into wl_idle (id, word) values (100, 'after')",
        "set session binlog_row_image = 'MINIMAL'",
        "insert into wl_idle (id) values (101)",
        "update wl_idle set id = id + 100 where id > 100",
        "alter table wl_idle drop column word",
        "truncate table wl_pairs",
    ):
        session.run(statement)
    session.close()


def _take_the_log_away(services: Services, source: MysqlDatabase, name: str) -> None:
    """A capture that may not read the log any more ends and says so, and goes on once it may."""
    source.execute(f"revoke replication slave on *.* from {name}")
    user = name.partition("@")[0]
    for (session,) in source.rows(f"select id from information_schema.processlist where user = {user}"):
        with contextlib.suppress(Exception):
            # It may have ended by itself.
            source.execute(f"kill {session}")
    assert services.join("capture") == exit_codes.CONFIGURATION, services.log_tail("capture")
    # By the server's refusal, or by what is asked before.
    remedies = ("grant what `tailrace plan --grants` prints", f"grant replication slave on *.* to {name}")
    assert any(services.said("capture", remedy) for remedy in remedies), services.log_tail("capture")
    source.execute(f"grant replication slave on *.* to {name}")
    services.start("capture")
