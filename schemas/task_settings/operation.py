"""The groups about operation: logging, control tables, validation, resync, and what stands at the top.

AWS DMS user guide, "Logging task settings", "Control table task settings", "Data validation task settings", "Data
resync settings", "Saving task settings".
"""

from __future__ import annotations

from schemas.task_settings.keys import (
    FLAG,
    TEXT,
    Key,
    Kind,
    Sets,
    differently,
    honoured,
    integer,
    meaningless,
    one_of,
    refused,
    to,
)

_LOG = "logs go to standard error as JSON or text; `--log-level` says how much"
_VERIFY = (
    "`tailrace verify` compares, when it is called, prints what differs, and keeps it in the target's "
    "`awsdms_validation_failures_v1`"
)
_SEVERITIES = ("ERROR", "WARNING", "INFO", "DEFAULT", "DEBUG", "DETAILED_DEBUG")
_ANYTHING = Kind("anything", lambda _value: True)

_TABLES = "`awsdms_apply_exceptions` is kept, as at DMS, by whatever document has this group; without values of rows"
_SLOTS = "ControlTablesSettings.HistoryTimeslotInMinutes"
_EXCEPTIONS = {"apply.control_tables.exceptions": True}


def _table(setting: str) -> Sets:
    return lambda kept, _stated: {f"apply.control_tables.{setting}": kept, **_EXCEPTIONS}


_WAITS = "`--wait` and `--tries` of `tailrace verify`: until the target has caught up, and how often"
_TO_THE_END = "every table is compared to its end; `--keys` says how many keys are printed"

_VALIDATION = (
    ("ThreadCount", integer(1), 5, "threads that compare", "the databases sum; one reader on each side"),
    ("PartitionSize", integer(1), 10_000, "rows that are read at once", "200,000 keys at a time"),
    ("FailureMaxCount", integer(), 10_000, "different rows after which a task's validation is suspended", _TO_THE_END),
    (
        "TableFailureMaxCount",
        integer(),
        1000,
        "different rows after which a table's validation is suspended",
        _TO_THE_END,
    ),
    ("RecordFailureDelayInMinutes", integer(), 5, "how long a row may differ before it is told", _WAITS),
    ("RecordFailureDelayLimitInMinutes", integer(), 0, "the same, whatever the lag", _WAITS),
    ("RecordSuspendDelayInMinutes", integer(), 30, "how long before validation is suspended", _TO_THE_END),
    ("MaxKeyColumnSize", integer(), 8096, "longest key that is compared, in bytes", "keys of any length are compared"),
    (
        "HandleCollationDiff",
        FLAG,
        False,
        "heed that both sides sort in different ways",
        "nothing is compared in the order of a collation",
    ),
    ("ValidationQueryCdcDelaySeconds", integer(), 0, "how long to wait before a change is compared", _WAITS),
)

