"""`python -m benchmarks.sinks [TARGET…]`: one captured table written to further targets, one after the other.

What bounds a target is its server, and here that is a stand-in mostly. The applier says of itself, in its status
document, how long a batch was at the target while it had nothing to do but wait, waits for a core not counted, and what
CPU time it used: whichever is more tells who bounds. The machine's other work does not count as either.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.databases import orders
from benchmarks.databases.engine import SOURCE
from benchmarks.page import pages, report, tables
from benchmarks.receiver import Receiver
from benchmarks.stages.measure import BenchmarkError
from benchmarks.stages.stage import Stage
from deploy.demo.targets import KINDS, Kind, Running
from deploy.local.cache import LocalServerError
from runtime.kafka.group_offsets import GroupOffsets
from runtime.status import read_status
from schemas.topics import apply_group, data_topic

NAME = "bench_sinks"
PARTITIONS = 4
TARGETS = KINDS | {
    "stdout": Kind("standard output, into a file", None, lambda *_: {"engine": "stdout"}),
    "webhook": Kind(
        "a webhook that takes all",
        Receiver,
        lambda server, *_: {"engine": "webhook", "url": f"http://127.0.0.1:{server.port}/changes"},
    ),
}
"""Those of the demo, and what cannot be read back."""


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sinks", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(sorted(TARGETS))}; all, if none is named")
    parser.add_argument("--rows", type=int, default=50_000, help="rows of the table; half as many again are changes")
    parser.add_argument("--record", action="store_true", help="keep the numbers as those of docs/benchmarks.md")
    options = parser.parse_args(arguments)
    names = options.targets or sorted(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    kept = pages.SINKS if options.record else pages.RESULTS / "sinks-part.json"
    try:
        _run(names, options.rows, kept)
    except (BenchmarkError, LocalServerError) as error:
        print(error, file=sys.stderr)
        return 1
    print(tables.sinks(pages.read(kept)))
    if options.record:
        pages.write_page()
    return 0


def _run(names: list[str], rows: int, kept: Path) -> None:
    with Stage() as stage:
        orders.create(stage.postgresql.dsn(SOURCE), rows)
        # The published rows, then changes of them, are what each target gets.
        topics = {"format": "json", "partitions": PARTITIONS}
        configuration = stage.configure(NAME, topics=topics)
        stage.capture(configuration)
        orders.change(stage.postgresql.dsn(SOURCE), rows)
        stage.capture(configuration)
        print(f"  {stage.published(NAME):,} records", flush=True)
        for name in names:
            load_before = os.getloadavg()[0]
            other = Running(name, TARGETS[name], stage.directory / f"target-{name}")
            try:
                stage.configure(NAME, topics=topics, targets={name: other.start(stage.bootstrap)})
                entry = {"target": name, "title": other.kind.title, **_apply(stage, configuration, name)}
            finally:
                other.stop()
            where = report.machine(load_before)
            pages.merge(kept, {**where, "targets": [{**entry, **where, "rows": rows}]})
            print(f"  {name}: {entry['events_per_s']:,.0f} records/s, {entry['us']:.1f} µs of CPU each", flush=True)


def _apply(stage: Stage, configuration: Path, target: str) -> dict[str, Any]:
    """Run an applier until it is where the topic stood; events are what its group has committed."""
    partitions = [(data_topic(NAME, stage.table), number) for number in range(PARTITIONS)]
    offsets = GroupOffsets({"bootstrap.servers": stage.bootstrap}, apply_group(NAME, target))
    try:
        found = stage.measure(configuration, "apply", lambda: sum(offsets.read(partitions).values()), targets=[target])
    finally:
        offsets.close()
    said = _said(stage, target)
    return {
        "events_per_s": found.whole_events / found.whole_seconds,
        "events_per_cpu_s": found.whole_events / found.whole_cpu_s,
        "us": found.whole_cpu_s / found.whole_events * 1e6,
        "cores": found.whole_cpu_s / found.whole_seconds,
        "waited_s": said["waiting_s"],
        "worked_s": said["cpu_s"],
        "memory_mib": found.memory_peak_bytes / report.MIB,
        "bound": bound(said["waiting_s"], said["cpu_s"]),
    }


def bound(waiting_s: float, cpu_s: float) -> str:
    """Return who bounds an applier that has waited for its target so long, and worked so long."""
    return "the server" if waiting_s > cpu_s else "the applier"


def _said(stage: Stage, target: str) -> dict[str, Any]:
    """Return the last that an applier of a target has said of itself."""
    documents = read_status({"bootstrap.servers": stage.bootstrap}, NAME)
    found = [document for name, document in documents.items() if name.startswith(f"apply.{target}.")]
    if not found:
        raise BenchmarkError(f"the applier of {target} has said nothing")
    return max(found, key=lambda document: int(document["ts_us"]))


if __name__ == "__main__":
    sys.exit(main())
