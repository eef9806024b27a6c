"""Temporary files for large values: without a name, so they go with the last process that has them open."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import overload

from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import PIECE_BYTES, Buffer, sliced

HELD_BYTES_MAX = 8 << 20
"""Messages of a source that are larger are kept in such a file from the moment they come."""

_WINDOW_BYTES = 64 << 10


class Spool:
    """Bytes on disk: written once, then read from any place, as often as wanted.

    The file is closed with the last reference, or by `close`.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over an open file."""
        self._descriptor = descriptor
        self.size = 0
        """Bytes that were written here."""

    @classmethod
    def make(cls, directory: str | None = None) -> Spool:
        """Make an empty one. Raises PREREQUISITE."""
        try:
            with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
                return cls(os.dup(file.fileno()))
        except OSError as error:
            raise _failed(error) from error

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._descriptor

    def write(self, pieces: Iterable[Buffer]) -> int:
        """Append pieces; return how many bytes they were. Raises PREREQUISITE when the disk is full."""
        before = self.size
        for piece in pieces:
            view = memoryview(piece)
            while view:
                try:
                    written = os.pwrite(self._descriptor, view, self.size)
                except OSError as error:
                    raise _failed(error) from error
                self.size += written
                view = view[written:]
        return self.size - before

    def pieces(self, begin: int, size: int) -> Iterator[bytes]:
        """Yield the bytes from a place on. Raises INVARIANT if they are not there."""
        end = begin + size
        while begin < end:
            piece = self.read(begin, min(PIECE_BYTES, end - begin))
            begin += len(piece)
            yield piece

    def read(self, begin: int, size: int) -> bytes:
        """Return bytes from a place on. Raises INVARIANT if they are not there."""
        found = os.pread(self._descriptor, size, begin)
        while len(found) < size:
            # (Linux reads at most 2 GiB at once.)
            more = os.pread(self._descriptor, size - len(found), begin + len(found))
            if not more:
                raise TailraceError(ErrorKind.INVARIANT, "a temporary file is shorter than what was written to it")
            found += more
        return found

    def close(self) -> None:
        """Let the file go. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class SpooledMessage:
    """A part of a spool, behind a few bytes: a `schemas.large_values.FiledMessage`.

    Single bytes and short slices are read by the window: whoever walks through it from value to value asks for many.
    """

    def __init__(self, spool: Spool, begin: int, size: int, head: bytes = b"") -> None:
        """`size` bytes from `begin` on."""
        self._spool = spool
        self._begin = begin - len(head)
        """Where the message would begin in the spool if its head were there."""
        self._size = len(head) + size
        self._head = head
        self._window, self._window_at = b"", 0

    @classmethod
    def of(cls, spool: Spool) -> SpooledMessage:
        """Return all that is there."""
        return cls(spool, 0, spool.size)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int, /) -> int: ...
    @overload
    def __getitem__(self, at: slice, /) -> bytes: ...
    def __getitem__(self, at: int | slice, /) -> int | bytes:
        if isinstance(at, slice):
            begin, end, _ = at.indices(self._size)
            return self._read(begin, max(begin, end))
        if not -self._size <= at < self._size:
            raise IndexError("beyond a message's end")
        at %= self._size
        return self._read(at, at + 1)[0]

    def __bytes__(self) -> bytes:
        return self._read(0, self._size)

    def part(self, begin: int, end: int, head: bytes = b"") -> SpooledMessage:
        """Return a part of it, which has nothing of its head, as a message behind a head of its own."""
        return SpooledMessage(self._spool, self._begin + begin, end - begin, head)

    def pieces(self, begin: int, size: int) -> Iterator[bytes]:
        """Yield bytes from a place on, a piece at a time."""
        if begin < len(self._head):
            yield self._head[begin : begin + size]
        skipped = max(0, min(size, len(self._head) - begin))
        yield from self._spool.pieces(self._begin + begin + skipped, size - skipped)

    def _read(self, begin: int, end: int) -> bytes:
        if end - begin > _WINDOW_BYTES:
            if begin < len(self._head):
                return b"".join(self.pieces(begin, end - begin))
            return self._spool.read(self._begin + begin, end - begin)
        if not self._window_at <= begin <= end <= self._window_at + len(self._window):
            self._window_at = begin
            self._window = b"".join(self.pieces(begin, min(_WINDOW_BYTES, self._size - begin)))
        return self._window[begin - self._window_at : end - self._window_at]


def spooled(content: Buffer, directory: str | None) -> SpooledMessage:
    """Write a message to a file of its own. Raises PREREQUISITE."""
    spool = Spool.make(directory)
    spool.write(sliced(content))
    return SpooledMessage.of(spool)


def no_descriptor(what: str) -> TailraceError:
    """Return the error for a process that may open no more files."""
    return TailraceError(
        ErrorKind.PREREQUISITE,
        f"{what}: the process has no file descriptor left",
        remedy="allow more open files: `ulimit -n`, systemd's LimitNOFILE, Docker's `ulimits`",
    )


def _failed(error: OSError) -> TailraceError:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return no_descriptor("a large value could not be kept in a temporary file")
    return TailraceError(
        ErrorKind.PREREQUISITE,
        f"a large value could not be kept in a temporary file: {error.strerror or type(error).__name__}",
        remedy="make room for the largest values in `capture.state_directory`; of an applier, in TMPDIR",
    )
