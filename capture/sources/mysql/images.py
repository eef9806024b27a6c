"""Row changes of a table that the log's reader leaves unread: those with all their columns, for the compiled twin; and
large ones, whose values stay in files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from struct import Struct, calcsize
from typing import Any, NamedTuple

from capture.cutting import Cutting
from capture.sources.mysql.partial_json import PARTIAL_JSON
from capture.sources.mysql.refusals import read_errors
from capture.sources.mysql.rows import MappedReader, Rows
from capture.sources.mysql.types import NAMES, Reader
from runtime.spool import HELD_BYTES_MAX, SpooledMessage
from schemas.changes import Row
from schemas.large_values import STAND_IN_BYTES, FiledMessage, LargeValue, may_be_large
from schemas.twin import built, kinds
from schemas.types import Family

_OPS = {ord("I"): "c", ord("U"): "u", ord("D"): "d"}
_LETTERS = {"c": b"I", "u": b"U", "d": b"D"}


class Images(NamedTuple):
    """The bitmaps of an event's images, and whether JSON values may stand in the new ones in part."""

    old: bytes
    new: bytes
    is_partial: bool


class ImageForm:
    """How messages hold a table's changes: a byte for the operation, then the images, which have all columns.

    Implements `schemas.row_forms.LoggedForm`.
    """

    writer = "ImageWriter"
    lines = None

    def __init__(
        self,
        columns: Sequence[MappedReader],
        rows: Callable[[bytes, bytes], Rows],
        cutting: Any,
        key: Collection[int] = (),
        images: Images | None = None,
    ) -> None:
        """`columns` are the log's, and `key` the places of those in the key; `rows` returns the reader of an event by
        the bitmaps of its images; `cutting` is the module of the twin, None without. With `images` they have what these
        say, all other columns lack, and the twin does not know them.
        """
        self._columns = columns
        self._kept = [column for column in columns if column.place is not None]
        self._rows = rows
        self._mask = (1 << len(columns)) - 1
        self._every = self._mask.to_bytes((len(columns) + 7) // 8, "little")
        self._images = images or Images(self._every, self._every, is_partial=False)
        self._is_whole = images is None
        json_count = sum(column.reader.type.family is Family.JSON for column in columns)
        self._options_bytes = (json_count + 7) // 8
        self._prefixes = bytes(column.prefix for column in columns)
        self._sizes = bytes(0 if column.prefix else calcsize("<" + column.reader.code) for column in columns)
        self._takeable = {
            i: column.reader.log == "x.decode()"
            for i, column in enumerate(columns)
            if column.place is not None and column.place not in key and _stands_as_it_is(column.reader)
        }
        """The columns whose values stand in images as they do in records; and of each, whether it is a text."""
        self._cutter = None if cutting is None else cutting.Cutter(self._prefixes, self._sizes)
        self.is_for_twin = self._cutter is not None and bool(self._kept)
        """Whether small changes are to be left unread, too: without the twin it costs less to read them."""

    def is_whole(self, bitmap: bytes) -> bool:
        """Tell whether an image has all columns."""
        return bitmap == self._every or int.from_bytes(bitmap, "little") & self._mask == self._mask

    def cut(self, op: str, m: bytes, at: int, end: int) -> list[bytes]:
        """Return the messages of the changes in an event, whose rows stand from `at` to `end`. Raises ValueError."""
        assert self._cutter is not None, "it is for the twin"
        return self._cutter.cut(_LETTERS[op], m, at, end)  # type: ignore[no-any-return]

    def cut_large(self, op: str, m: SpooledMessage, at: int, end: int) -> Iterator[bytes | SpooledMessage]:
        """Yield the same of an event that is in a file, and so are the messages of large changes then."""
        while at < end:
            begin = at
            *_, (_, _, at) = self._values(op, m, at)
            if at > end:
                raise ValueError("an event that ends within a row")
            message = m.part(begin, at, _LETTERS[op])
            yield message if len(message) > HELD_BYTES_MAX else bytes(message)

    def _values(self, op: str, m: bytes | FiledMessage, at: int) -> Iterator[tuple[int, int, int]]:
        """Yield of each value of a change its column, where it begins, and where it ends; at last the change's end."""
        for is_new, bitmap in enumerate(self._images[:2]):
            if op == ("d" if is_new else "c"):
                continue
            if is_new and self._images.is_partial:
                at += 1 + (self._options_bytes if m[at] & PARTIAL_JSON else 0)
            present = int.from_bytes(bitmap, "little") & self._mask
            size = (present.bit_count() + 7) // 8
            nulls = int.from_bytes(m[at : at + size], "little")
            at += size
            for i, (prefix, fixed) in enumerate(zip(self._prefixes, self._sizes, strict=True)):
                if not present >> i & 1:
                    continue
                is_null = nulls & 1
                nulls >>= 1
                if is_null:
                    continue
                begin = at + prefix
                at = begin + (int.from_bytes(m[at:begin], "little") if prefix else fixed)
                yield i, begin, at
        yield len(self._sizes), at, at

    def read(self, message: bytes) -> tuple[str, Row | None, Row | None]:
        """See `LoggedForm`."""
        op = _OPS[message[0]]
        read = self._rows(b"" if op == "c" else self._images.old, b"" if op == "d" else self._images.new)
        with read_errors(lambda: ""):
            (before,), (after,) = read(message, 1, len(message))
        return op, before, after

    def take_out(self, message: bytes | FiledMessage, least: int) -> tuple[bytes, list[LargeValue]]:
        """See `LoggedForm`."""
        cutting = Cutting(message, least)
        with read_errors(lambda: ""):
            for column, begin, end in self._values(_OPS[message[0]], message, 1):
                if end > len(message):
                    raise ValueError("a value that goes beyond its message")
                if end - begin >= least and column in self._takeable:
                    prefix = self._prefixes[column]
                    head = STAND_IN_BYTES.to_bytes(prefix, "little")
                    cutting.take(begin - prefix, begin, end, head, is_text=self._takeable[column])
        return cutting.cut()

    def kind(self, column: int) -> int | None:
        """See `LoggedForm`."""
        return self._kept[column].reader.packing.kind if self._is_whole else None

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


def image_form(
    columns: Sequence[MappedReader], rows: Callable[[bytes, bytes], Rows], key: Collection[int]
) -> ImageForm:
    """Return the form of a table's changes, for the twin if it is built."""
    return ImageForm(columns, rows, built("cutting") if built("images") is not None else None, key)


def _stands_as_it_is(reader: Reader) -> bool:
    return (reader.log == "x" and reader.type.family is Family.BYTES) or (
        reader.log == "x.decode()" and may_be_large(reader.type.family)
    )
