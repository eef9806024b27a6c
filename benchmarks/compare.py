"""`python -m benchmarks.compare`: our stages and the peer's, alternately, on one machine and one set of servers.

For each shape of table and each encoding: the log into Kafka, the table's rows into Kafka, Kafka into PostgreSQL (rows,
then changes). Each pair has its own replication of the same backlog: ours, the peer's, ours, the peer's. The source is
read once per run by each; what we write is checked against it at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks import limits, orders, pages, peer, report, shapes
from benchmarks.measure import BenchmarkError, Cost
from benchmarks.peer import JSON, JSON_WITH_SCHEMA, Encoding, Peer
from benchmarks.shapes import Shape
from benchmarks.stage import SOURCE, Stage
from deploy.local.cache import LocalServerError
from deploy.local.registry import RegistryServer

STAGES = ("log", "rows", "apply")
OURS, PEER = "ours", "peer"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one side."""

    stage: str
    shape: str
    encoding: str
    side: str
    events: int
    events_per_s: float
    events_per_cpu_s: float
    memory_peak_mib: float
    bytes_per_event: float | None


class Comparison:
    """All runs of one shape on one set of servers."""

    def __init__(self, stage: Stage, shape: Shape, rows: int, encodings: Sequence[Encoding], tell: Tell) -> None:
        self._stage = stage
        self._peer = Peer(stage)
        self._shape = shape
        self._rows = rows
        self._encodings = encodings
        self._tell = tell
        self.runs: list[Measured] = []
        self.limits: list[report.Limit] = []

    def run(self, rounds: int, stages: Sequence[str]) -> None:
        """Measure the stages so many times, alternately. Raises BenchmarkError if our copy is not the source."""
        shapes.create(self._stage.source_dsn, self._shape, self._rows)
        pairs = [(encoding, number) for number in range(rounds) for encoding in self._encodings]
        if "rows" in stages:
            for encoding, number in pairs:
                self._measure_rows(_name("rows", encoding, number), encoding)
        applied = range(rounds) if "apply" in stages else range(0)
        for number in applied:
            self._apply_rows(f"apply_{number}", f"bench_target_{number}")
        logs = [(_name("log", encoding, number), encoding) for encoding, number in pairs] if "log" in stages else []
        for name, encoding in logs:
            self._stage.prepare(self._configure(name, encoding, mode="cdc"))
            self._peer.prepare(f"peer_{name}", encoding)
        if not logs and not applied:
            return
        limits.mark_log(self._stage.source_dsn)
        changes = shapes.change(self._stage.source_dsn, self._shape, self._rows)
        self._tell(f"{changes:,} changes")
        seconds = limits.log_speed(self._stage.postgresql.address, SOURCE)
        if seconds is not None:
            title = f"pg_recvlogical, {self._shape.title}"
            self.limits.append(report.Limit(title, changes, seconds, changes / seconds))
        for name, encoding in logs:
            self._measure_log(name, encoding, changes)
        for number in applied:
            self._apply_changes(f"apply_{number}", f"bench_target_{number}", changes)

    def _measure_rows(self, name: str, encoding: Encoding) -> None:
        cost = self._stage.capture(self._configure(name, encoding))
        self._note("rows", encoding, OURS, cost, self._stage.topic_bytes(name))
        cost = self._peer.rows(f"peer_{name}", encoding, self._rows)
        self._note("rows", encoding, PEER, cost, self._stage.topic_bytes(f"peer_{name}"))

    def _measure_log(self, name: str, encoding: Encoding, changes: int) -> None:
        cost = self._stage.capture(self._stage.configuration(name))
        self._note("log", encoding, OURS, cost, self._stage.topic_bytes(name))
        cost = self._peer.log(f"peer_{name}", encoding, changes)
        self._note("log", encoding, PEER, cost, self._stage.topic_bytes(f"peer_{name}"))

    def _apply_rows(self, name: str, database: str) -> None:
        """Kafka to PostgreSQL: the rows, each side from its own topic."""
        encoding = self._sink_encoding
        with psycopg.connect(self._stage.source_dsn, autocommit=True) as connection:
            connection.execute(f"create database {database}".encode())
        ours = self._configure(name, encoding, targets={"replica": self._stage.endpoint(database)})
        self._stage.capture(ours)
        self._note("apply rows", encoding, OURS, self._stage.apply(ours, database), None)
        self._peer.rows(f"peer_{name}", encoding, self._rows, keep=True)
        cost = self._peer.apply(f"peer_{name}", database, encoding, "select count(*) from {table}", self._rows)
        self._note("apply rows", encoding, PEER, cost, None)

    def _apply_changes(self, name: str, database: str, changes: int) -> None:
        encoding, inserted = self._sink_encoding, self._rows // shapes.ROUND_ROWS * shapes.ROUND_ROWS
        ours = self._stage.configuration(name)
        self._stage.capture(ours)
        self._note("apply changes", encoding, OURS, self._stage.apply(ours, database), None)
        if orders.digest(self._stage.source_dsn) != orders.digest(self._stage.postgresql.address.dsn(database)):
            raise BenchmarkError("source and target differ: the numbers mean nothing")
        self._peer.log(f"peer_{name}", encoding, changes, snapshot="initial")
        # By the inserts that have arrived: each of them stands for one and a half changes.
        query = f"select count(*) * {changes} / {inserted} from {{table}} where id > {self._rows}"
        cost = self._peer.apply(f"peer_{name}", database, encoding, query, changes)
        self._note("apply changes", encoding, PEER, cost, None)

    @property
    def _sink_encoding(self) -> Encoding:
        """The peer's sink needs schemas."""
        return next((e for e in self._encodings if e.name == "avro"), JSON_WITH_SCHEMA)

    def _configure(self, name: str, encoding: Encoding, **settings: Any) -> Path:
        return self._stage.configure(name, topics={"format": encoding.name}, **settings)

    def _note(self, stage: str, encoding: Encoding, side: str, cost: Cost, topic_bytes: int | None) -> None:
        self.runs.append(
            Measured(
                stage,
                self._shape.name,
                encoding.name,
                side,
                cost.events,
                cost.events_per_s,
                cost.events_per_cpu_s,
                cost.memory_peak_bytes / report.MIB,
                None if topic_bytes is None else topic_bytes / cost.whole_events,
            )
        )
        self._tell(
            f"{stage}, {self._shape.name}, {encoding.name}, {side}: {cost.events_per_s:,.0f}/s, "
            f"{cost.events_per_cpu_s:,.0f} per CPU-second, {cost.memory_peak_bytes / report.MIB:.0f} MiB"
        )


