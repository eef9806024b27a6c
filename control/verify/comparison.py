"""The comparison of a source with a target: coarse by buckets, then by key, and right while changes flow.

A bucket whose sums agree held the same rows on both sides, though perhaps at different moments. Where many buckets
differ they are summed again around a wait for the target, so that those drop out that had only moved between the scans.
The keys of the others are compared portion by portion, in tries: read the source, wait until the target has applied all
that the source had committed by then, read the target, read the source again. A key agrees when the target shows one of
the two states that the source showed. What still differs in the last try is a difference if the source stood still
around it, else it changes faster than it can be compared, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

from control.verify.side import Key, Side, Sum
from schemas.errors import TailraceError
from schemas.table import TableName, TableSchema

BUCKET_ROWS = 1000
"""About how many rows a bucket holds."""

BUCKETS_MAX = 65_536

DRILL_ROWS_MAX = 200_000
"""Rows of differing buckets that are looked at by key at a time, a bound on memory."""

PORTIONS_MAX = 20
"""How many times so many rows: each time may read the whole table. What is beyond is counted and left undecided."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often."""

    wait_s: float = 60.0
    tries: int = 5
    keys_max: int = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that differs."""

    key: Key
    kind: str
    """`missing` (at the target), `extra` (only there), or `different`."""


@dataclass(slots=True)
class TableResult:
    """What the comparison of one table found."""

    table: str
    source_rows: int = 0
    target_rows: int = 0
    differing: int = 0
    """Keys that differ for good."""
    moving: int = 0
    """Keys that changed at the source during every try."""
    unexamined: int = 0
    """Rows of further differing buckets that were not looked at one by one: neither equal nor different."""
    differences: list[Difference] = field(default_factory=list)
    """The first of them."""
    tries: int = 0
    behind: bool = False
    """The target did not catch up within the wait: differences may be mere lag."""
    error: str | None = None

    @property
    def equal(self) -> bool:
        """Whether nothing differs: all rows were looked at, and those that never stood still do not count."""
        return not (self.differing or self.unexamined or self.error)

    @property
    def undecided(self) -> bool:
        """Whether nothing was decided: not all rows were looked at, or the target is behind, so that it may be lag."""
        if self.error:
            return False
        return bool(self.differing or self.unexamined) if self.behind else bool(self.unexamined) and not self.differing


@dataclass(slots=True)
class Report:
    """The comparison of all tables."""

    replication: str
    target: str
    tables: list[TableResult] = field(default_factory=list)
    unrecorded: str | None = None
    """Why the target's table of validation failures does not say the same, where it should."""

    @property
    def equal(self) -> bool:
        """Whether all tables are equal."""
        return all(table.equal for table in self.tables)

    @property
    def undecided(self) -> bool:
        """Whether no table differs, but some are undecided."""
        return not self.equal and all(table.equal or table.undecided for table in self.tables)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "replication": self.replication,
            "target": self.target,
            "equal": self.equal,
            "undecided": self.undecided,
            "unrecorded": self.unrecorded,
            "tables": [asdict(t) | {"equal": t.equal, "undecided": t.undecided} for t in self.tables],
        }


class Gate(Protocol):
    """Knows how far the target is."""

    def wait(self, position: int, timeout_s: float) -> bool:
        """Wait until all that the source committed before `position` is applied; False if it takes too long."""
        ...


class Progress(Protocol):
    """Is told how far the comparison is."""

    def start(self, table: str) -> None:
        """A table's comparison begins."""
        ...

    def advance(self, fraction: float) -> None:
        """A fraction of its first scan is done."""
        ...

    def note(self, text: str) -> None:
        """Something else is being done with it."""
        ...

    def finish(self, result: TableResult) -> None:
        """It ended."""
        ...


class Pair:
    """A table on both sides, compared step by step."""

    def __init__(self, source: Side, target: Side, schema: TableSchema, target_name: TableName) -> None:
        """Look the table up on both sides."""
        self._sides = (source, target)
        self._shapes = (source.shape(schema.name, schema), target.shape(target_name, schema))

    def buckets(self, count: int, on_piece: Callable[[float], None]) -> tuple[dict[int, Sum], dict[int, Sum]]:
        """Scan both sides at the same time."""
        (source, target), (source_shape, target_shape) = self._sides, self._shapes
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(target.buckets, target_shape, count)
            mine = source.buckets(source_shape, count, on_piece)
            return mine, other.result()

    def sums(self, side: int, count: int) -> dict[int, Sum]:
        """Scan one side; side 0 is the source."""
        return self._sides[side].buckets(self._shapes[side], count)

    def keys(self, side: int, count: int, buckets: Sequence[int]) -> dict[Key, tuple[str, ...]]:
        """Return the checksums of some buckets' rows by key."""
        return self._sides[side].keys(self._shapes[side], count, buckets, 2 * DRILL_ROWS_MAX)

    def rows(self, side: int, keys: Sequence[Key]) -> dict[Key, tuple[str, ...]]:
        """Return the checksums of the rows with these keys."""
        return self._sides[side].rows(self._shapes[side], keys)

    def position(self) -> int:
        """Return the end of the source's log."""
        return self._sides[0].position()


