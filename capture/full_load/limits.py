"""How much of a load goes out in one step, and why a table is not loaded again as somebody wishes."""

from __future__ import annotations

from dataclasses import dataclass

from schemas import key_bounds
from schemas.signals import Signal
from schemas.table import TableSchema

STEP_ROWS_MAX, STEP_BYTES_MAX = 20_000, 8 << 20
"""Rows, and their memory, that go out in one step, before the log is looked at again."""


def why_not(signal: Signal, table: TableSchema, *, misses_rows: bool) -> str | None:
    """Return why a table is not loaded again as a signal says; None: it can be.

    `misses_rows`: targets do not apply updates and deletes of rows that they lack.
    """
    for bound in (signal.lower, signal.upper):
        if bound is not None and (why := key_bounds.refusal(table.source_form, bound)):
            return why
    if signal.empty and (signal.lower or signal.upper):
        return "a key range cannot be emptied"
    if signal.empty and table.key and misses_rows:
        # An emptied target lacks a row that the log changes now, and the row of its chunk is older, and stays away.
        return (
            "targets would leave out rows that change before they are loaded again; "
            "set apply.errors.update_conflict and delete_conflict to apply until the reload is over"
        )
    return None


@dataclass(slots=True)
class Left:
    """What may still go out in a step."""

    rows: int
    bytes: int

    @property
    def is_used_up(self) -> bool:
        """Whether nothing more may."""
        return self.rows <= 0 or self.bytes <= 0

    @property
    def has_used(self) -> bool:
        """Whether something has."""
        return self.bytes < STEP_BYTES_MAX
