"""Parked records that an operator lets be applied, over doubles: they are brought to the target's version as any."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from apply.error_handling.dead_letters import DeadLettersTopic, Letter
from apply.error_handling.parking import EARLY, RETRY, ParkedKey, ParkedRecord
from apply.error_handling.policies import Policies
from apply.error_handling.release import PAUSE_S, Releases
from apply.limits import Limits
from apply.sink import TopicPartition
from schemas.changes import Row
from schemas.errors import ErrorKind, TailraceError
from tests.conformance.sink_suite import ORDERS
from tests.unit.apply.rig import Rig
from tests.unit.apply.test_incomplete_inserts import PEOPLE
from tests.unit.apply.test_waiting import CHILDREN, PARENTS, rig_of

PLACE = TopicPartition("shop.public.orders", 0)
PEOPLE_PLACE = TopicPartition("shop.public.people", 0)


@pytest.mark.parametrize("changes", [1, 2])
@pytest.mark.parametrize(("comes_again", "found"), [(False, (1, "held", True)), (True, (1, None, True))])
def test_a_value_of_an_earlier_type_is_left_out_only_where_it_comes_again(
    comes_again: bool, found: tuple[object, ...], changes: int
) -> None:
    rig = Rig([ORDERS], partition_count=1)
    member = rig.member(take_all=True, comes_again=comes_again)
    rig.topics.put(ORDERS, "c", None, (1, "held", True))
    parked = rig.topics.logs[PLACE].pop()
    number, status, paid = ORDERS.columns
    for change in range(changes):
        altered = replace(status, native=f"varchar({9 - change})")
        rig.topics.add(replace(ORDERS, version=2 + change, columns=(number, altered, paid)))
    rig.settle(member)
    answers: list[str] = []
    lot = SimpleNamespace(
        commands=lambda _owned: [((PLACE.topic, parked.key()), SimpleNamespace(command=RETRY))],
        early=lambda _owned: {},
        release=lambda _identity, _through: None,
    )
    letter = Letter((*PLACE, parked.offset()), parked.key(), parked.value())
    letters = SimpleNamespace(
        lot=lot,
        follow=lambda: None,
        letters=lambda _parked: [letter],
        answer=lambda word, _key, _place: answers.append(word),
    )
    Releases(member.applier, cast("DeadLettersTopic", letters)).attend()
    assert answers == ["released"]
    assert rig.target.read(ORDERS.name) == [found]


def test_what_was_left_before_the_changes_is_tried_again_by_who_goes_on_with_them() -> None:
    """Whatever the policy says: a row that lacks its parent then is not in error."""
    rig = rig_of(PARENTS, CHILDREN)
    member = rig.member(take_all=True, policies=Policies(row_conflict="skip"), limits=Limits(conflict_wait_s=1))
    applier = member.applier
    applier.writer.ends_early = True
    rig.topics.put(CHILDREN, "c", None, (1, 7, "red"))
    rig.settle(member)
    ((identity, parked),) = applier.lot.keys.items()
    assert [record.kind for record in parked.records] == [EARLY]
    place = TopicPartition(*parked.records[0][:2])
    entry = rig.topics.logs[place][0]
    answers: list[str] = []
    letters = SimpleNamespace(
        lot=applier.lot,
        follow=lambda: None,
        letters_of=lambda keys: [[Letter((*place, entry.at), entry.key(), entry.value())] for _ in keys],
        answer=lambda word, _key, _place: answers.append(word),
    )
    releases = Releases(applier, cast("DeadLettersTopic", letters), rig.clock)

    def attend(after_s: float) -> bool:
        rig.clock.now += after_s
        releases.attend()
        rig.settle(member)
        return identity in applier.lot.keys

    applier.holds.end_of = lambda _partition: None
    assert attend(0)
    applier.holds.end_of, applier.writer.ends_early = None, False
    stored = dict(rig.target.offsets)
    assert attend(0)
    # In vain. Whoever goes on after a crash does so where it stood, not at the row that waits.
    assert rig.target.offsets == stored
    rig.topics.put(PARENTS, "c", None, (7,))
    rig.settle(member)
    # Not without a pause: what it lacks comes when it comes.
    assert attend(0.1)
    assert answers == []
    assert not attend(1)
    assert answers == ["released"]
    assert rig.target.read(CHILDREN.name) == [(1, 7, "red")]


def test_what_waits_for_changes_is_no_parked_key_but_has_a_bound() -> None:
    rig = rig_of(PARENTS, CHILDREN)
    for i in range(20):
        rig.topics.put(CHILDREN, "c", None, (i, i, "red"))
    limits = Limits(parked_keys_max=5, early_keys_max=20, conflict_wait_s=1)
    early = rig.member(limits=limits, take_all=True)
    early.applier.writer.ends_early = True
    rig.settle(early)
    assert (len(early.applier.lot), early.applier.lot.early_count) == (20, 20)
    # Too many of them end who may leave more, and nobody else.
    rig.topics.put(CHILDREN, "c", None, (20, 20, "red"))
    with pytest.raises(TailraceError, match="early_keys_max") as caught:
        rig.settle(early)
    assert "stop_before_changes" in (caught.value.remedy or "")
    late = rig.member(limits=limits, take_all=True)
    rig.target.refuse = lambda table, _kind, _row: ErrorKind.ROW_REJECTED if table == PARENTS.name else None
    for i in range(100, 105):
        rig.topics.put(PARENTS, "c", None, (i,))
    rig.settle(late)
    assert (len(late.applier.lot), late.applier.lot.early_count) == (26, 21)
    # Keys that are refused are counted beside them.
    rig.topics.put(PARENTS, "c", None, (105,))
    with pytest.raises(TailraceError, match=r": 6 keys are parked; `apply\.parked_keys_max` is 5"):
        rig.settle(late)


def test_what_waited_for_changes_and_is_refused_then_counts_as_parked() -> None:
    rig = rig_of(PARENTS, CHILDREN)
    limits = Limits(parked_keys_max=5, conflict_wait_s=1)
    applier = (member := rig.member(limits=limits, take_all=True)).applier
    applier.writer.ends_early = True
    for i in range(6):
        rig.topics.put(CHILDREN, "c", None, (i, i, "red"))
    rig.settle(member)
    entries = {entry.key(): entry for log in rig.topics.logs.values() for entry in log}
    letters = SimpleNamespace(
        lot=applier.lot,
        follow=lambda: None,
        letters_of=lambda keys: [
            [Letter((*(entry := entries[key.key]).where, entry.at), entry.key(), entry.value())] for key in keys
        ],
    )
    releases = Releases(applier, cast("DeadLettersTopic", letters), rig.clock)
    applier.holds.end_of, applier.writer.ends_early = None, False
    refused = range(5)
    rig.target.refuse = lambda _table, _kind, row: ErrorKind.ROW_REJECTED if row and row[0] in refused else None
    releases.attend()
    assert (len(applier.lot), applier.lot.early_count) == (6, 1)
    refused = range(6)
    rig.clock.now += PAUSE_S
    with pytest.raises(TailraceError, match=r": 6 keys are parked; `apply\.parked_keys_max` is 5"):
        releases.attend()


def test_what_violates_a_key_in_commit_order_is_tried_again_some_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose value another row gives up in a later commit was parked until an operator said so."""
    monkeypatch.setattr("apply.error_handling.release.TRIES_MAX", 3)
    rig = Rig([PEOPLE], partition_count=1)
    rig.target.unique[PEOPLE.name] = "mail"
    rig.topics.begin_marks()
    member = rig.member(take_all=True, by_commit=True, limits=Limits(batch_rows=1))
    lot, tried, answers = member.applier.lot, list[int](), list[str]()

    def publish(*changes: tuple[str, Row | None, Row | None]) -> None:
        for change in changes:
            rig.topics.put(PEOPLE, *change)
            rig.topics.put_mark(whole=True)
        rig.settle(member)

    def letters_of(keys: list[ParkedKey]) -> list[list[Letter]]:
        tried.append(len(keys))
        entries = {entry.offset(): entry for entry in rig.topics.logs[PEOPLE_PLACE]}
        records = [[entries[record.offset] for record in key.records] for key in keys]
        return [[Letter((*PEOPLE_PLACE, e.offset()), e.key(), e.value()) for e in some] for some in records]

    letters = SimpleNamespace(
        lot=lot,
        follow=lambda: None,
        letters_of=letters_of,
        answer=lambda word, _key, _place: answers.append(word),
    )
    releases = Releases(member.applier, cast("DeadLettersTopic", letters), rig.clock)

    def attend(after_s: int = 60) -> int:
        rig.clock.now += after_s
        releases.attend()
        rig.settle(member)
        return len(lot.keys)

    publish(("r", None, (1, "a", None)), ("r", None, (2, "b", None)), ("r", None, (3, "c", None)))
    publish(("u", None, (1, "b", None)), ("u", None, (3, "a", None)), ("u", None, (1, "b", "later")))
    assert attend() == 2, "in vain"
    publish(("u", None, (2, "d", None)))
    assert attend() == 0, "what gave up its value let go the next one"
    assert rig.target.read(PEOPLE.name) == [(1, "b", "later"), (2, "d", None), (3, "a", None)]
    assert answers == ["released"] * 2
    publish(("u", None, (3, "d", None)))
    tried.clear()
    assert [attend() for _ in range(6)] == [1] * 6
    assert len(tried) == 3, "and not for ever"
    publish(("u", None, (2, "a", None)))
    tried.clear()
    assert [attend(2) for _ in range(3)] == [2] * 3
    assert len(tried) == 3, "the pauses of one are none of the next"


