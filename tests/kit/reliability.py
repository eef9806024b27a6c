"""The table of docs/reliability.md, made from the figures that chaos runs have written (`make chaos REPORT=FILE`).

`python -m tests.kit.reliability [FILE]` adds a file's runs to `docs/reliability.jsonl` and rewrites the table.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from tests.integration import faults

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGE, RUNS = DOCS / "reliability.md", DOCS / "reliability.jsonl"
BEGIN, END = "<!-- made by tests/kit/reliability.py from docs/reliability.jsonl -->\n", "<!-- end -->\n"


def runs() -> list[dict[str, Any]]:
    """Return the documents of all runs."""
    return [json.loads(line) for line in RUNS.read_text().splitlines()]


def table(found: list[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    recoveries: dict[str, list[float]] = {}
    for run in found:
        for fault, seconds in run["recoveries_s"].items():
            recoveries.setdefault(fault, []).extend(seconds)
    totals = {name: sum(run[name] for run in found) for name in ("transactions", "changes", "rounds")}
    wrong = {name: sum(run[name] for run in found) for name in ("losses", "duplicates", "reorderings")}
    lines = [
        f"Runs: {len(found)}; rounds: {totals['rounds']}; faults: {sum(map(len, recoveries.values()))};",
        f"source transactions meanwhile: {totals['transactions']:,} with {totals['changes']:,} statements.",
        f"**Losses: {wrong['losses']}; duplicates: {wrong['duplicates']}; reorderings: {wrong['reorderings']}.**",
        "",
        "| seed | brokers | ordering | source → target | log read by | rounds | faults |",
        "|---|---|---|---|---|---|---|",
        *map(_run, found),
        "",
        "| fault | times | recovered after, p50 | p99 | what it is |",
        "|---|---|---|---|---|",
    ]
    for fault, seconds in sorted(recoveries.items()):
        what = (getattr(faults.Faults, fault).__doc__ or "").split("\n")[0]
        half, most = (f"{quantile(seconds, share):.1f} s" for share in (0.5, 0.99))
        lines.append(f"| `{fault}` | {len(seconds)} | {half} | {most} | {what} |")
    return "\n".join(lines) + "\n"


def _run(run: dict[str, Any]) -> str:
    source, target = run.get("ends") or [f"PostgreSQL {version}" for version in run.get("versions", (18, 16))]
    count = sum(map(len, run["recoveries_s"].values()))
    reader = "compiled twin" if run.get("compiled") else "Python"
    if (image := run.get("row_image", "FULL")) != "FULL":
        reader += f", {image} images"
    ordering = run.get("ordering", "per-key")
    cells = (run["seed"], run["brokers"], ordering, f"{source} → {target}", reader, run["rounds"], count)
    return f"| {' | '.join(map(str, cells))} |"


def quantile(values: list[float], share: float) -> float:
    """Return the smallest value that is not below `share` of them."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def page() -> str:
    """Return the page with the table of all runs in it."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    return head + BEGIN + table(runs()) + END + rest.partition(END)[2]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with RUNS.open("a") as file:
            file.write(Path(sys.argv[1]).read_text())
    PAGE.write_text(page())
