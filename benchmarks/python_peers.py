"""`python -m benchmarks.python_peers`: MariaDB to PostgreSQL by ours, pg_chameleon and Singer, in turn, by one measure.

What the target shows is what counts: a whole run, starts included, from the first process's start until all rows, then
all changes, are there. Ours is two services with Kafka between; CPU-seconds and memory are those of both.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.databases import shapes
from benchmarks.databases.engine import SOURCE
from benchmarks.databases.postgresql import Postgresql
from benchmarks.page import pages, report, tables
from benchmarks.peers.chameleon import VERSION, Chameleon
from benchmarks.peers.singer import Singer
from benchmarks.stages.measure import BenchmarkError, Cost, cost, watch
from benchmarks.stages.stage import Stage
from deploy.local.cache import LocalServerError
from deploy.local.process import ServerProcess, log_tail

OURS, CHAMELEON, SINGER = "Tailrace, through Kafka", f"pg_chameleon {VERSION}", "Singer: tap-mysql, target-postgres"
EQUAL_TIMEOUT_S = 120.0
COPIED = f"select count(*) from {SOURCE}.orders"
_SUMS = "select sum(id) + sum(qty) + sum(length(note)) + sum(amount * 100)::bigint from {}orders"


class Race:
    """All programs on one source, each with a database of its own at one target."""

    def __init__(self, stage: Stage, target: Postgresql, rows: int) -> None:
        self._stage = stage
        self._target = target
        self._rows = rows
        source = stage.engine.endpoint(SOURCE)
        self._chameleon = Chameleon(stage.directory / "chameleon", source, target, "chameleon")
        self._singer = Singer(stage.directory / "singer", source, target, "singer")
        self.found: list[dict[str, Any]] = []
        self.left: dict[str, str] = {}
        """By program that goes on no more, in which stage and why."""

    def run(self) -> None:
        """Measure rows, then changes. A program that fails is left out from there on, and the reason kept."""
        for database in ("ours", "chameleon", "singer"):
            self._target.create_database(database)
        engine, shape = self._stage.engine, shapes.SHAPES[0]
        engine.create(shape, self._rows)
        ours = self._stage.configure("race", targets={"ours": self._target.target("ours")})
        self._try("rows", CHAMELEON, self._chameleon.prepare)
        self._try("rows", SINGER, self._singer.prepare)
        self._measure_all("rows", COPIED, self._rows, ours, "init_replica")
        changes = engine.change(shape, self._rows)
        inserted = self._rows // shapes.ROUND_ROWS * shapes.ROUND_ROWS
        query = f"select count(*) * {changes} / {inserted} from {SOURCE}.orders where id > {self._rows}"
        self._measure_all("changes", query, changes, ours, "start_replica")

    def _measure_all(self, stage: str, query: str, until: int, ours: Path, command: str) -> None:
        starts: dict[str, tuple[str, Path, Callable[[], list[ServerProcess]]]] = {
            OURS: ("ours", self._stage.directory / "race-capture.log", lambda: self._services(ours)),
            CHAMELEON: ("chameleon", self._chameleon.log, lambda: [self._chameleon.start(command)]),
            SINGER: ("singer", self._singer.log, lambda: [self._singer.start()]),
        }
        for product, (database, log, start) in starts.items():
            self._try(stage, product, partial(self._measure, stage, product, database, query, until, log, start))

    def _try(self, stage: str, product: str, do: Callable[[], None]) -> None:
        if product in self.left:
            return
        try:
            do()
        except (BenchmarkError, LocalServerError) as error:
            if product == OURS:
                raise
            self.left[product] = f"{stage}: {error}"
            print(f"  {product}, {stage}: {error}", file=sys.stderr, flush=True)

    def _services(self, configuration: Path) -> list[ServerProcess]:
        return [self._stage.start(configuration, service, target="ours") for service in ("capture", "apply")]

    def _measure(
        self,
        stage: str,
        product: str,
        database: str,
        query: str,
        until: int,
        log: Path,
        start: Callable[[], list[ServerProcess]],
    ) -> None:
        with ExitStack() as stack, self._target.counting(database) as count:
            processes = start()
            for process in processes:
                stack.callback(process.stop)

            def check() -> None:
                if not all(process.running for process in processes) and count(query) < until:
                    raise BenchmarkError(f"{product} has ended before it was done:\n{log_tail(log, 30)}")

            found = cost(watch([process.pid for process in processes], lambda: count(query), until, check))
            self._until_equal(count, check)
        self._note(stage, product, found)

    def _until_equal(self, count: Callable[[str], int], check: Callable[[], None]) -> None:
        """Updates and deletes may come behind the last insert: wait for them, and fail if they do not come."""
        with self._stage.engine.counting(SOURCE) as at_source:
            rows = at_source(COPIED)
            expected = at_source(_SUMS.format("").replace("::bigint", ""))
        try:
            copied = _SUMS.format(f"{SOURCE}.")
            watch([], lambda: int(count(copied) == expected), 1, check, deadline_s=EQUAL_TIMEOUT_S)
        except BenchmarkError as error:
            found = count(COPIED)
            differs = "other values in as many rows" if found == rows else f"{found:,} rows for {rows:,}"
            raise BenchmarkError(f"its copy did not become equal to the source: {differs}") from error

    def _note(self, stage: str, product: str, found: Cost) -> None:
        entry = {
            "product": product,
            "stage": f"MariaDB → PostgreSQL, {stage}",
            "events_per_s": found.whole_events / found.whole_seconds,
            "events_per_cpu_s": found.whole_events / found.whole_cpu_s,
            "memory_mib": found.memory_peak_bytes / report.MIB,
        }
        self.found.append(entry)
        print(f"  {entry['stage']}, {product}: {entry['events_per_s']:,.0f}/s", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.python_peers", description=__doc__)
    parser.add_argument("--rows", type=int, default=600_000, help="rows of the table; half as many again are changes")
    parser.add_argument("--record", action="store_true", help="keep the numbers as those of docs/benchmarks.md")
    options = parser.parse_args(arguments)
    load_before = os.getloadavg()[0]
    try:
        with Stage("mariadb") as stage:
            target = Postgresql(stage.directory / "postgresql")
            target.start()
            try:
                race = Race(stage, target, options.rows)
                race.run()
            finally:
                target.stop()
    except (BenchmarkError, LocalServerError) as error:
        print(error, file=sys.stderr)
        return 1
    found = {"products": race.found, "left": race.left}
    print(tables.products(found))
    if options.record:
        where = {**report.machine(load_before), "rows": options.rows}
        pages.merge(pages.PYTHON_PEERS, {**where, **found})
        pages.write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
