"""One value of very many bytes, loaded and changed, and what memory each process takes: `make large-values SIZE=256`.

`KIND=text` has it in a column of that type, `SOURCE` and `TARGET` name the engines (`postgresql`, `mysql`, `mariadb`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable

import psutil
import pytest

from schemas.twin import built
from tests.integration.services import Serve, Services
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.servers import Database

SIZE_MIB = int(os.environ.get("SIZE") or 0)
KIND = os.environ.get("KIND") or "bytes"
SOURCE = os.environ.get("SOURCE") or "postgresql"
TARGET = os.environ.get("TARGET") or "postgresql"
DRIVER_COPIES = 1.25 if built("frames") is not None else 2.25
TIMES_MAX = {"loader": DRIVER_COPIES, "capture": DRIVER_COPIES, "apply": 0}
"""A process takes at most so many times the value, beside what it takes without; of MySQL and MariaDB pieces alone."""
FIXED_MIB = 200
SERVERS = {"java": "kafka", "postgres": "postgresql", "mysqld": "mysql", "mariadbd": "mariadb"}
"""What their processes are called. Of PostgreSQL's, one of them alone counts, with the memory that they share."""
LOOK_S = 0.2
PIECE = 64
"""The value is one text of so many bytes, again and again."""


@pytest.mark.timeout(600 + 5 * SIZE_MIB)
@pytest.mark.skipif(not SIZE_MIB, reason="for `make large-values`")
def test_memory_is_a_few_times_the_value(
    serve: Serve, new_database: Callable[..., Database], request: pytest.FixtureRequest
) -> None:
    source, target = (_database(engine, new_database, request) for engine in (SOURCE, TARGET))
    schema = next((d.name for d in (target, source) if isinstance(d, MysqlDatabase)), "public")
    source.execute(f"create table wide (id bigint primary key, note varchar(20), body {_type(SOURCE)})")
    if isinstance(source, Database):
        # Neither end spends its time on compressing.
        source.execute("alter table wide alter body set storage external")
    _write(source, 1)
    most: dict[str, float] = {}
    with serve(source, target) as services:
        with services.running():
            took = {"load": _watch(services, most, lambda: _has(target, schema, 1))}
            _write(source, 2)
            took["log"] = _watch(services, most, lambda: _has(target, schema, 2))
            assert target.rows(f"select distinct md5(body) from {schema}.wide") == [(_digest(),)]
        assert services.run("reset", "--yes").returncode == 0
    print(
        json.dumps(
            {"source": SOURCE, "target": TARGET, "kind": KIND, "mib": SIZE_MIB, "seconds": took, "memory_mib": most}
        )
    )
    times_max = TIMES_MAX if SOURCE == "postgresql" else dict.fromkeys(TIMES_MAX, 0)
    assert all(most[name] < FIXED_MIB + times * SIZE_MIB for name, times in times_max.items()), most


def _database(
    engine: str, new_database: Callable[..., Database], request: pytest.FixtureRequest
) -> Database | MysqlDatabase:
    if engine == "postgresql":
        return new_database(18, "values")
    database = create_mysql_database(request.getfixturevalue(f"{engine}_server"))
    request.addfinalizer(lambda: drop_mysql_database(database))
    # The most that there is: of the default, 16 or 64 MiB, `repeat` makes null.
    database.execute(f"set global max_allowed_packet = {1 << 30}")
    return database


def _type(engine: str) -> str:
    if engine == "postgresql":
        return {"bytes": "bytea", "text": "text"}[KIND]
    return {"bytes": "longblob", "text": "longtext"}[KIND]


def _write(source: Database | MysqlDatabase, row: int) -> None:
    count = (SIZE_MIB << 20) // PIECE
    piece = f"repeat('é', {PIECE // 2})"
    if isinstance(source, Database) and KIND == "bytes":
        value = f"convert_to(repeat({piece}, {count}), 'UTF8')"
    else:
        value = f"repeat({piece}, {count})"
    source.execute(f"insert into wide values ({row}, 'with a value', {value})")


def _watch(services: Services, most: dict[str, float], until: Callable[[], bool]) -> float:
    """Wait, and note the most that each process had in memory, the servers' too; return the seconds."""
    began, looked = time.monotonic(), 0.0
    while True:
        for process in psutil.Process().children(recursive=True):
            if (server := _server(process)) is not None:
                most[server] = max(most.get(server, 0.0), _mib(process))
        for role in ("capture", "apply"):
            process = psutil.Process(services.pid(role))
            used = {role: _mib(process)}
            used |= (
                {"loader": max(map(_mib, process.children(recursive=True)), default=0.0)} if role == "capture" else {}
            )
            most.update({name: max(most.get(name, 0.0), mib) for name, mib in used.items()})
        if time.monotonic() - looked > 1:
            looked = time.monotonic()
            if until():
                return round(looked - began, 1)
        time.sleep(LOOK_S)


def _has(target: Database | MysqlDatabase, schema: str, row: int) -> bool:
    there = f"select 1 from information_schema.tables where table_schema = '{schema}' and table_name = 'wide'"
    found = target.rows(f"select octet_length(body) from {schema}.wide where id = {row}") if target.rows(there) else []
    return bool(found) and str(found[0][0]) == str(SIZE_MIB << 20)


def _digest() -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for _ in range(SIZE_MIB):
        digest.update("é".encode() * (1 << 19))
    return digest.hexdigest()


def _server(process: psutil.Process) -> str | None:
    """Name what a process serves with; None for ours."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return SERVERS.get(process.name())
    return None


def _mib(process: psutil.Process) -> float:
    try:
        return float(round(process.memory_info().rss / (1 << 20), 1))
    except psutil.NoSuchProcess:
        return 0.0
