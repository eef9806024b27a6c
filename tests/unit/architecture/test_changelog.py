"""CHANGELOG.md keeps its form: versions, newest first, and what users notice in each."""

from __future__ import annotations

import re

from tests.unit.architecture.tree import ROOT

SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_has_its_form() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    assert lines[0] == "# Changelog"
    versions = [line for line in lines if line.startswith("## ")]
    assert versions
    assert versions[0] == "## Unreleased"
    for line in versions[1:]:
        assert re.fullmatch(r"## \d+\.\d+\.\d+ \(\d{4}-\d{2}-\d{2}\)", line), line
    for line in lines:
        assert not line.startswith("### ") or line[4:] in SECTIONS, line


def test_each_change_is_one_sentence_in_the_past_or_present() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    entries = re.findall(r"^- (?:.|\n(?! *\n|-|#))+", text, re.MULTILINE)
    assert entries
    assert [entry for entry in entries if not entry.rstrip().endswith(".")] == []
