"""Everything is killed, frozen, cut off and restarted while the source is written to.

`make chaos SEED=7 ROUNDS=50` repeats a run, and makes it longer; `make test` runs one short round. After each round:
target equals source, and the topics hold every change once and in order. `REPORT=FILE` keeps the figures that
docs/reliability.md is made from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress, KafkaCluster, KafkaServer
from deploy.local.postgresql import PostgresqlServer
from tests.integration.faults import CLUSTER, CONNECTIONS, EVERY, KILLS, Stage
from tests.kit.servers import create_database

SEED = int(os.environ.get("SEED") or 1)
ROUNDS = int(os.environ.get("ROUNDS") or 0)
"""0: the short part of `make test`."""
SHORT = (*KILLS, "lose_commit", "cut_target", "freeze_capture")
MEMORY_MIB_MAX = 300
MEMORY_GROWTH_MIB_MAX = 100
"""Generous: allocators keep what a busy round needed. A leak of a round adds up over rounds."""
FILES_GROWTH_MAX = 40


@pytest.mark.chaos
@pytest.mark.timeout(1200 + 1200 * ROUNDS)
def test_nothing_is_lost_or_doubled_whatever_is_done(
    tmp_path: Path, replication: str, own_kafka: KafkaServer, own_postgresql: Callable[..., PostgresqlServer]
) -> None:
    stage = _stage(tmp_path, replication, own_kafka.address, [own_kafka], own_postgresql)
    _run(stage, EVERY if ROUNDS else SHORT, flat=bool(ROUNDS))


@pytest.mark.chaos
@pytest.mark.timeout(1200 + 600 * ROUNDS)
@pytest.mark.skipif(not ROUNDS, reason="three brokers are for `make chaos`")
def test_three_brokers_lose_and_double_nothing(
    tmp_path: Path, replication: str, own_kafka_cluster: KafkaCluster, own_postgresql: Callable[..., PostgresqlServer]
) -> None:
    cluster = own_kafka_cluster
    stage = _stage(tmp_path, replication, cluster.address, cluster.nodes, own_postgresql)
    _run(stage, CLUSTER, flat=False)


def _stage(
    directory: Path,
    replication: str,
    kafka: KafkaAddress,
    brokers: list[KafkaServer],
    start_postgresql: Callable[..., PostgresqlServer],
) -> Stage:
    source_server, target_server = start_postgresql(18), start_postgresql(16)
    return Stage(
        directory,
        replication,
        kafka,
        brokers,
        (source_server, create_database(source_server.address, "source")),
        (target_server, create_database(target_server.address, "target")),
        SEED,
    )


def _run(stage: Stage, faults: Sequence[str], *, flat: bool) -> None:
    try:
        stage.start()
        for number in range(max(1, ROUNDS)):
            for fault in stage.choose.sample(faults, len(faults)):
                stage.recover(fault)
            assert stage.check() == [], f"round {number + 1}\n{stage.logs()}"
            if flat:
                _stays_flat(stage)
        assert stage.finish() == [], stage.logs()
    except AssertionError as error:
        raise AssertionError(f"SEED={SEED} ROUNDS={ROUNDS}: {error}") from error
    finally:
        stage.close()
    _report(stage)


def _stays_flat(stage: Stage) -> None:
    """Do what every process survives, twice, and compare memory and open files."""
    stage.recover("cut_target")
    before = stage.usage()
    for fault in CONNECTIONS:
        stage.recover(fault)
    after = stage.usage()
    for name, (memory, files) in after.items():
        assert memory <= MEMORY_MIB_MAX, f"{name} takes {memory} MiB"
        assert memory <= before[name][0] + MEMORY_GROWTH_MIB_MAX, f"{name}: {before[name]} → {after[name]} MiB, files"
        assert files <= before[name][1] + FILES_GROWTH_MAX, f"{name}: {before[name]} → {after[name]} MiB, files"


def _report(stage: Stage) -> None:
    """Add this run's figures to the file that `REPORT` names: one JSON document a line."""
    if path := os.environ.get("REPORT"):
        document = {
            "seed": SEED,
            "rounds": ROUNDS,
            "brokers": len(stage.brokers),
            "transactions": stage.workload.written.transaction_count,
            "changes": stage.workload.written.change_count,
            "recoveries_s": {
                fault: [round(seconds, 2) for seconds in found] for fault, found in sorted(stage.recoveries.items())
            },
            "losses": 0,
            "duplicates": 0,
            "reorderings": 0,
        }
        with Path(path).open("a") as file:
            file.write(json.dumps(document) + "\n")
