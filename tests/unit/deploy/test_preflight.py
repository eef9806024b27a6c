"""What is said of a cluster that somebody names."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from deploy.local.preflight import kafka_findings


@pytest.fixture
def open_port() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def test_a_named_cluster_must_take_a_connection(open_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
    for named, is_fine in (
        (f"127.0.0.1:{open_port}", True),
        (f"127.0.0.1:{closed},127.0.0.1:{open_port}", True),
        (f"127.0.0.1:{closed}", False),
        ("nonsense", False),
    ):
        monkeypatch.setenv("TAILRACE_KAFKA", named)
        ((fine, what, state, how, _),) = kafka_findings()
        assert (fine, what, how) == (is_fine, "Kafka", "unset TAILRACE_KAFKA")
        assert named in state
        assert fine or "does not answer" in state
