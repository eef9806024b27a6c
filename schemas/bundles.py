"""Rows, many in one piece of memory: as objects they cost more than what is done with them.

A loader writes the rows of a batch behind each other, and hands them to its service so; what stands around each of them
in its record is put there where librdkafka copies the record from (`schemas/twin/producing`). Whoever has to look at
rows or records takes them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, overload

from schemas.twin import built

LENGTHS = Struct("=qq")
"""What stands before each row: the lengths of its key, -1 for none, and of its body. The body follows, then the key."""

Pair = tuple[bytes | None, bytes | None]
"""The key and value of one Kafka record. A tombstone has no value, a record of a table without a key has no key."""


@dataclass(frozen=True)
class Bundle:
    """The keys and the bodies of encoded rows."""

    content: bytearray
    count: int

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, keys: Iterable[bytes | None], bodies: Sequence[bytes]) -> Bundle:
        """Bundle rows."""
        parts: list[bytes] = []
        for key, body in zip(keys, bodies, strict=True):
            parts += LENGTHS.pack(-1 if key is None else len(key), len(body)), body, key or b""
        return cls(bytearray().join(parts), len(bodies))

    def apart(self, at: int = 0, count: int | None = None) -> tuple[list[bytes | None], list[bytes]]:
        """Return the keys and the bodies: of all, or of `count` from the place `at` on."""
        count, module = self.count if count is None else count, built("bundles")
        if module is not None:
            made: tuple[list[bytes | None], list[bytes]] = module.apart(self.content, at, count)
            return made
        keys: list[bytes | None] = []
        bodies: list[bytes] = []
        content = memoryview(self.content)
        for _ in range(count):
            key_bytes, body_bytes = LENGTHS.unpack_from(content, at)
            end = at + LENGTHS.size + body_bytes
            bodies.append(bytes(content[at + LENGTHS.size : end]))
            at = self.behind(at)
            keys.append(None if key_bytes < 0 else bytes(content[end:at]))
        return keys, bodies

    def pairs(self, at: int = 0, count: int | None = None) -> list[tuple[bytes | None, bytes]]:
        """Return each key with its body."""
        return list(zip(*self.apart(at, count), strict=True))

    def behind(self, at: int) -> int:
        """Return where the row ends that stands at a place."""
        key_bytes, body_bytes = LENGTHS.unpack_from(self.content, at)
        return at + LENGTHS.size + body_bytes + max(key_bytes, 0)  # type: ignore[no-any-return]


class Around(NamedTuple):
    """What stands around the rows of a bundle in their records."""

    head: bytes
    plain: bytes
    """Between a row and its commit sequence."""
    tail: bytes
    is_json: bool
    """Whether the sequence is written as JSON has numbers, not as Avro."""


class RecordBundle(Sequence[Pair]):
    """The records of rows in a bundle, each to be put together when somebody asks for it."""

    def __init__(
        self,
        bundle: Bundle,
        around: Around,
        seq: int,
        write: Callable[[list[tuple[bytes | None, bytes]], int], list[Pair]],
    ) -> None:
        """`seq` is the commit sequence before the first; `write` makes the records of some rows that follow one."""
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
        around = self.around
        return len(self.bundle.content) + len(self) * (len(around.head) + len(around.plain) + len(around.tail))

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
