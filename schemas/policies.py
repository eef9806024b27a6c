"""What is done about errors and schema changes: the policies of a configuration."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from schemas.section import Section


class DdlPolicy(StrEnum):
    """What a schema change at the source leads to."""

    APPLY = "apply"
    IGNORE = "ignore"
    SUSPEND = "suspend"
    STOP = "stop"


class TruncatePolicy(StrEnum):
    """What a truncate at the source leads to."""

    APPLY = "apply"
    IGNORE = "ignore"
    STOP = "stop"


class DdlPolicies(Section):
    """What schema changes do to the targets: `apply` them, `ignore` them, `suspend` the table, or `stop` before them.

    One word in the place of the section stands for `altered` and `dropped`.
    """

    altered: DdlPolicy = DdlPolicy.APPLY
    """The source alters a table: columns, types, keys, indexes, foreign keys."""
    truncated: TruncatePolicy = TruncatePolicy.APPLY
    """The source empties a table by `truncate`. `ignore`: the topic does not have it."""
    dropped: DdlPolicy = DdlPolicy.APPLY
    """The source drops a table. Nothing follows, so there is nothing to suspend: `suspend` keeps the target's table, as
    `ignore` does."""


def _of_one_word(value: Any) -> Any:
    return {"altered": value, "dropped": value} if isinstance(value, str) else value


AnyDdlPolicies = Annotated[DdlPolicies, BeforeValidator(_of_one_word, json_schema_input_type=DdlPolicy | DdlPolicies)]
"""Policies by kind of change, or one word for all."""


class ExistingTables(StrEnum):
    """What becomes of a table that the target has before its first load."""

    KEEP = "keep"
    EMPTY = "empty"
    DROP = "drop"


class RowErrorPolicy(StrEnum):
    """What happens to a row that a target refuses."""

    PARK = "park"
    SKIP = "skip"
    SUSPEND = "suspend"
    STOP = "stop"


class ConflictPolicy(StrEnum):
    """What happens to a change that the rows of a relational target contradict."""

    APPLY = "apply"
    SKIP = "skip"
    SUSPEND = "suspend"
    STOP = "stop"


class TableErrorPolicy(StrEnum):
    """What happens to a table that cannot go on."""

    SUSPEND = "suspend"
    STOP = "stop"


class ErrorPolicies(Section):
    """What to do about what cannot be applied.

    Of a record: `park` its key, `skip` it (counted and logged), `suspend` the table, or `stop`.
    """

    decode: RowErrorPolicy = RowErrorPolicy.PARK
    """A record that cannot be read. Nothing but a foreign writer or a lost schema leads to one. `stop` ends the service
    there each time that it is started."""
    row_rejected: RowErrorPolicy = RowErrorPolicy.PARK
    """A row that the table cannot hold. `park`: it and later changes of its key wait on the dead-letters topic."""
    row_conflict: RowErrorPolicy = RowErrorPolicy.PARK
    """A row that still violates a unique or foreign key after `conflict_wait_s`."""
    insert_conflict: ConflictPolicy = ConflictPolicy.APPLY
    """An insert of a row that a relational target has already. `apply`: it becomes the source's. With another word each
    batch asks the target which of its rows are there; rows of a full load, and what comes while it goes on, are
    applied in any case."""
    update_conflict: ConflictPolicy = ConflictPolicy.APPLY
    """An update of a row that it lacks. `apply`: it is inserted, if the log holds all of it, and else left out."""
    delete_conflict: ConflictPolicy = ConflictPolicy.APPLY
    """A delete of a row that it lacks. `apply`: then there is nothing to do."""
    conflict_escalation_rows: Annotated[int, Field(ge=0, le=1 << 53)] = 0
    """As many changes of one table that one applier leaves out by `skip` for a conflict lead to `conflict_escalation`;
    0: none do."""
    conflict_escalation: TableErrorPolicy = TableErrorPolicy.SUSPEND
    """What happens to a table of which so many changes were left out for conflicts."""
    escalation_rows: Annotated[int, Field(ge=0, le=1 << 53)] = 0
    """As many rows of one table that one applier leaves out by `skip`, but for conflicts, lead to `escalation`; 0: none
    do."""
    escalation: TableErrorPolicy = TableErrorPolicy.SUSPEND
    """What happens to a table of which so many rows were left out. The last one is not left out, then."""
    table: TableErrorPolicy = TableErrorPolicy.SUSPEND
    """A table that the target cannot take as such. `suspend`: the others go on, and it is tried again every
    `suspended_retry_s`."""
    table_attempts: Annotated[int, Field(ge=0, le=1 << 53)] = 0
    """How often one table may be suspended before the service stops; 0: for ever."""

    @property
    def misses_rows(self) -> bool:
        """Whether an update or a delete of a row that the target lacks is anything but applied."""
        return {self.update_conflict, self.delete_conflict} != {ConflictPolicy.APPLY}


class RetrySettings(Section):
    """How what goes by itself (a lost source, target or Kafka) is tried again, for as long as `retry_for_s` says."""

    interval_s: Annotated[float, Field(ge=0.01, le=86_400)] = 0.2
    """The first pause. Half of each pause is chance, so that not all come back at once."""
    grows: bool = True
    """Each pause is twice as long as the last one."""
    interval_max_s: Annotated[float, Field(ge=0.01, le=86_400)] | None = None
    """The longest pause. Left out: 15, or 2 while an applier starts."""
    attempts_max: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """How often it is tried again at most; 0: never. Left out: as often as time allows."""
    ends_at_longest: bool = False
    """Give up when an attempt after the longest pause fails."""
