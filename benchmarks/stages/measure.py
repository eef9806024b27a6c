"""What a stage cost: events, seconds, CPU-seconds and memory of a service, from samples taken while it ran.

A service is its whole process tree (the full load has reader processes). Rates are taken between the first and the last
sample in which events had moved on: the start of a Python process and its connections, a second or two, is no part of
a stream's speed. The whole run's time stands beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psutil

from deploy.local.process import ServerProcess
from runtime import clock

INTERVAL_S = 0.1
WINDOW_MIN_S = 1.0
"""Ten samples: the rate is known to a tenth."""
DEADLINE_S = 1800.0
ANSWERS_APART = 9
"""How many times as long as an answer took nothing is asked."""


class BenchmarkError(Exception):
    """A measurement is not valid; the message says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A service at one moment."""

    at_s: float
    events: int
    """Events that were done, of this run."""
    cpu_s: float
    """CPU time that the process tree had used."""
    memory_bytes: int
    """Memory of the process tree, loaders included; what its processes share is counted once."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost."""

    events: int
    seconds: float
    cpu_s: float
    memory_peak_bytes: int
    whole_events: int
    whole_seconds: float
    whole_cpu_s: float

    @property
    def events_per_s(self) -> float:
        """Throughput."""
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def events_per_cpu_s(self) -> float:
        """Events for one second of one core: what stays comparable on a machine that does other things, too."""
        return self.events / self.cpu_s if self.cpu_s else 0.0

    @property
    def has_start(self) -> bool:
        """Whether it ended too soon for a window of its own, so that the service's start is part of it."""
        return self.events == self.whole_events


def cost(samples: Sequence[Sample]) -> Cost:
    """Return the cost between the first sample with events and the first with all of them.

    Where less than `WINDOW_MIN_S` lies between them, they say too little: it is the whole run's up to the last, with
    its start. Raises BenchmarkError if there were no events.
    """
    whole = samples[-1].events if samples else 0
    if not whole:
        raise BenchmarkError("no event was done")
    first = next(sample for sample in samples if sample.events)
    last = next(sample for sample in samples if sample.events == whole)
    begin = first if last.at_s - first.at_s >= WINDOW_MIN_S else samples[0]
    return Cost(
        events=last.events - begin.events,
        seconds=last.at_s - begin.at_s,
        cpu_s=last.cpu_s - begin.cpu_s,
        memory_peak_bytes=max(sample.memory_bytes for sample in samples),
        whole_events=whole,
        whole_seconds=samples[-1].at_s - samples[0].at_s,
        whole_cpu_s=samples[-1].cpu_s,
    )


class ProcessTrees:
    """CPU time and memory of processes and all their descendants, those that have ended included."""

    def __init__(self, *pids: int) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]
        self._cpu_s: dict[psutil.Process, float] = {}

    def look(self) -> tuple[float, int]:
        """Return the CPU-seconds used so far, and the bytes of memory now (0 once the processes have ended)."""
        memory_bytes = 0
        for process in self._members():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    memory_bytes += _memory_bytes(process)
            except psutil.Error:
                continue
            self._cpu_s[process] = times.user + times.system
        return sum(self._cpu_s.values()), memory_bytes

    def _members(self) -> Iterator[psutil.Process]:
        for root in self._roots:
            try:
                yield from (root, *root.children(recursive=True))
            except psutil.Error:
                continue


def _memory_bytes(process: psutil.Process) -> int:
    """Return a process's share of the resident memory: its own pages, and its part of those that several have."""
    full = process.memory_full_info()
    # Only Linux tells the part (PSS); elsewhere the sum over processes is an upper bound.
    return int(getattr(full, "pss", 0) or full.rss)


def follow(
    processes: Sequence[ServerProcess], events: Callable[[], int], *, interval_s: float = INTERVAL_S
) -> list[Sample]:
    """Sample services until all end by themselves. `events` counts from any base; samples count from its first answer.

    Raises BenchmarkError if one fails.
    """
    trees, begin, base = ProcessTrees(*(process.pid for process in processes)), clock.monotonic(), events()
    samples: list[Sample] = []
    running = True
    while running:
        running = any(process.running for process in processes)
        done = events() - base
        samples.append(Sample(clock.monotonic(), done, *trees.look()))
        if clock.monotonic() - begin > DEADLINE_S:
            raise BenchmarkError(f"a service did not end within {DEADLINE_S:.0f} s")
        clock.sleep(interval_s)
    for process in processes:
        if process.return_code:
            raise BenchmarkError(f"a service ended with code {process.return_code}")
    return samples


def watch(
    pids: Sequence[int],
    events: Callable[[], int],
    until: int,
    check: Callable[[], None],
    *,
    interval_s: float = INTERVAL_S,
    deadline_s: float = DEADLINE_S,
) -> list[Sample]:
    """Sample services that never end until they have done `until` events. `check` raises if one has failed.

    `events` may be a query that reads a table. It is asked more rarely then, see `pause_s`.
    """
    trees, begin = ProcessTrees(*pids), clock.monotonic()
    samples: list[Sample] = []
    while not samples or samples[-1].events < until:
        asked = clock.monotonic()
        done = min(events(), until)
        now = clock.monotonic()
        samples.append(Sample(now, done, *trees.look()))
        if now - begin > deadline_s:
            raise BenchmarkError(f"a service did not do its {until} events within {deadline_s:.0f} s")
        if len(samples) % 50 == 0:
            check()
        clock.sleep(pause_s(samples, until, now - asked, interval_s))
    return samples


def pause_s(samples: Sequence[Sample], until: int, answer_s: float, interval_s: float) -> float:
    """Return how long to wait before events are counted again, by the time that the last answer took.

    Counting rows costs the server a core, which is taken from who is measured: it gets a tenth of the time at most.
    Towards the end half of what is left, at the rate so far, is waited for, so that the end is seen when it comes.
    """
    rarely = answer_s * ANSWERS_APART
    first = next((sample for sample in samples if sample.events), samples[-1])
    done, took = samples[-1].events - first.events, samples[-1].at_s - first.at_s
    left = took * (until - samples[-1].events) / done / 2 if done else rarely
    return max(interval_s, min(rarely, left))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the ordered values do not exceed (nearest rank)."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, min(len(ordered), int(rank)) - 1)]
