"""The connection to Redshift, whichever way it is made. Statements go as text, values in them as literals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Link(ABC):
    """One session, in a transaction since its first statement. Connects when it is first used."""

    def __init__(self) -> None:
        self.begun = False
        """Whether a transaction is open."""

    @abstractmethod
    def run(self, statement: str, values: Sequence[Any] = (), *, doing: str = "writing") -> int:
        """Run a statement in the open transaction; return how many rows it was about. Raises what an error means."""

    @abstractmethod
    def rows(self, statement: str, values: Sequence[Any] = (), *, doing: str = "reading") -> list[tuple[Any, ...]]:
        """Return what a query finds."""

    @abstractmethod
    def commit(self) -> None:
        """Make everything durable."""

    @abstractmethod
    def rollback(self) -> None:
        """Undo everything since the last commit. Never raises: a lost connection has undone it."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection. May be called twice."""

    def copy(self, stage: str, key: str, statement: str) -> None:
        """Let the server read a file of the bucket, `key`, into a staging table."""
        self.run(statement, doing="copying rows from the bucket")

    @contextmanager
    def own_transaction(self) -> Iterator[None]:
        """Commit what is done within, or undo it; within an open transaction all of that is left to whoever has it."""
        if self.begun:
            yield
            return
        try:
            yield
            self.commit()
        except BaseException:
            self.rollback()
            raise
