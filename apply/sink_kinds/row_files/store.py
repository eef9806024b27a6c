"""Where files go: anything that can write a file only if nothing is there under its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from apply.sink_kinds.row_files.shape import Shape


@dataclass(frozen=True, slots=True)
class FileName:
    """What a file is called. All but `last` follows from its first row: who writes the same row first meets it."""

    folder: tuple[str, ...]
    """Schema, table, and parts of the date: any text."""
    stem: str
    extension: str
    last: int
    """Commit sequence of the last change that the file answers for."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What a store that knows tags is to say of it."""


class Store(Protocol):
    """A bucket or a directory."""

    def create(self, name: FileName, content: bytes, content_type: str) -> int | None:
        """Write a file, durably and whole or not at all.

        Where another has the name, whatever its `last`, leave it as it is and return its `last`; else return None.
        Raises TARGET_CONNECTION, TARGET_THROTTLED, PREREQUISITE.
        """
        ...

    def paths(self, folder: tuple[str, ...]) -> Iterator[str]:
        """Yield the places of all files below a folder, in any order; parts of a place stand between slashes."""
        ...

    def last(self, path: str) -> int:
        """Return the commit sequence of the last change that the file at a place answers for."""
        ...

    def read(self, path: str) -> bytes:
        """Return what a file holds."""
        ...

    def close(self) -> None:
        """Let connections go. May be called twice."""
        ...


class Catalog(Protocol):
    """Where readers of files learn of tables and folders."""

    def check(self, shape: Shape) -> None:
        """Raise TARGET_SCHEMA for a table that it cannot have."""
        ...

    def tell(self, shape: Shape, folder: tuple[str, ...], seq: int) -> None:
        """Say that a file of a shape stands in a folder, and the commit sequence of its first change.

        May be said again, and late: what was said of a later change holds.

        Raises TARGET_CONNECTION, TARGET_THROTTLED, PREREQUISITE.
        """
        ...

    def close(self) -> None:
        """Let connections go. May be called twice."""
        ...


def path_part(text: str) -> str:
    """Return a name as one part of a path: what would lead elsewhere is percent-encoded."""
    legal = "".join(f"%{ord(c):02X}" if c in "%/\\" or ord(c) < 32 else c for c in text)
    return legal.replace(".", "%2E") if not legal.strip(".") else legal
