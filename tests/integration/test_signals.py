"""Commands through the signals topic: pause and resume of capture and of a target, reloads of tables and key ranges."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from runtime.kafka.producer import PlainProducer
from schemas.topics import signals_topic
from tests.integration.capture.running import topic_differences
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import read_topics
from tests.kit.workload import Workload


class Operator:
    """Sends commands and looks at what comes of them."""

    def __init__(self, services: Services, source: Database, target: Database) -> None:
        self.services, self.source, self.target = services, source, target

    def signal(self, command: str, *arguments: str, code: int = 0) -> str:
        """Run `tailrace signal …`; return what it printed."""
        done = self.services.run(f"signal {command}", *arguments, "--wait", "120")
        assert done.returncode == code, done.stdout + done.stderr + self.services.log_tail("capture")
        return done.stdout

    def wait(self, until: Callable[[], bool], what: str) -> None:
        self.services.wait(until, what)

    def equal(self) -> bool:
        return wait_until_equal(self.source.dsn, self.target.dsn, timeout_s=0) == []

    def phase(self, state: str) -> None:
        self.wait(lambda: self.services.status().get("state") == state, f"capture is {state}")

    def count(self, database: Database, key: int) -> int:
        ((found,),) = database.rows(f"select count(*) from wl_idle where id = {key}")
        assert isinstance(found, int)
        return found

    def pauses_between(self, first: int, second: int) -> None:
        """While capture stands still before `first`: of two transactions that it reads at once it publishes one."""
        ((between,),) = self.source.rows("select pg_current_wal_lsn()::text")
        self.source.execute(f"insert into wl_idle values ({second}, 'behind the position')")
        assert "paused" in self.signal("pause", "--at", str(between))
        self.wait(lambda: self.count(self.target, first) == 1, "capture goes on as far as that")
        self.phase("paused")
        assert self.count(self.target, second) == 0


@pytest.mark.timeout(900)
def test_commands_are_carried_out_once_while_changes_flow(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, target_database: Database, replication: str
) -> None:
    source, target = source_database, target_database
    workload = Workload(source.dsn, seed=21)
    workload.create(rows=1_000)
    stop = threading.Event()
    with Services(tmp_path, replication, kafka_server, source, target, capture={"chunk_rows": 300}) as services:
        operator = Operator(services, source, target)
        services.start("capture")
        services.start("apply")
        operator.wait(operator.equal, "loaded")

        # A pause holds over a restart, and what came meanwhile is not lost.
        assert "paused" in operator.signal("pause", "--at", "now")
        operator.phase("paused")
        source.execute("insert into wl_idle values (50, 'while capture is paused')")
        services.crash("capture")
        operator.wait(lambda: services.status().get("pid") == services.pid("capture"), "the new one is in charge")
        operator.phase("paused")
        assert operator.count(target, 50) == 0
        # One that has stood still since it began has said nothing of where it is.
        status = json.loads(services.run("status", "--json").stdout)
        assert (status["state"], "position" in status["source"]) == ("paused", True)
        assert status["source"]["lag_bytes"] > 0

        operator.pauses_between(50, 51)
        assert "resumed" in operator.signal("resume")
        operator.wait(lambda: operator.count(target, 51) == 1, "capture goes on")

        # A target is paused by itself.
        assert "paused" in operator.signal("pause", "--target", "replica")
        source.execute("insert into wl_idle values (60, 'while the target is paused')")
        operator.wait(lambda: _is_published(kafka_server, f"{replication}.public.wl_idle", 60), "published")
        services.crash("apply")
        operator.wait(lambda: services.said("apply", "applying"), "the new one runs")
        assert operator.count(target, 60) == 0
        assert "resumed" in operator.signal("resume", "--target", "replica")
        operator.wait(lambda: operator.count(target, 60) == 1, "the target goes on")

        # Rows that somebody removed at the target come back by a reload, of a range or of all, once for each id.
        writer = threading.Thread(target=workload.run_until, args=(stop, 0.02))
        writer.start()
        try:
            target.execute("delete from wl_idle where id in (1, 60)", "insert into wl_idle values (70, 'a stranger')")
            arguments = ("--table", "public.wl_idle", "--above", "49", "--up-to", "60", "--id", "range")
            assert "generation 2" in operator.signal("reload", *arguments)
            operator.wait(lambda: operator.count(target, 60) == 1, "the range is loaded")
            assert (operator.count(target, 1), operator.count(target, 70)) == (0, 1)
            assert "generation 2" in operator.signal("reload", *arguments)
            assert "generation 3" in operator.signal("reload", "--table", "public.wl_idle", "--empty")
            operator.wait(lambda: (operator.count(target, 1), operator.count(target, 70)) == (1, 0), "emptied, loaded")
            assert "generation 2" in operator.signal("reload", "--table", "public.wl_items")
            assert "generation 2" in operator.signal("reload", "--table", "public.wl_log")
        finally:
            stop.set()
            writer.join()

        # What cannot be done is answered, and what cannot be read stops nobody.
        assert "not captured" in operator.signal("reload", "--table", "public.none", code=2)
        assert "no int32" in operator.signal("reload", "--table", "public.wl_idle", "--above", "x", code=2)
        assert "no key" in operator.signal("reload", "--table", "public.wl_log", "--above", "1", code=2)
        stranger = PlainProducer(kafka_server.settings)
        stranger.produce(signals_topic(replication), b"x", b'{"version": 1, "id": "x", "command": "explode"}')
        stranger.produce(signals_topic(replication), b"x", b"\xff")
        stranger.flush()
        stranger.close()
        source.execute("insert into wl_idle values (80, 'all is well')")
        assert wait_until_equal(source.dsn, target.dsn) == []
        assert services.stop("capture") == 0, services.log_tail("capture")
        assert services.stop("apply") == 0, services.log_tail("apply")
        assert topic_differences(kafka_server, source, replication) == []


def _is_published(kafka: KafkaAddress, topic: str, key: int) -> bool:
    """Tell whether a row is in its topic."""
    rows = [record.envelope["after"] for record in read_topics(kafka.bootstrap, [topic]) if record.envelope is not None]
    return any(row is not None and row["id"] == key for row in rows)
