"""When a Kafka transaction is committed: at once where the log has no more, later where it has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from capture import tables
from capture.commit_pacing import BULK_ROWS, INTERVAL_MIN_S, INTERVAL_SHARE, CommitPacing
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
    lengths, began_s = [], world.pace.now_s
    for _ in range(500):
        before = session.committed
        _write(world)
        session.step(1.0)
        if session.committed != before:
            lengths.append(world.pace.now_s - COMMIT_S - began_s)
            began_s = world.pace.now_s
        world.pace.now_s += COMMIT_S / 2
    # The first stays open four times as long as a commit takes, the others as long as the log has had more, up to
    # what the settings say.
    assert lengths[0] == pytest.approx(4 * COMMIT_S, abs=COMMIT_S / 2)
    assert all(1.4 < second / first < 2.5 for first, second in pairwise(lengths[:5]))
    assert max(lengths) == pytest.approx(1.0, abs=COMMIT_S)


def test_a_log_that_has_brought_much_has_no_more_once_it_was_quiet_for_a_while() -> None:
    pace = CommitPacing(limit_s=1.0, now_s=0.0)
    pace.committed(0.0, 0.01)
    pace.opened(0.02)
    pace.looked(0.04, row_count=BULK_ROWS, is_drained=False)
    pace.looked(0.041, row_count=BULK_ROWS, is_drained=True)
    assert pace.due_s(0.041, is_drained=True) == pytest.approx(0.04 + INTERVAL_MIN_S)
    # Of little, one look is enough: the rest between two commits is over.
    pace.looked(0.042, row_count=BULK_ROWS - 1, is_drained=True)
    assert pace.due_s(0.042, is_drained=True) <= 0.042


def test_transactions_are_short_again_once_the_log_had_no_more() -> None:
    pace = CommitPacing(limit_s=1.0, now_s=0.0)
    pace.looked(0.0, row_count=1, is_drained=False)
    pace.committed(0.49, 0.5)
    assert pace.due_s(0.5, is_drained=False) == pytest.approx(1.0)
    pace.committed(0.99, 1.0)
    pace.looked(1.0, row_count=0, is_drained=True)
    # Nothing comes for long: that is not being behind.
    pace.looked(1.9, row_count=1, is_drained=False)
    assert pace.due_s(1.9, is_drained=False) == pytest.approx(1.9 + INTERVAL_SHARE * 0.01)


def test_topics_are_looked_for_while_a_commit_waits(world: StillWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    session = _begin(world)
    session._producer.on_wait()
    monkeypatch.setattr(tables, "TOPIC_SEEN_WITHIN_S", 0)
    monkeypatch.setattr(session._topics, "list", dict)
    with pytest.raises(TailraceError, match="is gone"):
        session._producer.on_wait()
