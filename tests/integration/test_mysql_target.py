"""A PostgreSQL database moves into MySQL while it is written to and truncated, and appliers are killed."""

from __future__ import annotations

import json
import threading

import pytest

from tests.integration.services import DEADLINE_S, TARGET, Serve
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.kit.sides import MysqlSide, PostgresqlSide, differences, wait_until_alike
from tests.kit.transactions import TABLES

# A failure here breaks a promise: it is never run again in the hope of a better result.
pytestmark = pytest.mark.timeout(1800)


def test_postgresql_moves_to_mysql_while_appliers_are_killed(
    serve: Serve, source_database: Database, mysql_target: MysqlDatabase
) -> None:
    source, target = PostgresqlSide(source_database), MysqlSide(mysql_target)
    workload = source.workload(8, target)
    workload.create(0)
    workload.run(60)
    stop = threading.Event()
    with serve(source_database, mysql_target, capture={"chunk_rows": 200}) as services:
        planned = services.run("plan")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        said = " ".join(planned.stdout.split())
        for loss in ("timestamp with time zone becomes datetime(6); in UTC", "text[] becomes json; lower bounds"):
            assert loss in said, said
        writer = threading.Thread(target=workload.run_until, args=(stop, 0.02))
        writer.start()
        try:
            services.start("capture")
            services.start("apply")
            services.start("apply-2")
            for name in ("apply", "apply-2", "capture", "apply"):
                mark = workload.written.transaction_count
                services.wait(lambda m=mark: workload.written.transaction_count > m + 20, "the writer goes on")  # type: ignore[misc]
                services.crash(name)
            services.wait(lambda: len(services.loaded()) == len(TABLES), "the load ends")
            mark = workload.written.transaction_count
            services.wait(lambda: workload.written.transaction_count > mark + 20, "the writer goes on")
        finally:
            stop.set()
            writer.join()
        assert wait_until_alike(source, target, DEADLINE_S) == [], "\n".join(map(services.log_tail, services.names))
        verified = services.run("verify", "--target", TARGET)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        mysql_target.execute(
            "update wl_items set doc = json_array(1) where id = (select * from (select max(id) from wl_items) m)",
            "delete from wl_idle where id = 2",
        )
        assert [found.partition(":")[0] for found in differences(source, target)] == ["wl_idle", "wl_items"]
        verified = services.run("verify", "--target", TARGET, "--json")
        found = {t["table"]: t["differing"] for t in json.loads(verified.stdout)["tables"] if not t["equal"]}
        assert (verified.returncode, found) == (4, {"public.wl_items": 1, "public.wl_idle": 1})
        for name in ("capture", "apply", "apply-2"):
            assert services.stop(name) == 0, services.log_tail(name)
