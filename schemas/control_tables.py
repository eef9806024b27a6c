"""The control tables of AWS DMS, which relational targets can keep: their names, and the section that asks for them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.section import Section

APPLY_EXCEPTIONS = "awsdms_apply_exceptions"
FULL_LOAD_EXCEPTIONS = "awsdms_full_load_exceptions"
STATUS = "awsdms_status"
SUSPENDED = "awsdms_suspended_tables"
HISTORY = "awsdms_history"
VALIDATION_FAILURES = "awsdms_validation_failures_v1"


class ControlTableSettings(Section):
    """Tables at relational targets with the names and columns of DMS's own.

    They are for people: nothing is read from them, and a target that does not take them is only warned of.
    """

    schema_name: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """Where they stand. Left out: where DMS has them, in `public` at PostgreSQL and in `awsdms_control` at MySQL."""
    exceptions: bool = False
    """`awsdms_apply_exceptions`: every row that was parked, skipped, or suspends its table. Never with its values."""
    suspended: bool = False
    """`awsdms_suspended_tables`: the tables that are suspended now, and why."""
    status: bool = False
    """`awsdms_status`: a row for each applier's host, renewed every 10 s."""
    history: bool = False
    """`awsdms_history`: what was done in each slot of time, rows of loads and changes apart."""
    history_minutes: Annotated[int, Field(ge=1, le=1440)] = 5
    """Length of these slots."""
    full_load_exceptions: bool = False
    """`awsdms_full_load_exceptions`: such rows of a full load, instead of in `awsdms_apply_exceptions`."""
    validation_failures: bool = False
    """`awsdms_validation_failures_v1`: keys that `tailrace verify` found to differ, of each table's last comparison."""

    @property
    def any(self) -> bool:
        """Whether appliers keep any of them."""
        return self.exceptions or self.suspended or self.status or self.history or self.full_load_exceptions
