"""Rows of a batch of which a sink's form has made what it stages: to everybody else they are rows as any.

Most rows are neither looked at nor changed between a record and the target. A decoder that is given the sink's form
makes of such a record what the sink sends, and no row; whoever wants the row after all reads the record again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple, cast, overload

from apply.sink import Sink, StagingSink
from schemas.changes import Row
from schemas.codecs import Decoder
from schemas.row_forms import StagedForm


class Staging(NamedTuple):
    """What makes bytes of a table's rows, and how the row of a record is read after all."""

    form: StagedForm
    read: Callable[[bytes], Row]


class Stagings:
    """How the rows that each decoder reads are staged: by one form throughout a batch."""

    def __init__(self, sink: Sink) -> None:
        self._sink = cast("StagingSink", sink) if sink.capabilities.stages else None
        self._known: dict[Decoder, Staging | None] = {}

    def begin(self) -> None:
        """Begin another batch."""
        self._known = {}

    def of(self, decoder: Decoder) -> Staging | None:
        """Return how whole rows are staged that a decoder reads; None: they stay rows."""
        sink = self._sink
        if sink is None or not decoder.table.key:
            return None
        if decoder not in self._known:
            form = sink.staged_form(decoder.table) if decoder.stages else None
            self._known[decoder] = None if form is None else Staging(form, partial(_row_after, decoder))
        return self._known[decoder]


def _row_after(decoder: Decoder, value: bytes) -> Row:
    row = decoder.decode(value)[2]
    assert row is not None, "a row that was staged is there"
    return row


class StagedRows(Sequence[Row]):
    """Rows by encoded key: tuples, and bytes that `form` has made."""

    def __init__(
        self,
        form: StagedForm,
        rows: Mapping[bytes, Row | bytes],
        records: Mapping[bytes, bytes],
        read: Callable[[bytes], Row],
    ) -> None:
        """`records` are the values of the records that the bytes among `rows` were made of; `read` reads them."""
        self.form = form
        self._rows = list(rows.values())
        self._by_key = rows
        self._records = records
        self._read = read

    @cached_property
    def _keys(self) -> list[bytes]:
        return list(self._by_key)

    def staged(self, encode: Callable[[Sequence[Row]], list[bytes]]) -> list[bytes]:
        """Return what the form makes of all rows; `encode` does that for the tuples."""
        made: list[bytes] = self._rows  # type: ignore[assignment]
        if set(map(type, self._rows)) <= {bytes}:
            return made
        return [row if isinstance(row, bytes) else encode((row,))[0] for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._rows[index]
        return self._read(self._records[self._keys[index]]) if isinstance(row, bytes) else row
