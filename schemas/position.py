"""Positions in a source's log, and the commit sequence that stands above every engine.

A position is opaque to the services: they compare, store and hand it back. Only its engine prints it.
"""

from __future__ import annotations

from typing import NamedTuple

EPOCH_SHIFT = 56
"""The commit sequence's high bits count its epochs. 2**56 changes fit in one: at a million a second, 2,280 years."""

EPOCH_MAX = 127
"""The sequence is a signed 64-bit number wherever it is stored."""


class Position(NamedTuple):
    """A point in a source's log that reading can go on from.

    `commit` orders the transactions as they committed (PostgreSQL: the LSN of the commit record). `row` counts the
    changes of the transaction *after* `commit` that need not be read again: a transaction of a million rows is
    resumed in its middle. Positions compare in log order.

    `mark` is what else the engine needs to find the place again (MySQL: the set of transactions before it, of which
    `commit` is only the size), and `txn` the id of the transaction that `row` counts in. Equal places have equal ones.
    """

    commit: int
    row: int = 0
    mark: str = ""
    txn: str = ""

    def within(self, txn: str, changes: int) -> Position:
        """Return the position `changes` further on in the transaction `txn`."""
        return Position(self.commit, self.row + changes, self.mark, txn)

    def to_document(self) -> list[int | str]:
        """Return the JSON form: what is empty at the end is left out."""
        fields: list[int | str] = list(self)
        while len(fields) > 2 and not fields[-1]:
            fields.pop()
        return fields


def first_sequence(epoch: int) -> int:
    """Return the number below the first commit sequence of `epoch` (1 to 127).

    A reset starts a higher epoch, so that a guard that an earlier life left in a target never blocks the new one.
    """
    if not 1 <= epoch <= EPOCH_MAX:
        raise ValueError(f"the epoch of a commit sequence is 1 to {EPOCH_MAX}, not {epoch}")
    return epoch << EPOCH_SHIFT


def epoch_of(sequence: int) -> int:
    """Return the epoch that a commit sequence belongs to."""
    return sequence >> EPOCH_SHIFT
