"""`python -m benchmarks.sinks [TARGET…]`: one captured table written to further targets, one after the other.

Printed, not kept: what bounds a target is its server, and here that is a stand-in. The share of a core that the applier
used tells which of the two waited: near one, the applier; well below, the server.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import orders
from benchmarks.measure import BenchmarkError, Cost, cost, follow
from benchmarks.stage import TABLE, Stage
from deploy.demo.targets import KINDS, Running
from deploy.local.cache import LocalServerError
from deploy.local.process import log_tail
from runtime.kafka.group_offsets import GroupOffsets
from schemas.topics import apply_group, data_topic

NAME = "bench_sinks"
PARTITIONS = 4


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sinks", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(sorted(KINDS))}; all, if none is named")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the table; half as many again are changes")
    options = parser.parse_args(arguments)
    names = options.targets or sorted(KINDS)
    if unknown := set(names) - KINDS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    try:
        _run(names, options.rows)
    except (BenchmarkError, LocalServerError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(names: list[str], rows: int) -> None:
    with Stage() as stage:
        others = [Running(name, stage.directory / f"target-{name}") for name in names]
        try:
            sections = {other.name: other.start(stage.bootstrap) for other in others}
            orders.create(stage.source_dsn, rows)
            # The published rows, then changes of them, are what each target gets.
            topics = {"format": "json", "partitions": PARTITIONS}
            configuration = stage.configure(NAME, topics=topics, targets=sections)
            stage.capture(configuration)
            orders.change(stage.source_dsn, rows)
            stage.capture(configuration)
            print(f"  {stage.published(NAME):,} records", flush=True)
            for name in names:
                _tell(name, _apply(stage, configuration, name))
        finally:
            for other in others:
                other.stop()


def _apply(stage: Stage, configuration: Path, target: str) -> Cost:
    """Run an applier until it is where the topic stood; events are what its group has committed."""
    partitions = [(data_topic(NAME, TABLE), number) for number in range(PARTITIONS)]
    offsets = GroupOffsets({"bootstrap.servers": stage.bootstrap}, apply_group(NAME, target))
    process = stage.start(configuration, "apply", "--stop-at", "now", target=target)
    try:
        return cost(follow(process, lambda: sum(offsets.read(partitions).values())))
    except BenchmarkError as error:
        log = stage.directory / f"{configuration.stem}-apply.log"
        raise BenchmarkError(f"{target}: {error}; its log ends:\n{log_tail(log, 25)}") from error
    finally:
        offsets.close()


def _tell(name: str, found: Cost) -> None:
    seconds = found.whole_seconds
    print(
        f"  {name}: {found.whole_events / seconds:,.0f} records/s with its start,"
        f" {found.whole_events / found.whole_cpu_s:,.0f} per CPU-second; the applier used"
        f" {found.whole_cpu_s / seconds:.2f} of a core, {found.memory_peak_bytes >> 20} MiB",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
