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
    refused,
)

_ROW = ("IGNORE_RECORD", "LOG_ERROR", "SUSPEND_TABLE", "STOP_TASK")
_POLICIES = {"IGNORE_RECORD": "skip", "LOG_ERROR": "skip", "STOP_TASK": "stop"}
_PARKS = "not stated: the row's key is parked, which DMS does not know"


def _policy(*settings: str) -> Sets:
    def sets(value: Any, _stated: Stated) -> Mapping[str, Any]:
        return {f"apply.errors.{setting}": _POLICIES.get(value) for setting in settings}

    return sets


KEYS: tuple[Key, ...] = (
    honoured(
        "ErrorBehavior.DataErrorPolicy",
        one_of(*_ROW),
        "LOG_ERROR",
        "a row whose data is in error",
        _policy("row_rejected"),
        here=f"IGNORE_RECORD and LOG_ERROR: the row is left out, logged and counted. {_PARKS}",
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
        one_of("LOG_ERROR", "SUSPEND_TABLE", "STOP_TASK", "IGNORE_RECORD"),
        "STOP_TASK",
        "a value that cannot be masked",
        "such a row is refused, and DataErrorPolicy holds",
    ),
    differently(
        "ErrorBehavior.DataErrorEscalationPolicy",
        one_of("SUSPEND_TABLE", "STOP_TASK", "LOG_ERROR"),
        "SUSPEND_TABLE",
        "what happens when so many rows were in error",
        "`apply.parked_keys_max` bounds parked keys",
    ),
    differently(
        "ErrorBehavior.DataErrorEscalationCount",
        integer(),
        0,
        "how many; 0: no limit",
        "`apply.parked_keys_max` bounds parked keys",
    ),
    meaningless(
        "ErrorBehavior.EventErrorPolicy",
        one_of("IGNORE", "STOP_TASK"),
        None,
        "an event of the task that cannot be sent",
        "there are no events: metrics, logs and topics tell what happens",
    ),
    refused(
        "ErrorBehavior.TableErrorPolicy",
        one_of("SUSPEND_TABLE", "STOP_TASK"),
        "SUSPEND_TABLE",
        "an error of a table as such",
        "such a table is suspended",
        idle=("SUSPEND_TABLE",),
    ),
    differently(
        "ErrorBehavior.TableErrorEscalationPolicy",
        one_of("STOP_TASK"),
        "STOP_TASK",
        "what happens when so many errors of a table have come",
        "a suspended table is tried again every `apply.suspended_retry_s`",
    ),
    differently(
        "ErrorBehavior.TableErrorEscalationCount",
        integer(),
        0,
        "how many; 0: no limit",
        "a suspended table is tried again every `apply.suspended_retry_s`",
    ),
    differently(
        "ErrorBehavior.RecoverableErrorCount",
        integer(-1),
        -1,
        "how often a task is tried again after an error of its environment; -1: for ever",
        "`capture.retry_for_s` and `apply.retry_for_s` say how long",
    ),
    differently(
        "ErrorBehavior.RecoverableErrorInterval",
        integer(),
        5,
        "seconds between two attempts",
        "pauses begin at 0.2 s and grow",
    ),
    differently("ErrorBehavior.RecoverableErrorThrottling", FLAG, True, "the pauses grow", "they always do"),
    differently(
        "ErrorBehavior.RecoverableErrorThrottlingMax",
        integer(),
        1800,
        "longest pause, in seconds",
        "pauses grow up to 15 s",
    ),
    differently(
        "ErrorBehavior.RecoverableErrorStopRetryAfterThrottlingMax",
        FLAG,
        True,
        "the task ends when the longest pause is reached",
        "`capture.retry_for_s` and `apply.retry_for_s` say how long",
    ),
    differently(
        "ErrorBehavior.ApplyErrorDeletePolicy",
        one_of(*_ROW),
        "IGNORE_RECORD",
        "a row to delete is missing",
        "then there is nothing to do",
    ),
    differently(
        "ErrorBehavior.ApplyErrorInsertPolicy",
        one_of(*_ROW, "INSERT_RECORD"),
        "LOG_ERROR",
        "a row to insert is there already",
        "it becomes the source's row, as with INSERT_RECORD",
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
        one_of("LOG_ERROR", "SUSPEND_TABLE", "STOP_TASK"),
        "LOG_ERROR",
        "what happens when so many of these have come",
        "none of these is an error",
    ),
    differently(
        "ErrorBehavior.ApplyErrorEscalationCount", integer(), 0, "how many; 0: no limit", "none of these is an error"
    ),
    refused(
        "ErrorBehavior.ApplyErrorFailOnTruncationDdl",
        FLAG,
        False,
        "the task ends when the source empties a table",
        "`ddl` says it for all kinds of changes",
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
