"""Random tables, random transactions, random changes of definitions, and services that are killed: the copy follows.

`make random SEED=7 ROUNDS=50` runs fifty seeds from the seventh on, `make test` a short one. A seed decides everything
but the moments at which services see what was written. Nothing that a seed does is beyond what docs/limits.md says.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaAddress
from schemas.topics import dead_letters_topic, schemas_topic
from tests.integration.services import TARGET, Services
from tests.kit.compare import wait_until_equal
from tests.kit.random_writer import Writer
from tests.kit.servers import Database
from tests.kit.topics import read_raw
from tests.kit.type_walk import usable_samples

SEED = int(os.environ.get("SEED") or 1)
ROUNDS = int(os.environ.get("ROUNDS") or 0)
"""0: the short part of `make test`."""
PAUSE_S = 0.03
"""Between transactions, so that services see something of them before the next."""
PAIRS = ((18, 13), (13, 18), (17, 13), (13, 17))
"""The oldest and the newest version, both ways; of those that have the contrib modules, too."""

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
    seed: int,
) -> None:
    choose = random.Random(f"services {seed}")
    source_major, target_major = PAIRS[seed % 4]
    source, target = new_database(source_major, "source"), new_database(target_major, "target")
    settings = _settings(choose)
    phases, transactions = (choose.randint(2, 4), 60) if ROUNDS else (1, 40)
    with source.connect() as connection:
        samples = usable_samples(connection, target)
        if choose.random() < 0.5:
            # One type that only the server can print turns the whole log to text form.
            samples = [sample for sample in samples if sample.printable]
        writer = Writer.begin(connection, seed, samples)
        with Services(tmp_path, replication, kafka_server, source, target, **settings) as services:
            try:
                _run(services, choose, writer, phases, transactions)
                left: list[str] = []
                services.wait(lambda: _equal(source, target, left), "the copy is equal", progress=True)
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
                told = f"SEED={seed} ROUNDS={min(ROUNDS, 1)}: {json.dumps(settings)}\nall statements: {script}"
                raise AssertionError("\n".join([told, *left, str(error), services.log_tail("apply")])) from error


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
        "at_source": {"tables": ["public.*", "Odd.Schema.*"]},
    }
