"""Many tables, and as many columns as there can be: start-up, memory, the end of every load.

`TABLES=2000 pytest -s tests/integration/test_many.py` says how long it takes and how much memory the services have.
"""

from __future__ import annotations

import os
import time

import psutil
import pytest

from tests.integration.services import Serve, Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database

TABLES = int(os.environ.get("TABLES") or 300)
RESIDENT_MIB_MAX = 300 + max(0, TABLES - 300) // 10
"""2,000 tables took 360 at capture and 339 at the applier."""
DEADLINE_S = 480 + TABLES
"""A table of ten rows takes the two services 0.1 to 0.4 s on two cores, by what else runs there."""
PATIENT = {service: {"session_timeout_s": 45, "status_interval_s": 1} for service in ("capture", "apply")}
"""What takes two cores for minutes is no place to find hanging services within seconds; and status has all tables."""
TYPES = ("integer", "text", "smallint", "boolean", "date")


@pytest.mark.timeout(DEADLINE_S + 600)
def test_hundreds_of_tables_and_as_many_columns_as_a_target_takes(
    serve: Serve, source_database: Database, target_database: Database
) -> None:
    source, target = source_database, target_database
    wide = ", ".join(f"c{n} {TYPES[n % len(TYPES)]}" for n in range(1598))
    source.execute(f"create table wide (id integer primary key, {wide})")
    source.execute(
        "insert into wide (id, c0, c1, c1596) values (1, 1, 'a', 5), (2, null, repeat('x', 5000), null)",
        f"""do $$ begin for n in 1..{TABLES} loop
            execute format('create table t%s (id int primary key, v text, n numeric(9,2) default 1, parent int)', n);
            execute format('create index on t%s (v)', n);
            execute format('insert into t%s select i, ''v'' || i, i, 1 from generate_series(1, 10) i', n);
            if n % 50 = 0 then commit; end if;
        end loop; end $$""",
        "alter table t2 add foreign key (parent) references t1",
    )
    told = []
    began = time.monotonic()

    def tell(what: str) -> None:
        told.append(f"{time.monotonic() - began:.1f} s: {what}")

    with serve(source, target, topics={"partitions": 1}, **PATIENT) as services:
        services.start("capture")
        services.start("apply")
        services.wait(lambda: services.said("capture", "capture runs"), "capture runs")
        tell("capture runs")
        services.wait(lambda: _completed(services) == TABLES + 1, "every load is complete", progress=True)
        tell("every load is complete")
        source.execute(
            f"do $$ begin for n in 1..{TABLES} loop execute format('update t%s set n = n + 1 where id < 4', n); "
            "end loop; end $$",
            "update wide set c5 = 7, c1597 = 3 where id = 2",
            "insert into wide (id) values (3)",
            "delete from wide where id = 1",
        )
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=DEADLINE_S) == [], services.log_tail("apply")
        tell("changes of every table are at the target")
        resident = {name: psutil.Process(services.pid(name)).memory_info().rss >> 20 for name in services.names}
        assert max(resident.values()) < RESIDENT_MIB_MAX, resident
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)
        began = time.monotonic()
        services.start("capture")
        services.wait(lambda: services.said("capture", "capture runs"), "capture runs again")
        tell("capture runs again")
        assert services.stop("capture") == 0
    print(f"\n{TABLES} tables: {'; '.join(told)}; MiB resident: {resident}")
    indexes = target.rows("select count(*) from pg_indexes where tablename ~ '^t[0-9]+$' and indexname !~ 'pkey$'")
    assert indexes == [(TABLES,)]


def _completed(services: Services) -> int:
    return services.count("apply", "load completed")
