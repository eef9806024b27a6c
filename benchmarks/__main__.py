"""`python -m benchmarks`: measure the pipeline's stages on servers of its own; print and keep the numbers."""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks.page import report, tables
from benchmarks.page.pages import RESULTS, ROOT, write_page
from benchmarks.stages.measure import BenchmarkError
from benchmarks.stages.run import GROUPS, run_round
from deploy.local.cache import LocalServerError

ROWS_MIN = 10_000


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    options = _options(arguments)
    groups = [options.name] if options.name else GROUPS
    load_before = os.getloadavg()[0]
    try:
        rounds = [run_round(options.rows, _tell, groups) for _ in range(options.rounds)]
    except (BenchmarkError, LocalServerError) as error:
        print(error, file=sys.stderr)
        return 1
    results = report.document(rounds, options.rows, load_before)
    print("\n" + tables.ours(results))
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / ("latest.json" if options.record else f"{options.name or 'all'}.json")
    kept.write_text(report.dump(results), encoding="utf-8")
    if options.record:
        write_page()
    print(f"\n{kept.relative_to(ROOT)}")
    return 0


def _tell(text: str) -> None:
    print(f"  {text}", flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=GROUPS, help="measure only these stages, and what they need")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of the table; half as many again are changes")
    parser.add_argument("--rounds", type=int, default=1, help="how often all is measured; medians are shown")
    parser.add_argument("--record", action="store_true", help="keep the numbers as those of docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if options.record and options.name:
        parser.error("the document shows all stages")
    if options.rows < ROWS_MIN or options.rounds < 1:
        parser.error(f"at least {ROWS_MIN} rows and one round")
    return options


if __name__ == "__main__":
    sys.exit(main())
