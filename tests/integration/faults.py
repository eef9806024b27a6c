"""Everything that can be done to a replication under load, by name; and the check that nothing came of it.

One `Stage` holds servers, proxies in front of both databases, a writer, two captures (one of them a standby) and
appliers. A fault returns when it is over; `recover` then measures how long it takes until a new row of the source is at
the target.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import psycopg
from confluent_kafka.admin import AdminClient

from deploy.local.kafka import KafkaAddress, KafkaServer
from deploy.local.postgresql import PostgresqlAddress, PostgresqlServer
from schemas.topics import checkpoints_topic
from tests.integration.services import DEADLINE_S, Services
from tests.kit.compare import wait_until_equal
from tests.kit.proxy import Proxy
from tests.kit.servers import Database
from tests.kit.topics import data_topics, key_faults, read_topics, sequence_faults
from tests.kit.workload import Workload

SESSION_TIMEOUT_S = 6
FROZEN_S = 10.0
"""How long a service stands still: past the session time-out, so that another one takes its place."""
STALL_S = 4.0
PROBE = "create table chaos_probe (id bigint primary key, fault text)"


class Stage:
    """A replication under load. `close` in any case."""

    def __init__(
        self,
        directory: Path,
        replication: str,
        kafka: KafkaAddress,
        brokers: list[KafkaServer],
        source: tuple[PostgresqlServer, Database],
        target: tuple[PostgresqlServer, Database],
        seed: int,
        **topics: object,
    ) -> None:
        self.choose = random.Random(seed)
        self.seed = seed
        self.kafka, self.brokers, self.replication = kafka, brokers, replication
        self.source_server, self.source = source
        self.target_server, self.target = target
        self.source_proxy, self.target_proxy = (
            Proxy(d.address.host, d.address.port) for d in (self.source, self.target)
        )
        self.services = Services(
            directory,
            replication,
            kafka,
            _through(self.source_proxy, self.source),
            _through(self.target_proxy, self.target),
            capture={"chunk_rows": 500, "transaction_timeout_s": 30, "session_timeout_s": SESSION_TIMEOUT_S},
            apply={"session_timeout_s": SESSION_TIMEOUT_S},
            topics=topics,
        )
        self.workload = Workload(self.source.dsn, seed=seed)
        self.workload.create(rows=2_000)
        self.source.execute(PROBE)
        self.recoveries: dict[str, list[float]] = {}
        self._probes = 0
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
        problems = wait_until_equal(self.source.dsn, self.target.dsn, timeout_s=DEADLINE_S)
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

    # Faults.

    def kill_capture(self) -> None:
        """The active capture dies; the standby takes over, and a new one stands by."""
        name = self._active()
        self.services.kill(name)
        self.services.start(name)

    def kill_loader(self) -> None:
        """A loader process dies, if a table is being loaded."""
        for child in psutil.Process(self.services.pid(self._active())).children():
            child.kill()

    def kill_apply(self) -> None:
        """An applier dies."""
        self.services.kill("apply")
        self.services.start("apply")

    def kill_kafka(self) -> None:
        """A broker dies and comes back."""
        broker = self.choose.choice(self.brokers)
        broker.kill()
        broker.restart()

    def kill_leader(self) -> None:
        """The broker dies that leads the checkpoints topic, which every transaction of capture writes to."""
        metadata = AdminClient({**self.kafka.settings}).list_topics(checkpoints_topic(self.replication), timeout=60)
        leader = metadata.topics[checkpoints_topic(self.replication)].partitions[0].leader
        broker = self.brokers[max(0, leader - 1)]
        broker.kill()
        # The others go on meanwhile.
        self._stop.wait(FROZEN_S)
        broker.restart()

    def pause_broker(self) -> None:
        """A broker hears and says nothing, long enough to be voted out, and wakes as if nothing had been."""
        broker = self.choose.choice(self.brokers)
        os.kill(broker.pid, signal.SIGSTOP)
        self._stop.wait(FROZEN_S)
        os.kill(broker.pid, signal.SIGCONT)

    def kill_source(self) -> None:
        """The source server crashes and comes back."""
        self.source_server.kill()
        self.source_server.restart()

    def kill_target(self) -> None:
        """The target server crashes and comes back."""
        self.target_server.kill()
        self.target_server.restart()

    def restart_source(self) -> None:
        """The source server is restarted in an orderly way."""
        self.source_server.restart()

    def restart_target(self) -> None:
        """The target server is restarted in an orderly way."""
        self.target_server.restart()

    def freeze_capture(self) -> None:
        """The active capture hangs past its session time-out and wakes beside its successor."""
        name = self._active()
        self._freeze(name)

    def freeze_apply(self) -> None:
        """An applier hangs past its session time-out, another takes over, and it wakes."""
        self.services.start("apply-2")
        self._freeze("apply")
        self._end("apply-2")

    def cut_source(self) -> None:
        """Connections to the source are reset in the middle of what it says."""
        self._cut(self.source_proxy)

    def cut_target(self) -> None:
        """Connections to the target are reset in the middle of what it says."""
        self._cut(self.target_proxy)

    def stall_source(self) -> None:
        """The source does not answer for a while."""
        self._stall(self.source_proxy)

    def stall_target(self) -> None:
        """The target does not answer for a while."""
        self._stall(self.target_proxy)

    def lose_commit(self) -> None:
        """The target commits, and its answer is lost."""
        self.target_proxy.lose_commit()
        self.services.wait(self.target_proxy.acted.is_set, "a commit at the target is lost")

    def slow_target(self) -> None:
        """The way to the target is slow."""
        self.target_proxy.delay(0.05)
        self._stop.wait(STALL_S)
        self.target_proxy.delay(0)

    def scale_apply(self) -> None:
        """Appliers join and leave under load: 1, 4, 2, 1. One of them leaves by dying."""
        more = ["apply-2", "apply-3", "apply-4"]
        for name in more:
            self.services.start(name)
        for name in more:
            self.services.wait(partial(self.services.said, name, "applying"), f"{name} joins")
        self.services.kill("apply-4")
        self._end("apply-3")
        self._stop.wait(1)
        self._end("apply-2")

    # What must be so.

    def recover(self, fault: str) -> None:
        """Do a fault; measure from its end how long a new row takes to get to the target."""
        goal = self.workload.written.transaction_count + self.choose.randint(5, 40)
        self.services.wait(lambda: self.workload.written.transaction_count > goal, "the writer goes on")
        getattr(self, fault)()
        began = time.monotonic()
        self._probes += 1
        number = self._probes
        self.services.wait(
            partial(self._try, self.source, f"insert into chaos_probe values ({number}, '{fault}')"), fault
        )
        self.services.wait(
            partial(self._try, self.target, f"select 1 / count(*) from chaos_probe where id = {number}"), fault
        )
        self.recoveries.setdefault(fault, []).append(time.monotonic() - began)

    def check(self) -> list[str]:
        """Let the writer rest; return what contradicts the promises, in words."""
        self._pause.set()
        try:
            self.services.wait(self._paused.is_set, "the writer rests")
            return wait_until_equal(self.source.dsn, self.target.dsn, timeout_s=DEADLINE_S) + self._topic_problems()
        finally:
            self._paused.clear()
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

    def _freeze(self, name: str) -> None:
        self.services.signal(name, signal.SIGSTOP)
        self._stop.wait(FROZEN_S)
        self.services.signal(name, signal.SIGCONT)
        # One that finds itself fenced may end with an error; what must not be is two at work.
        self.services.supervise(name)

    def _end(self, name: str) -> None:
        code = self.services.stop(name)
        assert code == 0, f"{name} ended with {code}\n{self.services.log_tail(name)}"

    def _cut(self, proxy: Proxy) -> None:
        proxy.cut_in_answer(self.choose.choice((1, 50, 400)))
        self.services.wait(proxy.acted.is_set, "a connection is cut")
        proxy.cut()

    def _stall(self, proxy: Proxy) -> None:
        proxy.stall()
        self._stop.wait(STALL_S)
        proxy.resume()

    def _try(self, database: Database, statement: str) -> bool:
        """Run a statement; False while the database does not answer, or a row or its table is not there yet."""
        try:
            database.execute(statement)
        except psycopg.errors.UniqueViolation:
            # It was committed and the answer lost.
            return True
        except (psycopg.OperationalError, psycopg.errors.DivisionByZero, psycopg.errors.UndefinedTable):
            return False
        return True

    def _write(self) -> None:
        """Keep writing over crashes of the source. A transaction that is cut off is there wholly or not at all."""
        while not self._stop.is_set():
            try:
                self.workload.run_until(_Either(self._stop, self._pause), pause_s=0.05)  # type: ignore[arg-type]
            except psycopg.OperationalError:
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


def _through(proxy: Proxy, database: Database) -> Database:
    address = database.address
    return Database(PostgresqlAddress("127.0.0.1", proxy.port, address.user, address.password), database.name)


KILLS = ("kill_capture", "kill_apply", "kill_kafka", "kill_source", "kill_target")
CONNECTIONS = ("cut_source", "cut_target", "stall_source", "stall_target", "lose_commit", "slow_target")
"""After these every process lives: their memory and files can be compared."""
OTHERS = ("freeze_capture", "freeze_apply", "scale_apply", "restart_source", "restart_target", "kill_loader")
CLUSTER = ("kill_leader", "pause_broker", "kill_kafka", "kill_capture", "kill_apply")
"""What is done to three brokers and their clients."""
EVERY = KILLS + CONNECTIONS + OTHERS
