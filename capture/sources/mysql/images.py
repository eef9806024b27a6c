"""Row changes of a table that the log's reader leaves unread: rows with all their columns, for the compiled twin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, calcsize
from typing import Any

from capture.sources.mysql.refusals import read_errors
from capture.sources.mysql.rows import MappedReader, Rows
from capture.sources.mysql.types import NAMES
from schemas.changes import Row
from schemas.large_values import LargeValue
from schemas.twin import built, kinds

_OPS = {ord("I"): "c", ord("U"): "u", ord("D"): "d"}
_LETTERS = {"c": b"I", "u": b"U", "d": b"D"}


class ImageForm:
    """How messages hold a table's changes: a byte for the operation, then the images, which have all columns.

    Implements `schemas.changes.LoggedForm`.
    """

    writer = "ImageWriter"
    lines = None

    def __init__(self, columns: Sequence[MappedReader], rows: Callable[[bytes, bytes], Rows], cutting: Any) -> None:
        """`columns` are the log's; `rows` returns the reader of an event by the bitmaps of its images; `cutting` is
        the module of the twin.
        """
        self._columns = columns
        self._kept = [column for column in columns if column.place is not None]
        self._rows = rows
        self._mask = (1 << len(columns)) - 1
        self._every = self._mask.to_bytes((len(columns) + 7) // 8, "little")
        self._prefixes = bytes(column.prefix for column in columns)
        self._sizes = bytes(0 if column.prefix else calcsize("<" + column.reader.code) for column in columns)
        self._cutter = cutting.Cutter(self._prefixes, self._sizes)

    def is_whole(self, bitmap: bytes) -> bool:
        """Tell whether an image has all columns."""
        return bitmap == self._every or int.from_bytes(bitmap, "little") & self._mask == self._mask

    def cut(self, op: str, m: bytes, at: int, end: int) -> list[bytes]:
        """Return the messages of the changes in an event, whose rows stand from `at` to `end`. Raises ValueError."""
        return self._cutter.cut(_LETTERS[op], m, at, end)  # type: ignore[no-any-return]

    def read(self, message: bytes) -> tuple[str, Row | None, Row | None]:
        """See `LoggedForm`."""
        op = _OPS[message[0]]
        read = self._rows(b"" if op == "c" else self._every, b"" if op == "d" else self._every)
        with read_errors(lambda: ""):
            (before,), (after,) = read(message, 1, len(message))
        return op, before, after

    def take_out(self, message: bytes, _least: int) -> tuple[bytes, list[LargeValue]]:
        """See `LoggedForm`."""
        return message, []

    def kind(self, column: int) -> int | None:
        """See `LoggedForm`."""
        return self._kept[column].reader.packing.kind

    def value(self, column: int) -> Callable[[bytes, int, int], Any]:
        """See `LoggedForm`."""
        reader = self._kept[column].reader
        names = {**NAMES, **reader.names}
        if not reader.code or reader.code.endswith("s"):
            return eval(f"lambda m, p, q: (lambda x: {reader.log})(m[p:q])", names)  # type: ignore[no-any-return]  # noqa: S307 - ours
        names["unpack"] = Struct("<" + reader.code).unpack
        return eval(f"lambda m, p, q: (lambda x: {reader.log})(*unpack(m[p:q]))", names)  # type: ignore[no-any-return]  # noqa: S307 - ours

    def plan(self) -> dict[str, Any]:
        """See `LoggedForm`."""
        packings = [column.reader.packing for column in self._columns]
        return {
            "readings": bytes(
                kinds.SKIPPED if column.place is None else packing.reading
                for column, packing in zip(self._columns, packings, strict=True)
            ),
            "prefixes": self._prefixes,
            "sizes": self._sizes,
            "details": bytes(packing.detail for packing in packings),
            "labels": {i: column.reader.labels for i, column in enumerate(self._kept)},
        }


def image_form(columns: Sequence[MappedReader], rows: Callable[[bytes, bytes], Rows]) -> ImageForm | None:
    """Return the form of a table's changes, or None where they are to be read: without the twin that costs less."""
    cutting = built("cutting")
    if cutting is None or built("images") is None or not any(column.place is not None for column in columns):
        return None
    return ImageForm(columns, rows, cutting)
