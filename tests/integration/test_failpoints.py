"""Every failpoint is walked once: a service dies there, and the next one, to die at the next, goes on rightly.

Those of `capture.settle` need a broker that leaves transactions hanging: tests/integration/capture/test_hanging.py.
From PostgreSQL to PostgreSQL, and from MySQL and MariaDB to each other; `SOURCE=` and `TARGET=` ask for another pair.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaAddress
from runtime.failpoints import FAILPOINTS
from tests.integration.capture.running import topic_differences
from tests.integration.services import Services
from tests.kit.mysql import MysqlDatabase
from tests.kit.servers import Database
from tests.kit.sides import MysqlSide, PostgresqlSide, Side, differences, wait_until_alike
from tests.kit.topics import data_topics, key_faults, read_topics, sequence_faults

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
    # Before offsets are committed to the group all loads may be complete already.
    "apply.complete.before",
    "apply.offsets.after",
)


CAPTURE_STOPPING = ("capture.drain.before",)
APPLY_STREAMING = ("apply.truncate.before", "apply.park.after", "apply.release.applied", "apply.revoke.before")
BROKERS = tuple(name for name in FAILPOINTS if name.startswith("capture.settle."))


def _pairs(*others: str) -> pytest.MarkDecorator:
    """Let a test walk with PostgreSQL and with other pairs; or with the one that the environment names alone."""
    source, target = (os.environ.get(end) or "" for end in ("SOURCE", "TARGET"))
    named = [f"{source or 'postgresql'}-{target or 'postgresql'}"] if source or target else []
    return pytest.mark.parametrize("walk", named or ["postgresql-postgresql", *others], indirect=True)


@pytest.fixture
def walk(
    tmp_path: Path,
    kafka_server: KafkaAddress,
    request: pytest.FixtureRequest,
    new_database: Callable[..., Database],
    new_mysql_database: Callable[[str], MysqlDatabase],
    replication: str,
) -> Iterator[_Walk]:
    def side(kind: str, major: int) -> Side:
        if kind == "postgresql":
            return PostgresqlSide(new_database(major))
        return MysqlSide(new_mysql_database(kind))

    source, target = request.param.split("-")
    found = _Walk(tmp_path, kafka_server, side(source, 18), side(target, 16), replication)
    with found.services, found.second:
        yield found


def test_every_failpoint_is_in_one_of_the_walks() -> None:
    walked = [
        *CAPTURE_LOADING,
        *CAPTURE_STREAMING,
        *CAPTURE_SCHEMA,
        *CAPTURE_STOPPING,
        *APPLY_LOADING,
        *APPLY_STREAMING,
    ]
    assert sorted([name.partition(":")[0] for name in walked] + [*BROKERS]) == sorted(FAILPOINTS)


# Capture knows its source alone: each database is one. At appliers MySQL and MariaDB are written alike.
@_pairs("mysql-mariadb", "mariadb-mysql")
@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_capture_dies_at_each_failpoint(walk: _Walk) -> None:
    workload, source = walk.workload, walk.source
    workload.create(rows=5_000)
    for failpoint in CAPTURE_LOADING:
        walk.to("capture", failpoint)
        workload.run(2)
    walk.run("capture")
    for failpoint in CAPTURE_STREAMING:
        workload.run(15)
        walk.to("capture", failpoint)
    assert source.attempt("alter table wl_items add column extra text default ('added')")
    workload.run(15)
    for failpoint in CAPTURE_SCHEMA:
        walk.to("capture", failpoint)
    for failpoint in CAPTURE_STOPPING:
        walk.to("capture", failpoint, _until_it_stops)
    workload.run(15)
    walk.run("capture")
    assert walk.faults() == []


# The broker fences, whichever database there is.
@_pairs()
@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_a_capture_that_hung_before_a_commit_is_fenced_when_it_wakes(walk: _Walk) -> None:
    workload, services = walk.workload, walk.services
    workload.create(rows=500)
    services.start("capture", failpoint="capture.commit.before:2:stop")
    services.wait(lambda: services.said("capture", "failpoint capture.commit.before\n"), "it hangs")
    services.start("capture-2")
    services.wait(lambda: services.said("capture-2", "capture runs"), "the standby has taken over")
    workload.run(15)
    services.signal("capture", signal.SIGCONT)
    services.wait(lambda: services.said("capture", "has claimed its transactional id"), "it finds itself fenced")
    workload.run(15)
    for name in ("capture", "capture-2"):
        assert services.stop(name) == 0, services.log_tail(name)
    walk.run("capture")
    assert walk.faults() == []


@_pairs("mysql-mariadb")
@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_apply_dies_at_each_failpoint(walk: _Walk) -> None:
    workload, source, target = walk.workload, walk.source, walk.target
    workload.create(rows=2_000)
    walk.run("capture")
    for failpoint in APPLY_LOADING:
        walk.to("apply", failpoint)
    walk.run("apply")
    truncate, park, release, revoke = APPLY_STREAMING

    workload.run(15)
    idle = f"{target.copy_of(source)}.wl_idle"
    _run(source, "truncate table wl_pairs", "insert into wl_pairs (a, b, value) values (1, 'after', 2)")
    walk.run("capture")
    walk.to("apply", truncate)

    _run(target, f"alter table {idle} add constraint narrow check (id < 100)")
    _run(source, "insert into wl_idle values (1000, 'refused')", "update wl_idle set word = 'x' where id = 1000")
    walk.run("capture")
    walk.to("apply", park)
    walk.run("apply")
    _run(target, f"alter table {idle} drop constraint narrow")
    (parked,) = walk.parked()
    assert walk.services.run("parked retry", "--target", "replica", parked).returncode == 0
    walk.to("apply", release)
    walk.run("apply")
    assert walk.parked() == []

    _run(target, f"alter table {idle} add constraint decent check (word <> 'bad')")
    _run(source, "insert into wl_idle values (1002, 'bad')")
    walk.run("capture")
    walk.run("apply")
    (parked,) = walk.parked()
    for wrong in ("missing=1", "id=7", "word=7", "word"):
        refused = walk.services.run("parked edit", "--target", "replica", parked, "--set", wrong)
        assert (refused.returncode, wrong.partition("=")[0] in refused.stderr) == (2, wrong != "word=7"), refused.stderr
    edited = walk.services.run("parked edit", "--target", "replica", parked, "--set", "word=good")
    assert edited.returncode == 0, edited.stderr
    walk.run("apply")
    assert walk.parked() == []
    assert target.rows(f"select word from {idle} where id = 1002") == [("good",)]
    _run(source, "update wl_idle set word = 'good' where id = 1002")

    walk.to("apply", revoke, lambda it: _until_another_joins(it, walk.second))
    workload.run(15)
    walk.run("capture")
    assert walk.second.stop("apply") == 0, walk.second.log_tail("apply")
    walk.run("apply")
    assert wait_until_alike(source, target, timeout_s=60) == []


class _Walk:
    """Two appliers' configurations, with static membership: who comes back under a name takes over at once."""

    def __init__(self, directory: Path, kafka: KafkaAddress, source: Side, target: Side, replication: str) -> None:
        def services(name: str) -> Services:
            place = directory / name
            place.mkdir()
            return Services(
                place,
                replication,
                kafka,
                source.database,
                target.database,
                capture={"chunk_rows": 2_000, "session_timeout_s": 2, "commit_interval_ms": 20},
                apply={"instance_id": name, "session_timeout_s": 10},
            )

        self.kafka, self.source, self.target, self.replication = kafka, source, target, replication
        self.services, self.second = services("first"), services("second")
        self.workload = source.workload(3, target)
        self.workload.truncates, self.workload.large_rows = False, 500

    def to(self, service: str, failpoint: str, provoke: Callable[[Services], None] | None = None) -> None:
        """Let a service run until it dies at a failpoint."""
        self.services.start(service, failpoint=failpoint)
        if provoke is not None:
            provoke(self.services)
        self.services.meet(service, failpoint)

    def run(self, service: str) -> None:
        """Let a service do all that there is to do."""
        self.services.start(service, "--stop-at", "now")
        assert self.services.join(service) == 0, self.services.log_tail(service)

    def faults(self) -> list[str]:
        """Return what the topics hold wrongly, in words; for MySQL's tables by the rows at the target, too."""
        if isinstance(self.source, PostgresqlSide):
            return topic_differences(self.kafka, self.source.database, self.replication)
        self.run("apply")
        records = read_topics(self.kafka.bootstrap, data_topics(self.kafka.bootstrap, self.replication))
        return [*sequence_faults(records), *key_faults(records), *differences(self.source, self.target)]

    def parked(self) -> list[str]:
        """Return the identifiers of parked keys."""
        done = self.services.run("parked list", "--target", "replica", "--json")
        assert done.returncode == 0, done.stderr
        return [row["identifier"] for row in json.loads(done.stdout)]


def _run(side: Side, *statements: str) -> None:
    for statement in statements:
        assert side.attempt(statement), statement


def _until_it_stops(services: Services) -> None:
    services.wait(lambda: services.said("capture", "capture runs"), "capture runs")
    services.signal("capture", signal.SIGTERM)


def _until_another_joins(services: Services, second: Services) -> None:
    services.wait(lambda: services.said("apply", "partitions assigned"), "the first one has partitions")
    second.start("apply")
