"""Results as data, as a table on the screen, and as docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

import psutil

from benchmarks.latency import Latency
from benchmarks.measure import Cost
from runtime import clock

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage's cost."""

    name: str
    title: str
    events: int
    seconds: float
    events_per_s: float
    events_per_cpu_s: float
    events_per_cpu_s_with_start: float
    memory_peak_mib: float
    topic_bytes_per_event: float | None
    whole_seconds: float
    whole_cpu_s: float

    @classmethod
    def of(cls, name: str, title: str, cost: Cost, topic_bytes: int | None) -> StageResult:
        """Return a measured cost, with what the run put on the topic."""
        return cls(
            name,
            title,
            cost.events,
            cost.seconds,
            cost.events_per_s,
            cost.events_per_cpu_s,
            cost.whole_events / cost.whole_cpu_s if cost.whole_cpu_s else 0.0,
            cost.memory_peak_bytes / MIB,
            None if topic_bytes is None else topic_bytes / cost.whole_events,
            cost.whole_seconds,
            cost.whole_cpu_s,
        )


@dataclass(frozen=True, slots=True)
class Limit:
    """What the database's own tool did."""

    name: str
    events: int
    seconds: float
    events_per_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """All stages, measured once."""

    stages: list[StageResult]
    latencies: list[Latency]
    limits: list[Limit]


def machine(load_before: float) -> dict[str, Any]:
    """Return when and where something was measured."""
    return {
        "when": datetime.fromtimestamp(clock.now_us() / 1e6, UTC).isoformat(timespec="minutes"),
        "machine": {
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
            "system": platform.system(),
            "python": platform.python_version(),
            "load_average_before": round(load_before, 1),
            "load_average_after": round(os.getloadavg()[0], 1),
        },
    }


def document(rounds: Sequence[Round], rows: int, load_before: float) -> dict[str, Any]:
    """Return what a results file holds: where and when, the medians of the rounds, and every round."""
    return {
        **machine(load_before),
        "rows": rows,
        "rounds": len(rounds),
        "stages": medians([[asdict(s) for s in r.stages] for r in rounds]),
        "latencies": medians([[asdict(s) for s in r.latencies] for r in rounds]),
        "limits": medians([[asdict(s) for s in r.limits] for r in rounds]),
        "each_round": [asdict(r) for r in rounds],
    }


