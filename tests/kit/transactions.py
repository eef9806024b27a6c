"""Random but repeatable transactions on a source database, whatever server it is on: what a workload consists of.

The same seed on an empty database makes the same transactions. There is one writer per workload; several on one
database need `slice_number`s of their own, which keep their keys apart.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

SLICE_SIZE = 1_000_000_000
"""Keys of slice n start at n times this."""

TABLES = ("wl_items", "wl_pairs", "wl_texts", "wl_log", "wl_idle")
"""The tables of a workload. `wl_log` has no key and is replicated by whole rows."""

Statement = tuple[str, Sequence[Any]]


@dataclass(slots=True)
class Written:
    """What a workload did. A change that met no row counts all the same."""

    transaction_count: int = 0
    rollback_count: int = 0
    change_count: int = 0


@dataclass(slots=True)
class Transactions(ABC):
    """The writer. `run` writes so many transactions; `run_until` writes until it is told to stop."""

    place: Any
    """The database, as the driver's connections name it."""
    seed: int = 1
    slice_number: int = 0
    truncates: bool = False
    """Whether `wl_log` and `wl_pairs` are truncated now and then."""
    large_rows: int = 3_000
    """The size of the rare large transaction."""
    written: Written = field(default_factory=Written)
    _random: random.Random = field(init=False, repr=False)
    _next: int = field(init=False, repr=False)
    _first: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}/{self.slice_number}")
        self._first = self._next = self.slice_number * SLICE_SIZE + 1

    def create(self, rows: int = 1_000) -> None:
        """Create the tables, with `rows` rows in the large ones."""
        with self._session() as session:
            self._send(session, [*((statement, ()) for statement in self.schema()), *self._fill(rows)])
            session.commit()

    def run(self, transactions: int) -> Written:
        """Write so many transactions; return what was written by this workload so far."""
        with self._session() as session:
            for _ in range(transactions):
                self._transaction(session)
        return self.written

    def run_until(self, stop: threading.Event, pause_s: float = 0.0) -> Written:
        """Write until `stop` is set, pausing between transactions; return what was written so far."""
        with self._session() as session:
            while not stop.is_set():
                self._transaction(session)
                if pause_s:
                    stop.wait(pause_s)
        return self.written

    @abstractmethod
    def schema(self) -> Sequence[str]:
        """Return the statements that make the tables."""

    @abstractmethod
    def is_interruption(self, error: Exception) -> bool:
        """Tell whether the server or the way to it is gone, or it has undone a transaction: to be tried again."""

    @abstractmethod
    def _session(self) -> AbstractContextManager[Any]:
        """Open a session of the driver's, in whose transactions everything is done."""

    @abstractmethod
    def _send(self, session: Any, statements: Sequence[Statement]) -> None:
        """Run statements."""

    @abstractmethod
    def _statement(self) -> Statement:
        """Return a random change."""

    @abstractmethod
    def _fill(self, rows: int) -> list[Statement]:
        """Return statements that insert many rows of new keys at once."""

    def _transaction(self, session: Any) -> None:
        choose = self._random
        size = choose.choices((1, 3, 20, 200), (50, 30, 15, 5))[0]
        statements = [self._statement() for _ in range(size)]
        if choose.random() < 0.01:
            statements += self._fill(self.large_rows)
        if choose.random() < 0.2:
            # A savepoint that is rolled back: its changes are in no log that a reader sees.
            inner = [self._statement() for _ in range(choose.randint(1, 5))]
            at = choose.randint(0, len(statements))
            statements[at:at] = [("savepoint inside", ()), *inner, ("rollback to savepoint inside", ())]
        if choose.random() < 0.1:
            statements = [("savepoint kept", ()), *statements, ("release savepoint kept", ())]
        rollback = choose.random() < 0.05
        self._send(session, statements)
        if rollback:
            session.rollback()
            self.written.rollback_count += 1
        else:
            session.commit()
            self.written.transaction_count += 1
            self.written.change_count += len(statements)

    def _delete_item(self) -> Statement:
        return "delete from wl_items where id = %s", (self._some_key(),)

    def _move_item(self) -> Statement:
        return "update wl_items set id = %s, note = 'moved' where id = %s", (self._new_key(), self._some_key())

    def _new_key(self) -> int:
        self._next += 1
        return self._next - 1

    def _some_key(self) -> int:
        """A key that was used at some time, more often a late one."""
        span = self._next - self._first
        if span > 100 and self._random.random() < 0.5:
            return self._next - self._random.randint(1, 100)
        return self._first + self._random.randrange(max(1, span))

    def _or_null(self, value: Any) -> Any:
        return None if self._random.random() < 0.1 else value

    def _moment(self) -> datetime:
        choose = self._random
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            seconds=choose.randint(-(10**9), 3 * 10**9), microseconds=choose.randint(0, 999_999)
        )

    def _long_text(self) -> str:
        return self._random.choice(("short", f"{self._random.random()} " * 300, "é" * 5000))
