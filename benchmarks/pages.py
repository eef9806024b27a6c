"""Where results are kept, and the page that is made of them: docs/benchmarks.md."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import report

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
OURS, COMPARED = RESULTS / "latest.json", RESULTS / "compare.json"
NOTES = ROOT / "benchmarks" / "notes.txt"
"""What the figures do not tell: where the time goes, and what was tried."""


def write_page() -> None:
    """Make the page anew of what is kept."""
    ours = json.loads(OURS.read_text(encoding="utf-8"))
    compared = json.loads(COMPARED.read_text(encoding="utf-8")) if COMPARED.is_file() else None
    text = report.page(ours, compared, NOTES.read_text(encoding="utf-8"))
    (ROOT / "docs" / "benchmarks.md").write_text(text, encoding="utf-8")
