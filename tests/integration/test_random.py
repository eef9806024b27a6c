"""Random tables, random transactions, random changes of definitions, and services that are killed: the copy follows.

`make random SEED=7 ROUNDS=50` runs fifty seeds from the seventh on, `make test` a short one; `ENGINE=mysql` writes to
MySQL and MariaDB, and copies into each other or PostgreSQL; `TARGET=mysql` or `mariadb` copies from PostgreSQL to them.
A seed decides everything but the moments at which services see what was written. Nothing that a seed does is beyond
what docs/limits.md says.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from schemas.topics import dead_letters_topic, schemas_topic
from tests.integration.services import TARGET, Place, Services, TargetPlace
from tests.kit import random_mysql, random_portable, random_postgresql
from tests.kit.compare import wait_until_equal
from tests.kit.compare_mysql import count_differences, count_differences_from, mysql_differences
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.random_writer import Writer
from tests.kit.servers import Database
from tests.kit.topics import read_raw
from tests.kit.type_walk import usable_samples

SEED = int(os.environ.get("SEED") or 1)
ROUNDS = int(os.environ.get("ROUNDS") or 0)
"""0: the short part of `make test`."""
PAUSE_S = 0.03
"""Between transactions, so that services see something of them before the next."""
ENGINE = os.environ.get("ENGINE") or "postgresql"
TARGET_KIND = os.environ.get("TARGET") or "postgresql"
"""Of PostgreSQL; MySQL's and MariaDB's are chosen by the seed."""
LOOKED_UP = (1, 4)
"""Seeds of the short part for logs that lack values: MySQL to PostgreSQL, MariaDB to MySQL."""
PAIRS = ((18, 13), (13, 18), (17, 13), (13, 17))
"""The oldest and the newest version, both ways; of those that have the contrib modules, too."""
MYSQL_PAIRS = (("mariadb", "mysql"), ("mysql", "postgresql"), ("mariadb", "postgresql"), ("mysql", "mariadb"))

_TYPES = """
select n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attgenerated::text
  from pg_class c join pg_attribute a on a.attrelid = c.oid join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('public', 'Odd.Schema') and c.relkind in ('r', 'p') and not c.relispartition
   and a.attnum > 0 and not a.attisdropped
 order by 1, 2, 3
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(SEED, SEED + max(1, ROUNDS)))
def test_whatever_is_done_to_tables_the_copy_follows(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    new_database: Callable[..., Database],
    request: pytest.FixtureRequest,
    seed: int,
) -> None:
    choose = random.Random(f"services {seed}")
    trial = _trial(seed, choose, new_database, request)
    _follow(trial, choose, tmp_path, replication, kafka_server, f"ENGINE={ENGINE} TARGET={TARGET_KIND} SEED={seed}")


