"""Parked records that an operator lets be applied, over doubles: they are brought to the target's version as any."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from apply.sink import TopicPartition
from apply.trouble.dead_letters import DeadLettersTopic, Letter
from apply.trouble.parking import RETRY
from apply.trouble.release import Releases
from tests.conformance.sink_suite import ORDERS
from tests.unit.apply.rig import Rig

PLACE = TopicPartition("shop.public.orders", 0)


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
        early=lambda _owned: [],
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
