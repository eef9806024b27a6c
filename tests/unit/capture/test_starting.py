"""When a session starts its first loader, which takes half a second to be ready."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from capture import checkpoints
from capture.full_load.state import LoadState
from capture.publishing.schemas_topic import Catalogue
from capture.publishing.transaction_limits import TransactionLimits
from capture.session import Dependencies, Session
from schemas.settings import parse
from schemas.table import TableName
from schemas.topics import checkpoints_topic, schemas_topic
from tests.kit import simulation as sim
from tests.kit.simulated_kafka import Broker, Chaos, Pace, SimProducer


class Start:
    """Sessions of one source and broker, and what they do in which order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self._chaos, self._broker, self._pace = Chaos(Random(1)), Broker(), Pace(transaction_timeout_s=60)
        self._database = sim.Database(Random(1), [sim.table_schema("orders", keyed=True)])
        prepare = sim.SimSource.prepare

        def prepared(source: sim.SimSource, *arguments: Any) -> Any:
            self.events.append("source")
            return prepare(source, *arguments)

        monkeypatch.setattr(sim.SimSource, "prepare", prepared)

    def session(self, mode: str = "full-load-and-cdc") -> Session:
        """Return a session by what the broker keeps."""
        settings = parse(
            {
                "name": sim.REPLICATION,
                "mode": mode,
                "kafka": {"bootstrap.servers": "simulated"},
                "source": {"database": sim.DATABASE, "user": "nobody", "tables": ["public.*"]},
            }
        )
        dependencies = Dependencies(
            source=sim.SimSource(self._database, self._chaos),
            producer=SimProducer(self._broker, self._chaos, self._pace),
            topics=self._broker,
            spawn=self._spawn,
            limits=TransactionLimits(settings.capture),
            now_us=lambda: 1,
            monotonic=lambda: self._pace.now_s,
        )
        checkpoint = checkpoints.decode(self._broker.read_all(checkpoints_topic(sim.REPLICATION)))
        catalogue = Catalogue.of(settings, self._broker.read_all(schemas_topic(sim.REPLICATION)))
        return Session(settings, dependencies, checkpoint, catalogue)

    def _spawn(self) -> sim.SimWorker:
        self.events.append("loader")
        return sim.SimWorker(self._database, self._chaos)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    return Start(monkeypatch)


def _load(session: Session) -> None:
    for _ in range(1000):
        session.step(0.0)
        if session.loading.is_idle:
            break
    session.drain()
    session.close()


def test_a_loader_gets_ready_while_the_source_is_prepared(start: Start) -> None:
    session = start.session()
    session.start()
    assert start.events == ["loader", "source"]
    _load(session)
    start.events.clear()
    start.session().start()
    assert start.events == ["source"], "everything is loaded"


def test_nothing_is_loaded_in_mode_cdc(start: Start) -> None:
    start.session("cdc").start()
    assert start.events == ["source"]


def test_a_loader_ends_where_the_tables_that_were_left_are_gone(start: Start) -> None:
    session = start.session()
    session.start()
    _load(session)
    start.events.clear()
    session = start.session()
    session._checkpoint.plans[TableName("public", "gone")] = {"state": LoadState.PLANNED}
    session.start()
    assert start.events == ["loader", "source"]
    assert session._loader._slots[0].worker is None, "nobody would ever ask it"
