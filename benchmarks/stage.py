"""Servers of the benchmarks' own, the configurations, and the services that run by them."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import psycopg

from benchmarks.measure import BenchmarkError, Cost, cost, follow
from deploy.local.kafka import KafkaServer
from deploy.local.postgresql import PASSWORD, SUPERUSER, PostgresqlServer, server_user
from deploy.local.process import ServerProcess, log_tail
from runtime.kafka.admin import Topics
from schemas.table import TableName
from schemas.topics import data_topic

ROOT = Path(__file__).resolve().parent.parent
SOURCE, TARGET = "bench_source", "bench_target"
TABLE = TableName("public", "orders")


class Stage:
    """A broker, and one PostgreSQL with source and target. `with` starts them and leaves nothing behind."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tailrace-bench-"))
        # PostgreSQL's own user must be able to enter when we are root.
        self.directory.chmod(0o755 if server_user() is not None else 0o700)
        self.postgresql = PostgresqlServer(self.directory / "postgresql", settings={"track_commit_timestamp": "on"})
        self._kafka = KafkaServer(self.directory / "kafka")
        self._services: list[ServerProcess] = []

    def __enter__(self) -> Self:
        try:
            self.postgresql.start()
            self._kafka.start()
            self.topics = Topics(self._kafka.address.settings)
            with psycopg.connect(self.postgresql.address.dsn(), autocommit=True) as connection:
                for name in (SOURCE, TARGET):
                    connection.execute(f"create database {name}".encode())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def source_dsn(self) -> str:
        """The source's connection string."""
        return self.postgresql.address.dsn(SOURCE)

    @property
    def target_dsn(self) -> str:
        """The target's connection string."""
        return self.postgresql.address.dsn(TARGET)

    @property
    def bootstrap(self) -> str:
        """Where the broker is reached."""
        return self._kafka.address.bootstrap

    def configure(self, replication: str, **settings: Any) -> Path:
        """Write a configuration, defaults but for `settings`; return its path."""
        document = {
            "name": replication,
            "kafka": self._kafka.address.settings,
            "source": {**self.endpoint(SOURCE), "tables": [str(TABLE)]},
            "targets": {"replica": self.endpoint(TARGET)},
            **settings,
        }
        path = self.configuration(replication)
        path.write_text(json.dumps(document))
        return path

    def configuration(self, replication: str) -> Path:
        """Return the path of a replication's configuration."""
        return self.directory / f"{replication}.json"

    def endpoint(self, database: str) -> dict[str, Any]:
        """Return the settings of a database of ours."""
        address = self.postgresql.address
        where = {"engine": "postgresql", "host": address.host, "port": address.port, "database": database}
        return {**where, "user": SUPERUSER, "password": PASSWORD}

    def start(self, configuration: Path, service: str, *arguments: str, target: str = "replica") -> ServerProcess:
        """Start `capture`, or `apply` for a target."""
        more = ["--target", target] if service == "apply" else []
        command = [sys.executable, "-m", "control.cli", service, "run", str(configuration), *more, *arguments]
        process = ServerProcess(
            command,
            self.directory / f"{configuration.stem}-{service}.log",
            stop_signal=signal.SIGTERM,
            environment={"PYTHONPATH": str(ROOT)},
        )
        self._services.append(process)
        return process

    def capture(self, configuration: Path) -> Cost:
        """Run capture until it is where the source stood; events are records on the table's topic."""
        return self._measure(configuration, "capture", lambda: self.published(configuration.stem))

    def apply(self, configuration: Path, database: str = TARGET) -> Cost:
        """Run apply until it is where the topics stood; events are records behind the target's stored offsets."""
        with psycopg.connect(self.postgresql.address.dsn(database), autocommit=True) as connection:
            return self._measure(configuration, "apply", lambda: _applied(connection, configuration.stem))

    def prepare(self, configuration: Path) -> None:
        """Run capture for its slot and its start position only."""
        process = self.start(configuration, "capture", "--stop-at", "now")
        follow(process, lambda: 0)

    def published(self, replication: str) -> int:
        """Return the end offsets' sum of the table's topic. Transaction markers count: far below a percent."""
        return sum(self.topics.end_offsets([data_topic(replication, TABLE)], read_committed=False).values())

    def topic_bytes(self, replication: str) -> int:
        """Return how large the topic is on the broker's disk, compressed as it was sent."""
        directories = (self._kafka.directory / "data").glob(f"{data_topic(replication, TABLE)}-*")
        return sum(file.stat().st_size for directory in directories for file in directory.glob("*.log"))

    def _measure(self, configuration: Path, service: str, events: Any) -> Cost:
        process = self.start(configuration, service, "--stop-at", "now")
        try:
            return cost(follow(process, events))
        except BenchmarkError as error:
            log = self.directory / f"{configuration.stem}-{service}.log"
            raise BenchmarkError(f"{service}: {error}; its log ends:\n{log_tail(log, 25)}") from error

    def _close(self) -> None:
        for process in self._services:
            process.stop(timeout_s=30)
        self._kafka.stop()
        self.postgresql.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _applied(connection: psycopg.Connection, replication: str) -> int:
    there = connection.execute("select to_regclass('tailrace.offsets') is not null").fetchone()
    if there is None or not there[0]:
        return 0
    query = "select coalesce(sum(next_offset), 0) from tailrace.offsets where replication = %s and topic = %s"
    found = connection.execute(query, (replication, data_topic(replication, TABLE))).fetchone()
    return int(found[0]) if found else 0
