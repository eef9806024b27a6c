"""`python -m benchmarks.profile`: where each stage's CPU time goes, by library and by function.

Each stage runs twice over the same rows: under Linux's `perf`, which sees all threads and all machine code (librdkafka,
the compiled twin, the interpreter, the kernel), and under py-spy, which sees Python's functions. Profiled runs are
slower; what counts is the shares.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.databases import shapes
from benchmarks.databases.engine import SOURCE
from benchmarks.page import pages, report, tables
from benchmarks.stages.measure import BenchmarkError
from benchmarks.stages.stage import ENGINES, Stage
from deploy.local.cache import LocalServerError

RATE_HZ = 199
"""Samples a second; a prime, so that nothing periodic keeps step with them."""
SHARE_MIN = 0.01
"""What is less than this is not told."""
FUNCTIONS = 8

TWIN = "/schemas/twin/"
PARTS = {
    "cimpl": "confluent-kafka",
    "librdkafka": "librdkafka",
    "libpq": "libpq",
    "pq.cpython": "psycopg",
    "_psycopg": "psycopg",
    "kernel": "the kernel",
    "libc.so": "libc",
    "libc-": "libc",
    "orjson": "orjson",
    "fastavro": "fastavro",
    "libpython": "Python's interpreter",
    "python3": "Python's interpreter",
}
"""By what the name of a file of machine code holds, the first that fits: what it is called here."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a stage's CPU time, 0 to 1."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Where a stage's CPU time went."""

    engine: str
    stage: str
    encoding: str
    parts: list[Share]
    machine_code: list[Share]
    python: list[Share]


