"""Roles with what `tailrace plan --grants` prints, and nothing more, run everything; on versions in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from runtime import exit_codes
from runtime.configuration import load
from tests.integration.services import TARGET, Services
from tests.kit.compare import differences, wait_until_equal
from tests.kit.servers import Database
from tests.kit.workload import Workload


@pytest.mark.parametrize(("source_major", "target_major"), [(17, 14), (14, 15), (15, 17)])
def test_roles_that_own_nothing_are_enough(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    new_database: Callable[..., Database],
    source_major: int,
    target_major: int,
) -> None:
    source, target = new_database(source_major, "source"), new_database(target_major, "target")
    role = {"user": f"role_{replication}", "password": "secret"}
    for database in (source, target):
        database.execute(
            f"create role {role['user']} login password 'secret'",
            f"revoke all on database {database.name} from public",
            "revoke all on schema public from public",
            f"grant connect on database {database.name} to {role['user']}",
        )
    workload = Workload(source.dsn, seed=source_major)
    workload.create(300)
    try:
        with Services(
            tmp_path,
            replication,
            kafka_server,
            source,
            target,
            at_source={**role, "manage_publication": False},
            at_target=role,
        ) as services:
            assert services.run("plan").returncode == 2
            printed = services.run("plan", "--grants").stdout
            for_source, for_target = printed.split("-- target ")
            for _ in range(2):
                source.execute(for_source)
                target.execute(f"-- {for_target}")
            # One table fewer than it was made of: whoever runs it once more adds that.
            publication = load(services.configuration).publication
            source.execute(f'alter publication "{publication}" drop table wl_items', for_source)
            plan = services.run("plan", "--json")
            assert plan.returncode == 0, plan.stdout
            assert [f for f in json.loads(plan.stdout)["findings"] if f["severity"] == "blocks"] == []
            services.start("capture")
            services.start("apply")
            workload.run(60)
            assert wait_until_equal(source.dsn, target.dsn) == [], services.log_tail("apply")
            verified = services.run("verify", "--target", TARGET, "--wait", "120")
            assert verified.returncode == 0, verified.stdout + verified.stderr
            if source_major == 17:
                _take_rights_away(services, source, target, role["user"])
                assert wait_until_equal(source.dsn, target.dsn) == [], services.log_tail("apply")
            for name in ("capture", "apply"):
                assert services.stop(name) == 0, services.log_tail(name)
            # The slot is the role's own, the publication is not.
            assert services.run("reset", "--yes").returncode == 0
        assert differences(source.dsn, target.dsn) == []
        assert source.rows("select count(*) from pg_replication_slots where database = current_database()") == [(0,)]
        assert source.rows("select count(*) from pg_publication") == [(1,)]
    finally:
        for database in (source, target):
            database.execute(f"drop owned by {role['user']} cascade", f"drop role {role['user']}")


def _take_rights_away(services: Services, source: Database, target: Database, role: str) -> None:
    """Whoever loses a right says so, has parked nothing, and goes on once it has the right again: an applier with all
    other tables meanwhile, a capture when it is started.
    """
    target.execute(f"revoke insert, update on wl_idle from {role}")
    source.execute("insert into wl_idle values (-1, 'later')")
    services.wait(lambda: services.said("apply", "table suspended"), "the table is suspended")
    assert "42501" in services.log_tail("apply")
    target.execute(f"grant insert, update on wl_idle to {role}")
    source.execute(f"alter role {role} noreplication")
    ends = "select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()"
    services.wait(lambda: source.rows(ends) == [(True,)], "the stream is ended")
    assert services.join("capture") == exit_codes.CONFIGURATION
    assert "plan --grants" in services.log_tail("capture")
    source.execute(f"alter role {role} replication")
    services.start("capture")
    assert services.run("parked list", "--target", TARGET).stdout.count("wl_idle") == 0
