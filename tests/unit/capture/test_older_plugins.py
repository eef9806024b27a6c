"""Sources of plug-ins that were made for an earlier release: what they lack is done without, or named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from capture import sources
from capture.source import Capabilities, SnapshotReader, Source
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import parse
from schemas.table import TableName, TableSchema

SETTINGS = parse(
    {
        "name": "shop",
        "kafka": {"bootstrap.servers": "nowhere"},
        "source": {"engine": "ledger", "database": "d", "tables": ["s.*"]},
    }
)


def reader(monkeypatch: pytest.MonkeyPatch, *without: str) -> Any:
    """Return what is opened where a plug-in's reader lacks some methods."""
    methods = {name for name in vars(SnapshotReader) if not name.startswith("_")} - set(without)
    made = SimpleNamespace(**dict.fromkeys(methods, lambda *_: None))
    plugin = SimpleNamespace(open_snapshot_reader=lambda _: made)
    monkeypatch.setattr(sources, "_engine", lambda _: plugin)
    return sources.open_snapshot_reader(SETTINGS)


def test_a_reader_that_knows_no_groups_reads_tables_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = reader(monkeypatch, "hold", "release")
    assert opened.hold([TableSchema(TableName("s", "t"), (), ())], 1000) == []
    opened.release()


def test_a_reader_that_lacks_more_is_refused_with_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TailraceError, match=r"engine ledger .* SnapshotReader has no partitions, look") as raised:
        reader(monkeypatch, "look", "partitions")
    assert raised.value.kind is ErrorKind.CONFIGURATION


def test_a_source_that_knows_no_doubt_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = {"untold", "unseen"}
    methods = {name for name in [*vars(Source), "capabilities"] if not name.startswith("_")} - lacks
    capabilities = Capabilities("ledger", "ledger", truncates=False, schema_changes=False)
    made = SimpleNamespace(**dict.fromkeys(methods, capabilities))
    monkeypatch.setattr(sources, "_engine", lambda _: SimpleNamespace(open_source=lambda _: made))
    opened = sources.open_source(SETTINGS)
    assert not opened.untold()
    assert not opened.unseen(TableSchema(TableName("s", "t"), (), ()))
