"""Everything is killed, frozen, cut off and restarted while the source is written to.

`make chaos SEED=7 ROUNDS=50 ORDERING=transactional` repeats a run; `make test` runs one short round. After each round:
target equals source, and the topics hold every change once and in order. `SOURCE=` and `TARGET=mysql` or `mariadb` take
such servers for PostgreSQL. `REPORT=FILE` keeps the figures that docs/reliability.md is made from;
`FAULTS=rejoin_apply,pause` does these alone.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.local.kafka import QUICK_JVM, KafkaCluster, KafkaServer
from deploy.local.mysql import MysqlServer
from deploy.local.postgresql import PostgresqlServer, server_user
from deploy.local.server import LocalServer
from schemas.twin import built
from tests.integration.faults import CLUSTER, CONNECTIONS, DISKS, EVERY, REPLICAS, Faults
from tests.integration.stage import Servers, Stage
from tests.kit.disk import SmallDisk, small_disk
from tests.kit.mysql import create_mysql_database, settings_for_kills
from tests.kit.network import Network
from tests.kit.servers import Database, create_database
from tests.kit.sides import MysqlSide, PostgresqlSide, Side

pytestmark = pytest.mark.chaos
SEED = int(os.environ.get("SEED") or 1)
ROUNDS = int(os.environ.get("ROUNDS") or 0)
"""0: the short part of `make test`."""
ORDERING = os.environ.get("ORDERING") or "per-key"
FAULTS = (os.environ.get("FAULTS") or "").replace(",", " ").split()
"""Those that are done alone; none: all. With `flat` memory and open files are compared then, too."""
ENDS = tuple(os.environ.get(end) or "postgresql" for end in ("SOURCE", "TARGET"))
"""Kinds of servers: `postgresql`, `mysql` or `mariadb`."""
VERSIONS = ((18, 16), (16, 18), (18, 18), (16, 16))[SEED % 4 - 1]
"""Of PostgreSQL, source and target: each seed has its own."""
ROW_IMAGE = ("FULL", "MINIMAL", "NOBLOB")[SEED % 3 - 1]
"""What MySQL and MariaDB write to their logs: each seed has its own."""
SHORT = (
    "kill_capture_and_kafka",
    "kill_apply_and_target",
    "kill_source",
    "lose_commit",
    "freeze_capture",
    "alter_tables",
)
MEMORY_MIB_MAX = 300
MEMORY_GROWTH_MIB_MAX = 100
"""Generous: allocators keep what a busy round needed. A leak of a round adds up over rounds."""
FILES_GROWTH_MAX = 40

SERIES = {"mysql": "mysql", "mariadb": "11.4"}

Start = Callable[[str, int], tuple[LocalServer, Side]]
"""Starts a server of a kind, of a version of PostgreSQL."""


@pytest.mark.timeout(1200)
@pytest.mark.skipif(bool(ROUNDS), reason="this is the short part")
def test_nothing_is_lost_or_doubled_by_a_few_faults(
    tmp_path: Path, replication: str, own_kafka: KafkaServer, start: Start
) -> None:
    _run(Faults(tmp_path, replication, _servers([own_kafka], start), SEED, ORDERING), SHORT, flat=False)


@pytest.mark.timeout(1200 + 1500 * ROUNDS)
@pytest.mark.skipif(not ROUNDS, reason="for `make chaos`")
def test_nothing_is_lost_or_doubled_whatever_is_done(
    tmp_path: Path, replication: str, servers_directory: Path, start: Start
) -> None:
    with ExitStack() as stack:
        place = servers_directory / replication
        disks = {
            "kafka": stack.enter_context(small_disk(place / "kafka", 1536)),
            "target": stack.enter_context(small_disk(place / "target", 512, server_user())),
        }
        broker = stack.enter_context(KafkaServer(place / "kafka" / "node", jvm_options=QUICK_JVM))
        servers = _servers([broker], start, disks)
        faults = [*EVERY, *(fault for disk, fault in DISKS.items() if disk in servers.disks)]
        faults += REPLICAS if isinstance(servers.source, MysqlSide) else ()
        _run(Faults(tmp_path, replication, servers, SEED, ORDERING), faults, flat=True)


@pytest.mark.timeout(1200 + 900 * ROUNDS)
@pytest.mark.skipif(not ROUNDS, reason="three brokers are for `make chaos`")
def test_three_brokers_lose_and_double_nothing(
    tmp_path: Path, replication: str, network: Network, servers_directory: Path, start: Start
) -> None:
    place = servers_directory / replication
    with KafkaCluster(place, heap_mb=320, jvm_options=QUICK_JVM, reached_by=network.reached_by) as cluster:
        servers = _servers(cluster.nodes, start)
        servers.kafka, servers.network = cluster.address, network
        _run(Faults(tmp_path, replication, servers, SEED, ORDERING), CLUSTER, flat=False)


@pytest.fixture
def start(own_postgresql: Callable[..., PostgresqlServer], servers_directory: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def side(kind: str, version: int) -> tuple[LocalServer, Side]:
            if kind == "postgresql":
                server = own_postgresql(version)
                return server, PostgresqlSide(create_database(server.address, "chaos"))
            place = servers_directory / f"{kind}-{secrets.token_hex(4)}"
            mysql = MysqlServer(place, series=SERIES[kind], settings=settings_for_kills(ROW_IMAGE))
            stack.enter_context(mysql)
            return mysql, MysqlSide(create_mysql_database(mysql.address))

        yield side


@pytest.fixture
def network() -> Iterator[Network]:
    found = Network()
    yield found
    found.close()


def _servers(brokers: list[KafkaServer], start: Start, disks: dict[str, SmallDisk | None] | None = None) -> Servers:
    source, target = (start(kind, version) for kind, version in zip(ENDS, VERSIONS, strict=True))
    found = {name: disk for name, disk in (disks or {}).items() if disk is not None}
    if "target" in found:
        if isinstance(target[1], PostgresqlSide):
            _keep_at(found["target"].directory, target[1].database)
        else:
            # Their data would have to be there from the start.
            del found["target"]
    return Servers(brokers[0].address, brokers, *source, *target, disks=found)


def _keep_at(directory: Path, database: Database) -> None:
    Database(database.address, "postgres").execute(
        f"create tablespace small location '{directory}'",
        f"alter database {database.name} set tablespace small",
    )


def _run(stage: Stage, faults: Sequence[str], *, flat: bool) -> None:
    if FAULTS:
        unknown = set(FAULTS).difference(EVERY, CLUSTER, DISKS.values(), REPLICAS, ["flat"])
        assert not unknown, f"FAULTS names none of the faults: {sorted(unknown)}"
        faults = [fault for fault in faults if fault in FAULTS]
        flat &= "flat" in FAULTS
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
        told = f"SOURCE={ENDS[0]} TARGET={ENDS[1]} SEED={SEED} ROUNDS={ROUNDS} ORDERING={ORDERING}"
        raise AssertionError(f"{told}: {error}\n{stage.state()}") from error
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
            "ordering": stage.ordering,
            "ends": [
                server.product if isinstance(server, MysqlServer) else f"PostgreSQL {version}"
                for server, version in zip((stage.source_server, stage.target_server), VERSIONS, strict=True)
            ],
            "compiled": _is_read_compiled(),
            **({} if ENDS[0] == "postgresql" else {"row_image": ROW_IMAGE}),
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


def _is_read_compiled() -> bool:
    """Tell whether the compiled twin reads the log: of MySQL only rows with all columns."""
    if ENDS[0] == "postgresql":
        return built("rows") is not None
    return ROW_IMAGE == "FULL" and built("images") is not None