class Perf:
    """All threads and all machine code of a service and its children, by Linux's perf."""

    name, replication = "perf", "under_perf"

    def command(self, kept: Path) -> list[str]:
        """Return what the service is started by. Raises BenchmarkError if there is no perf."""
        if shutil.which("perf") is None:
            raise BenchmarkError(
                "profiles need Linux's perf (Debian and Ubuntu: apt install linux-perf or linux-tools)"
            )
        return ["perf", "record", "--quiet", "-e", "cpu-clock", "-F", str(RATE_HZ), "-o", str(kept), "--"]

    def shares(self, kept: Path) -> Counter[tuple[str, str]]:
        """Return samples by file and function. Raises BenchmarkError if perf cannot read what it wrote."""
        fields = ["--fields", "sample,dso,sym", "--sort", "dso,sym", "--field-separator", "|"]
        done = subprocess.run(
            ["perf", "report", "--stdio", "--no-children", "--verbose", *fields, "-i", str(kept)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchmarkError(f"perf report ended with code {done.returncode}: {done.stderr[-500:]}")
        return perf_samples(done.stdout.splitlines())


class PySpy:
    """Python's functions of a service and its children, by py-spy."""

    name, replication = "py-spy", "under_py_spy"

    def command(self, kept: Path) -> list[str]:
        """Return what the service is started by."""
        options = ["--subprocesses", "--function", "--gil", "--format", "raw", "--rate", str(RATE_HZ)]
        return [str(Path(sys.executable).parent / "py-spy"), "record", *options, "-o", str(kept), "--"]

    def shares(self, kept: Path) -> Counter[tuple[str, str]]:
        """Return samples by file and function."""
        return spy_samples(kept.read_text(encoding="utf-8").splitlines())


def perf_samples(lines: Iterable[str]) -> Counter[tuple[str, str]]:
    """Return samples by file and function of `perf report`'s lines: `samples|file|[.] function`."""
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        fields = [field.strip() for field in line.split("|")]
        if len(fields) >= 3 and fields[0].isdigit():
            found[(fields[1], fields[2].partition("] ")[2] or fields[2])] += int(fields[0])
    return found


def spy_samples(lines: Iterable[str]) -> Counter[tuple[str, str]]:
    """Return samples by file and function of py-spy's raw stacks: `frame;function (file) count`, innermost last.

    Whatever runs while a module is imported is one function.
    """
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        innermost = stack.rpartition(";")[2]
        # A frame of its own stands for a process and its command.
        if innermost.startswith("process "):
            continue
        function, _, file = innermost.rpartition(" (")
        found[("start", "imports") if "<frozen importlib" in stack else (file.rstrip(")"), function)] += int(count)
    return found


def part_of(file: str) -> str:
    """Return what a file of machine code is called here."""
    if TWIN in file:
        return "the compiled twin"
    last = Path(file).name
    return next((name for sign, name in PARTS.items() if sign in last), last)


def _shares(counts: Counter[str]) -> list[Share]:
    whole = sum(counts.values())
    return [Share(name, count / whole) for name, count in counts.most_common() if count / whole >= SHARE_MIN]


def _summed(samples: Counter[tuple[str, str]], name: Callable[[str, str], str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for (file, function), count in samples.items():
        found[name(file, function)] += count
    return found


class Profiles:
    """The profiles of one engine's stages, on one set of servers."""

    def __init__(self, stage: Stage, engine: str, rows: int) -> None:
        self._stage = stage
        self._engine = engine
        self._rows = rows
        self._samples: dict[tuple[str, str], dict[str, Counter[tuple[str, str]]]] = {}

    def run(self) -> list[Profile]:
        """Profile all stages. Raises BenchmarkError if a tool is missing or a service fails."""
        tools = (Perf(), PySpy())
        database, shape = self._stage.engine, shapes.SHAPES[0]
        database.create(shape, self._rows)
        for tool in tools:
            target = f"{tool.replication}_target"
            database.create_database(target)
            avro = self._stage.configure(tool.replication, targets=(target,))
            self._look(tool, "rows", "avro", partial(self._stage.capture, avro))
            self._look(tool, "apply rows", "avro", partial(self._stage.apply, avro, target))
            self._stage.prepare(
                self._stage.configure(f"{tool.replication}_json", mode="cdc", topics={"format": "json"})
            )
        database.change(shape, self._rows)
        for tool in tools:
            target, json = f"{tool.replication}_target", self._stage.configuration(f"{tool.replication}_json")
            avro = self._stage.configuration(tool.replication)
            self._look(tool, "log", "json", partial(self._stage.capture, json))
            self._look(tool, "log", "avro", partial(self._stage.capture, avro))
            self._look(tool, "apply changes", "avro", partial(self._stage.apply, avro, target))
            if database.digest(SOURCE) != database.digest(target):
                raise BenchmarkError("source and target differ: the shares mean nothing")
        return [self._profile(*what) for what in self._samples]

    def _look(self, tool: Perf | PySpy, what: str, encoding: str, run: Callable[[], object]) -> None:
        kept = self._stage.directory / f"{tool.replication}-{what.replace(' ', '-')}-{encoding}"
        self._stage.under = tool.command(kept)
        try:
            run()
        finally:
            self._stage.under = []
        self._samples.setdefault((what, encoding), {})[tool.name] = tool.shares(kept)

    def _profile(self, what: str, encoding: str) -> Profile:
        samples = self._samples[(what, encoding)]
        machine_code = samples[Perf.name]
        return Profile(
            self._engine,
            what,
            encoding,
            _shares(_summed(machine_code, lambda file, _: part_of(file))),
            _shares(_summed(machine_code, lambda file, function: f"{function} ({part_of(file)})"))[:FUNCTIONS],
            _shares(_summed(samples[PySpy.name], lambda file, function: f"{function} ({file})"))[:FUNCTIONS],
        )


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the table; half as many again are changes")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--record", action="store_true", help="keep the shares as those of docs/benchmarks.md")
    options = parser.parse_args(arguments)
    kept = pages.PROFILES if options.record else pages.RESULTS / "profiles-part.json"
    load_before = os.getloadavg()[0]
    try:
        for engine in options.engines:
            with Stage(engine) as stage:
                found = [asdict(profile) for profile in Profiles(stage, engine, options.rows).run()]
            print(tables.profiles({"profiles": found}), flush=True)
            pages.merge(kept, {**report.machine(load_before), "profiles": found})
    except (BenchmarkError, LocalServerError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.record:
        pages.write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
