"""Results as data: what was measured, when and where, and medians of rounds."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.stages.latency import Latency
from benchmarks.stages.measure import Cost
from runtime import clock
from schemas import twin

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

    @classmethod
    def of(cls, name: str, events: int, seconds: float) -> Limit:
        """Return what so many events in so many seconds are."""
        return cls(name, events, seconds, events / seconds)


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
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
            "system": platform.system(),
            "python": platform.python_version(),
            "compiled_twin": _has_twin(),
            "load_average_before": round(load_before, 1),
            "load_average_after": round(os.getloadavg()[0], 1),
        },
    }


def _processor() -> str:
    """Return the processor's name, as Linux or else Python tells it."""
    told = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", told.read_text(), re.MULTILINE) if told.is_file() else None
    return named[1] if named else platform.processor()


def _has_twin() -> bool:
    """Whether the compiled twin is there; a stale one, which services do not use, warns in their logs."""
    specs = [find_spec(f"schemas.twin.{name}") for name in twin.MODULES]
    return all(spec is not None and str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES)) for spec in specs)


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


def dump(results: dict[str, Any]) -> str:
    """Return a results file's text."""
    return json.dumps(_rounded(results), indent=1, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
