"""`python -m benchmarks.compare`: our stages and the peer's, alternately, on one machine and one set of servers.

For each database, shape of table and encoding: the log into Kafka, the table's rows into Kafka, Kafka into a database
(rows, then changes); and how long a change takes from commit to commit. Each pair has its own replication of the same
backlog: ours, the peer's, ours, the peer's. The source is read once per run by each; what we write is checked against
it at the end. `--record` keeps what was measured in the place of what was measured before of the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.databases import shapes
from benchmarks.databases.engine import PEER_TABLE, SOURCE, Properties
from benchmarks.databases.postgresql import Postgresql
from benchmarks.databases.shapes import Shape
from benchmarks.page import pages, report, tables
from benchmarks.peers import debezium
from benchmarks.peers.debezium import JSON, JSON_WITH_SCHEMA, PARTITIONS, Encoding, Peer
from benchmarks.stages import latency, limits
from benchmarks.stages.measure import BenchmarkError, Cost
from benchmarks.stages.stage import ENGINES, Stage
from deploy.local.cache import LocalServerError
from deploy.local.registry import RegistryServer
from runtime.kafka.admin import TopicSpec

STAGES = ("log", "rows", "apply", "latency")
OURS, PEER = "ours", "peer"
WARM_UP_S = 20.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one side."""

    engine: str
    stage: str
    shape: str
    encoding: str
    side: str
    events: int
    events_per_s: float
    events_per_cpu_s: float
    memory_peak_mib: float
    bytes_per_event: float | None

    @property
    def what(self) -> tuple[str, str, str, str]:
        """What was measured, whoever did it."""
        return self.engine, self.stage, self.shape, self.encoding


