"""The members of status documents: the services write those that the reference names, and no others."""

from __future__ import annotations

from typing import Any, cast

from apply.completion import Completion
from apply.report import Report
from capture.progress import Progress
from runtime.metrics import Liveness
from runtime.status import StatusWriter
from schemas import status
from tests.conformance.sink_suite import ORDERS
from tests.unit.apply.rig import Rig
from tests.unit.capture.test_simulation import World

ADDED = {"component", "pid", "host", "ts_us"}
"""By `runtime.status.StatusWriter`, whatever the document."""


class Writer:
    """Keeps the last document."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}

    def write(self, document: Any) -> None:
        self.last = {**document}


def test_a_capture_says_what_the_reference_names() -> None:
    world, writer = World(1, 0.0), Writer()
    session = world.session()
    session.start()
    while not session.loading.is_idle:
        session.step(0)
    progress = Progress(world.settings, cast("StatusWriter", writer), Liveness())
    progress.state("starting")
    progress.report(session, session._source, at_once=True)
    assert {*writer.last} | ADDED == {*status.EVERY, *status.CAPTURE}
    assert {name for table in writer.last["tables"].values() for name in table} == {*status.CAPTURE_TABLE}
    session.close()


def test_an_applier_says_what_the_reference_names() -> None:
    rig, writer = Rig([ORDERS]), Writer()
    rig.topics.put(ORDERS, "c", None, (1, "new", None))
    member = rig.member(take_all=True)
    rig.settle(member)
    completion = Completion(member.applier.versions, member.applier.writer, lambda job: job())
    Report("replica", member.applier, completion, writer).write("running", {})
    assert {*writer.last} | ADDED == {*status.EVERY, *status.APPLY}
    assert {name for table in writer.last["tables"].values() for name in table} == {*status.APPLY_TABLE}
