"""What a sink's own test tells of it, and how the parts of the suite write to it."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest

from apply.sink import Sink, TableBatch
from schemas.changes import Row
from schemas.table import Column, TableSchema
from schemas.types import LogicalType
from tests.conformance.changes import Giver, Seen, folded
from tests.kit.type_samples import SAMPLES, TypeSample


class Frame(ABC):
    """What all parts of `SinkSuite` stand on."""

    keeps_in_process: ClassVar[bool] = False
    """Whether the test's target is in this process: then its memory says nothing of the sink's."""

    samples: ClassVar[Sequence[TypeSample]] = SAMPLES
    """Types and their values; a subclass that tests them in another way of its own says so here."""

    @pytest.fixture
    @abstractmethod
    def sink(self) -> Sink | Iterator[Sink]:
        """Return a sink on an empty target."""

    @abstractmethod
    def other_sink(self, sink: Sink) -> Sink:
        """Return a second, independent sink on the same target (closed by the fixture's end)."""

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        """Return all rows of a table, in canonical values and column order, with a client of its own.

        Of a history: what its changes come to, each of them once.
        """
        history = self.read_history(sink, table)
        by_place = {(seen.seq, repr(seen)): seen for seen in history}
        if sink.capabilities.exactly_once:
            assert len(by_place) == len(history), "a change is there twice"
        return folded(table, by_place.values())

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        """Return all changes of a table from a target that keeps a history, as its readers find them."""
        raise NotImplementedError

    def holds(self, type_: LogicalType, value: Any) -> bool:
        """Tell whether the target can hold a value. One that it cannot is refused, row by row."""
        return True

    def kept(self, column: Column, value: Any) -> Any:
        """Return what `read` returns of a value that is held: the value, unless the target has another form for it."""
        return value

    def fault(self, sink: Sink, number: int) -> contextlib.AbstractContextManager[None] | None:
        """Return a context in which the `number`th request that writes fails, as if the target were busy or gone;
        odd ones after they were carried out. None: the sink's client gives no means to bring it about.
        """
        return None

    @pytest.fixture(autouse=True)
    def _giver(self) -> None:
        self.giver = Giver()

    def give(self, sink: Sink, batch: TableBatch, number: int = 0) -> None:
        """Apply a batch that nothing may be refused of; the same batch has the same origin whenever it is given."""
        given = self.giver.given(batch, sink.capabilities, number)
        assert sink.apply(self.giver.unseen(sink, given)) == []

    def flush(self, sink: Sink) -> None:
        """Flush, with the offsets reached where the sink keeps them."""
        self.giver.stage(sink)
        sink.flush()

    def rollback(self, sink: Sink) -> None:
        """Roll back; what comes next begins where the sink then says."""
        sink.rollback()
        self.giver.forget(sink)

    def write(self, sink: Sink, *batches: TableBatch, number: int = 0) -> None:
        """Apply and flush batches that nothing may be refused of."""
        for batch in batches:
            self.give(sink, batch, number)
        self.flush(sink)

    def rows(self, sink: Sink, table: TableSchema) -> set[Row]:
        """Return `read` as a set, having checked that no row is there twice."""
        found = self.read(sink, table)
        assert len(found) == len(set(found))
        return set(found)


def needs(capable: bool, otherwise: str) -> None:
    """Ask no more of a sink that cannot do it."""
    if not capable:
        pytest.skip(otherwise)
