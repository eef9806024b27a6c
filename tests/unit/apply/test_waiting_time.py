"""How long an applier has waited for its target: not for a core, and not while it worked."""

from __future__ import annotations

import pytest

from apply.batching.batch import Batch
from apply.error_handling.policies import Policies
from apply.writer import Writer
from runtime import clock
from tests.kit.memory_sink import MemorySink, MemoryTarget
from tests.unit.apply.rig import DeadLettersDouble


@pytest.mark.parametrize(
    ("took_s", "worked_s", "queued_s", "waited_s"),
    [(10.0, 1.0, 2.0, 7.0), (10.0, 9.0, 1.0, 0.0), (1.0, 1.6, 0.0, 0.0), (10.0, 0.0, 0.0, 10.0)],
)
def test_work_and_waits_for_a_core_are_no_waits_for_the_target(
    monkeypatch: pytest.MonkeyPatch, took_s: float, worked_s: float, queued_s: float, waited_s: float
) -> None:
    now = {"monotonic": 100.0, "cpu_s": 5.0, "queued_s": 3.0}

    def work(operation: str) -> None:
        if operation == "flush":
            now["monotonic"] += took_s
            now["cpu_s"] += worked_s
            now["queued_s"] += queued_s

    for name in list(now):
        monkeypatch.setattr(clock, name, lambda name=name: now[name])
    writer = Writer(MemorySink(MemoryTarget(fail=work)), DeadLettersDouble(), Policies(), lambda _: 0)
    outcome = writer.write(Batch())
    assert outcome.written
    assert outcome.duration_s == pytest.approx(took_s)
    assert outcome.waited_s == pytest.approx(waited_s)


def test_clocks_of_the_process_go_forward() -> None:
    cpu_s, queued_s = clock.cpu_s(), clock.queued_s()
    sum(range(100_000))
    assert clock.cpu_s() > cpu_s
    assert clock.queued_s() >= queued_s >= 0