def medians(rounds: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the first round's entries with each number replaced by the median over all rounds."""
    return [
        {
            field: median(entry[field] for entry in entries) if isinstance(value, int | float) else value
            for field, value in entries[0].items()
        }
        for entries in zip(*rounds, strict=True)
    ]


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown tables, which read well on a screen, too."""
    parts = [
        _table(
            ("stage", "events/s", "events per CPU-second", "with start", "peak memory", "bytes on the topic"),
            [
                (
                    s["title"],
                    f"{s['events_per_s']:,.0f}",
                    f"{s['events_per_cpu_s']:,.0f}",
                    f"{s['events_per_cpu_s_with_start']:,.0f}",
                    f"{s['memory_peak_mib']:.0f} MiB",
                    "" if s["topic_bytes_per_event"] is None else f"{s['topic_bytes_per_event']:.0f} per event",
                )
                for s in results["stages"]
            ],
        ),
        _table(
            ("commit at source → commit at target", "achieved", "p50", "p95", "p99", "max"),
            [
                (
                    f"{entry['wanted_per_s']:,}/s",
                    f"{entry['achieved_per_s']:,.0f}/s",
                    *(f"{entry[f'{name}_ms']:,.0f} ms" for name in ("p50", "p95", "p99", "max")),
                )
                for entry in results["latencies"]
            ],
        ),
        _table(
            ("limit", "rows or changes per second"),
            [(f"`{entry['name']}`", f"{entry['events_per_s']:,.0f}") for entry in results["limits"]],
        ),
    ]
    return "\n\n".join(parts)


COMPARED = (
    "stage", "table", "encoding", "ours /s", "peer /s", "times", "ours /CPU-s", "peer /CPU-s", "times", "memory",
)  # fmt: skip


def comparison(results: dict[str, Any]) -> str:
    """Return the figures of both sides, and how many times the peer's ours are, as Markdown tables."""
    rows = []
    for entry in results["summary"]:
        ours, peer = entry["ours"], entry["peer"]
        rows.append(
            (
                entry["stage"],
                entry["shape"],
                entry["encoding"],
                f"{ours['events_per_s']:,.0f}",
                f"{peer['events_per_s']:,.0f}",
                f"{entry['times']:.1f}",
                f"{ours['events_per_cpu_s']:,.0f}",
                f"{peer['events_per_cpu_s']:,.0f}",
                f"{entry['times_per_cpu']:.1f}",
                f"{ours['memory_peak_mib']:.0f} / {peer['memory_peak_mib']:.0f} MiB",
            )
        )
    limits = [(entry["name"], f"{entry['events_per_s']:,.0f}") for entry in results["limits"]]
    return _table(COMPARED, rows) + "\n\n" + _table(("limit", "changes per second"), limits)


def page(results: dict[str, Any], compared: dict[str, Any] | None = None, notes: str = "") -> str:
    """Return docs/benchmarks.md: our stages, the comparison with the peer where there is one, and notes."""
    machine = results["machine"]
    beside = _beside(compared) if compared else "No other product was measured beside."
    return f"""\
# Benchmarks

Made by `make bench`, from [its results](../benchmarks/results/latest.json); do not edit. Measured {results["when"]} on
{machine["cores"]} cores, {machine["memory_gib"]} GiB, {machine["system"]}, Python {machine["python"]}, with
{results["rows"]:,} rows; medians of {results["rounds"]} round(s).

The load average was {machine["load_average_before"]} before the run and {machine["load_average_after"]} after it:
broker, databases, services and the measuring program
share these cores with whatever else ran. So read events per CPU-second first: it moves least with
other load. These are orders of magnitude of one machine.

{table(results)}

## Beside Debezium

{beside}

## What is measured

- The table has ten columns (`bigint`, `varchar`, `numeric`, `text`, `timestamptz`, `timestamp`, `bool`, `jsonb`,
  `int`), about 300 bytes a row. Of the changes 2/3 are inserts, 4/15 updates and 1/15 deletes, in transactions of 100
  to 1,000 rows.
- Settings are the defaults: exactly once, four partitions, two reader processes in the full load. The broker is one,
  with a heap of 512 MiB. PostgreSQL is one server for source and target, with `fsync` off.
- Rates run from the first sample in which events had moved on to the first in which all were done, ten samples a
  second: the start of the service is left out. A service works ahead of what it has committed, so this flatters short
  runs by some percent; "with start" is all events over all CPU-seconds from the process's start to its end, which is
  the other bound. The whole runs' seconds are in the results file.
- CPU and memory are those of the service's process tree, not of broker and databases. Memory is the
  peak of the resident pages of all these processes, the two readers of the full load included; pages that several
  share count once (PSS, on Linux).
- Bytes on the topic are the broker's segment files, as compressed by the producer.
- Latency is from the source's to the target's commit time of every inserted row, by one clock, in 100 transactions a
  second.
- Source and target are compared whole after the stages, and again after latency; a difference fails the run.
- Limits: `COPY` in binary form by a client that keeps the rows in memory, into a table with its primary key;
  `pg_recvlogical` with `pgoutput` to nowhere.

`make bench BENCH=load` (`changes`, `latency`, `limits`) measures a part.
`python -m benchmarks --record` replaces the first tables, `make bench-compare` the comparison.

{notes}"""


def _beside(compared: dict[str, Any]) -> str:
    machine = compared["machine"]
    return f"""\
Made by `make bench-compare`, from [its results](../benchmarks/results/compare.json), where the peer's whole
configuration stands, too. Measured {compared["when"]} on {machine["cores"]} cores with {compared["rows"]:,} rows of
each table (and half as many changes again), each side in turn on the same servers, medians of {compared["rounds"]}
round(s); the load average was {machine["load_average_before"]} before and {machine["load_average_after"]} after. Rates
leave out each side's start; CPU-seconds are all threads of the service. The peer is Debezium's connector and JDBC sink
in a Kafka Connect worker of its own.

{comparison(compared)}"""


def dump(results: dict[str, Any]) -> str:
    """Return a results file's text."""
    return json.dumps(_rounded(results), indent=1, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