KEYS: tuple[Key, ...] = (
    differently("Logging.EnableLogging", FLAG, False, "log to CloudWatch", _LOG),
    differently("Logging.EnableLogContext", FLAG, False, "log more about where an entry comes from", _LOG),
    differently("Logging.LogComponents.Id", TEXT, None, "a component of DMS", _LOG),
    differently(
        "Logging.LogComponents.Severity",
        one_of(*(f"LOGGER_SEVERITY_{name}" for name in _SEVERITIES)),
        "LOGGER_SEVERITY_DEFAULT",
        "how much it logs",
        _LOG,
    ),
    meaningless("Logging.CloudWatchLogGroup", TEXT, None, "told by DMS: where it logs", _LOG),
    meaningless("Logging.CloudWatchLogStream", TEXT, None, "told by DMS: where it logs", _LOG),
    meaningless("Logging.DeleteTaskLogs", FLAG, None, "delete the task's logs", _LOG),
    differently("Logging.LogConfiguration.EnableTraceOnError", FLAG, False, "log more once an error has come", _LOG),
    differently("Logging.LogConfiguration.TraceOnErrorMb", integer(), 10, "how much more, in MB", _LOG),
    honoured(
        "ControlTablesSettings.ControlSchema",
        TEXT,
        "",
        "schema of the control tables at the target; empty: where DMS has them",
        lambda schema, _stated: {"apply.control_tables.schema_name": schema or None, **_EXCEPTIONS},
        here=_TABLES,
    ),
    *(
        honoured(f"ControlTablesSettings.{name}Enabled", FLAG, False, f"write {table}", _table(setting), here=here)
        for name, table, setting, here in (
            ("StatusTable", "awsdms_status", "status", "positions of the source are left empty"),
            ("SuspendedTablesTable", "awsdms_suspended_tables", "suspended", ""),
            ("HistoryTable", "awsdms_history", "history", ""),
            ("FullLoadExceptionTable", "awsdms_full_load_exceptions", "full_load_exceptions", ""),
        )
    ),
    honoured(
        _SLOTS,
        integer(1, 1440),
        5,
        "length of the history's slots",
        to("apply.control_tables.history_minutes"),
    ),
    honoured(
        "ControlTablesSettings.historyTimeslotInMinutes",
        integer(1, 1440),
        5,
        "the same under an earlier name, which DMS saves beside it",
        lambda minutes, stated: {"apply.control_tables.history_minutes": None if _SLOTS in stated else minutes},
        here="HistoryTimeslotInMinutes counts where both are stated",
    ),
    refused(
        "ControlTablesSettings.CommitPositionTableEnabled",
        FLAG,
        False,
        "saved by DMS, not documented",
        "relational targets keep how far they are in `offsets` in `control_schema`",
    ),
    differently(
        "ValidationSettings.EnableValidation",
        FLAG,
        False,
        "compare rows at both sides",
        _VERIFY,
        to("apply.control_tables.validation_failures", lambda enabled: enabled or None),
    ),
    differently(
        "ValidationSettings.ValidationMode",
        one_of("ROW_LEVEL", "GROUP_LEVEL"),
        "ROW_LEVEL",
        "compare rows, or groups of rows",
        "`tailrace verify` compares groups, and the rows of those that differ",
    ),
    refused(
        "ValidationSettings.ValidationOnly",
        FLAG,
        False,
        "compare, and move nothing",
        "call `tailrace verify`, and start no services",
    ),
    differently(
        "ValidationSettings.SkipLobColumns", FLAG, False, "compare no large objects", "all columns are compared"
    ),
    differently(
        "ValidationSettings.ValidationPartialLobSize",
        integer(),
        0,
        "compare the beginning of large objects only, in KB",
        "all of a value is compared",
    ),
    *(
        differently(f"ValidationSettings.{name}", kind, default, meaning, here)
        for name, kind, default, meaning, here in _VALIDATION
    ),
    refused(
        "ResyncSettings.EnableResync",
        FLAG,
        False,
        "repair rows that validation found different",
        "`tailrace verify` finds them, `tailrace signal reload` brings a table or a range of keys again",
    ),
    *(
        meaningless(
            f"ResyncSettings.{name}", kind, None, meaning, "only with ResyncSettings.EnableResync, which is refused"
        )
        for name, kind, meaning in (
            ("ResyncSchedule", TEXT, "when to repair, as a cron expression"),
            ("MaxResyncTime", integer(), "how long to repair, in minutes"),
            ("ValidationTaskId", TEXT, "the task that has compared"),
        )
    ),
    differently(
        "PreMigrationAssessment.Enable",
        FLAG,
        False,
        "look before a serverless replication starts whether it can run",
        "`tailrace plan` does, when it is called",
    ),
    meaningless("PostProcessingRules", _ANYTHING, None, "told by DMS, not documented", "nobody says what it means"),
    meaningless(
        "FailTaskWhenCleanTaskResourceFailed",
        FLAG,
        False,
        "deleting a task fails where its resources cannot be deleted",
        "`tailrace reset` deletes, and says what could not be",
    ),
)