class Comparison:
    """All runs of one shape on one set of servers."""

    def __init__(
        self, stage: Stage, engine: str, shape: Shape, rows: int, encodings: Sequence[Encoding], tell: Tell
    ) -> None:
        self._stage = stage
        self._engine = stage.engine
        self._peer = Peer(stage)
        self._name = engine
        self._shape = shape
        self._rows = rows
        self._encodings = encodings
        # The peer's sink needs schemas.
        self._sinks = [JSON_WITH_SCHEMA if encoding is JSON else encoding for encoding in encodings]
        self._tell = tell
        self.runs: list[Measured] = []
        self.limits: list[dict[str, Any]] = []
        self.latencies: list[dict[str, Any]] = []

    @property
    def connectors(self) -> dict[str, Properties]:
        """The peer's connectors, as they were configured."""
        return self._peer.connectors()

    def run(self, rounds: int, stages: Sequence[str]) -> None:
        """Measure the stages so many times, alternately. Raises BenchmarkError if our copy is not the source."""
        self._engine.create(self._shape, self._rows)
        self._stage.warm_up()
        if "rows" in stages or "apply" in stages:
            for name, seconds in self._engine.copy_rows(self._rows):
                self._limit(name, self._rows, seconds)
        if "rows" in stages:
            for name, encoding in _pairs("rows", self._encodings, rounds):
                self._measure_rows(name, encoding)
        applied = list(_pairs("apply", self._sinks, rounds)) if "apply" in stages else []
        for name, encoding in applied:
            self._apply_rows(name, encoding)
        logs = list(_pairs("log", self._encodings, rounds)) if "log" in stages else []
        for name, encoding in logs:
            self._stage.prepare(self._configure(name, encoding, mode="cdc"))
            self._peer.prepare(f"peer_{name}", encoding)
        if logs or applied:
            changes = self._change()
            for name, encoding in logs:
                self._measure_log(name, encoding, changes)
            for name, encoding in applied:
                self._apply_changes(name, encoding, changes)
        if "latency" in stages and isinstance(self._engine, Postgresql) and self._shape is shapes.SHAPES[0]:
            self._measure_latency(self._engine, self._sinks[-1])

    def _change(self) -> int:
        """Write the changes; measure what the server's own client does with their log."""
        self._engine.mark_log()
        changes = self._engine.change(self._shape, self._rows)
        self._tell(f"{changes:,} changes")
        found = self._engine.read_log()
        if found is not None:
            client, seconds = found
            self._limit(client, changes, seconds)
        if isinstance(self._engine, Postgresql):
            topic = f"producer_{self._shape.name}"
            self._stage.topics.ensure([TopicSpec(topic, PARTITIONS)])
            where = self._engine.dsn(SOURCE), self._stage.bootstrap, topic, self._stage.directory
            self._limit("kafka-producer-perf-test", *limits.producer_speed(*where))
        return changes

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

    def _apply_rows(self, name: str, encoding: Encoding) -> None:
        """Kafka to a database: the rows, each side from its own topic."""
        self._engine.create_database(name)
        ours = self._configure(name, encoding, targets=(name,))
        self._stage.capture(ours)
        self._note("apply rows", encoding, OURS, self._stage.apply(ours, name), None)
        self._peer.rows(f"peer_{name}", encoding, self._rows, keep=True)
        cost = self._peer.apply(f"peer_{name}", name, encoding, "select count(*) from {table}", self._rows)
        self._note("apply rows", encoding, PEER, cost, None)

    def _apply_changes(self, name: str, encoding: Encoding, changes: int) -> None:
        inserted = self._rows // shapes.ROUND_ROWS * shapes.ROUND_ROWS
        ours = self._stage.configuration(name)
        self._stage.capture(ours)
        self._note("apply changes", encoding, OURS, self._stage.apply(ours, name), None)
        if self._engine.digest(SOURCE) != self._engine.digest(name):
            raise BenchmarkError("source and target differ: the numbers mean nothing")
        self._peer.log(f"peer_{name}", encoding, changes, snapshot="initial")
        # By the inserts that have arrived: each of them stands for one and a half changes.
        query = f"select count(*) * {changes} / {inserted} from {{table}} where id > {self._rows}"
        cost = self._peer.apply(f"peer_{name}", name, encoding, query, changes)
        self._note("apply changes", encoding, PEER, cost, None)

    def _measure_latency(self, engine: Postgresql, encoding: Encoding) -> None:
        """From commit to commit: the same writer, first beside our two services, then beside the peer's worker."""
        source, first = engine.dsn(SOURCE), self._rows * 10
        for side in (OURS, PEER):
            name = f"latency_{side}"
            engine.create_database(name)
            table = "orders" if side == OURS else PEER_TABLE
            with ExitStack() as stack:
                if side == OURS:
                    ours = self._configure(name, encoding, mode="cdc", targets=(name,))
                    self._stage.prepare(ours)
                    for service in ("capture", "apply"):
                        stack.callback(self._stage.start(ours, service, target=name).stop)
                else:
                    stack.enter_context(self._peer.running(name, name, encoding))
                for found in latency.measure_all(source, engine.dsn(name), first, table=table, warm_up_s=WARM_UP_S):
                    self.latencies.append({"side": side, "encoding": encoding.name, **asdict(found)})
                    self._tell(
                        f"latency, {side}, {found.achieved_per_s:,.0f}/s: p50 {found.p50_ms:.0f}, "
                        f"p95 {found.p95_ms:.0f}, p99 {found.p99_ms:.0f} ms"
                    )
            first += self._rows * 10

    def _configure(self, name: str, encoding: Encoding, **settings: Any) -> Path:
        return self._stage.configure(name, topics={"format": encoding.name}, **settings)

    def _limit(self, name: str, events: int, seconds: float) -> None:
        self.limits.append(
            {"engine": self._name, "shape": self._shape.name, **asdict(report.Limit.of(name, events, seconds))}
        )
        self._tell(f"{name}: {events / seconds:,.0f}/s")

    def _note(self, stage: str, encoding: Encoding, side: str, cost: Cost, topic_bytes: int | None) -> None:
        self.runs.append(
            Measured(
                self._name,
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
        short = "; too short, so with its start: give more --rows" if cost.has_start else ""
        self._tell(
            f"{self._name} {stage}, {self._shape.name}, {encoding.name}, {side}: {cost.events_per_s:,.0f}/s, "
            f"{cost.events_per_cpu_s:,.0f} per CPU-second, {cost.memory_peak_bytes / report.MIB:.0f} MiB{short}"
        )


def _pairs(stage: str, encodings: Sequence[Encoding], rounds: int) -> Iterator[tuple[str, Encoding]]:
    for number in range(rounds):
        for encoding in encodings:
            yield f"{stage}_{encoding.name.replace('-', '_')}_{number}", encoding


def summary(runs: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return, for each thing measured, the medians of both sides and how many times the peer's ours are."""
    found: list[dict[str, Any]] = []
    for key in dict.fromkeys(run.what for run in runs):
        sides = {}
        for side in (OURS, PEER):
            some = [run for run in runs if run.what == key and run.side == side]
            sides[side] = {
                name: median(getattr(run, name) for run in some)
                for name in ("events_per_s", "events_per_cpu_s", "memory_peak_mib")
            }
        ours, theirs = sides[OURS], sides[PEER]
        found.append(
            {
                **dict(zip(("engine", "stage", "shape", "encoding"), key, strict=True)),
                **sides,
                "times": ours["events_per_s"] / theirs["events_per_s"],
                "times_per_cpu": ours["events_per_cpu_s"] / theirs["events_per_cpu_s"],
            }
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    options = _options(arguments)
    kept = pages.COMPARED if options.record else pages.RESULTS / "compare-part.json"
    try:
        for engine in options.engines:
            for shape in (shapes.shape(name) for name in options.shapes):
                if engine == "postgresql" or shape is shapes.SHAPES[0]:
                    _compare(engine, shape, options, kept)
    except (BenchmarkError, LocalServerError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n" + tables.comparison(pages.read(kept)))
    if options.record:
        pages.write_page()
    print(f"\n{kept.name}")
    return 0


def _compare(engine: str, shape: Shape, options: argparse.Namespace, kept: Path) -> None:
    """Compare on one table, and keep what was found: a later one that fails takes nothing away."""
    load_before, rows = os.getloadavg()[0], options.rows or shape.rows
    encodings = options.encodings or (("json", "avro") if shape is shapes.SHAPES[0] else ("json",))
    with ExitStack() as stack:
        stage = stack.enter_context(Stage(engine))
        found = [JSON] if "json" in encodings else []
        if "avro" in encodings:
            registry = stack.enter_context(RegistryServer(stage.directory / "registry"))
            found.append(debezium.avro(registry))
        comparison = Comparison(stage, engine, shape, rows, found, _tell)
        comparison.run(options.rounds, options.stages)
        connectors: dict[str, Any] = {"engine": engine, **comparison.connectors}
    how = {"rows": rows, "rounds": options.rounds, "warmed_up": True, "counted_rarely": True}
    where = {**report.machine(load_before), **how}
    lists = {"summary": summary(comparison.runs), "limits": comparison.limits, "latencies": comparison.latencies}
    pages.merge(
        kept,
        {
            "peer": debezium.configuration(),
            "connectors": [connectors],
            **{name: [{**entry, **where} for entry in entries] for name, entries in lists.items()},
            "runs": [asdict(run) for run in comparison.runs],
        },
    )


def _tell(text: str) -> None:
    print(f"  {text}", flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    names = [shape.name for shape in shapes.SHAPES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument(
        "--rows", type=int, help="rows of each table; half as many again are changes; default: by shape"
    )
    parser.add_argument("--rounds", type=int, default=2, help="how often each pair is measured; medians are shown")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument(
        "--shapes", nargs="+", choices=names, default=names, help="MySQL and MariaDB have `orders` only"
    )
    parser.add_argument(
        "--encodings", nargs="+", choices=("json", "avro"), help="default: both for `orders`, JSON for other shapes"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--record", action="store_true", help="keep the numbers as those of docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if not (options.rows is None or options.rows >= shapes.ROUND_ROWS) or options.rounds < 1:
        parser.error(f"at least {shapes.ROUND_ROWS} rows and one round")
    return options


if __name__ == "__main__":
    sys.exit(main())
