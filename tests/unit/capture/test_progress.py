"""What a capture's metrics say of the source's log."""

from __future__ import annotations

from typing import cast

import pytest

from capture.progress import ASK_SOURCE_INTERVAL_S, Progress
from runtime import clock, metrics
from runtime.metrics import Liveness
from runtime.status import StatusWriter
from tests.kit.simulation import SimSource
from tests.unit.capture.test_simulation import World


def test_a_bound_that_the_source_has_no_more_is_no_metric_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator has lifted it, since an alert said that the log fills up: the alert ends."""
    world = World(1, 0.0)
    session = world.session()
    session.start()
    source, now = session._source, [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])

    class Unwritten:
        def write(self, document: object) -> None:
            return

    progress = Progress(world.settings, cast("StatusWriter", Unwritten()), Liveness())
    found = []
    for left in (5, None):
        monkeypatch.setattr(SimSource, "log_left_bytes", lambda _source, left=left: left)
        progress.report(session, source, at_once=True)
        now[0] += ASK_SOURCE_INTERVAL_S
        found.append([m for m in metrics.REGISTRY.collect() if m.name == "tailrace_capture_log_left_bytes"])
    session.close()
    assert [[sample.value for metric in some for sample in metric.samples] for some in found] == [[5.0], []]
