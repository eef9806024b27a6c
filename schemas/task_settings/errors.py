"""The group ErrorBehavior: what happens when something goes wrong.

AWS DMS user guide, "Error handling task settings".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.task_settings.keys import FLAG, Key, Sets, Stated, differently, honoured, integer, meaningless, one_of, to

_ROW = ("IGNORE_RECORD", "LOG_ERROR", "SUSPEND_TABLE", "STOP_TASK")
_TABLE = ("SUSPEND_TABLE", "STOP_TASK")
_POLICIES = {"IGNORE_RECORD": "skip", "LOG_ERROR": "skip", "SUSPEND_TABLE": "suspend", "STOP_TASK": "stop"}
_CONFLICTS = {**_POLICIES, "INSERT_RECORD": "apply", "UPDATE_RECORD": "apply"}
_RELATIONAL = (
    "at relational targets; rows of a full load, and changes that come while it goes on, are applied in any case"
)
_PARKS = "not stated: the row's key is parked, which DMS does not know"
_SKIPS = "IGNORE_RECORD and LOG_ERROR: the row is left out, logged and counted"


def _policy(setting: str) -> Sets:
    return to(f"apply.errors.{setting}", _POLICIES.get)


def _table(policy: Any, _stated: Stated) -> Mapping[str, Any]:
    return {"apply.errors.table": _POLICIES[policy], "capture.table_errors": _POLICIES[policy]}


def _conflict(setting: str) -> Sets:
    return to(f"apply.errors.{setting}", _CONFLICTS.get)


def _insert_conflict(policy: Any, _stated: Stated) -> Mapping[str, Any]:
    return {"apply.errors.insert_conflict": _CONFLICTS[policy], "apply.errors.row_conflict": _POLICIES.get(policy)}


def _delete_conflict(policy: Any, stated: Stated) -> Mapping[str, Any]:
    """Nobody needs to look for what is ignored, unless it is counted."""
    ignored = policy == "IGNORE_RECORD" and not _escalation_rows(stated)
    return {"apply.errors.delete_conflict": "apply" if ignored else _CONFLICTS[policy]}


def _escalation_rows(stated: Stated) -> Any:
    if stated.get("ErrorBehavior.ApplyErrorEscalationPolicy", "LOG_ERROR") == "LOG_ERROR":
        return 0
    return stated.get("ErrorBehavior.ApplyErrorEscalationCount", 0)


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
        _table,
        here="a table that its target does not take, or whose load the source does not give, is tried again every "
        "`suspended_retry_s`, and loses nothing",
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
    honoured(
        "ErrorBehavior.ApplyErrorDeletePolicy",
        one_of(*_ROW),
        "IGNORE_RECORD",
        "a row to delete is missing",
        _delete_conflict,
        here=f"{_RELATIONAL}. IGNORE_RECORD: looked for only where ApplyErrorEscalationCount has it counted. "
        "Not stated: nobody looks",
    ),
    honoured(
        "ErrorBehavior.ApplyErrorInsertPolicy",
        one_of(*_ROW, "INSERT_RECORD"),
        "LOG_ERROR",
        "a row to insert is in conflict with one that is there",
        _insert_conflict,
        here=f"{_RELATIONAL}. Also where another row holds a unique value, or a foreign key lacks its row, for longer "
        f"than `apply.conflict_wait_s`. {_SKIPS}. Not stated, or INSERT_RECORD: a row of the same key becomes the "
        "source's, and other conflicts park the row's key",
    ),
    honoured(
        "ErrorBehavior.ApplyErrorUpdatePolicy",
        one_of(*_ROW, "UPDATE_RECORD"),
        "LOG_ERROR",
        "a row to update is missing",
        _conflict("update_conflict"),
        here=f"{_RELATIONAL}. {_SKIPS}. Not stated: as UPDATE_RECORD, where the log holds all values; else it is left "
        "out: no value is made up",
    ),
    honoured(
        "ErrorBehavior.ApplyErrorEscalationPolicy",
        one_of("LOG_ERROR", *_TABLE),
        "LOG_ERROR",
        "what happens when so many of these have come",
        to("apply.errors.conflict_escalation", {"SUSPEND_TABLE": "suspend", "STOP_TASK": "stop"}.get),
    ),
    honoured(
        "ErrorBehavior.ApplyErrorEscalationCount",
        integer(),
        0,
        "how many; 0: no limit",
        lambda _count, stated: {"apply.errors.conflict_escalation_rows": _escalation_rows(stated)},
        here="counted by each applier from its start; nothing with ApplyErrorEscalationPolicy LOG_ERROR",
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
    differently(
        "ErrorBehavior.FullLoadIgnoreConflicts",
        FLAG,
        True,
        "rows that are there twice, or not at all, are no errors while changes since the load are applied",
        "as if `true`: rows of a load and changes meet in the right order, and are never judged",
    ),
)
