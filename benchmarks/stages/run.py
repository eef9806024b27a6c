"""The stages in order: each one's output is the next one's input, and at the end source and target must be equal."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from benchmarks.databases import orders
from benchmarks.databases.engine import SOURCE
from benchmarks.page.report import Limit, Round, StageResult
from benchmarks.stages import latency
from benchmarks.stages.measure import BenchmarkError, Cost
from benchmarks.stages.stage import TARGET, Stage

AVRO, JSON = "bench_avro", "bench_json"

Tell = Callable[[str], None]


GROUPS = ("load", "changes", "latency", "limits")
"""What can be measured by itself. `changes` and `latency` need the load first, and show it, too."""


def run_round(rows: int, tell: Tell, groups: Collection[str] = GROUPS) -> Round:
    """Measure the groups once, on fresh servers, with a table of `rows` rows. Raises BenchmarkError."""
    with Stage() as stage:
        result = Round([], [], [])
        tell(f"{rows:,} rows")
        orders.create(stage.postgresql.dsn(SOURCE), rows)
        avro = stage.configure(AVRO)
        if "limits" in groups:
            for name, seconds in stage.engine.copy_rows(rows):
                _limit(result, tell, name, rows, seconds)
        if set(groups) == {"limits"}:
            return result
        _load(stage, avro, result, tell)
        if "changes" in groups:
            _changes(stage, avro, rows, result, tell)
        _check_equal(stage)
        if "latency" in groups:
            _latency(stage, avro, rows * 10, result, tell)
            _check_equal(stage)
    return result


def _load(stage: Stage, avro: Path, result: Round, tell: Tell) -> None:
    _add(result, tell, "load-capture", "PostgreSQL rows → Kafka, Avro", stage.capture(avro), stage.topic_bytes(AVRO))
    _add(result, tell, "load-apply", "Kafka → PostgreSQL, full load", stage.apply(avro))


def _changes(stage: Stage, avro: Path, rows: int, result: Round, tell: Tell) -> None:
    json = stage.configure(JSON, mode="cdc", topics={"format": "json"})
    stage.prepare(json)
    stage.engine.mark_log()
    changed = orders.change(stage.postgresql.dsn(SOURCE), rows)
    tell(f"{changed:,} changes")
    before = stage.topic_bytes(AVRO)
    found = stage.engine.read_log()
    if found is not None:
        _limit(result, tell, found[0], changed, found[1])
    _add(result, tell, "log-json", "PostgreSQL log → Kafka, JSON", stage.capture(json), stage.topic_bytes(JSON))
    cost = stage.capture(avro)
    _add(result, tell, "log-avro", "PostgreSQL log → Kafka, Avro", cost, stage.topic_bytes(AVRO) - before)
    _add(result, tell, "changes-apply", "Kafka → PostgreSQL, changes", stage.apply(avro))


def _latency(stage: Stage, avro: Path, first: int, result: Round, tell: Tell) -> None:
    services = [stage.start(avro, "capture"), stage.start(avro, "apply")]
    source, target = stage.postgresql.dsn(SOURCE), stage.postgresql.dsn(TARGET)
    for found in latency.measure_all(source, target, first):
        result.latencies.append(found)
        tell(f"latency at {found.wanted_per_s:,}/s: p50 {found.p50_ms:.0f} ms, p99 {found.p99_ms:.0f} ms")
    for service in services:
        service.stop()


def _check_equal(stage: Stage) -> None:
    if stage.engine.digest(SOURCE) != stage.engine.digest(TARGET):
        raise BenchmarkError("source and target differ: the numbers mean nothing")


def _add(result: Round, tell: Tell, name: str, title: str, cost: Cost, topic_bytes: int | None = None) -> None:
    result.stages.append(StageResult.of(name, title, cost, topic_bytes))
    tell(f"{title}: {cost.events_per_s:,.0f}/s, {cost.events_per_cpu_s:,.0f} per CPU-second")


def _limit(result: Round, tell: Tell, name: str, events: int, seconds: float) -> None:
    result.limits.append(Limit.of(name, events, seconds))
    tell(f"{name}: {events / seconds:,.0f}/s")
