"""What was aimed at, and what was reached: the first table of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.page import tables

Results = dict[str, Any]
MEMORY_MIB = 300
P50_MS, P99_MS = 100, 500
LATENCY_RATE = 1000
ONE_PROCESS = ("tables", "partitions")
"""What grows while capture and the applier stay one service each."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is aimed at in one stage of the ten-column table: at least so many times the peer; and then further."""

    engine: str
    stage: str
    encoding: str
    times: int
    times_per_cpu: int
    limit: str = ""
    """The tool whose speed is the further goal."""
    far_times: int = 0
    far_times_per_cpu: int = 0


GOALS = (
    Goal("postgresql", "log", "json", 5, 8, limit="pg_recvlogical", far_times_per_cpu=12),
    Goal("postgresql", "log", "avro", 5, 8, limit="pg_recvlogical", far_times_per_cpu=15),
    Goal("postgresql", "rows", "avro", 5, 8, limit="kafka-producer-perf-test"),
    Goal("mariadb", "log", "json", 3, 6, far_times=10, far_times_per_cpu=10),
    Goal("mysql", "log", "json", 3, 6, far_times=10, far_times_per_cpu=10),
    Goal("postgresql", "apply changes", "avro", 4, 8, far_times=10, far_times_per_cpu=10),
    Goal("postgresql", "apply changes", "json-with-schema", 4, 8, far_times=10, far_times_per_cpu=10),
    Goal("postgresql", "apply rows", "avro", 5, 8, limit="COPY FROM"),
    Goal("postgresql", "apply rows", "json-with-schema", 5, 8, limit="COPY FROM"),
)
HEAD = ("stage", "encoding", "at least", "reached", "", "further goal", "reached")


def table(parts: dict[str, Results]) -> str:
    """Return every goal beside what the results say; goals of what was not measured are left out."""
    compared = parts.get("compare", {})
    found = {(entry["engine"], entry["stage"], entry["encoding"]): entry for entry in _of_orders(compared, "summary")}
    limits = {(entry["engine"], entry["name"]): entry["events_per_s"] for entry in _of_orders(compared, "limits")}
    rows = []
    for goal in GOALS:
        entry = found.get((goal.engine, goal.stage, goal.encoding))
        if entry is not None:
            rows.append(_row(goal, entry, limits.get((goal.engine, goal.limit))))
    return tables.table(HEAD, [*rows, *_latency(compared), *_memory(parts)])


def _of_orders(compared: Results, name: str) -> Iterable[Results]:
    return (entry for entry in compared.get(name, []) if entry["shape"] == tables.FIRST_SHAPE)


def _row(goal: Goal, entry: Results, limit: float | None) -> tuple[str, ...]:
    met = entry["times"] >= goal.times and entry["times_per_cpu"] >= goal.times_per_cpu
    further, reached = [], []
    if limit is not None:
        further.append(f"`{goal.limit}`, {limit:,.0f}/s")
        reached.append(f"{entry['ours']['events_per_s'] / limit:.0%}")
    if goal.far_times:
        further.append(f"{goal.far_times}×/s")
        reached.append(f"{entry['times']:.1f}×")
    if goal.far_times_per_cpu:
        further.append(f"{goal.far_times_per_cpu}×/CPU-s")
        reached.append(f"{entry['times_per_cpu']:.1f}×")
    return (
        tables.stage_title(entry),
        entry["encoding"],
        f"{goal.times}×/s, {goal.times_per_cpu}×/CPU-s",
        f"{entry['times']:.1f}×, {entry['times_per_cpu']:.1f}×",
        _met(met),
        ", ".join(further),
        ", ".join(reached),
    )


def _latency(compared: Results) -> Iterable[tuple[str, ...]]:
    for entry in compared.get("latencies", []):
        if entry["side"] == "ours" and entry["wanted_per_s"] == LATENCY_RATE:
            met = entry["p50_ms"] < P50_MS and entry["p99_ms"] < P99_MS
            yield (
                f"commit → commit, {LATENCY_RATE:,}/s",
                entry["encoding"],
                f"p50 < {P50_MS} ms, p99 < {P99_MS} ms",
                f"{entry['p50_ms']:.0f} ms, {entry['p99_ms']:.0f} ms",
                _met(met),
                "",
                "",
            )


def _memory(parts: dict[str, Results]) -> Iterable[tuple[str, ...]]:
    """Yield the most memory that one service took, wherever it was measured with the defaults."""
    found = [float(entry["ours"]["memory_peak_mib"]) for entry in parts.get("compare", {}).get("summary", [])]
    found += [float(entry["memory_peak_mib"]) for entry in parts.get("latest", {}).get("stages", [])]
    found += [float(entry["memory_mib"]) for entry in parts.get("sinks", {}).get("targets", [])]
    steps = [step for step in parts.get("growth", {}).get("steps", []) if step["grows"] in ONE_PROCESS]
    found += [float(cost["memory_mib"]) for step in steps for cost in step["costs"].values()]
    if found:
        most = max(found)
        yield "memory of a service", "", f"< {MEMORY_MIB} MiB", f"{most:.0f} MiB", _met(most < MEMORY_MIB), "", ""


def _met(met: bool) -> str:
    return "met" if met else "not met"
