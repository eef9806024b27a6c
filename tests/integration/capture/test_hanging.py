"""Hanging transactions: a broker dies with a transaction open, comes back, and writes no end of it.

Brokers without the fault (KAFKA-20734) abort the transaction: then there is nothing to settle, and the test says so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from capture import checkpoints
from capture.publishing import hanging
from capture.publishing.schemas_topic import Catalogue, topic_specs
from deploy.local.kafka import KafkaServer
from runtime.failpoints import FAILPOINTS, VARIABLE
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.producer import TransactionalProducer
from schemas.changes import RowChanges, Transaction
from schemas.codecs import Encoder, compile_encoder
from schemas.position import Position
from schemas.settings import Settings, parse
from schemas.topics import checkpoints_topic, data_topic
from tests.kit.simulation import table_schema
from tests.kit.topics import read_topics

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TABLE = table_schema("orders", keyed=True)
TIMEOUT_S = 8.0
"""Of transactions: longer than the test takes from the first of them until the broker dies."""
SETTLE = """
import json, sys
from capture import checkpoints
from capture.publishing import hanging
from runtime import failpoints
from runtime.kafka.admin import Topics
from runtime.kafka.producer import TransactionalProducer
from schemas.settings import parse
failpoints.arm_from_environment()
settings = parse(json.loads(sys.argv[1]))
producer = TransactionalProducer(settings.kafka, checkpoints.transactional_id(settings.name))
producer.init()
hanging.settle(settings, Topics(settings.kafka), producer)
"""
DEADLINE_S = 480.0


class Replication:
    """A capture's topics and producer, without the capture."""

    def __init__(self, kafka: KafkaServer, name: str) -> None:
        self.kafka = kafka
        self.settings: Settings = parse(
            {
                "name": name,
                "kafka": kafka.address.settings,
                "source": {"engine": "postgresql", "host": "h", "database": "d", "user": "u", "tables": ["public.*"]},
            }
        )
        self.topic = data_topic(name, TABLE.name)
        self.checkpoints = checkpoints_topic(name)
        self.topics = Topics(self.settings.kafka)
        self.topics.ensure(
            [checkpoints.topic_spec(self.settings), *topic_specs(self.settings), TopicSpec(self.topic, 2)]
        )
        self.encoder: Encoder = compile_encoder(
            TABLE, self.settings.topics.format, replication=name, connector="postgresql", database="d"
        )
        self.producer = self.claim()
        self.producer.begin()
        for addition in Catalogue.of(self.settings, {}).add(self.encoder, self.topic):
            self.producer.produce(*addition)
        self.change(0, 1)
        self.change(1, 2)
        self.checkpoint(2)
        self.producer.commit()

    def claim(self) -> TransactionalProducer:
        """Return a producer that has the transactional id."""
        identity = checkpoints.transactional_id(self.settings.name)
        producer = TransactionalProducer(self.settings.kafka, identity, transaction_timeout_s=TIMEOUT_S)
        producer.init(120)
        return producer

    def change(self, partition: int, sequence: int, producer: TransactionalProducer | None = None) -> None:
        """Produce an insert of this commit sequence."""
        txn = Transaction("1", 1, sequence, 0)
        changes = RowChanges(TABLE, txn, ["c"], [None], [(sequence, "a", "b")])
        block = self.encoder.block(snapshot="false", position_lsn=1, ts_us=1, txid=1, now_us=1)
        pairs, last = self.encoder.run(changes, block, sequence - 1, False)
        assert last == sequence
        (producer or self.producer).produce_run(self.topic, pairs, partition)

    def checkpoint(self, sequence: int, producer: TransactionalProducer | None = None) -> None:
        """Produce a checkpoint."""
        record = checkpoints.position_record({"engine": "postgresql"}, Position(sequence), sequence, [], [])
        (producer or self.producer).produce(self.checkpoints, *record)

    def beside(self) -> TransactionalProducer:
        """Return a producer whose transactions end."""
        producer = TransactionalProducer(self.settings.kafka, f"{self.settings.name}.beside")
        producer.init(120)
        producer.begin()
        return producer

    def sequences(self) -> dict[int, list[int | None]]:
        """Return the commit sequences that stand in each partition, for readers of committed records."""
        found: dict[int, list[int | None]] = {0: [], 1: []}
        for record in read_topics(self.kafka.address.bootstrap, [self.topic]):
            found[record.partition].append(record.sequence)
        return found

    def settle_until(self, failpoint: str) -> None:
        """Let another process do it, which dies on the way."""
        done = subprocess.run(
            [sys.executable, "-c", SETTLE, json.dumps(self.settings.model_dump(mode="json"))],
            env={**os.environ, VARIABLE: failpoint},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert (done.returncode, f"failpoint {failpoint}" in done.stderr) == (-signal.SIGKILL, True), done.stderr

    def settle(self) -> TransactionalProducer:
        """Claim the id and settle what hangs, twice: the second time there must be nothing left to do."""
        producer = self.claim()
        hanging.settle(self.settings, self.topics, producer)
        hanging.settle(self.settings, self.topics, producer)
        hanging.check(self.settings, self.topics, [self.topic])
        return producer


def test_what_hangs_gets_the_end_that_its_transaction_had(own_kafka: KafkaServer) -> None:
    undecided, committed, half_visible, cut_off = (
        Replication(own_kafka, name) for name in ("undecided", "committed", "half", "cut")
    )
    every = (undecided, committed, half_visible, cut_off)
    for replication in every:
        replication.producer.begin()
        replication.change(0, 3)
        replication.change(0, 4)
    for replication in (undecided, half_visible, cut_off):
        replication.checkpoint(4)
    for replication in every:
        replication.producer.flush()
    # What a broker leaves of committed transactions: markers in some partitions and not in others.
    producer = committed.beside()
    committed.checkpoint(4, producer)
    producer.commit()
    _wait_for_end(committed, (committed.checkpoints, 0))
    for replication in (half_visible, cut_off):
        producer = replication.beside()
        replication.change(1, 4, producer)
        producer.commit()
        _wait_for_end(replication, (replication.topic, 1))
    own_kafka.kill()
    # (The broker that comes back ends what is older than their time-out at once, often before it knows who leads which
    # partition: more often the sooner it comes.)
    time.sleep(2.0)
    own_kafka.restart()

    for replication in every:
        replication.producer.close()
    # Which partitions a broker knows the leaders of by then is chance: each that hangs proves what it is for.
    ended = [replication for replication in every if not replication.topics.unended([replication.topic])]
    # Settling can itself be cut off anywhere, and is then done again.
    for failpoint in (name for name in FAILPOINTS if name.startswith("capture.settle.") and cut_off not in ended):
        cut_off.settle_until(failpoint)
    for replication, expected in (
        (undecided, {0: [1], 1: [2]}),
        (committed, {0: [1, 3, 4], 1: [2]}),
        (half_visible, {0: [1, 3, 4], 1: [2, 4]}),
        (cut_off, {0: [1, 3, 4], 1: [2, 4]}),
    ):
        if replication in ended:
            continue
        producer = replication.settle()
        assert replication.sequences() == expected
        assert checkpoints.read(replication.settings).sequence == (2 if replication is undecided else 4)
        producer.begin()
        replication.change(0, 5, producer)
        producer.commit()
        producer.close()
        hanging.check(replication.settings, replication.topics, [replication.topic])
        expected[0].append(5)
        assert replication.sequences() == expected
    if ended:
        pytest.skip(f"open when the broker died, and ended by it: {[each.settings.name for each in ended]}")


def _wait_for_end(replication: Replication, place: tuple[str, int]) -> None:
    """Wait for the markers of a transaction: they come after the answer to its commit."""
    deadline = time.monotonic() + DEADLINE_S
    while place in replication.topics.unended([place[0]]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
