"""`python -m benchmarks.growth [THING…]`: how cost grows with tables, appliers, partitions and targets.

Whole runs of services, starts included, by small tables: what counts is how CPU-seconds and memory change from step to
step. Each step has a database, topics and targets of its own on the same servers.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.databases import orders
from benchmarks.page import pages, report, tables
from benchmarks.stages.measure import BenchmarkError
from benchmarks.stages.stage import Stage
from deploy.local.cache import LocalServerError
from schemas.table import TableName

SIZES = {
    "tables": (1, 10, 100, 1000),
    "applier processes": (1, 2, 4, 8),
    "partitions": (1, 4, 12, 48),
    "targets": (1, 2, 4, 8),
}
PARTITIONS = 8
"""Where appliers grow: each gets one at least."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a whole run cost."""

    seconds: float
    cpu_s: float
    memory_mib: float


class Growth:
    """The steps, on one set of servers."""

    def __init__(self, stage: Stage, rows: int) -> None:
        self._stage = stage
        self._rows = rows
        self._number = 0

    def move(self, *, tables: int = 1, partitions: int = 4, appliers: int = 1, targets: int = 1) -> dict[str, Spent]:
        """Move rows, then changes, from a database of its own to each target by so many appliers of one group."""
        self._number += 1
        source, names = f"grow_{self._number}", [TableName("public", f"t{number}") for number in range(tables)]
        copies = [f"{source}_at_{number}" for number in range(targets)]
        for database in (source, *copies):
            self._stage.engine.create_database(database)
        self._fill(source, names)
        topics = {"partitions": partitions, "format": "json"}
        configuration = self._stage.configure(source, database=source, tables=names, targets=copies, topics=topics)
        found = {}
        for what in ("rows", "changes"):
            if what == "changes":
                self._change(source, names)
            found[f"capture, {what}"] = self._spend(configuration, "capture")
            found[f"apply, {what}"] = self._spend(configuration, "apply", *copies * appliers)
        for database in copies:
            self._check(source, database, names)
        return found

    def _fill(self, database: str, names: list[TableName]) -> None:
        each = max(1, self._rows // len(names))
        with psycopg.connect(self._stage.postgresql.dsn(database), autocommit=True) as connection:
            for name in names:
                connection.execute(orders.TABLE.format(name=name.table).encode())
                connection.execute(_insert(name, 1, each))

    def _change(self, database: str, names: list[TableName]) -> None:
        """As many inserts as there are rows, and updates of half of them."""
        each = max(2, self._rows // len(names))
        with psycopg.connect(self._stage.postgresql.dsn(database), autocommit=True) as connection:
            for name in names:
                for first in range(each + 1, 2 * each + 1, orders.ROWS_STEP):
                    connection.execute(_insert(name, first, min(first + orders.ROWS_STEP - 1, 2 * each)))
                connection.execute(f"update {name.table} set {orders.UPDATE} where id <= {each // 2}".encode())

    def _spend(self, configuration: Path, service: str, *targets: str) -> Spent:
        samples = self._stage.run(configuration, service, lambda: 0, **({"targets": targets} if targets else {}))
        peak = max(sample.memory_bytes for sample in samples)
        return Spent(samples[-1].at_s - samples[0].at_s, samples[-1].cpu_s, peak / report.MIB)

    def _check(self, source: str, target: str, names: list[TableName]) -> None:
        for table in (names[0].table, names[-1].table):
            both = [orders.digest(self._stage.postgresql.dsn(database), table) for database in (source, target)]
            if both[0] != both[1]:
                raise BenchmarkError(f"{table} differs at {target}: the numbers mean nothing")


def _insert(name: TableName, first: int, last: int) -> bytes:
    rows = f"generate_series({first}::bigint, {last}::bigint) i"
    return f"insert into {name.table} select {orders.VALUES} from {rows}".encode()


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    things = [name.split()[0] for name in SIZES]
    parser.add_argument("things", nargs="*", help=f"of {', '.join(things)}; all, if none is named")
    parser.add_argument(
        "--rows", type=int, default=50_000, help="rows in all; one and a half times as many are changes"
    )
    parser.add_argument("--most", type=int, default=1000, help="the largest size to go to")
    parser.add_argument("--record", action="store_true", help="keep the numbers as those of docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if unknown := set(options.things) - set(things):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    kept = pages.GROWTH if options.record else pages.RESULTS / "growth-part.json"
    load_before = os.getloadavg()[0]
    try:
        with Stage() as stage:
            for entry in _steps(Growth(stage, options.rows), options):
                print(tables.growth({"steps": [entry]}), flush=True)
                pages.merge(kept, {**report.machine(load_before), "steps": [{**entry, "rows": options.rows}]})
    except (BenchmarkError, LocalServerError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.record:
        pages.write_page()
    return 0


def _steps(growth: Growth, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    ways: dict[str, Callable[[int], dict[str, Spent]]] = {
        "tables": lambda size: growth.move(tables=size, partitions=1),
        "applier processes": lambda size: growth.move(appliers=size, partitions=PARTITIONS),
        "partitions": lambda size: growth.move(partitions=size),
        "targets": lambda size: growth.move(targets=size),
    }
    for name, measure in ways.items():
        if options.things and name.split()[0] not in options.things:
            continue
        for size in SIZES[name]:
            if size <= options.most:
                costs = {what: asdict(spent) for what, spent in measure(size).items()}
                yield {"grows": name, "size": size, "costs": costs}


if __name__ == "__main__":
    sys.exit(main())
