"""Rows and records, many in one piece of memory: as objects they cost more than what is done with them.

A loader writes the rows of a batch behind each other, and hands them to its service so; what stands around each of them
in its record is put there where librdkafka copies the record from (`schemas/twin/producing`). The records of a log's
run are written so, too. Whoever has to look at rows or records takes them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, NamedTuple, overload

from schemas.twin import built

LENGTHS = Struct("=qq")
"""What stands before each row or record: the lengths of its key and of its body or value, -1 for none. The value
follows, then the key.
"""

Pair = tuple[bytes | None, bytes | None]
"""The key and value of one Kafka record. A tombstone has no value, a record of a table without a key has no key."""


@dataclass(frozen=True)
class Bundle:
    """The keys and the bodies of encoded rows, or the keys and the values of records."""

    content: bytearray
    count: int

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, keys: Iterable[bytes | None], values: Sequence[bytes | None]) -> Bundle:
        """Bundle rows, or records."""
        parts: list[bytes] = []
        for key, value in zip(keys, values, strict=True):
            lengths = LENGTHS.pack(*(-1 if part is None else len(part) for part in (key, value)))
            parts += lengths, value or b"", key or b""
        return cls(bytearray().join(parts), len(values))

    def apart(self, at: int = 0, count: int | None = None) -> tuple[list[bytes | None], list[Any]]:
        """Return the keys, and the bodies or values: bytes, or None for a tombstone. Of all, or of `count` from the
        place `at` on.
        """
        count, module = self.count if count is None else count, built("bundles")
        if module is not None:
            made: tuple[list[bytes | None], list[Any]] = module.apart(self.content, at, count)
            return made
        found: tuple[list[bytes | None], list[Any]] = [], []
        content = memoryview(self.content)
        for _ in range(count):
            key_bytes, value_bytes = LENGTHS.unpack_from(content, at)
            at += LENGTHS.size
            for size, parts in zip((value_bytes, key_bytes), reversed(found), strict=True):
                parts.append(None if size < 0 else bytes(content[at : at + size]))
                at += max(size, 0)
        return found

    def pairs(self, at: int = 0, count: int | None = None) -> list[tuple[bytes | None, Any]]:
        """Return each key with its body or value."""
        return list(zip(*self.apart(at, count), strict=True))

    def behind(self, at: int) -> int:
        """Return where the row or record ends that stands at a place."""
        key_bytes, value_bytes = LENGTHS.unpack_from(self.content, at)
        return at + LENGTHS.size + max(value_bytes, 0) + max(key_bytes, 0)  # type: ignore[no-any-return]


class Around(NamedTuple):
    """What stands around the rows of a bundle in their records."""

    head: bytes
    plain: bytes
    """Between a row and its commit sequence."""
    tail: bytes
    is_json: bool
    """Whether the sequence is written as JSON has numbers, not as Avro."""


class RecordBundle(Sequence[Pair]):
    """Records in a bundle; or of rows in one, each to be put together when somebody asks for it."""

    def __init__(
        self,
        bundle: Bundle,
        around: Around | None = None,
        seq: int = 0,
        write: Callable[[list[tuple[bytes | None, bytes]], int], list[Pair]] = lambda records, _: [*records],
    ) -> None:
        """Of rows, `seq` is the commit sequence before the first; `write` makes the records of some that follow one."""
        self.bundle = bundle
        self.around = around
        self.seq = seq
        self._write = write
        self._known = 0, 0

    def __len__(self) -> int:
        return len(self.bundle)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            assert step == 1, "records are numbered one behind the other"
            return self._write(self.bundle.pairs(self.place(first), max(0, end - first)), self.seq + first)
        place = range(len(self))[index]
        return self[place : place + 1][0]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self[:])

    @property
    def size_bytes(self) -> int:
        """What the records take, by estimate."""
        return len(self.bundle.content) + len(self) * sum(map(len, self.around[:3] if self.around else ()))

    def place(self, index: int) -> int:
        """Return where one stands: soon, if it is not far behind one that was asked for, or told of, before."""
        known, at = self._known
        if known > index:
            known = at = 0
        while known < index:
            known, at = known + 1, self.bundle.behind(at)
        self._known = known, at
        return at

    def reached(self, index: int, at: int) -> None:
        """Note where one stands, or where the last one ends."""
        self._known = index, at
