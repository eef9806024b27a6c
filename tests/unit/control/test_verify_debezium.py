"""What a comparison with the database behind a Debezium connector goes by: places in logs, and forms of values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import orjson
import pytest

from control.status import Observer
from control.verify import debezium
from control.verify.canonical import CanonicalSide, form_of
from control.verify.debezium import place_of
from schemas.debezium.reading import reading
from schemas.debezium.stated import Stated
from schemas.format import Format
from schemas.settings import Settings
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


def test_only_what_is_new_and_still_there_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = ("shop.public.orders", 0)
    ends = {partition: 1000}
    looked: list[tuple[int, int]] = []

    def read_ranges(_: object, ranges: dict[tuple[str, int], tuple[int, int]]) -> dict[tuple[str, int], list[object]]:
        looked.append(ranges[partition])
        value = orjson.dumps({"op": "u", "source": {"lsn": 100 * len(looked), "snapshot": "false"}})
        return {partition: [SimpleNamespace(value=value), SimpleNamespace(value=None)]}

    cluster = SimpleNamespace(begin_offsets=lambda topics: {partition: 995})
    reads = SimpleNamespace(envelope=orjson.loads)
    for name, double in {
        "Topics": lambda kafka: cluster,
        "applied_topics": lambda settings: [partition[0]],
        "read_ranges": read_ranges,
        "open_registry": lambda settings: None,
        "open_reading": lambda settings, registry: reads,
    }.items():
        monkeypatch.setattr(debezium, name, double)
    settings = cast("Settings", SimpleNamespace(kafka={}, registry=None))
    observer = cast("Observer", SimpleNamespace(ends=lambda topics: dict(ends)))
    passed = debezium.Delivered(settings, observer, lambda: 1).passed
    assert (passed(100), passed(101), passed(101)) == (True, False, False)
    ends[partition] = 1200
    assert passed(101)
    assert looked == [(995, 1000), (1180, 1200)]


@pytest.mark.parametrize("by_files", [False, True])
def test_a_capture_of_ours_tells_places_of_its_own_kind(monkeypatch: pytest.MonkeyPatch, by_files: bool) -> None:
    """The connector named a file's offset; our records count transactions, and so does the end that they must pass."""
    partition = ("shop.shop.orders", 0)
    ends, sources = {partition: 1}, [{"file": "binlog.000002", "pos": 900}]
    asked: list[int] = []

    def read_ranges(_: object, ranges: object) -> dict[tuple[str, int], list[object]]:
        return {partition: [SimpleNamespace(value=orjson.dumps({"op": "u", "source": s})) for s in sources]}

    def end_for_ours() -> int:
        asked.append(77)
        return 77

    for name, double in {
        "Topics": lambda kafka: SimpleNamespace(begin_offsets=lambda topics: {partition: 0}),
        "applied_topics": lambda settings: [partition[0]],
        "read_ranges": read_ranges,
        "open_registry": lambda settings: None,
        "open_reading": lambda settings, registry: SimpleNamespace(envelope=orjson.loads),
    }.items():
        monkeypatch.setattr(debezium, name, double)
    settings = cast("Settings", SimpleNamespace(kafka={}, registry=None))
    observer = cast("Observer", SimpleNamespace(ends=lambda topics: dict(ends)))
    passed = debezium.Delivered(settings, observer, end_for_ours).passed
    position = (2 << 32) + 2000
    assert (passed((2 << 32) + 900), passed(position), asked) == (True, False, [])
    # The transaction may not be there whole: one behind the end must be; by files, one behind the position.
    for lsn, is_there in (
        ((77, False), (position, False), (position + 1, True)) if by_files else ((77, False), (78, True))
    ):
        sources.append({"schema": "shop", "table": "orders", "seq": 9, "schema_version": 1, "lsn": lsn})
        ends[partition] += 1
        assert passed(position) is is_there
    assert asked == [77], "once for a position"


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
    # A target's text may be anything: a difference, not an end of the comparison.
    assert form_of(column, column)("tampered with") == "tampered with"


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
    assert theirs("tampered with") == "tampered with"