def compare_table(
    pair: Pair, name: TableName, rows_estimated: int, gate: Gate, limits: Limits, progress: Progress
) -> TableResult:
    """Compare one table."""
    result = TableResult(str(name))
    count = _bucket_count(rows_estimated)
    source_sums, target_sums = pair.buckets(count, progress.advance)
    result.source_rows = sum(s.rows for s in source_sums.values())
    result.target_rows = sum(s.rows for s in target_sums.values())
    differing = _differing(source_sums, target_sums)
    if sum(differing.values()) > DRILL_ROWS_MAX:
        progress.note(f"reading {len(differing)} of {count} buckets again")
        recount = _bucket_count(max(result.source_rows, result.target_rows, rows_estimated))
        differing = _differing_still(pair, recount, gate, limits, differing if recount == count else None)
        count = recount
    portions = _portions(differing)
    while portions and not result.differing:
        portion = portions.pop(0)
        progress.note(f"looking at {len(portion)} of {count} buckets")
        _settle(pair, gate, limits, progress, result, partial(pair.keys, count=count, buckets=portion))
        for bucket in portion:
            del differing[bucket]
    result.unexamined = sum(differing.values())
    return result


def _bucket_count(rows: int) -> int:
    return max(1, min(BUCKETS_MAX, rows // BUCKET_ROWS))


def _differing(source: dict[int, Sum], target: dict[int, Sum]) -> dict[int, int]:
    """Return the buckets that differ, each with how many rows it has."""
    none = Sum(0, 0)
    return {
        bucket: max(source.get(bucket, none).rows, target.get(bucket, none).rows)
        for bucket in sorted(source.keys() | target.keys())
        if source.get(bucket) != target.get(bucket)
    }


def _differing_still(
    pair: Pair, count: int, gate: Gate, limits: Limits, among: Container[int] | None
) -> dict[int, int]:
    """Return the buckets, of those in `among`, in which the target shows neither of two states of the source."""
    before = pair.sums(0, count)
    gate.wait(pair.position(), limits.wait_s)
    target = pair.sums(1, count)
    suspects = _differing(before, target)
    if among is not None:
        suspects = {bucket: rows for bucket, rows in suspects.items() if bucket in among}
    if not suspects:
        return {}
    return {bucket: rows for bucket, rows in _differing(pair.sums(0, count), target).items() if bucket in suspects}


def _portions(differing: dict[int, int]) -> list[list[int]]:
    """Return the buckets to look at, DRILL_ROWS_MAX rows at a time; a bucket that alone holds more is left out."""
    portions: list[list[int]] = []
    room = 0
    for bucket, rows in differing.items():
        if rows > DRILL_ROWS_MAX:
            continue
        if rows > room or not portions:
            portions.append([])
            room = DRILL_ROWS_MAX
        portions[-1].append(bucket)
        room -= rows
    return portions[:PORTIONS_MAX]


def _settle(
    pair: Pair,
    gate: Gate,
    limits: Limits,
    progress: Progress,
    result: TableResult,
    read_first: Callable[[int], dict[Key, tuple[str, ...]]],
) -> None:
    """Try until no key differs or the tries are used up; write what is left into `result`."""
    open_keys: list[Key] | None = None
    before: dict[Key, tuple[str, ...]] = {}
    after: dict[Key, tuple[str, ...]] = {}
    target: dict[Key, tuple[str, ...]] = {}
    settled: set[Key] = set()
    for attempt in range(1, limits.tries + 1):
        result.tries = max(result.tries, attempt)
        before = read_first(0) if open_keys is None else pair.rows(0, open_keys)
        result.behind = not gate.wait(pair.position(), limits.wait_s)
        target = read_first(1) if open_keys is None else pair.rows(1, open_keys)
        suspects = [key for key in before.keys() | target.keys() if before.get(key) != target.get(key)]
        after = pair.rows(0, suspects) if suspects else {}
        open_keys = [key for key in suspects if after.get(key) != target.get(key)]
        if not open_keys:
            return
        progress.note(f"{len(open_keys)} keys differ after try {attempt} of {limits.tries}")
        still = all(before.get(key) == after.get(key) for key in open_keys)
        if result.behind or (still and settled == set(open_keys)):
            # Behind: waiting longer is the caller's decision, by a longer `wait_s`. Settled: two tries in a row found
            # the same keys and a source that stood still around them; a third would find nothing else.
            break
        settled = set(open_keys) if still else set()
    for key in sorted(open_keys or (), key=repr):
        if before.get(key) != after.get(key) and not result.behind:
            result.moving += 1
            continue
        result.differing += 1
        if len(result.differences) < limits.keys_max:
            kind = "missing" if key not in target else "extra" if key not in after else "different"
            result.differences.append(Difference(key, kind))


def compare_tables(
    source: Side,
    target: Side,
    tables: Sequence[tuple[TableSchema, TableName, int]],
    gate: Gate,
    limits: Limits,
    progress: Progress,
) -> list[TableResult]:
    """Compare tables one after the other; each comes with its name at the target and an estimate of its rows."""
    results = []
    for schema, target_name, rows_estimated in tables:
        progress.start(str(schema.name))
        try:
            pair = Pair(source, target, schema, target_name)
            result = compare_table(pair, schema.name, rows_estimated, gate, limits, progress)
        except TailraceError as error:
            result = TableResult(str(schema.name), error=error.message)
        results.append(result)
        progress.finish(result)
    return results