@pytest.mark.timeout(1800)
@pytest.mark.skipif(ROUNDS > 0 and ENGINE != "mysql", reason="of MySQL's and MariaDB's logs")
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS) if ROUNDS else LOOKED_UP)
def test_whatever_the_log_lacks_the_copy_follows(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, request: pytest.FixtureRequest, seed: int
) -> None:
    """What images of rows leave out is looked up, in tables that go on changing."""
    trial = _mysql(seed, request, row_image=("MINIMAL", "NOBLOB")[seed // 4 % 2])
    _follow(trial, random.Random(f"look-ups {seed}"), tmp_path, replication, kafka_server, f"ENGINE=mysql SEED={seed}")


def _follow(
    made: contextlib.AbstractContextManager[Trial],
    choose: random.Random,
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    how: str,
) -> None:
    """Write while services copy, and are killed, until the copy is equal."""
    settings = _settings(choose)
    phases, transactions = (choose.randint(2, 4), 60) if ROUNDS else (1, 40)
    with made as trial:
        writer, source, target = trial.writer, trial.source, trial.target
        settings["at_source"] = trial.at_source
        with Services(tmp_path, replication, kafka_server, source, target, **settings) as services:
            left: list[str] = []
            try:
                _run(services, choose, writer, phases, transactions)
                trial.finish()
                services.wait(lambda: trial.is_equal(services, left), "the copy is equal", progress=True)
                for name in ("capture", "apply"):
                    assert services.stop(name) == 0, services.log_tail(name)
                dead_letters = dead_letters_topic(replication, TARGET)
                assert not [*read_raw(kafka_server.bootstrap, [dead_letters])], "rows are parked"
            except AssertionError as error:
                script = tmp_path / "script.sql"
                script.write_text("\n".join(writer.world.script))
                versions = (
                    value for *_, value in read_raw(kafka_server.bootstrap, [schemas_topic(replication)]) if value
                )
                (tmp_path / "versions.jsonl").write_bytes(b"\n".join(versions))
                told = f"{how} ROUNDS={min(ROUNDS, 1)}: {json.dumps(settings)}"
                raise AssertionError(
                    "\n".join([told, f"all statements: {script}", *left, str(error), services.log_tail("apply")])
                ) from error


@dataclass(frozen=True, slots=True)
class Trial:
    """Two databases, who writes to the first, and how to tell that the second is the same."""

    source: Place
    target: TargetPlace
    writer: Writer
    at_source: dict[str, Any]
    is_equal: Callable[[Services, list[str]], bool]
    """Leaves what is not equal in the list."""
    finish: Callable[[], None] = lambda: None


def _trial(
    seed: int, choose: random.Random, new_database: Callable[..., Database], request: pytest.FixtureRequest
) -> contextlib.AbstractContextManager[Trial]:
    if ENGINE != "postgresql":
        return _mysql(seed, request)
    if TARGET_KIND != "postgresql":
        return _to_mysql(seed, new_database, request)
    return _postgresql(seed, choose, new_database)


@contextlib.contextmanager
def _to_mysql(seed: int, new_database: Callable[..., Database], request: pytest.FixtureRequest) -> Iterator[Trial]:
    """Equal is what `tailrace verify` says is equal, in as many rows."""
    source = new_database(PAIRS[seed % 4][0], "source")
    target = create_mysql_database(request.getfixturevalue(f"{TARGET_KIND}_server"))
    try:
        with source.connect() as connection, random_mysql.open_session(target) as other:
            writer = random_portable.begin_writer(connection, seed)

            def look(services: Services, left: list[str]) -> bool:
                left[:] = count_differences_from(source, other)
                return not left and _verified(services, left)

            yield Trial(source, target, writer, {}, look)
    finally:
        drop_mysql_database(target)


def _verified(services: Services, left: list[str]) -> bool:
    verified = services.run("verify", "--target", TARGET)
    left[:] = [verified.stdout + verified.stderr] if verified.returncode else []
    return not left


@contextlib.contextmanager
def _postgresql(seed: int, choose: random.Random, new_database: Callable[..., Database]) -> Iterator[Trial]:
    source_major, target_major = PAIRS[seed % 4]
    source, target = new_database(source_major, "source"), new_database(target_major, "target")
    with source.connect() as connection:
        samples = usable_samples(connection, target)
        if choose.random() < 0.5:
            # One type that only the server can print turns the whole log to text form.
            samples = [sample for sample in samples if sample.printable]
        writer = random_postgresql.begin_writer(connection, seed, samples)
        tables = {"tables": ["public.*", "Odd.Schema.*"]}
        yield Trial(source, target, writer, tables, lambda _, left: _equal(source, target, left))


@contextlib.contextmanager
def _mysql(seed: int, request: pytest.FixtureRequest, *, row_image: str = "FULL") -> Iterator[Trial]:
    """Equal are MySQL and MariaDB by what they print, PostgreSQL by `tailrace verify` and the numbers of rows."""
    source_kind, target_kind = MYSQL_PAIRS[seed % 4]
    with contextlib.ExitStack() as stack:

        def make(kind: str) -> MysqlDatabase:
            database = create_mysql_database(request.getfixturevalue(f"{kind}_server"))
            stack.callback(drop_mysql_database, database)
            return database

        source = make(source_kind)
        session = stack.enter_context(random_mysql.open_session(source))
        takes_nul = target_kind != "postgresql"
        writer = random_mysql.begin_writer(session, seed, source, takes_nul=takes_nul, row_image=row_image)
        at_source = {"zero_dates": "null"}

        def finish() -> None:
            random_mysql.touch_tables(writer)

        if target_kind != "postgresql":
            target = make(target_kind)
            other = stack.enter_context(random_mysql.open_session(target))

            def look(_: Services, left: list[str]) -> bool:
                left[:] = mysql_differences(session, other)
                return not left

            yield Trial(source, target, writer, at_source, look, finish)
            return
        database: Database = request.getfixturevalue("target_database")

        def verify(services: Services, left: list[str]) -> bool:
            left[:] = count_differences(session, database)
            return not left and _verified(services, left)

        yield Trial(source, database, writer, at_source, verify, finish)


def _run(services: Services, choose: random.Random, writer: Writer, phases: int, transactions: int) -> None:
    """Write while the services run and are killed."""
    services.start("capture")
    services.start("apply")
    if choose.random() < 0.7:
        services.wait(lambda: services.said("capture", "capture runs"), "capture runs")
    for _ in range(phases):
        writer.write(choose.randint(transactions // 2, transactions), pause_s=PAUSE_S)
        for name in choose.choice((("capture",), ("apply",), ("capture", "apply"))):
            services.kill(name)
            if choose.random() < 0.3:
                writer.write(choose.randint(1, transactions))
            services.start(name)
        writer.write(choose.randint(1, transactions), pause_s=PAUSE_S)


def _equal(source: Database, target: Database, left: list[str]) -> bool:
    """Tell whether rows and types of columns are the same; leave what is not in `left`."""
    left[:] = wait_until_equal(source.dsn, target.dsn, timeout_s=0)
    if not left:
        at_source, at_target = (set(database.rows(_TYPES)) for database in (source, target))
        left[:] = sorted(f"of one side only: {column}" for column in at_source ^ at_target)
    return not left


def _settings(choose: random.Random) -> dict[str, Any]:
    return {
        "topics": {"format": choose.choice(("avro", "json")), "partitions": choose.randint(1, 3)},
        "capture": {"chunk_rows": choose.choice((100, 100_000)), "commit_rows": choose.choice((50, 50_000))},
        "apply": {
            "suspended_retry_s": 1,
            "batch_rows": choose.choice((20, 50_000)),
            "ordering": choose.choice(("per-key", "per-key", "transactional")),
        },
    }
