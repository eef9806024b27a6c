"""What the suite asks of a sink whose appliers die, one after another, at each place of the crash matrix.

What the service alone does (completing loads, parking, releasing) is walked by `tests/integration/test_failpoints.py`.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from apply.sink import Sink
from runtime import failpoints
from schemas.changes import UNCHANGED, Row
from schemas.table import Column, TableName, TableSchema
from tests.conformance.frame import Frame
from tests.conformance.tables import BOOLEAN, INT64, STRING
from tests.unit.apply.rig import MARKS, Member, Rig

TRIPS = TableSchema(
    name=TableName("public", "trips"),
    columns=(
        Column("id", INT64, "bigint", nullable=False),
        Column("note", STRING, "text"),
        Column("done", BOOLEAN, "boolean"),
    ),
    key=(0,),
)
PLACES = ("claim.before", "claim.after", "prepare.after", "write.before", "write.after", "flush.before", "flush.after")
CHANGES = 12


class Died(BaseException):
    """What SIGKILL is here: nothing of the process goes on."""


class UnderDeath(Frame):
    """A part of `SinkSuite`."""

    def test_appliers_may_die_at_every_failpoint(self, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
        rig, model = Rig([TRIPS], 3), _Model()

        def die(*_: object) -> None:
            raise Died

        monkeypatch.setattr("os.kill", die)
        places = [f"apply.{place}" for place in (*PLACES, "offsets.after", "revoke.before")]
        if not sink.capabilities.history:
            places.append("apply.truncate.before")
        for place in places:
            model.change(rig)
            if place == "apply.truncate.before":
                model.truncate(rig)
            self._die(rig, sink, place)
        model.change(rig)
        last = rig.member(take_all=True, other=sink)
        last.applier.writer.patient = False
        rig.settle(last)
        assert self.rows(sink, TRIPS) == set(model.rows.values())

    def _die(self, rig: Rig, sink: Sink, place: str) -> None:
        other = self.other_sink(sink)
        member = rig.member(take_all=True, other=other)
        member.applier.writer.patient = False
        failpoints.arm(place)
        try:
            if place == "apply.revoke.before":
                member.applier.step()
                member.consumer.rebalance("revoke", [p for p in rig.topics.logs if p != MARKS])
            with pytest.raises(Died):
                _run(rig, member)
        finally:
            failpoints.arm(None)
            # Its connections go with it.
            other.close()


def _run(rig: Rig, member: Member) -> None:
    """Step until all is durable, and until that was committed to the group."""
    rig.settle(member)
    for _ in range(5):
        rig.clock.now += 1
        member.applier.step()


class _Model:
    """The rows that the source has."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self._chance = random.Random(5)

    def change(self, rig: Rig) -> None:
        """Insert, change and delete some rows."""
        for _ in range(CHANGES):
            i = self._chance.randrange(20)
            before: Any = self.rows.get(i)
            if before is None:
                self.rows[i] = (i, f"n{self._chance.randrange(100)}", None)
                rig.topics.put(TRIPS, "c", None, self.rows[i])
            elif self._chance.random() < 0.3:
                del self.rows[i]
                rig.topics.put(TRIPS, "d", (i, UNCHANGED, UNCHANGED), None)
            else:
                self.rows[i] = (i, before[1], not before[2])
                rig.topics.put(TRIPS, "u", None, (i, UNCHANGED, not before[2]))

    def truncate(self, rig: Rig) -> None:
        """Empty the table."""
        self.rows.clear()
        rig.topics.put(TRIPS, "t", None, None)
