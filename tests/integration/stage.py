"""A replication under load, for faults to be done to; and the check that nothing came of them.

Servers, proxies in front of both databases, a writer, two captures (one of them a standby) and appliers. `recover`
does a fault and measures how long it takes from its end until a new row of the source is at the target.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from deploy.local.kafka import KafkaAddress, KafkaServer
from deploy.local.server import LocalServer
from runtime.kafka.admin import Topics
from runtime.kafka.group_offsets import GroupOffsets
from runtime.status import read_status
from schemas.topics import apply_group
from tests.integration.services import DEADLINE_S, TARGET, Services
from tests.kit.disk import SmallDisk
from tests.kit.network import Network
from tests.kit.proxy import Proxy
from tests.kit.sides import Side, wait_until_alike
from tests.kit.topics import data_topics, key_faults, read_topics, sequence_faults

SESSION_TIMEOUT_S = 6
PROBE = "create table chaos_probe (id bigint primary key, fault text)"


@dataclass(slots=True)
class Servers:
    """What a stage is built on. The disks and the network are there where faults are to be done to them."""

    kafka: KafkaAddress
    brokers: list[KafkaServer]
    source_server: LocalServer
    source: Side
    target_server: LocalServer
    target: Side
    network: Network | None = None
    disks: dict[str, SmallDisk] = field(default_factory=dict)
    """`kafka`: the broker's; `target`: that of the target's tables."""


class Stage:
    """A replication under load. `close` in any case."""

    def __init__(self, directory: Path, replication: str, servers: Servers, seed: int, ordering: str) -> None:
        self.choose = random.Random(seed)
        self.seed = seed
        self.ordering = ordering
        self.replication = replication
        self.servers = servers
        self.kafka, self.brokers = servers.kafka, servers.brokers
        self.source_server, self.source = servers.source_server, servers.source
        self.target_server, self.target = servers.target_server, servers.target
        self.source_proxy, self.target_proxy = (Proxy("127.0.0.1", side.port) for side in (self.source, self.target))
        self.services = Services(
            directory,
            replication,
            self.kafka,
            self.source.through(self.source_proxy.port),
            self.target.through(self.target_proxy.port),
            capture={"chunk_rows": 500, "transaction_timeout_s": 30, "session_timeout_s": SESSION_TIMEOUT_S},
            apply={"session_timeout_s": SESSION_TIMEOUT_S, "ordering": ordering},
        )
        self.workload = self.source.workload(seed, self.target)
        self.workload.create(rows=2_000)
        assert self.source.attempt(PROBE)
        self.recoveries: dict[str, list[float]] = {}
        self._probes = self._columns = self._replicas = 0
        self._stop, self._pause, self._paused = threading.Event(), threading.Event(), threading.Event()
        self._writer = threading.Thread(target=self._write, daemon=True)

    def start(self) -> None:
        """Start the writer, a capture with a standby, and an applier."""
        self._writer.start()
        for name in ("capture", "capture-2", "apply"):
            self.services.start(name)

    def finish(self) -> list[str]:
        """Let everything end as it should; return what contradicts the promises, in words."""
        self._stop.set()
        self._writer.join()
        problems = wait_until_alike(self.source, self.target, DEADLINE_S)
        for name in self.services.names:
            self._end(name)
        return problems + self._topic_problems()

    def close(self) -> None:
        """End the writer, the services and the proxies."""
        self._stop.set()
        self._writer.join()
        self.services.__exit__(None, None, None)
        for proxy in (self.source_proxy, self.target_proxy):
            proxy.__exit__(None, None, None)
        # It may be one that has taken over.
        self.source_server.stop()

    # What must be so.

    def recover(self, fault: str) -> None:
        """Do a fault; measure from its end how long a new row takes to get to the target."""
        goal = self.workload.written.transaction_count + self.choose.randint(5, 40)
        self.services.wait(lambda: self.workload.written.transaction_count > goal, "the writer goes on")
        getattr(self, fault)()
        began = time.monotonic()
        self._probes += 1
        number = self._probes
        self.services.wait(partial(self.source.attempt, f"insert into chaos_probe values ({number}, '{fault}')"), fault)
        self.services.wait(partial(self._arrived, number), fault)
        self.recoveries.setdefault(fault, []).append(time.monotonic() - began)

    def check(self) -> list[str]:
        """Let the writer rest; return what contradicts the promises, in words."""
        with self.resting():
            return wait_until_alike(self.source, self.target, DEADLINE_S) + self._topic_problems()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Let the writer rest: between two transactions, with no session."""
        # It may have said once more that it rests, just when the last one let it go on.
        self._paused.clear()
        self._pause.set()
        try:
            self.services.wait(self._paused.is_set, "the writer rests")
            yield
        finally:
            self._pause.clear()

    def _topic_problems(self) -> list[str]:
        records = read_topics(self.kafka.bootstrap, data_topics(self.kafka.bootstrap, self.replication))
        few = [] if len(records) > self.workload.written.transaction_count else ["the topics hold too little"]
        return few + sequence_faults(records) + key_faults(records)

    def usage(self) -> dict[str, tuple[int, int]]:
        """Return resident memory in MiB and open files of every service."""
        found = {}
        for name in self.services.names:
            process = psutil.Process(self.services.pid(name))
            found[name] = process.memory_info().rss >> 20, process.num_fds()
        return found

    def logs(self) -> str:
        """Return the last lines of all services."""
        return "\n".join(self.services.log_tail(name) for name in self.services.names)

    def state(self) -> str:
        """Say how far everything is: what to look at first when something never comes."""
        topics, kafka = Topics(self.kafka.settings), self.kafka.settings
        names = sorted(topics.list(f"{self.replication}."))
        ends = topics.end_offsets(names, read_committed=False)
        group = GroupOffsets(kafka, apply_group(self.replication, TARGET))
        reached = group.read(ends)
        group.close()
        waits = {p: (reached.get(p), end) for p, end in ends.items() if p in reached and reached[p] < end}
        stored = self._stored("offsets")
        lines = {
            "open transactions": topics.unended(names),
            "the group's offset, the end": waits,
            "offsets at the target": stored,
            "barriers": self._stored("barriers"),
            "status": read_status(kafka, self.replication),
        }
        return "\n".join(f"{what}: {found}" for what, found in lines.items())

    def _stored(self, table: str) -> object:
        try:
            return self.target.rows(f"select * from {self.target.control}.{table} order by 1, 2, 3")
        except Exception as error:
            if not self.target.is_missing(error):
                raise
            return f"not to be had ({type(error).__name__})"

    def _active(self) -> str:
        """Return the capture that has the slot: the other one is the standby."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [
                n for n in ("capture", "capture-2") if self.services.status().get("pid") == self.services.pid(n)
            ]
            return bool(found)

        self.services.wait(look, "one of two captures is active")
        return found[0]

    def _end(self, name: str) -> None:
        code = self.services.stop(name)
        assert code == 0, f"{name} ended with {code}\n{self.services.log_tail(name)}"

    def _arrived(self, number: int) -> bool:
        """Tell whether a probe is at the target; no, while that does not answer or the table is not there yet."""
        try:
            query = f"select id from {self.target.copy_of(self.source)}.chaos_probe where id = {number}"
            return bool(self.target.rows(query))
        except Exception as error:
            if not self.target.is_missing(error):
                raise
            return False

    def _write(self) -> None:
        """Keep writing over crashes of the source. A transaction that is cut off is there wholly or not at all."""
        while not self._stop.is_set():
            try:
                self.workload.run_until(_Either(self._stop, self._pause), pause_s=0.05)  # type: ignore[arg-type]
            except Exception as error:
                if not self.workload.is_interruption(error):
                    raise
                self._stop.wait(0.5)
                continue
            while self._pause.is_set() and not self._stop.is_set():
                self._paused.set()
                self._stop.wait(0.1)


class _Either:
    """What `Workload.run_until` asks of an event, for two of them."""

    def __init__(self, *events: threading.Event) -> None:
        self._events = events

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._events)

    def wait(self, seconds: float) -> bool:
        return self._events[0].wait(seconds)
