"""Targets that packages bring, also such as were made for an earlier version of the interfaces."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from apply.mapped_sink import MappedSink
from apply.sink import Rejection, TableBatch, lacking
from apply.sink_kinds.history import HISTORY, HistorySink
from apply.sinks import open_sink, target_findings
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings
from tests.kit.memory_sink import MemorySink, MemoryTarget

HEAD = "from apply.sink_kinds.history import HistorySink, HISTORY\nfrom apply.sink import Capabilities\n"
SINK = HEAD + "class Old(HistorySink):\n    capabilities = HISTORY\n    def apply(self, batch): return []\n"
FUNCTIONS = (
    "def open_sink(settings, target): return Old()\n"
    "def findings(settings, target, tables): return []\n"
    "def grants(settings, target, tables): return []\n"
)


def settings() -> Settings:
    return Settings.model_validate(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "127.0.0.1:1"},
            "source": {"engine": "postgresql", "host": "h", "database": "d", "user": "u", "tables": ["*.*"]},
            "targets": {"old": {"engine": "oldsink"}},
        }
    )


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package that brings the engine `oldsink`; return its module, which is not written yet."""
    facts = tmp_path / "oldsink-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: oldsink\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[tailrace.sinks]\noldsink = oldsink\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "oldsink", raising=False)
    assert entry_points(group="tailrace.sinks", name="oldsink")
    return tmp_path / "oldsink.py"


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (SINK + FUNCTIONS, "its sink has no flush"),
        (SINK.replace("    capabilities = HISTORY\n", "") + FUNCTIONS, "its sink has no capabilities"),
        (
            SINK + "    capabilities = Capabilities(True, True, True, True, finds=True, groups=True)\n"
            "    def flush(self): pass\n" + FUNCTIONS,
            "its sink has no present, prepare_all, complete_all, arrive_all, pass_all",
        ),
        (HEAD + "Capabilities(stores_offsets=True, merges=True)\n" + FUNCTIONS, "unexpected keyword argument 'merges'"),
        ("from apply.sink import Gone\n", "ImportError: cannot import name 'Gone'"),
        ("import apply.gone\n", "ModuleNotFoundError: No module named 'apply.gone'"),
        (SINK + FUNCTIONS.replace("def grants", "def rights"), "its module has no grants"),
    ],
)
def test_one_made_for_another_version_is_named_with_what_it_lacks(package: Path, module: str, why: str) -> None:
    package.write_text(module)
    with pytest.raises(TailraceError, match="plug-in of the engine oldsink was made for another version") as caught:
        open_sink(settings(), "old")
    assert why in caught.value.message
    assert caught.value.kind is ErrorKind.PREREQUISITE
    assert caught.value.remedy


def test_a_library_that_one_needs_is_named_instead_of_a_version(package: Path) -> None:
    package.write_text("import driver_of_oldsink.client\n")
    with pytest.raises(TailraceError, match="library that is not installed: driver_of_oldsink") as caught:
        open_sink(settings(), "old")
    assert caught.value.kind is ErrorKind.PREREQUISITE


def test_one_without_newer_capabilities_works(package: Path) -> None:
    package.write_text(SINK + "    def flush(self): pass\n" + FUNCTIONS)
    sink = open_sink(settings(), "old")
    assert not sink.capabilities.groups
    assert target_findings(settings(), "old", []) == []
    assert not isinstance(sink, MappedSink)


def test_what_a_sink_lacks_is_what_its_capabilities_promise() -> None:
    class Bare(HistorySink):
        capabilities = HISTORY

        def apply(self, batch: TableBatch) -> list[Rejection]:
            return []

    assert lacking(Bare()) == ["flush"]  # type: ignore[arg-type]
    assert lacking(MemorySink(MemoryTarget())) == []