def test_who_has_lost_a_partition_writes_none_of_its_parked_rows() -> None:
    """The other one may have released the row already, and written what came of it since."""
    rig = rig_of(PARENTS, CHILDREN)
    member = rig.member(take_all=True)
    applier = member.applier
    applier.writer.ends_early = True
    rig.topics.put(CHILDREN, "c", None, (1, 7, "red"))
    rig.settle(member)
    ((_, parked),) = applier.lot.keys.items()
    place = TopicPartition(*parked.records[0][:2])
    entry = rig.topics.logs[place][0]
    rig.topics.put(PARENTS, "c", None, (7,))
    rig.settle(member)
    letters = SimpleNamespace(
        lot=applier.lot,
        follow=lambda: None,
        letters_of=lambda keys: [[Letter((*place, entry.at), entry.key(), entry.value())] for _ in keys],
    )
    other = rig.member(take_all=True)
    rig.settle(other)
    with pytest.raises(TailraceError) as caught:
        Releases(applier, cast("DeadLettersTopic", letters), rig.clock).attend()
    assert caught.value.kind is ErrorKind.INVARIANT
    assert rig.target.read(CHILDREN.name) == []


def test_so_many_are_tried_in_a_turn_that_the_group_hears_from_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apply.error_handling.release.KEYS_MAX", 2)
    rig = rig_of(PARENTS, CHILDREN)
    member = rig.member(take_all=True)
    applier = member.applier
    # Some are of partitions that another applier has got since the round began.
    keys = {("t", number): ParkedKey("t", b"", [ParkedRecord("t", 0, number, EARLY, "", 0)]) for number in range(5)}
    owned, turns = dict(keys), list[list[int]]()

    def letters_of(found: list[ParkedKey]) -> list[list[Letter]]:
        turns.append([key.records[0].offset for key in found])
        return [[] for _ in found]

    letters = SimpleNamespace(
        lot=SimpleNamespace(commands=lambda _owned: [], early=lambda _owned: owned),
        follow=lambda: None,
        letters_of=letters_of,
    )
    releases = Releases(applier, cast("DeadLettersTopic", letters), rig.clock)
    monkeypatch.setattr(releases, "_apply", lambda _letters, **_: TailraceError(ErrorKind.ROW_CONFLICT, "again"))
    releases.attend()
    del owned["t", 3]
    for _ in range(3):
        releases.attend()
    assert turns == [[0, 1], [2], [4]]
    rig.clock.now += PAUSE_S
    releases.attend()
    assert turns[3:] == [[0, 1]]
