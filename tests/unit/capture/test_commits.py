"""When a Kafka transaction is committed: at once where the log has no more, later where it has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from capture import tables
from capture.session import Session
from schemas.changes import Change
from schemas.errors import TailraceError
from tests.kit import simulation as sim
from tests.kit.simulated_kafka import SimProducer
from tests.unit.capture.test_simulation import World

COMMIT_S = 0.01
"""How long a commit takes."""


class StillWorld(World):
    """Time goes on only as the test says, and in commits."""

    def monotonic(self) -> float:
        return self.pace.now_s


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> StillWorld:
    world = StillWorld(1, 0.0, {"commit_interval_ms": 1000}, mode="cdc")
    world.pace.record_s = 0.0
    commit = SimProducer.commit

    def slowly(producer: SimProducer) -> None:
        commit(producer)
        world.pace.now_s += COMMIT_S

    monkeypatch.setattr(SimProducer, "commit", slowly)
    return world


def _begin(world: StillWorld) -> Session:
    """Return a session of which the last commit took `COMMIT_S`, and whose log gives all that it has at once."""
    session = world.session()
    session.start()
    log = session._log
    assert isinstance(log, sim.SimLog)

    def poll(timeout_s: float) -> Sequence[Change]:
        assert timeout_s >= 0
        transactions = world.database.log[log._next : world.database.readable]
        log._next += len(transactions)
        return [change for transaction in transactions for change in log._unpack(transaction)]

    log.poll = poll  # type: ignore[method-assign]
    return session


def _write(world: StillWorld) -> int:
    world.database.transact()
    world.database.settle()
    return world.database.end()


def test_a_change_in_a_quiet_log_is_committed_as_soon_as_the_log_has_no_more(world: StillWorld) -> None:
    session = _begin(world)
    world.pace.now_s += 5
    end = _write(world)
    for _ in range(2):
        session.step(1.0)
    assert session.committed.commit == end


def test_commits_of_a_quiet_log_rest_as_long_as_one_takes(world: StillWorld) -> None:
    session = _begin(world)
    end = _write(world)
    for _ in range(3):
        session.step(1.0)
    assert session.committed.commit < end
    world.pace.now_s += COMMIT_S
    session.step(1.0)
    assert session.committed.commit == end


def test_while_the_log_has_more_transactions_grow(world: StillWorld) -> None:
    session = _begin(world)
    commits = 0
    for _ in range(40):
        before = session.committed
        _write(world)
        session.step(1.0)
        commits += session.committed != before
        world.pace.now_s += COMMIT_S / 4
    # Each stays open four times as long as a commit takes: 16 of the steps.
    assert commits == 2


def test_topics_are_looked_for_while_a_commit_waits(world: StillWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    around = _begin(world)._around
    around.producer.on_wait()
    monkeypatch.setattr(tables, "TOPIC_SEEN_WITHIN_S", 0)
    monkeypatch.setattr(around.topics, "list", dict)
    with pytest.raises(TailraceError, match="is gone"):
        around.producer.on_wait()
