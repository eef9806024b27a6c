"""What a comparison with the database behind a Debezium connector goes by: places in logs, and forms of values."""

from __future__ import annotations

import pytest

from control.verify.canonical import CanonicalSide, form_of
from control.verify.debezium import place_of
from schemas.debezium.reading import reading
from schemas.debezium.stated import Stated
from schemas.format import Format
from schemas.table import Column
from schemas.types import Family, LogicalType
from tests.kit.debezium import recorded


@pytest.mark.parametrize("connector", ["postgresql", "mysql", "mariadb"])
def test_the_changes_of_a_real_connector_tell_places_that_rise_along_the_log(connector: str) -> None:
    recording = recorded("json-with-schema", connector)
    reads = reading(Format.JSON_WITH_SCHEMA, connector, "x", Stated({}, "adaptive", "precise", "bytes"), None)
    change_count = 0
    for topic in recording.table_topics():
        envelopes = [reads.envelope(value) for _, value in recording.records(topic) if value is not None]
        places = {envelope["op"]: place_of(envelope) for envelope in envelopes}
        assert places.pop("r", -1) == -1, "a row that was read tells nothing"
        assert all(place > 0 for place in places.values())
        # What was sent twice, after the kill, comes again.
        rising = sorted({place_of(envelope) for envelope in envelopes} - {-1})
        first = list(dict.fromkeys(p for p in map(place_of, envelopes) if p >= 0))
        assert first == rising
        change_count += len(rising)
    assert change_count > 10


def test_mariadb_tells_the_last_transaction_that_is_behind_and_nothing_without_a_gtid() -> None:
    source = {"connector": "mariadb", "gtid": "0-1-8", "file": "binlog.000002", "pos": 900, "snapshot": "false"}
    assert place_of({"op": "u", "source": source}) == 7
    assert place_of({"op": "u", "source": source | {"gtid": None}}) == -1
    assert place_of({"op": "r", "source": source}) == -1
    assert place_of({"op": "u", "source": source | {"connector": "mysql"}}) == (2 << 32) + 900


@pytest.mark.parametrize(
    ("native", "family", "source", "own", "target"),
    [
        ("money", Family.TEXT, "-$1,234.50", LogicalType(Family.DECIMAL, precision=19, scale=2), -123450),
        ("bit(1)", Family.TEXT, "1", LogicalType(Family.BOOLEAN), True),
        ("money", Family.TEXT, "$0.00", LogicalType(Family.TEXT), "$0.00"),
    ],
)
def test_what_debezium_makes_numbers_of_is_compared_as_numbers(
    native: str, family: Family, source: object, own: LogicalType, target: object
) -> None:
    column = Column("c", LogicalType(family), native)
    assert form_of(column, column)(source) == form_of(column, Column("c", own, "other"))(target)


def test_times_with_a_zone_are_equal_as_moments_only_behind_debezium() -> None:
    column = Column("c", LogicalType(Family.TIMETZ), "timetz")
    side = CanonicalSide.__new__(CanonicalSide)
    ours = side._form(column, column)
    assert ours("12:34:56.5+02") != ours("10:34:56.5Z")
    side.by_debezium = True
    theirs = side._form(column, column)
    assert theirs("12:34:56.5+02") == theirs("10:34:56.500Z") == theirs("10:34:56.5+00:00")
    assert theirs("00:30:00+02") == theirs("22:30:00Z")
    assert theirs("24:00:00Z") != theirs("00:00:00Z")
