"""What a client's complaints are remembered as."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from runtime import clock
from runtime.kafka.client import COMPLAINT_MEMORY_S, Complaints


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: time[0])
    return time


def code(complaints: Complaints) -> int | None:
    return complaints.last.code() if complaints.last is not None else None


def test_a_cause_is_not_hidden_by_its_consequences(now: list[float]) -> None:
    complaints = Complaints("test")
    assert code(complaints) is None
    complaints(KafkaError(KafkaError._AUTHENTICATION))
    complaints(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert code(complaints) == KafkaError._AUTHENTICATION
    complaints(KafkaError(KafkaError._RESOLVE))
    assert code(complaints) == KafkaError._RESOLVE


def test_a_complaint_is_forgotten_in_time(now: list[float]) -> None:
    complaints = Complaints("test")
    complaints(KafkaError(KafkaError._AUTHENTICATION))
    now[0] += COMPLAINT_MEMORY_S
    assert code(complaints) is None
    complaints(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert code(complaints) == KafkaError._ALL_BROKERS_DOWN
    assert complaints.fatal is None


def test_a_fatal_error_stays(now: list[float]) -> None:
    complaints = Complaints("test")
    complaints(KafkaError(KafkaError._FENCED, "fenced", True))
    now[0] += 10 * COMPLAINT_MEMORY_S
    assert complaints.fatal is not None
