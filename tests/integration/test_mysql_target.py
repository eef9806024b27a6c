"""A PostgreSQL database moves into MySQL while it is written to and truncated, and appliers are killed."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from deploy.local.mysql import MysqlAddress
from tests.integration.services import DEADLINE_S, TARGET, Services
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.servers import Database
from tests.kit.workload import Workload

ROWS = 2000

# A failure here breaks a promise: it is never run again in the hope of a better result.
pytestmark = pytest.mark.timeout(1800)

REAL_NUMBERS_ONLY = """
create function real_numbers_only() returns trigger language plpgsql as $$
begin
    if tg_table_name = 'wl_items' then
        if new.ratio in ('NaN', 'Infinity', '-Infinity') then new.ratio := null; end if;
    elsif new.value = 'NaN' then new.value := null;
    end if;
    return new;
end $$
"""
"""MySQL has neither NaN nor infinities: their rows would be parked."""

MOMENT = "to_char({} at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
ITEMS = (
    f"id::text, name, amount::text, ratio::text, flag::int::text, {MOMENT.format('made')}, day::text, doc::text, "
    "note, encode(raw, 'hex'), array_to_json(tags)::text, code::text, small::text"
)
SELECTED = {
    "wl_items": (
        ITEMS,
        "id, name, amount, ratio, flag, made, day, doc, note, lower(hex(raw)), tags, code, small",
    ),
    "wl_pairs": (
        "a::text, b, value::numeric(60,20)::text, to_char(at, 'YYYY-MM-DD HH24:MI:SS.US')",
        "a, b, cast(value as decimal(60,20)), at",
    ),
    "wl_texts": ("id::text, title, body, version::text", "id, title, body, version"),
    "wl_log": (f"{MOMENT.format('at')}, level, message", "at, level, message"),
    "wl_idle": ("id::text, word", "id, word"),
}
"""What each server prints of the tables."""


@pytest.fixture
def mysql_target(mysql_server: MysqlAddress) -> Iterator[MysqlDatabase]:
    """An empty database on MySQL."""
    database = create_mysql_database(mysql_server)
    yield database
    drop_mysql_database(database)


def test_postgresql_moves_to_mysql_while_appliers_are_killed(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    source_database: Database,
    mysql_target: MysqlDatabase,
) -> None:
    workload = Workload(source_database.dsn, seed=8, truncates=True)
    workload.create(0)
    source_database.execute(
        REAL_NUMBERS_ONLY,
        *(
            f"create trigger real before insert or update on {table} for each row execute function real_numbers_only()"
            for table in ("wl_items", "wl_pairs")
        ),
    )
    for _ in range(3):
        workload.run(20)
    stop = threading.Event()
    arguments = (tmp_path, replication, kafka_server, source_database, mysql_target)
    with Services(*arguments, capture={"chunk_rows": 200}) as services:
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
                services.kill(name)
                services.start(name)
            services.wait(lambda: _loaded(services), "the load ends")
            mark = workload.written.transaction_count
            services.wait(lambda: workload.written.transaction_count > mark + 20, "the writer goes on")
        finally:
            stop.set()
            writer.join()
        deadline = time.monotonic() + DEADLINE_S
        while differences := _differences(source_database, mysql_target):
            assert time.monotonic() < deadline, "\n".join([*differences, *map(services.log_tail, services.names)])
            time.sleep(0.5)
        verified = services.run("verify", "--target", TARGET)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        mysql_target.execute(
            "update wl_items set doc = json_array(1) where id = (select * from (select max(id) from wl_items) m)",
            "delete from wl_idle where id = 2",
        )
        verified = services.run("verify", "--target", TARGET, "--json")
        found = {t["table"]: t["differing"] for t in json.loads(verified.stdout)["tables"] if not t["equal"]}
        assert (verified.returncode, found) == (4, {"public.wl_items": 1, "public.wl_idle": 1})
        for name in ("capture", "apply", "apply-2"):
            assert services.stop(name) == 0, services.log_tail(name)


def _loaded(services: Services) -> bool:
    answer = services.run("status", "--json")
    tables = json.loads(answer.stdout)["tables"] if answer.returncode == 0 else []
    return len(tables) == len(SELECTED) and all(table["state"] == "loaded" for table in tables)


def _differences(source: Database, target: MysqlDatabase) -> list[str]:
    found = []
    present = {name for (name,) in target.rows("show tables")}
    for table, (theirs, ours) in SELECTED.items():
        if table not in present:
            found.append(f"{table}: not there yet")
            continue
        wanted = Counter(_normal(table, row) for row in source.rows(f"select {theirs} from {table}"))
        have = Counter(_normal(table, row) for row in target.rows(f"select {ours} from {table}"))
        if wanted != have:
            extra, missing = have - wanted, wanted - have
            found.append(
                f"{table}: {extra.total()} too many {list(extra)[:2]}, {missing.total()} missing {list(missing)[:2]}"
            )
    return found


def _normal(table: str, row: Any) -> tuple[object, ...]:
    values = list(row)
    if table == "wl_items":
        values[3] = None if values[3] is None else float(values[3])
        for place in (7, 10):
            values[place] = None if values[place] is None else json.dumps(json.loads(values[place]), sort_keys=True)
    return tuple(values)
