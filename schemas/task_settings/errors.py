"""The group ErrorBehavior: what happens when something goes wrong.

AWS DMS user guide, "Error handling task settings".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.task_settings.keys import (
    FLAG,
    Key,
    Sets,
    Stated,
    differently,
    honoured,
    integer,
    meaningless,
    one_of,
    to,
)

_ROW = ("IGNORE_RECORD", "LOG_ERROR", "SUSPEND_TABLE", "STOP_TASK")
_TABLE = ("SUSPEND_TABLE", "STOP_TASK")
_POLICIES = {"IGNORE_RECORD": "skip", "LOG_ERROR": "skip", "SUSPEND_TABLE": "suspend", "STOP_TASK": "stop"}
_PARKS = "not stated: the row's key is parked, which DMS does not know"
_SKIPS = "IGNORE_RECORD and LOG_ERROR: the row is left out, logged and counted"


def _policy(setting: str) -> Sets:
    return to(f"apply.errors.{setting}", _POLICIES.get)


def _attempts(count: Any, _stated: Stated) -> Mapping[str, Any]:
    """-1 is for ever: as long as can be said."""
    forever = 604_800
    if count == -1:
        return {"capture.retry_for_s": forever, "apply.retry_for_s": forever}
    return {"retry.attempts_max": min(count, 1_000_000)}


def _interval(seconds: Any, _stated: Stated) -> Mapping[str, Any]:
    return {"retry.interval_s": min(max(seconds, 0.01), 86_400)}


KEYS: tuple[Key, ...] = (
    honoured(
        "ErrorBehavior.DataErrorPolicy",
        one_of(*_ROW),
        "LOG_ERROR",
        "a row whose data is in error",
        _policy("row_rejected"),
        here=f"{_SKIPS}. {_PARKS}",
    ),
    differently(
        "ErrorBehavior.DataTruncationErrorPolicy",
        one_of(*_ROW),
        "LOG_ERROR",
        "a value that would be cut off",
        "nothing is cut off: such a row is refused, and DataErrorPolicy holds",
    ),
    differently(
        "ErrorBehavior.DataMaskingErrorPolicy",
        one_of(*_ROW),
        "STOP_TASK",
        "a value that cannot be masked",
        "such a row is refused, and DataErrorPolicy holds",
    ),
    honoured(
        "ErrorBehavior.DataErrorEscalationPolicy",
        one_of(*_TABLE),
        "SUSPEND_TABLE",
        "what happens to a table of which so many rows were in error",
        _policy("escalation"),
    ),
    honoured(
        "ErrorBehavior.DataErrorEscalationCount",
        integer(),
        0,
        "how many; 0: no limit",
        to("apply.errors.escalation_rows"),
        here="counted by each applier from its start",
    ),
    meaningless(
        "ErrorBehavior.EventErrorPolicy",
        one_of("IGNORE", "STOP_TASK"),
        None,
        "an event of the task that cannot be sent",
        "there are no events: metrics, logs and topics tell what happens",
    ),
    honoured(
        "ErrorBehavior.TableErrorPolicy",
        one_of(*_TABLE),
        "SUSPEND_TABLE",
        "an error of a table as such",
        _policy("table"),
        here="a suspended table is tried again every `apply.suspended_retry_s`, and loses nothing",
    ),
    honoured(
        "ErrorBehavior.TableErrorEscalationPolicy",
        one_of("STOP_TASK"),
        "STOP_TASK",
        "what happens when so many errors of a table have come",
    ),
    honoured(
        "ErrorBehavior.TableErrorEscalationCount",
        integer(),
        0,
        "how many; 0: no limit",
        to("apply.errors.table_attempts"),
    ),
    honoured(
        "ErrorBehavior.RecoverableErrorCount",
        integer(-1),
        -1,
        "how often a task is tried again after an error of its environment; -1: for ever",
        _attempts,
        here="-1: for a week, within the service; what starts it again goes on",
    ),
    honoured(
        "ErrorBehavior.RecoverableErrorInterval",
        integer(),
        5,
        "seconds between two attempts",
        _interval,
        here="half of a pause is chance",
    ),
    honoured(
        "ErrorBehavior.RecoverableErrorThrottling",
        FLAG,
        True,
        "each pause is twice as long as the last one",
        to("retry.grows"),
    ),
    honoured(
        "ErrorBehavior.RecoverableErrorThrottlingMax",
        integer(),
        1800,
        "longest pause, in seconds",
        to("retry.interval_max_s", lambda seconds: min(max(seconds, 0.01), 86_400)),
    ),
    honoured(
        "ErrorBehavior.RecoverableErrorStopRetryAfterThrottlingMax",
        FLAG,
        True,
        "the task ends when the longest pause has not helped",
        to("retry.ends_at_longest"),
    ),
    differently(
        "ErrorBehavior.ApplyErrorDeletePolicy",
        one_of(*_ROW),
        "IGNORE_RECORD",
        "a row to delete is missing",
        "then there is nothing to do",
    ),
    honoured(
        "ErrorBehavior.ApplyErrorInsertPolicy",
        one_of(*_ROW, "INSERT_RECORD"),
        "LOG_ERROR",
        "a row to insert is in conflict with one that is there",
        _policy("row_conflict"),
        here="where another row holds a unique value, or a foreign key lacks its row, for longer than "
        "`apply.conflict_wait_s`. A row of the same key becomes the source's, as with INSERT_RECORD. "
        f"{_SKIPS}. {_PARKS}",
    ),
    differently(
        "ErrorBehavior.ApplyErrorUpdatePolicy",
        one_of(*_ROW, "UPDATE_RECORD"),
        "LOG_ERROR",
        "a row to update is missing",
        "it is inserted where the log holds all its values, as with UPDATE_RECORD, and is left out otherwise",
    ),
    differently(
        "ErrorBehavior.ApplyErrorEscalationPolicy",
        one_of("LOG_ERROR", *_TABLE),
        "LOG_ERROR",
        "what happens when so many of these have come",
        "DataErrorEscalationPolicy and DataErrorEscalationCount hold for conflicts, too",
    ),
    differently(
        "ErrorBehavior.ApplyErrorEscalationCount",
        integer(),
        0,
        "how many; 0: no limit",
        "DataErrorEscalationPolicy and DataErrorEscalationCount hold for conflicts, too",
    ),
    honoured(
        "ErrorBehavior.ApplyErrorFailOnTruncationDdl",
        FLAG,
        False,
        "the task ends when the source empties a table",
        to("ddl.truncated", lambda fails: "stop" if fails else None),
    ),
    differently(
        "ErrorBehavior.FailOnNoTablesCaptured",
        FLAG,
        True,
        "the task ends when the selection finds no table",
        "`tailrace plan` says so; a capture waits for tables",
    ),
    meaningless(
        "ErrorBehavior.FailOnTransactionConsistencyBreached",
        FLAG,
        False,
        "the task ends when open transactions outlast TransactionConsistencyTimeout (Oracle sources only)",
        "the load waits for no transaction: what they commit comes from the log",
    ),
    honoured(
        "ErrorBehavior.FullLoadIgnoreConflicts",
        FLAG,
        True,
        "rows that are there twice, or not at all, are no errors while changes since the load are applied",
        here="what Tailrace does anyway: rows of a load and changes meet in the right order",
    ),
)
