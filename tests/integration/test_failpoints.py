"""Every failpoint is walked once: a service dies there, and the next one, to die at the next, goes on rightly.

Those of `capture.settle` need a broker that leaves transactions hanging: tests/integration/capture/test_hanging.py.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from runtime.failpoints import FAILPOINTS
from tests.integration.capture.running import topic_differences
from tests.integration.services import Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.workload import Workload

CAPTURE_LOADING = (
    "capture.start.claimed",
    "capture.start.prepared",
    "capture.start.committed",
    "capture.load.planned",
    "capture.load.middle",
    "capture.load.finished",
    "capture.load.announce",
)
# The first commit of a life is that of its start: the second one holds changes.
CAPTURE_STREAMING = (
    "capture.produce.before",
    "capture.produce.after",
    "capture.commit.before:2",
    "capture.commit.after:2",
    "capture.acknowledge.after",
)
CAPTURE_SCHEMA = ("capture.schema.before", "capture.schema.after")
APPLY_LOADING = (
    "apply.claim.before",
    "apply.claim.after",
    "apply.prepare.after",
    "apply.write.before",
    "apply.write.after",
    "apply.flush.before",
    "apply.flush.after",
    "apply.offsets.after",
    "apply.complete.before",
)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_whoever_dies_at_whichever_failpoint(
    tmp_path: Path,
    kafka_server: KafkaAddress,
    source_database: Database,
    target_database_16: Database,
    replication: str,
) -> None:
    source, target = source_database, target_database_16
    walk = _Walk(tmp_path, kafka_server, source, target, replication)
    workload = Workload(source.dsn, seed=3, large_rows=500)
    workload.create(rows=5_000)
    with walk.services as services, walk.second as second:
        for failpoint in CAPTURE_LOADING:
            walk.to("capture", failpoint)
            workload.run(2)
        walk.run("capture")
        for failpoint in CAPTURE_STREAMING:
            workload.run(15)
            walk.to("capture", failpoint)
        source.execute("alter table wl_items add column extra text default 'added'")
        workload.run(15)
        for failpoint in CAPTURE_SCHEMA:
            walk.to("capture", failpoint)
        walk.to("capture", "capture.drain.before", _until_it_stops)
        workload.run(15)
        walk.run("capture")
        assert topic_differences(kafka_server, source, replication) == []

        for failpoint in APPLY_LOADING:
            walk.to("apply", failpoint)
        walk.run("apply")
        workload.run(15)
        source.execute("truncate wl_pairs", "insert into wl_pairs values (1, 'after', 2)")
        walk.run("capture")
        walk.to("apply", "apply.truncate.before")
        walk.run("apply")
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=60) == []

        target.execute("alter table wl_idle add constraint narrow check (id < 100)")
        source.execute("insert into wl_idle values (1000, 'refused')", "update wl_idle set word = 'x' where id = 1000")
        workload.run(5)
        walk.run("capture")
        walk.to("apply", "apply.park.after")
        walk.run("apply")
        target.execute("alter table wl_idle drop constraint narrow")
        (parked,) = walk.parked()
        assert services.run("parked retry", "--target", "replica", parked).returncode == 0
        walk.to("apply", "apply.release.applied")
        walk.run("apply")
        assert walk.parked() == []

        walk.to("apply", "apply.revoke.before", lambda it: _until_another_joins(it, second))
        workload.run(15)
        walk.run("capture")
        assert second.stop("apply") == 0, second.log_tail("apply")
        walk.run("apply")
        assert wait_until_equal(source.dsn, target.dsn, timeout_s=60) == []
        assert topic_differences(kafka_server, source, replication) == []
    assert walk.met | {name for name in FAILPOINTS if name.startswith("capture.settle.")} == set(FAILPOINTS)


class _Walk:
    """Two appliers' configurations, with static membership: who comes back under a name takes over at once."""

    def __init__(
        self, directory: Path, kafka: KafkaAddress, source: Database, target: Database, replication: str
    ) -> None:
        def services(name: str) -> Services:
            place = directory / name
            place.mkdir()
            return Services(
                place,
                replication,
                kafka,
                source,
                target,
                capture={"chunk_rows": 2_000, "session_timeout_s": 3, "commit_interval_ms": 20},
                apply={"instance_id": name, "session_timeout_s": 10},
            )

        self.services, self.second = services("first"), services("second")
        self.met: set[str] = set()

    def to(self, service: str, failpoint: str, provoke: Callable[[Services], None] | None = None) -> None:
        """Let a service run until it dies at a failpoint."""
        self.services.start(service, failpoint=failpoint)
        if provoke is not None:
            provoke(self.services)
        self.services.meet(service, failpoint)
        self.met.add(failpoint.partition(":")[0])

    def run(self, service: str) -> None:
        """Let a service do all that there is to do."""
        self.services.start(service, "--stop-at", "now")
        assert self.services.join(service) == 0, self.services.log_tail(service)

    def parked(self) -> list[str]:
        """Return the identifiers of parked keys."""
        done = self.services.run("parked list", "--target", "replica", "--json")
        assert done.returncode == 0, done.stderr
        return [row["identifier"] for row in json.loads(done.stdout)]


def _until_it_stops(services: Services) -> None:
    services.wait(lambda: services.said("capture", "capture runs"), "capture runs")
    services.signal("capture", signal.SIGTERM)


def _until_another_joins(services: Services, second: Services) -> None:
    services.wait(lambda: services.said("apply", "partitions assigned"), "the first one has partitions")
    second.start("apply")