def _name(stage: str, encoding: Encoding, number: int) -> str:
    return f"{stage}_{encoding.name.replace('-', '_')}_{number}"


def summary(runs: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return, for each stage, shape and encoding, the medians of both sides and how many times the peer's ours are."""
    found: list[dict[str, Any]] = []
    keys = list(dict.fromkeys((run.stage, run.shape, run.encoding) for run in runs))
    for key in keys:
        sides = {}
        for side in (OURS, PEER):
            some = [run for run in runs if (run.stage, run.shape, run.encoding) == key and run.side == side]
            sides[side] = {
                name: median(getattr(run, name) for run in some)
                for name in ("events_per_s", "events_per_cpu_s", "memory_peak_mib")
            }
        ours, theirs = sides[OURS], sides[PEER]
        found.append(
            {
                **dict(zip(("stage", "shape", "encoding"), key, strict=True)),
                **sides,
                "times": ours["events_per_s"] / theirs["events_per_s"],
                "times_per_cpu": ours["events_per_cpu_s"] / theirs["events_per_cpu_s"],
            }
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    options = _options(arguments)
    load_before = os.getloadavg()[0]
    runs: list[Measured] = []
    found_limits: list[report.Limit] = []
    try:
        for name in options.shapes:
            with ExitStack() as stack:
                stage = stack.enter_context(Stage())
                encodings = [JSON] if "json" in options.encodings else []
                if "avro" in options.encodings:
                    registry = stack.enter_context(RegistryServer(stage.directory / "registry"))
                    encodings.append(peer.avro(registry))
                comparison = Comparison(stage, shapes.shape(name), options.rows, encodings, _tell)
                comparison.run(options.rounds, options.stages)
            runs += comparison.runs
            found_limits += comparison.limits
    except (BenchmarkError, LocalServerError) as error:
        print(error, file=sys.stderr)
        return 1
    document = {
        **report.machine(load_before),
        "rows": options.rows,
        "rounds": options.rounds,
        "peer": peer.configuration(),
        "summary": summary(runs),
        "limits": [asdict(limit) for limit in found_limits],
        "runs": [asdict(run) for run in runs],
    }
    pages.RESULTS.mkdir(exist_ok=True)
    kept = pages.COMPARED if options.record else pages.RESULTS / "compare-part.json"
    kept.write_text(report.dump(document), encoding="utf-8")
    print("\n" + report.comparison(document))
    if options.record:
        pages.write_page()
    print(f"\n{kept.name}")
    return 0


def _tell(text: str) -> None:
    print(f"  {text}", flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    names = [shape.name for shape in shapes.SHAPES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each table; half as many again are changes")
    parser.add_argument("--rounds", type=int, default=2, help="how often each pair is measured; medians are shown")
    parser.add_argument("--shapes", nargs="+", choices=names, default=names)
    # The peer's Avro needs a converter and a registry, and has not been run yet: it is not part of the default.
    parser.add_argument("--encodings", nargs="+", choices=("json", "avro"), default=["json"])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--record", action="store_true", help="keep the numbers as those of docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if options.rows < shapes.ROUND_ROWS or options.rounds < 1:
        parser.error(f"at least {shapes.ROUND_ROWS} rows and one round")
    return options


if __name__ == "__main__":
    sys.exit(main())
