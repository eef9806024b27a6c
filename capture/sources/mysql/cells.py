"""The rows of a chunk as a server sends them: texts behind their lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from capture.cutting import Cutting
from capture.full_load.chunk_reader import ReadForm
from capture.sources.mysql.packets import length_at
from capture.sources.mysql.refusals import UNREADABLE
from capture.sources.mysql.rows import compile_cells
from capture.sources.mysql.types import NAMES, Reader
from schemas.errors import TailraceError
from schemas.large_values import STAND_IN_BYTES
from schemas.table import TableSchema
from schemas.twin import kinds
from schemas.types import Family

_NULL = 0xFB
_HEAD = bytes([STAND_IN_BYTES])

_AS_TEXT = {"x.decode()": kinds.TEXT, "x": kinds.BYTES}
"""Values that are written as they come."""
_NUMBERS = frozenset(
    {
        *(kinds.BOOLEAN, kinds.INT16, kinds.INT32, kinds.INT64, kinds.UINT32),
        *(kinds.DECIMAL, kinds.DATE, kinds.TIMESTAMP, kinds.ZONED),
    }
)


class CellForm(ReadForm):
    """How the rows of a table come. Implements `schemas.row_forms.CopiedForm`."""

    writer = "CellWriter"

    def __init__(self, table: TableSchema, readers: Sequence[Reader]) -> None:
        super().__init__(table, lambda: compile_cells(readers))
        self._readers = readers
        self._takeable: dict[int, bool] = {}
        """The columns whose values stand in packets as they do in records; and of each, whether it is a text. Not those
        of the key: of a text with an index on its first characters it is the whole.
        """
        for column, reader in enumerate(readers):
            if column in table.key:
                continue
            if reader.text == "x.decode()":
                self._takeable[column] = True
            elif reader.text == "x" and reader.type.family is Family.BYTES:
                self._takeable[column] = False

    def kind(self, column: int) -> int | None:
        """See `LoggedForm`."""
        reader = self._readers[column]
        kind = reader.packing.kind
        if reader.text in _AS_TEXT:
            return _AS_TEXT[reader.text]
        return kind if kind in _NUMBERS or kind == kinds.NARROW else kinds.CALLED

    def value(self, column: int) -> Callable[[bytes, int, int], Any]:
        """See `LoggedForm`."""
        reader = self._readers[column]
        return eval(f"lambda m, p, q: (lambda x: {reader.text})(m[p:q])", {**NAMES, **reader.names})  # type: ignore[no-any-return]  # noqa: S307 - ours

    def _culprit(self, packets: Sequence[Any]) -> str | None:
        read = [self.value(column) for column in range(len(self._readers))]
        for message in packets:
            at = 0
            for column, value in zip(self._table.columns, read, strict=True):
                if message[at] == _NULL:
                    at += 1
                    continue
                length, begin = length_at(message, at)
                at = begin + length
                try:
                    value(message, begin, at)
                except (*UNREADABLE, TailraceError):
                    return column.name
        return None

    def _cut(self, cutting: Cutting) -> None:
        message, at = cutting.message, 0
        for column in range(len(self._readers)):
            if message[at] == _NULL:
                at += 1
                continue
            length, begin = length_at(message, at)
            if begin + length > len(message):
                raise ValueError("a value that goes beyond its packet")
            if length >= cutting.least and column in self._takeable:
                cutting.take(at, begin, begin + length, _HEAD, is_text=self._takeable[column])
            at = begin + length
