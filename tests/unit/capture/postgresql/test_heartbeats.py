"""Heartbeats of a log that is not yet where it was: a checkpoint with their position must have no row come twice."""

from __future__ import annotations

import pytest

from schemas.changes import Begin, Commit, Heartbeat
from schemas.position import Position
from tests.unit.capture.postgresql import wire
from tests.unit.capture.postgresql.scripted import (
    COLUMNS,
    ODD,
    XMLISH,
    A,
    FakeStream,
    open_log,
    read_all,
    row_of,
    transactions_of,
    units_of,
)

SLOWLY = [wire.keepalive(900), *[b""] * 4]
"""The server tells how far it is, and takes long to get further."""


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_before_a_transaction_that_is_partly_behind_they_say_how_much_of_it_is(behind: int) -> None:
    ((lsn, messages),), end = transactions_of(["aaa"])
    log = [(lsn, [*SLOWLY, *messages])]
    changes = read_all(open_log(FakeStream(log, end), Position(0, behind)), end)
    assert list(units_of(changes)) == [("a", (i, "x")) for i in (1, 2, 3)][behind:]
    positions = [c.position for c in changes if isinstance(c, Heartbeat)]
    assert positions == [Position(900, behind), Position(end)]


def test_within_a_transaction_that_goes_on_as_text_they_say_how_much_of_it_is_behind() -> None:
    odd = [("id", wire.INT8, -1, True), ("o", XMLISH, -1, False)]

    class Turning(FakeStream):
        def start(self, lsn: int, *, binary: bool) -> None:
            rows = [wire.insert(A, row_of(i, binary=binary)) for i in (1, 2)]
            relations = [wire.relation(A, "a", COLUMNS), wire.relation(ODD, "odd", odd)]
            last = wire.insert(ODD, row_of(3, binary=binary))
            messages = [wire.begin(1000, 1), *relations, *rows, last, wire.commit(1000, 1008)]
            self._log = [(1000, messages if binary else [*SLOWLY, *messages])]
            super().start(lsn, binary=binary)

    changes = read_all(open_log(Turning([], 2000), Position(0)), 2000)
    assert list(units_of(changes)) == [("a", (1, "x")), ("a", (2, "x")), ("odd", (3, "x"))]
    found = [type(c) if isinstance(c, Begin | Commit) else c for c in changes]
    assert [x for x in found if x in (Begin, Commit) or isinstance(x, Heartbeat)] == [
        Begin,
        Heartbeat(Position(900, 2)),
        Commit,
        Heartbeat(Position(2000)),
    ]
