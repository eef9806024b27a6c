"""`python -m benchmarks.python_peers`: MariaDB to PostgreSQL by ours and by pg_chameleon, in turn, by the same measure.

What the target shows is what counts: a whole run, starts included, from the first process's start until all rows, then
all changes, are there. Ours is two services with Kafka between; CPU-seconds and memory are those of both.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.databases import shapes
from benchmarks.databases.engine import SOURCE
from benchmarks.databases.postgresql import Postgresql
from benchmarks.page import pages, report, tables
from benchmarks.peers.chameleon import VERSION, Chameleon
from benchmarks.stages.measure import BenchmarkError, Cost, cost, watch
from benchmarks.stages.stage import Stage
from deploy.local.cache import LocalServerError
from deploy.local.process import ServerProcess, log_tail

OURS, CHAMELEON = "Tailrace, through Kafka", f"pg_chameleon {VERSION}"
COPIED = f"select count(*) from {SOURCE}.orders"
_SUMS = "select count(*) + sum(id) + sum(qty) + sum(length(note)) + sum(amount * 100)::bigint from {}orders"


class Race:
    """Both programs on one source, each with a database of its own at one target."""

    def __init__(self, stage: Stage, target: Postgresql, rows: int) -> None:
        self._stage = stage
        self._target = target
        self._rows = rows
        self._chameleon = Chameleon(stage.directory / "chameleon", stage.engine.endpoint(SOURCE), target, "theirs")
        self.found: list[dict[str, Any]] = []

    def run(self) -> None:
        """Measure rows, then changes. Raises BenchmarkError where a copy differs from the source."""
        for database in ("ours", "theirs"):
            self._target.create_database(database)
        engine, shape = self._stage.engine, shapes.SHAPES[0]
        engine.create(shape, self._rows)
        ours = self._stage.configure("race", targets={"ours": self._target.target("ours")})
        theirs = self._chameleon
        theirs.prepare()
        self._measure("rows", OURS, "ours", COPIED, self._rows, lambda: self._services(ours))
        self._measure("rows", CHAMELEON, "theirs", COPIED, self._rows, lambda: [theirs.start("init_replica")])
        changes = engine.change(shape, self._rows)
        inserted = self._rows // shapes.ROUND_ROWS * shapes.ROUND_ROWS
        query = f"select count(*) * {changes} / {inserted} from {SOURCE}.orders where id > {self._rows}"
        self._measure("changes", OURS, "ours", query, changes, lambda: self._services(ours))
        self._measure("changes", CHAMELEON, "theirs", query, changes, lambda: [theirs.start("start_replica")])

    def _services(self, configuration: Path) -> list[ServerProcess]:
        return [self._stage.start(configuration, service, target="ours") for service in ("capture", "apply")]

    def _measure(
        self, stage: str, product: str, database: str, query: str, until: int, start: Callable[[], list[ServerProcess]]
    ) -> None:
        with ExitStack() as stack, self._target.counting(database) as count:
            processes = start()
            for process in processes:
                stack.callback(process.stop)

            def check() -> None:
                if not all(process.running for process in processes) and count(query) < until:
                    raise BenchmarkError(
                        f"{product} has ended before it was done:\n{log_tail(self._chameleon.log, 30)}"
                    )

            found = cost(watch([process.pid for process in processes], lambda: count(query), until, check))
            self._until_equal(count, check)
        self._note(stage, product, found)

    def _until_equal(self, count: Callable[[str], int], check: Callable[[], None]) -> None:
        """Updates and deletes may come behind the last insert: wait for them, and fail if they do not come."""
        with self._stage.engine.counting(SOURCE) as at_source:
            expected = at_source(_SUMS.format("").replace("::bigint", ""))
        watch([], lambda: int(count(_SUMS.format(f"{SOURCE}.")) == expected), 1, check)

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
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the table; half as many again are changes")
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
    print(tables.products({"products": race.found}))
    if options.record:
        where = {**report.machine(load_before), "rows": options.rows}
        pages.merge(pages.PYTHON_PEERS, {**where, "products": race.found})
        pages.write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
