"""From the commit at the source to the commit at the target, by the server's own commit times.

Source and target are databases of one PostgreSQL with `track_commit_timestamp`: one clock, and nobody polls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from benchmarks.databases import orders
from benchmarks.stages.measure import BenchmarkError, percentile
from runtime import clock

RATES = (100, 1000, 5000)
SECONDS = 10.0
"""How long rows are written at each rate."""
TRANSACTIONS_PER_S = 100
WARM_UP_ROWS = 100
ARRIVAL_TIMEOUT_S = 300.0

_COMMITS = (
    "select id, extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000 from {table} where id between %s and %s"
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of the time from commit to commit, over all rows that were inserted, in milliseconds."""

    wanted_per_s: int
    achieved_per_s: float
    rows: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def measure_all(
    source_dsn: str, target_dsn: str, first: int, *, table: str = "orders", warm_up_s: float = 0.0
) -> Iterator[Latency]:
    """Measure each of `RATES` in turn, with rows from number `first` on, once the first of them have come through.

    `warm_up_s` seconds of the middle rate go before: a virtual machine compiles what it runs often.
    """
    with psycopg.connect(source_dsn, autocommit=True) as source:
        orders.insert(source, first, first + WARM_UP_ROWS - 1)
    with psycopg.connect(target_dsn, autocommit=True) as target:
        _wait_for(target, table, first, first + WARM_UP_ROWS - 1)
    first += WARM_UP_ROWS
    if warm_up_s:
        first += _measure(source_dsn, target_dsn, first, RATES[1], warm_up_s, table).rows
    for rate in RATES:
        found = _measure(source_dsn, target_dsn, first, rate, SECONDS, table)
        first += found.rows
        yield found


def _measure(source_dsn: str, target_dsn: str, first: int, rows_per_s: int, seconds: float, table: str) -> Latency:
    """Insert rows from number `first` on, in 100 transactions a second, and wait until all have arrived."""
    size = rows_per_s // TRANSACTIONS_PER_S
    count = int(seconds * TRANSACTIONS_PER_S)
    last = first + count * size - 1
    with (
        psycopg.connect(source_dsn, autocommit=True) as source,
        psycopg.connect(target_dsn, autocommit=True) as target,
    ):
        begin = clock.monotonic()
        for number in range(count):
            orders.insert(source, first + number * size, first + (number + 1) * size - 1)
            clock.sleep(max(0.0, begin + (number + 1) / TRANSACTIONS_PER_S - clock.monotonic()))
        took = clock.monotonic() - begin
        _wait_for(target, table, first, last)
        committed: dict[int, float] = dict(source.execute(_query("orders"), (first, last)).fetchall())
        arrived: dict[int, float] = dict(target.execute(_query(table), (first, last)).fetchall())
    return summary(rows_per_s, (last - first + 1) / took, [float(arrived[i] - committed[i]) for i in committed])


def summary(wanted_per_s: int, achieved_per_s: float, delays_ms: list[float]) -> Latency:
    """Return the percentiles of some delays."""
    ordered = sorted(delays_ms)
    p50, p95, p99 = (percentile(ordered, percent) for percent in (50, 95, 99))
    return Latency(wanted_per_s, achieved_per_s, len(ordered), p50, p95, p99, ordered[-1])


def _query(table: str) -> bytes:
    return _COMMITS.format(table=table).encode()


def _wait_for(target: psycopg.Connection, table: str, first: int, last: int) -> None:
    """Wait until all rows of these numbers are in the target, whose table may not be there yet."""
    deadline = clock.monotonic() + ARRIVAL_TIMEOUT_S
    query = f"select count(*) from {table} where id between %s and %s".encode()
    while True:
        there = target.execute("select to_regclass(%s) is not null", (table,)).fetchone()
        if there == (True,):
            found = target.execute(query, (first, last)).fetchone()
            if found is not None and found[0] > last - first:
                return
        if clock.monotonic() > deadline:
            raise BenchmarkError(f"rows did not arrive within {ARRIVAL_TIMEOUT_S:.0f} s")
        clock.sleep(0.2)
