"""Where results are kept, and the page that is made of them: docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.page import report, text

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
OURS, COMPARED, GROWTH = RESULTS / "latest.json", RESULTS / "compare.json", RESULTS / "growth.json"
SINKS, OPTIONS, PYTHON_PEERS = RESULTS / "sinks.json", RESULTS / "options.json", RESULTS / "python-peers.json"
PROFILES = RESULTS / "profiles.json"

KEYS = {
    "summary": ("engine", "stage", "shape", "encoding"),
    "limits": ("engine", "shape", "name"),
    "latencies": ("side", "encoding", "wanted_per_s"),
    "runs": ("engine", "stage", "shape", "encoding"),
    "connectors": ("engine",),
    "steps": ("grows", "size"),
    "targets": ("target",),
    "rules": ("rule",),
    "policies": ("policy",),
    "products": ("product", "stage"),
    "profiles": ("engine", "stage", "encoding"),
}
"""By list of a results file, what says of an entry what was measured: a later one takes its place."""


def read(path: Path) -> dict[str, Any]:
    """Return what a results file holds; nothing where there is none."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def merge(path: Path, found: dict[str, Any]) -> None:
    """Keep what was found: lists of `KEYS` entry by entry in the place of earlier ones, all else whole."""
    kept = read(path)
    for name, value in found.items():
        kept[name] = _merged(kept.get(name, []), value, KEYS[name]) if name in KEYS else value
    path.parent.mkdir(exist_ok=True)
    path.write_text(report.dump(kept), encoding="utf-8")


def _merged(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]], key: Sequence[str]) -> list[dict[str, Any]]:
    fresh = {tuple(entry[name] for name in key) for entry in new}
    left = [entry for entry in old if tuple(entry.get(name) for name in key) not in fresh]
    return [*left, *new]


def write_page() -> None:
    """Make the page anew of what is kept."""
    parts = {path.stem: read(path) for path in (OURS, COMPARED, GROWTH, SINKS, OPTIONS, PYTHON_PEERS, PROFILES)}
    (ROOT / "docs" / "benchmarks.md").write_text(text.page(parts), encoding="utf-8")
