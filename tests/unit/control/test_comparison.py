"""The comparison's logic, on tables in memory."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.verify import comparison
from control.verify.comparison import Limits, Pair, Report, TableResult, compare_table
from control.verify.side import Key, Sum
from schemas.table import TableName

NAME = TableName("public", "t")
Rows = dict[Key, tuple[str, ...]]


class Tables(Pair):
    """Two tables as dictionaries; `on_wait` happens between the reads of source and target, as replication does."""

    def __init__(self, source: Rows, target: Rows) -> None:
        self.sides = (source, target)
        self.portions: list[int] = []
        """How many rows were read by key at a time."""

    def buckets(self, count: int, on_piece: Callable[[float], None]) -> tuple[dict[int, Sum], dict[int, Sum]]:
        on_piece(1.0)
        left, right = ({b: _sum(rows, count, b) for b in range(count)} for rows in self.sides)
        return ({b: s for b, s in left.items() if s.rows}, {b: s for b, s in right.items() if s.rows})

    def sums(self, side: int, count: int) -> dict[int, Sum]:
        return self.buckets(count, lambda _: None)[side]

    def keys(self, side: int, count: int, buckets: Sequence[int]) -> Rows:
        found = {k: v for k, v in self.sides[side].items() if _bucket(k, count) in buckets}
        self.portions.append(len(found))
        return found

    def rows(self, side: int, keys: Sequence[Key]) -> Rows:
        return {k: self.sides[side][k] for k in keys if k in self.sides[side]}

    def position(self) -> int:
        return 1


def _bucket(key: Key, count: int) -> int:
    return sum(map(ord, str(key))) % count


def _sum(rows: Rows, count: int, bucket: int) -> Sum:
    # A row's checksum covers its key, as the whole row's text does.
    own = {k: v for k, v in rows.items() if _bucket(k, count) == bucket}
    return Sum(sum(map(len, own.values())), sum(_checksum(k, v) for k, values in own.items() for v in values))


def _checksum(key: Key, value: str) -> int:
    # Not `hash`: sums of tuples' hashes are equal by chance far too often when two keys exchange their values.
    return int.from_bytes(hashlib.sha256(repr((key, value)).encode()).digest()[:8])


class Gate:
    """Replicates when it is waited at."""

    def __init__(self, on_wait: Callable[[], None] = lambda: None, *, passes: bool = True) -> None:
        self._on_wait = on_wait
        self._passes = passes
        self.waits = 0

    def wait(self, position: int, timeout_s: float) -> bool:
        self.waits += 1
        self._on_wait()
        return self._passes


class Silent:
    """Shows nothing."""

    def start(self, table: str) -> None: ...

    def advance(self, fraction: float) -> None: ...

    def note(self, text: str) -> None: ...

    def finish(self, result: TableResult) -> None: ...


def compare(pair: Tables, gate: Gate | None = None, rows: int = 5000, **limits: int) -> TableResult:
    return compare_table(pair, NAME, rows, gate or Gate(), Limits(**limits), Silent())


def numbered(count: int) -> Rows:
    return {(str(i),): (f"sum{i}",) for i in range(count)}


def test_equal_tables_are_equal_without_a_wait() -> None:
    gate = Gate()
    result = compare(Tables(numbered(100), numbered(100)), gate)
    assert result.equal
    assert (result.source_rows, result.target_rows, result.tries, gate.waits) == (100, 100, 0, 0)


@given(
    st.dictionaries(st.integers(0, 30), st.sampled_from("abc"), max_size=20),
    st.dictionaries(st.integers(0, 30), st.sampled_from("abc"), max_size=20),
)
def test_each_differing_key_is_named_with_its_kind(source: dict[int, str], target: dict[int, str]) -> None:
    left: Rows = {(str(k),): (v,) for k, v in source.items()}
    right: Rows = {(str(k),): (v,) for k, v in target.items()}
    result = compare(Tables(left, right), keys_max=1000)
    kinds = {d.key: d.kind for d in result.differences}
    expected = dict.fromkeys(left.keys() - right.keys(), "missing") | dict.fromkeys(right.keys() - left.keys(), "extra")
    expected |= {k: "different" for k in left.keys() & right.keys() if left[k] != right[k]}
    assert kinds == expected
    assert result.differing == len(expected)
    assert result.equal == (not expected)


def test_rows_that_are_on_their_way_are_no_difference() -> None:
    source, target = numbered(100), numbered(98)
    result = compare(Tables(source, target), Gate(lambda: target.update(source)))
    assert result.equal
    assert result.tries == 1


def test_a_row_that_the_source_changes_meanwhile_may_be_seen_before_or_after() -> None:
    source, target = numbered(10), numbered(10)
    versions = iter(f"v{i}" for i in range(100))
    source["3",] = ("v-",)

    def change() -> None:
        # The target gets what was; the source goes on.
        target["3",] = source["3",]
        source["3",] = (next(versions),)

    assert compare(Tables(source, target), Gate(change)).equal


def test_a_row_that_never_stands_still_is_undecided_and_no_difference() -> None:
    source, target = numbered(10), numbered(10)
    target["3",] = ("stale",)
    versions = iter(f"v{i}" for i in range(100))

    def change() -> None:
        source["3",] = (next(versions),)

    result = compare(Tables(source, target), Gate(change), tries=3)
    assert (result.moving, result.differing, result.tries, result.equal) == (1, 0, 3, True)


def test_a_lost_row_is_found_after_two_tries_of_a_source_that_stands_still() -> None:
    gate = Gate()
    result = compare(Tables(numbered(10), numbered(9)), gate, tries=50)
    assert (result.differing, result.tries) == (1, 2)


def test_equal_rows_of_a_table_without_a_key_are_counted() -> None:
    result = compare(Tables({("a",): ("a", "a")}, {("a",): ("a",)}))
    assert result.differing == 1


def test_a_target_that_does_not_catch_up_is_said_to_be_behind() -> None:
    result = compare(Tables(numbered(3), numbered(2)), Gate(passes=False))
    assert result.behind
    assert (result.differing, result.tries) == (1, 1)
    # Nothing is decided by what may be mere lag.
    assert (result.equal, result.undecided) == (False, True)


def test_only_so_many_keys_are_listed() -> None:
    result = compare(Tables(numbered(50), {}), keys_max=7)
    assert (len(result.differences), result.differing) == (7, 50)


def renewed(value: str) -> Rows:
    checksums: tuple[str, ...] = (value,)
    return dict.fromkeys(numbered(300), checksums)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a table of 300 rows exceeds."""
    monkeypatch.setattr(comparison, "BUCKET_ROWS", 10)
    monkeypatch.setattr(comparison, "DRILL_ROWS_MAX", 100)


