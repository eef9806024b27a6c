"""Temporary files for large values: without a name, so they go with the last process that has them open."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator

from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import PIECE_BYTES, Buffer


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


def _failed(error: OSError) -> TailraceError:
    return TailraceError(
        ErrorKind.PREREQUISITE,
        f"a large value could not be kept in a temporary file: {error.strerror or type(error).__name__}",
        remedy="make room for the largest values in `capture.state_directory`; of an applier, in TMPDIR",
    )
