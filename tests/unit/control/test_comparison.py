"""The comparison's logic, on tables in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from control.verify.comparison import Limits, Pair, TableResult, compare_table
from control.verify.side import Key, Sum
from schemas.table import TableName

NAME = TableName("public", "t")
Rows = dict[Key, tuple[str, ...]]


class Tables(Pair):
    """Two tables as dictionaries; `on_wait` happens between the reads of source and target, as replication does."""

    def __init__(self, source: Rows, target: Rows) -> None:
        self.sides = (source, target)

    def buckets(self, count: int, on_piece: Callable[[float], None]) -> tuple[dict[int, Sum], dict[int, Sum]]:
        on_piece(1.0)
        left, right = ({b: _sum(rows, count, b) for b in range(count)} for rows in self.sides)
        return ({b: s for b, s in left.items() if s.rows}, {b: s for b, s in right.items() if s.rows})

    def keys(self, side: int, count: int, buckets: Sequence[int]) -> Rows:
        return {k: v for k, v in self.sides[side].items() if _bucket(k, count) in buckets}

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


def test_only_so_many_keys_are_listed() -> None:
    result = compare(Tables(numbered(50), {}), keys_max=7)
    assert (len(result.differences), result.differing) == (7, 50)