@pytest.mark.usefixtures("small")
def test_many_buckets_that_only_moved_between_the_scans_are_equal_without_a_look_at_their_rows() -> None:
    source, target = numbered(300), renewed("before")
    pair = Tables(source, target)
    result = compare(pair, Gate(lambda: target.update(source)), rows=300)
    assert result.equal
    assert (result.unexamined, pair.portions) == (0, [])


@pytest.mark.usefixtures("small")
def test_rows_that_change_everywhere_all_the_time_are_looked_at_portion_by_portion_and_equal() -> None:
    source, target = numbered(300), renewed("before")
    versions = itertools.count()

    def change() -> None:
        # The target is between the two states of each bucket that the source shows.
        for parity in (0, 1):
            version = next(versions)
            source.update({key: (f"v{version}",) for key in source if int(str(key[0])) // 10 % 2 == parity})
            if parity == 0:
                target.update(source)

    pair = Tables(source, target)
    result = compare(pair, Gate(change), rows=300)
    assert result.equal
    assert result.unexamined == 0
    # On each side; a bucket whose rows change at once agrees with one of its two states.
    assert sum(pair.portions) > 2 * 250
    assert max(pair.portions) <= 100


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("estimate", [0, 300])
def test_a_lost_row_among_many_is_found_however_few_the_table_was_thought_to_have(estimate: int) -> None:
    source, target = numbered(300), renewed("before")

    def replicate() -> None:
        target.update(source)
        target.pop(("123",), None)

    result = compare(Tables(source, target), Gate(replicate), rows=estimate)
    assert [(d.key, d.kind) for d in result.differences] == [(("123",), "missing")]
    assert (result.differing, result.unexamined, result.undecided) == (1, 0, False)


@pytest.mark.usefixtures("small")
def test_rows_that_could_not_be_looked_at_are_undecided_neither_equal_nor_different(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "PORTIONS_MAX", 1)
    source, target = numbered(300), renewed("before")
    versions = itertools.count()

    def change() -> None:
        source.update(renewed(f"v{next(versions)}"))

    result = compare(Tables(source, target), Gate(change), rows=300)
    assert (result.equal, result.undecided, result.differing) == (False, True, 0)
    assert 200 <= result.unexamined < 300
    one, equal = Report("r", "t", [result, TableResult("u")]), Report("r", "t", [TableResult("u")])
    different = Report("r", "t", [result, TableResult("u", differing=1, unexamined=1)])
    assert [(r.equal, r.undecided) for r in (one, equal, different)] == [(False, True), (True, False), (False, False)]
