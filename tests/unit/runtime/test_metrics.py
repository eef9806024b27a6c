"""Metrics' names, and the endpoint that shows them with the liveness."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from runtime import metrics
from schemas.errors import ErrorKind, TailraceError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_liveness_follows_progress() -> None:
    clock = Clock()
    liveness = metrics.Liveness(limit_s=30, monotonic=clock)
    clock.now = 30
    assert liveness.check()[0]
    clock.now = 31
    alive, document = liveness.check()
    assert not alive
    assert document == {"alive": False, "detail": "starting", "seconds_since_progress": 31.0, "limit_s": 30}
    liveness.progress("idle")
    alive, document = liveness.check()
    assert alive
    assert document["detail"] == "idle"


def test_a_loop_that_turns_and_moves_nothing_is_alive_for_a_while_only() -> None:
    clock = Clock()
    liveness = metrics.Liveness(limit_s=30, monotonic=clock, stall_limit_s=100)
    for second in range(0, 300, 10):
        clock.now = second
        liveness.turned("here", idle=True)
    for second in range(300, 500, 10):
        clock.now = second
        liveness.turned("here", idle=False)
        # Since second 290, and what was said last at 380 lasts for 30.
        assert liveness.check()[0] is (second <= 410)
    assert liveness.check()[1]["detail"] == "nothing has moved for 90 s"
    liveness.turned("there", idle=False)
    assert liveness.check()[0]


def test_the_endpoint_serves_metrics_and_liveness() -> None:
    clock = Clock()
    liveness = metrics.Liveness(limit_s=30, monotonic=clock)
    metrics.CAPTURE_ROWS.labels("public.orders", "log").inc(3)
    with metrics.serve("127.0.0.1", 0, liveness) as server:
        status, text = get(server.port, "/metrics")
        assert status == 200
        assert 'tailrace_capture_rows_total{phase="log",table="public.orders"} 3.0' in text
        assert "process_resident_memory_bytes" in text
        status, text = get(server.port, "/healthz")
        assert (status, json.loads(text)["alive"]) == (200, True)
        clock.now = 100
        status, text = get(server.port, "/healthz")
        assert (status, json.loads(text)["alive"]) == (503, False)
        assert get(server.port, "/")[0] == 404


def test_what_was_never_measured_is_absent_and_not_0() -> None:
    # In a process of its own: in this one another test may have measured.
    program = (
        "from prometheus_client import generate_latest\n"
        "from runtime import metrics\n"
        "print(generate_latest(metrics.REGISTRY).decode())\n"
        "metrics.CAPTURE_LOG_LEFT_BYTES.set(5)\n"
        "print('measured')\n"
        "print(generate_latest(metrics.REGISTRY).decode())\n"
        "metrics.CAPTURE_LOG_LEFT_BYTES.set(None)\n"
        "print('unbounded')\n"
        "print(generate_latest(metrics.REGISTRY).decode())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    before, more = done.stdout.split("measured\n")
    after, unbounded = more.split("unbounded\n")
    assert "tailrace_capture_active 0.0" in before
    assert "tailrace_capture_log_left_bytes" not in before
    assert "tailrace_capture_lag" not in before
    assert "\ntailrace_capture_log_left_bytes 5.0\n" in after
    assert "# TYPE tailrace_capture_log_left_bytes gauge" in after
    # As an operator does who is told that the log fills up.
    assert "tailrace_capture_log_left_bytes" not in unbounded


def test_the_endpoint_says_whose_metrics_it_has() -> None:
    whose = {"replication": "shop", "service": "apply", "target": "replica"}
    with metrics.serve("127.0.0.1", 0, metrics.Liveness(), **whose) as server:
        text = get(server.port, "/metrics")[1]
    assert 'tailrace_service_info{replication="shop",service="apply",target="replica"} 1.0' in text
    described = next(d for d in metrics.DESCRIBED if d.name == "tailrace_service")
    assert whose.keys() == {*described.labels}


def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    with metrics.serve("127.0.0.1", 0, metrics.Liveness()) as server, pytest.raises(TailraceError) as caught:
        metrics.serve("127.0.0.1", server.port, metrics.Liveness())
    assert caught.value.kind is ErrorKind.CONFIGURATION


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_all_addresses_of_a_machine_can_be_served(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda _: pytest.fail("a look-up of the machine's name"))
    if address == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with metrics.serve(address, 0, metrics.Liveness()) as server:
        assert get(server.port, "/healthz")[0] == 200


def test_an_address_of_another_machine_is_a_configuration_error() -> None:
    with pytest.raises(TailraceError, match=r"192\.0\.2\.1:0") as caught:
        metrics.serve("192.0.2.1", 0, metrics.Liveness())
    assert caught.value.kind is ErrorKind.CONFIGURATION


def test_errors_are_counted_by_kind() -> None:
    def value(name: str, kind: str) -> float:
        return metrics.REGISTRY.get_sample_value(f"tailrace_{name}_total", {"kind": kind}) or 0.0

    before = value("errors", "transport"), value("retries", "transport"), value("errors", "internal")
    metrics.count_error(TailraceError(ErrorKind.TRANSPORT, "x"), retried=True)
    metrics.count_error(ValueError("x"))
    after = value("errors", "transport"), value("retries", "transport"), value("errors", "internal")
    assert after == tuple(n + 1 for n in before)


def test_every_metric_is_named_and_described_alike() -> None:
    for family in metrics.REGISTRY.collect():
        if not family.name.startswith(("python_", "process_")):
            assert family.name.startswith("tailrace_")
            assert family.documentation
    for measured in (one for one in vars(metrics).values() if isinstance(one, metrics.Measured)):
        measured.set(0)
    own = [family.name for family in metrics.REGISTRY.collect() if family.name.startswith("tailrace_")]
    assert sorted(d.name for d in metrics.DESCRIBED) == sorted(own)
    assert all(f"| `{name}` |" in metrics.markdown() for name in own)
