"""The documents are complete and lead somewhere: what a user can set, meet or measure is explained."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from runtime import metrics
from schemas.endpoints.engines import TARGET_ENGINES
from schemas.errors import ErrorKind
from schemas.settings import Settings
from tests.unit.architecture.tree import ROOT, files, text

DOCUMENTS = [path for path in files() if path.suffix == ".md"]
SHARED_PAGES = {"webhook": "stdout", "mariadb": "mysql", "docdb": "mongodb"}
"""Engines whose page has another one's name."""
WITHOUT_RIGHTS = {"files", "stdout", "webhook"}

DECISIONS_INDEX = Path("docs/decisions/README.md")
DECISIONS = [path for path in DOCUMENTS if path.parent == DECISIONS_INDEX.parent and path != DECISIONS_INDEX]
DECISION_PARTS = ("Context", "Decision", "Consequences")


def _missing(names: list[str]) -> list[str]:
    """Return the names that no document has in code font, alone or as the last part of a dotted name."""
    documented = "\n".join(text(path) for path in DOCUMENTS)
    return [name for name in names if not re.search(rf"`(?:[\w.<>*-]+\.)?{re.escape(name)}`", documented)]


def _setting_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted names of all settings; of a section only its members."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        sections = [part for part in _parts(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
        if not sections:
            found.append(prefix + (field.alias or name))
        for section in sections:
            found += [setting.rpartition(".")[2] for setting in _setting_names(section)]
    return found


def _parts(annotation: Any) -> list[Any]:
    return [annotation, *(inner for part in getattr(annotation, "__args__", ()) for inner in _parts(part))]


def _prose(path: Path) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", text(path), flags=re.DOTALL | re.MULTILINE)


@cache
def _anchors(path: Path) -> set[str]:
    """Return what a link may name behind `#`, made of the headings as GitHub makes it."""
    found: set[str] = set()
    times: Counter[str] = Counter()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", _prose(path), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{times[slug]}" if times[slug] else slug)
        times[slug] += 1
    return found


def test_links_between_documents_lead_somewhere() -> None:
    """To files that are there, and to headings of theirs."""
    faults = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", _prose(path)):
            name, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            linked = Path(os.path.normpath(path.parent / name)) if name else path
            if not (ROOT / linked).exists():
                faults.append(f"{path}: {target}: no such file")
            elif anchor and anchor not in _anchors(linked):
                faults.append(f"{path}: {target}: no such heading")
    assert faults == []


@pytest.mark.parametrize(
    ("headings", "anchors"),
    [
        ("## `plan` and *verify*, MySQL's", {"plan-and-verify-mysqls"}),
        ("## Limits\n### Limits\n", {"limits", "limits-1"}),
        ("# See [files](targets/files.md) first_", {"see-files-first_"}),
        ("```sh\n# a comment\n```\n## Add – or drop", {"add--or-drop"}),
    ],
)
def test_anchors_are_made_as_github_makes_them(headings: str, anchors: set[str], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(headings)
    assert _anchors(page) == anchors


def test_every_document_can_be_found_from_the_readme() -> None:
    reached = {Path("README.md")}
    while True:
        linked = {
            (ROOT / path.parent / target).resolve().relative_to(ROOT)
            for path in reached
            for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text(path))
            if (ROOT / path.parent / target).is_file()
        }
        new = {path for path in linked if path.suffix == ".md"} - reached
        if not new:
            break
        reached |= new
    ends = {*DECISIONS, Path("CHANGELOG.md")}
    assert [str(path) for path in DOCUMENTS if path not in reached | ends] == []


def test_every_setting_is_documented() -> None:
    assert _missing(sorted(set(_setting_names(Settings)))) == []


def test_every_kind_of_error_is_documented() -> None:
    assert _missing([kind.value for kind in ErrorKind]) == []


def test_every_metric_is_documented() -> None:
    names = [metric.name for metric in metrics.REGISTRY.collect() if metric.name.startswith("tailrace_")]
    assert len(names) > 10
    assert _missing(names) == []


def test_every_environment_variable_is_documented() -> None:
    shipped = "\n".join(text(path) for path in files() if path.suffix == ".py" or path.name == "Makefile")
    names = sorted(set(re.findall(r"\b(TAILRACE_[A-Z0-9_]*[A-Z0-9]|KAFKA_HOME)\b", shipped)) - {"TAILRACE_TEST_PG"})
    assert names
    assert _missing(names) == []


def test_every_target_has_its_page() -> None:
    """Settings, guarantees and limits; rights or a policy where there is a server to give them."""
    faults = []
    for engine in TARGET_ENGINES:
        page = ROOT / "docs/targets" / f"{SHARED_PAGES.get(engine, engine)}.md"
        told = page.read_text() if page.is_file() else ""
        wanted = ["](../reference/settings.md)", "## Guarantees", "## Limits"]
        faults += [f"{engine}: {each}" for each in wanted if each not in told]
        if engine not in WITHOUT_RIGHTS and not re.search(r"^## (Rights|Policy)$", told, re.MULTILINE):
            faults.append(f"{engine}: rights")
    assert faults == []


@pytest.mark.parametrize(("name", "lines_max"), [("audit_plugin", 100), ("shelf_plugin", 200)])
def test_the_page_about_plugins_tells_how_long_its_examples_are(name: str, lines_max: int) -> None:
    length = len((ROOT / f"tests/kit/{name}.py").read_text().splitlines())
    assert length < lines_max
    (told,) = [line for line in (ROOT / "docs/plugins.md").read_text().splitlines() if f"`tests/kit/{name}.py`" in line]
    assert f"in {length} lines" in told


def test_decisions_have_their_form() -> None:
    faults = []
    for path in DECISIONS:
        if not re.fullmatch(r"\d{8}-[a-z0-9-]+\.md", path.name):
            faults.append(f"{path}: named YYYYMMDD-slug.md?")
        faults += [
            f"{path}: no {part}"
            for part in DECISION_PARTS
            if not re.search(rf"^(#+ {part}|\*\*{part}\b)", text(path), re.MULTILINE)
        ]
    assert faults == []


def _title(path: Path) -> str:
    return text(path).partition("\n")[0].removeprefix("# ")


def test_the_index_has_each_decision_once_by_its_title() -> None:
    listed = Counter(re.findall(r"^- .*$", text(DECISIONS_INDEX), re.MULTILINE))
    wanted = Counter(f"- [{_title(path)}]({path.name})" for path in DECISIONS)
    assert sorted((wanted - listed).elements()) == [], f"lines to add to {DECISIONS_INDEX}, under their theme"
    assert sorted((listed - wanted).elements()) == [], (
        f"lines to remove from {DECISIONS_INDEX}, or to write as the title is"
    )


def test_a_decision_that_is_superseded_says_so_below_its_title() -> None:
    """Else its reader takes for valid what is not."""
    faults = []
    for path in DECISIONS:
        for sentence in re.findall(r"\b[Ss]upersedes\b.*?(?:\.\s|\.\Z)", text(path), re.DOTALL):
            for older in re.findall(r"\]\((\d{8}[^)]*)\)", sentence):
                below_title = "".join(text(path.parent / older).splitlines()[2:3])
                if not (below_title.startswith("Superseded") and f"]({path.name})" in below_title):
                    faults.append(f"{older}: superseded by {path.name}")
    assert faults == []
