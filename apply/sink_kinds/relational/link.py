"""One connection to a relational target, with its transaction under our own hand.

The driver's connection is in autocommit mode, and a transaction is opened only when something is to be written,
together with the first savepoint: a batch costs few round trips. An engine's link says how statements reach the server.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import LargeValue
from schemas.table import TableName


class RelationalLink(ABC):
    """A connection that is made when it is first needed, and made again after it broke. Driver errors pass through."""

    driver_error: ClassVar[type[Exception]]
    """What the driver raises."""

    def __init__(self) -> None:
        self._begun = False
        self.generation = 0
        """Counts the connections: what lives in a session (temporary tables) is gone when it changes."""
        self._values: Sequence[LargeValue] = ()
        self.is_doubtful = False
        """Whether another connection is to take the place of this one, although it may be whole: after a failover it
        leads to a server that takes no rows any more.
        """

    @property
    def begun(self) -> bool:
        """Whether a transaction is open."""
        return self._begun

    def begin(self, then: str = "") -> None:
        """Open a transaction unless one is open; run `then` in the same round trip."""
        opening = [] if self._begun else self._opening()
        statements = [*opening, then] if then else opening
        if statements:
            self.run(*statements)
            self._begun = True

    def commit(self) -> None:
        """Commit what is open. Raises the server's error; then nothing has been written, or it is not known."""
        if self._begun:
            self.run("commit")
            self._begun = False

    @contextlib.contextmanager
    def streaming(self, values: Sequence[LargeValue]) -> Iterator[None]:
        """Let what is loaded in bulk have these values in the place of their stand-ins."""
        self._values = values
        try:
            yield
        finally:
            self._values = ()

    @contextlib.contextmanager
    def own_transaction(self) -> Iterator[None]:
        """Run a block in the open transaction, or in one of its own that is committed at the end."""
        begun = self._begun
        self.begin()
        try:
            yield
        except BaseException:
            if not begun:
                self.rollback()
            raise
        if not begun:
            self.commit()

    def value(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        found = self.rows(query, parameters)
        return found[0][0] if found else None

    @contextlib.contextmanager
    def classified(self, doing: str, table: TableName | None = None) -> Iterator[None]:
        """Raise the driver's errors in Tailrace's kinds. `doing` says in words what was tried."""
        try:
            yield
        except self.driver_error as error:
            raise self.refusal(error, doing, table) from error

    def refusal(self, error: Any, doing: str, table: TableName | None = None) -> TailraceError:
        """Return the error to raise for one of the driver's."""
        found = self.classify(error, doing, str(table) if table is not None else None)
        self.is_doubtful |= found.kind is ErrorKind.TARGET_CONNECTION
        return found

    @staticmethod
    @abstractmethod
    def classify(error: Any, doing: str, table: str | None = None) -> TailraceError:
        """Return the error to raise for one of the driver's: never with cell values."""

    @abstractmethod
    def open(self) -> None:
        """Make the connection unless there is one. Raises TARGET_CONNECTION when it broke within a transaction."""

    @abstractmethod
    def _opening(self) -> list[str]:
        """Return the statements that open a transaction."""

    @abstractmethod
    def rollback(self) -> None:
        """Undo what is open; never raises: a broken connection has rolled back by itself."""

    @abstractmethod
    def run(self, *statements: str) -> int:
        """Run statements without parameters in one round trip; return the last one's row count."""

    @abstractmethod
    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, with parameters (`%s`) or without (then `%` is plain)."""

    @abstractmethod
    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement with parameters (`%s`); return its row count."""

    @abstractmethod
    def twin(self) -> Self:
        """Return a link of its own to the same target."""

    @abstractmethod
    def discard(self) -> None:
        """Close the connection whatever its state. May be called twice."""
