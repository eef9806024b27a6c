"""Servers of the benchmarks' own, the configurations, and the services that run by them."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from benchmarks.databases.engine import SOURCE, Engine
from benchmarks.databases.mysql import SERIES, Mysql
from benchmarks.databases.postgresql import Postgresql
from benchmarks.stages.measure import BenchmarkError, Cost, Sample, cost, follow
from deploy.local.kafka import KafkaServer
from deploy.local.postgresql import server_user
from deploy.local.process import ServerProcess, log_tail
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.producer import TransactionalProducer
from schemas.bundles import Pair
from schemas.table import TableName
from schemas.topics import data_topic

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = "bench_target"
ENGINES = ("postgresql", *SERIES)
WARM_UP, WARM_UP_ROWS, WARM_UP_TRANSACTIONS = "warm-up", 10_000, 40


def _engine(name: str, directory: Path) -> Engine:
    return Postgresql(directory) if name == "postgresql" else Mysql(directory, name)


class Stage:
    """A broker, and one database server with source and target. `with` starts them and leaves nothing behind."""

    def __init__(self, engine: str = "postgresql") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tailrace-bench-"))
        # PostgreSQL's own user must be able to enter when we are root.
        self.directory.chmod(0o755 if server_user() is not None else 0o700)
        self.engine = _engine(engine, self.directory / engine)
        self.kafka = KafkaServer(self.directory / "kafka")
        self.under: Sequence[str] = ()
        """What services are started by: a profiler and its arguments."""
        self._services: list[ServerProcess] = []

    def __enter__(self) -> Self:
        try:
            self.engine.start()
            self.engine.create_database(TARGET)
            self.kafka.start()
            self.topics = Topics(self.kafka.address.settings)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def postgresql(self) -> Postgresql:
        """The server, where what is measured is PostgreSQL's only."""
        if not isinstance(self.engine, Postgresql):
            raise BenchmarkError("this is measured with PostgreSQL only")
        return self.engine

    @property
    def bootstrap(self) -> str:
        """Where the broker is reached."""
        return self.kafka.address.bootstrap

    def configure(
        self,
        replication: str,
        *,
        database: str = SOURCE,
        tables: Sequence[TableName] = (),
        targets: Collection[str] = (TARGET,),
        **settings: Any,
    ) -> Path:
        """Write a configuration, defaults but for `settings`; return its path. Targets are called as their databases.

        `targets` may also be sections of their own, by name.
        """
        sections = targets if isinstance(targets, dict) else {name: self.engine.target(name) for name in targets}
        document = {
            "name": replication,
            "kafka": self.kafka.address.settings,
            "source": {**self.engine.endpoint(database), "tables": [str(name) for name in tables or [self.table]]},
            "targets": sections,
            **settings,
        }
        path = self.configuration(replication)
        path.write_text(json.dumps(document))
        return path

    @property
    def table(self) -> TableName:
        """The table that is moved."""
        return self.engine.table

    def configuration(self, replication: str) -> Path:
        """Return the path of a replication's configuration."""
        return self.directory / f"{replication}.json"

    def start(self, configuration: Path, service: str, *arguments: str, target: str = TARGET) -> ServerProcess:
        """Start `capture`, or `apply` for a target."""
        more = ["--target", target] if service == "apply" else []
        command = [
            *self.under,
            sys.executable,
            "-m",
            "control.cli",
            service,
            "run",
            str(configuration),
            *more,
            *arguments,
        ]
        process = ServerProcess(
            command,
            self._log(configuration, service, target),
            stop_signal=signal.SIGTERM,
            environment={"PYTHONPATH": str(ROOT)},
        )
        self._services.append(process)
        return process

    def capture(self, configuration: Path) -> Cost:
        """Run capture until it is where the source stood; events are records on the table's topic."""
        return self.measure(configuration, "capture", lambda: self.published(configuration.stem))

    def apply(self, configuration: Path, database: str = TARGET) -> Cost:
        """Run apply until it is where the topics stood; events are records behind the target's stored offsets."""
        query = self.engine.applied(database, configuration.stem, data_topic(configuration.stem, self.table))
        with self.engine.counting(database) as count:
            return self.measure(configuration, "apply", lambda: count(query), targets=[database])

    def measure(
        self, configuration: Path, service: str, events: Callable[[], int], *, targets: Sequence[str] = (TARGET,)
    ) -> Cost:
        """Run one service, or an applier for each of `targets`, until it has done what is there."""
        return cost(self.run(configuration, service, events, targets=targets))

    def run(
        self, configuration: Path, service: str, events: Callable[[], int], *, targets: Sequence[str] = (TARGET,)
    ) -> list[Sample]:
        """Run so, and return the samples."""
        processes = [self.start(configuration, service, "--stop-at", "now", target=target) for target in targets]
        try:
            return follow(processes, events)
        except BenchmarkError as error:
            log = self._log(configuration, service, targets[0])
            raise BenchmarkError(f"{service}: {error}; its log ends:\n{log_tail(log, 25)}") from error

    def prepare(self, configuration: Path) -> None:
        """Run capture for its slot and its start position only."""
        self.run(configuration, "capture", lambda: 0)

    def warm_up(self) -> None:
        """Have the broker take records in transactions before anything is measured: its compiler works for seconds at
        the first of them, and whoever is measured first would pay for it.
        """
        self.topics.ensure([TopicSpec(WARM_UP, 1)])
        pairs: list[Pair] = [
            (b"%d" % n, b'{"number": %d, "text": "%064x"}' % (n, n**7) * 8) for n in range(WARM_UP_ROWS)
        ]
        with closing(TransactionalProducer(self.kafka.address.settings, WARM_UP)) as producer:
            producer.init()
            for _ in range(WARM_UP_TRANSACTIONS):
                producer.begin()
                producer.produce_run(WARM_UP, pairs, 0)
                producer.commit()

    def published(self, replication: str) -> int:
        """Return the end offsets' sum of the table's topic. Transaction markers count: far below a percent."""
        return sum(self.topics.end_offsets([data_topic(replication, self.table)], read_committed=False).values())

    def topic_bytes(self, replication: str) -> int:
        """Return how large the topic is on the broker's disk, compressed as it was sent."""
        return self.bytes_of(data_topic(replication, self.table))

    def bytes_of(self, topic: str) -> int:
        """Return how large a topic is on the broker's disk."""
        directories = (self.kafka.directory / "data").glob(f"{topic}-*")
        return sum(file.stat().st_size for directory in directories for file in directory.glob("*.log"))

    def _log(self, configuration: Path, service: str, target: str) -> Path:
        return self.directory / f"{configuration.stem}-{service}{f'-{target}' if service == 'apply' else ''}.log"

    def _close(self) -> None:
        for process in self._services:
            process.stop(timeout_s=30)
        self.kafka.stop()
        self.engine.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
