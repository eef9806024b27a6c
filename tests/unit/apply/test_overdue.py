"""When a row that waits is refused: not before all has come that it could wait for, nor later than need be."""

from __future__ import annotations

from apply.batching.batch import Key, Record
from apply.error_handling.survey import PATIENCE
from apply.error_handling.waiting import Waiting
from apply.outcome import Wait
from apply.sink import TopicPartition
from schemas.errors import ErrorKind, TailraceError
from tests.unit.apply.rig import Entry

PLACE = TopicPartition("shop.public.children", 0)
WAIT_S = 10
LONG_S = PATIENCE * WAIT_S
MISSING = TailraceError(ErrorKind.ROW_CONFLICT, "the parent is missing")


class Trials:
    """Rows that wait, and are tried in vain. Everybody is where the topic ends whenever that is looked at."""

    def __init__(self) -> None:
        self.waiting = Waiting(WAIT_S, lambda: {PLACE: self.end}, lambda _: {})
        self.end = 0

    def change(self, key: bytes, now: float) -> None:
        """Let a change of a key come: it waits from now on, or queues behind those before it."""
        record = Entry(PLACE, self.end, key, b"a change")
        self.end += 1
        late, _ = self.waiting.part(PLACE.topic, [record])
        self.waiting.extend(late)
        if not late:
            self.waiting.hold({(PLACE.topic, key): Wait([record], MISSING)}, now)

    def look(self, now: float) -> None:
        """Ask where the topic ends, and find everybody there."""
        for _ in range(2):
            self.waiting.survey({PLACE: self.end}, {}, [], now)

    def refused(self, now: float, *, whole: bool = True) -> set[int]:
        """Try what waits; return the offsets of those changes that would be refused for good."""
        found: dict[Key, list[Record]] = {}
        for record in self.waiting.take(now, whole=whole):
            found.setdefault((record.topic(), record.key()), []).append(record)
        overdue = self.waiting.overdue(now)
        self.waiting.hold({key: Wait(records, MISSING) for key, records in found.items()}, now)
        return {place.offset for place in overdue}


def test_a_row_is_refused_when_it_was_tried_in_vain_with_all_that_had_come_and_all_has_come_since() -> None:
    trials = Trials()
    trials.change(b"a", 0)
    assert trials.refused(50) == set(), "nobody has been asked"
    trials.look(51)
    assert trials.refused(52) == set(), "what it needed may have come and gone"
    assert trials.refused(80) == set(), "nobody has been asked since"
    trials.look(81)
    assert trials.refused(82) == {0}


def test_what_was_known_before_a_row_waited_says_nothing_of_it() -> None:
    trials = Trials()
    trials.change(b"a", 0)
    trials.look(1)
    trials.change(b"b", 2)
    assert trials.refused(3) == set()
    trials.look(4)
    assert trials.refused(14) == set(), "with all that had come the second one is tried now for the first time"
    trials.look(15)
    assert trials.refused(16) == {0, 1}


def test_a_row_is_refused_at_once_only_with_all_that_wait_beside_it() -> None:
    """It may wait for one of them, which may be waiting for something else."""
    trials = Trials()
    trials.change(b"a", 0)
    for second in range(1, LONG_S, 10):
        trials.look(second)
        trials.change(str(second).encode(), second + 1)
        assert trials.refused(second + 2) == set()
    trials.look(LONG_S)
    trials.change(b"one more", LONG_S)
    assert trials.refused(LONG_S + 1) == {0}


def test_a_row_that_changes_again_has_not_waited_since_its_first_change() -> None:
    trials = Trials()
    trials.change(b"a", 0)
    trials.look(1)
    assert trials.refused(2) == set()
    trials.look(20)
    trials.change(b"a", 21)
    assert trials.refused(21, whole=False) == set()
    trials.look(LONG_S - 2)
    trials.change(b"a", LONG_S - 1)
    assert trials.refused(LONG_S - 1, whole=False) == set()
    # But not for ever: what was there when all came is refused, and what came later queues behind it.
    trials.look(LONG_S + 1)
    trials.change(b"a", LONG_S + 2)
    assert trials.refused(LONG_S + 2, whole=False) == {2}
