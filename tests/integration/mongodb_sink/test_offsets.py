"""Consumer offsets are a target's checkpoints: Kafka's own tool sets them back, and what is replayed converges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from deploy.local.java import find_java
from deploy.local.kafka import KafkaAddress, kafka_jars, run_tool
from deploy.local.secantus import SecantusServer
from schemas.topics import apply_group
from tests.integration.services import TARGET, Services
from tests.kit.servers import Database


@dataclass(frozen=True)
class Documents:
    """A target that keeps no offsets of its own."""

    port: int
    database: str

    @property
    def target_settings(self) -> dict[str, Any]:
        return {"engine": "mongodb", "port": self.port, "database": self.database, "control_database": self.database}


def test_offsets_that_are_set_back_replay_and_converge(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    source_database: Database,
    secantus_server: SecantusServer,
) -> None:
    source, place = source_database, Documents(secantus_server.port, replication)
    source.execute(
        "create table notes (id bigint primary key, note text)",
        "insert into notes select n, 'first' from generate_series(1, 300) n",
    )
    client: MongoClient[dict[str, Any]] = MongoClient("127.0.0.1", secantus_server.port)
    with client, Services(tmp_path, replication, kafka_server, source, place) as services:
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == 0, services.log_tail("capture")
        changes = (
            "update notes set note = 'second' where id <= 200",
            "delete from notes where id > 250",
            "update notes set id = id + 1000 where id between 100 and 110",
        )
        source.execute(*changes)
        services.start("capture", "--stop-at", "now")
        assert services.join("capture") == 0, services.log_tail("capture")
        records = 300 + 200 + 50 + 2 * 11
        expected = sorted(source.rows("select id, note from notes"))
        for _ in range(2):
            services.start("apply", "--stop-at", "now")
            assert services.join("apply") == 0, services.log_tail("apply")
            found = client[replication]["notes"].find()
            assert sorted((row["_id"], row["note"]) for row in found) == expected
            assert _lag(_group(kafka_server, replication, "--describe")) == 0
            # The older state of every row comes once more, and changes nothing.
            back = ["--all-topics", "--reset-offsets", "--to-earliest", "--execute"]
            _group(kafka_server, replication, *back)
            assert _lag(_group(kafka_server, replication, "--describe")) >= records
        client.drop_database(replication)


def _group(kafka: KafkaAddress, replication: str, *words: str) -> str:
    arguments = ["--bootstrap-server", kafka.bootstrap, "--group", apply_group(replication, TARGET), *words]
    tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    done = run_tool(find_java(), kafka_jars(), tool, arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _lag(described: str) -> int:
    lines = [line.split() for line in described.splitlines()]
    head = next(line for line in lines if "LAG" in line)
    lags = [line[head.index("LAG")] for line in lines if len(line) == len(head) and line != head]
    return sum(int(lag) for lag in lags if lag.isdigit())
