"""Whose files are loaded when partitions change hands, and when there is nothing to load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from apply.sink import TableBatch, TopicPartition
from apply.sinks.neptune.control import kept_by
from apply.sinks.neptune.elements import Elements
from apply.sinks.neptune.loads import Loads
from apply.sinks.neptune.sink import NeptuneSink
from apply.sinks.neptune.staging import Staged, part_of_partition, part_of_table
from schemas.endpoints.neptune import NeptuneTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema
from tests.conformance.changes import Giver
from tests.conformance.under_death import TRIPS

ROLE = "arn:aws:iam::123456789012:role/load"
EDGES = {
    "rules": [
        {
            "rule_id": "1",
            "table_name": "trips",
            "edge_definitions": [
                {
                    "from_vertex": {"vertex_id_template": "p{id}", "vertex_definition_id": "v"},
                    "to_vertex": {"vertex_id_template": "p{note}", "vertex_definition_id": "v"},
                    "edge_id_template": {"label": "leads", "template": "e{id}"},
                }
            ],
        },
        {
            "rule_id": "2",
            "table_name": "places",
            "vertex_definitions": [
                {"vertex_id_template": "p{id}", "vertex_label": "place", "vertex_definition_id": "v"}
            ],
        },
    ]
}


class Place:
    """What appliers share: notes in the graph, and files. Stands for `ControlVertices`, `Staging` and `Loader`."""

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}
        self.owners: dict[TopicPartition, str] = {}
        self.held: list[Staged] = []
        self.loaded: list[str] = []
        self.waited: list[str] = []

    def loading(self, table: TableName) -> dict[str, Any] | None:
        return dict(self.notes) or None

    def claim(self, partitions: Iterable[TopicPartition], owner: str) -> None:
        self.owners |= dict.fromkeys(partitions, owner)

    def lost(self, partitions: Iterable[TopicPartition], owner: str) -> list[TopicPartition]:
        return sorted(p for p in partitions if self.owners.get(p) != owner)

    def note(self, table: TableSchema, is_empty: bool) -> dict[str, Any]:
        self.notes = {"empty": int(is_empty), "version": table.version} | self.notes
        return dict(self.notes)

    def keep(self, table: TableName, partitions: Iterable[TopicPartition], owner: str) -> None:
        self.notes |= {kept_by(p): owner for p in partitions if self.owners[p] == owner}

    def put(self, load: str, table: TableName, partition: TopicPartition, name: str, content: bytes) -> None:
        folders = (load, part_of_table(table), part_of_partition(partition))
        self.held.append(Staged(*folders, "/".join([*folders, name])))

    def files(self, load: str | None = None) -> Iterator[Staged]:
        yield from [file for file in self.held if load in (None, file.load)]

    def remove(self, files: Sequence[Staged]) -> None:
        self.held = [file for file in self.held if file not in files]

    def url(self, load: str, *parts: str) -> str:
        return "/".join([load, *parts])

    def run(self, source: str) -> None:
        assert any(file.key.startswith(f"{source}/") for file in self.held), "the loader knows no such folder"
        self.loaded.append(source)

    def wait_for_others(self, folder: str) -> None:
        self.waited.append(folder)


class Owner:
    """An applier's loads."""

    def __init__(self, place: Place, mapping: Any = None) -> None:
        section = NeptuneTarget.model_validate(
            {
                "engine": "neptune",
                "url": "http://127.0.0.1:1",
                "s3_bucket_name": "graph",
                "load_role_arn": ROLE,
                "graph_mapping": mapping,
            }
        )
        sink = NeptuneSink("shop", "graph", section)
        self.capabilities, self.elements = sink.capabilities, Elements(TRIPS, section.graph_mapping)
        control: Any = place
        owner = ("shop", "graph")
        self.loads = Loads(sink._client, control, section, owner, lambda _: self.elements, lambda _: True)
        self.loads._staging = self.loads._loader = control

    def gather(self, giver: Giver, batch: TableBatch) -> None:
        self.loads.take_in(giver.given(batch, self.capabilities), self.elements)


def test_files_of_the_last_keeper_alone_are_loaded() -> None:
    """An applier that is overtaken may leave a file that nobody looks at until there are newer rows: it counts not."""
    place, giver = Place(), Giver()
    first, second, third = Owner(place), Owner(place), Owner(place)
    row = TableBatch(TRIPS, upserts=[(1, "old", None)], fresh=True)
    first.gather(giver, row)
    second.gather(giver, row)
    assert len(place.loaded) == 1, "what the first one had left"
    second.loads.finish()
    assert place.held == []
    # The first one does not know yet, writes a file, and dies. The row is changed, and its offset committed.
    first.gather(giver, TableBatch(TRIPS, upserts=[(2, "old", None)], fresh=True))
    assert len(place.held) == 1
    with pytest.raises(TailraceError) as caught:
        first.loads.finish()
    assert caught.value.kind is ErrorKind.INVARIANT
    loaded = list(place.loaded)
    third.gather(giver, TableBatch(TRIPS, upserts=[(3, "c", None)]))
    assert place.loaded == loaded
    assert place.held == []


def test_what_is_left_is_kept_until_somebody_has_finished_it(monkeypatch: pytest.MonkeyPatch) -> None:
    place, giver = Place(), Giver()
    first, second, third = Owner(place), Owner(place), Owner(place)
    row = TableBatch(TRIPS, upserts=[(1, "a", None)], fresh=True)
    first.gather(giver, row)

    def die(files: Sequence[Staged]) -> None:
        if files:
            raise TailraceError(ErrorKind.TARGET_CONNECTION, "gone")

    with monkeypatch.context() as patched:
        patched.setattr(place, "remove", die)
        with pytest.raises(TailraceError):
            second.gather(giver, row)
    third.gather(giver, row)
    third.loads.finish()
    assert len(place.loaded) == 3
    assert place.held == []


def test_a_lost_load_is_waited_for_behind_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose answer was lost may arrive at any time: after the files are gone it finds none."""
    place, giver = Place(), Giver()
    owner = Owner(place)
    row = TableBatch(TRIPS, upserts=[(1, "a", None)], fresh=True)
    owner.gather(giver, row)
    name = place.held[0].load

    def lost(source: str) -> None:
        raise TailraceError(ErrorKind.TARGET_CONNECTION, "cut")

    with monkeypatch.context() as patched:
        patched.setattr(place, "run", lost)
        with pytest.raises(TailraceError):
            owner.loads.finish()
    owner.loads.abandon()

    def wait(folder: str) -> None:
        assert place.held == []
        place.waited.append(folder)

    monkeypatch.setattr(place, "wait_for_others", wait)
    owner.gather(giver, row)
    assert (place.loaded, place.waited) == ([name], [name])


def test_rows_that_make_no_element_ask_for_no_load() -> None:
    place, giver = Place(), Giver()
    owner = Owner(place, EDGES)
    owner.gather(giver, TableBatch(TRIPS, upserts=[(1, None, None)], fresh=True))
    owner.loads.finish()
    assert (place.held, place.loaded) == ([], [])
