"""Every key of task settings that is called honoured: what a document with it means here, and which test shows that it
is what happens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from schemas.settings import Settings

LIMITS = "unit/apply/test_limits.py::test_"
APPLIER = "unit/apply/test_applier.py::test_"
LOADS = "unit/capture/test_simulation.py::test_"
EXISTING = "integration/postgresql_sink/test_ddl.py::test_"
END_TO_END = "integration/test_task_settings.py::test_a_document_of_dms_runs_as_it_is"
BEFORE_CHANGES = "integration/test_stop_before_changes.py::test_a_task_stops_before_the_changes_since_its_load"
WHOLE = "unit/schemas/test_substitution.py::test_nothing_is_done_where_nothing_is_said_or_can_be"
TO_A_TOPIC = "integration/test_task_settings.py::_before_images_reach_a_topic"
BOUNDS = f"{LIMITS}a_batch_holds_as_much_as_settings_let_it"
LINGER = f"{LIMITS}a_batch_waits_for_more_as_settings_say"
ENDS = f"{LIMITS}too_many_rows_that_were_left_out_end_the_service_where_the_policy_says_so"
STOPS = f"{APPLIER}a_table_that_cannot_go_on_stops_the_service_where_the_policy_says_so"
PROCESSES = f"{LOADS}as_many_processes_load_as_settings_say"
BY_COMMIT = "unit/apply/test_order.py::test_each_commit_at_the_target_is_a_commit_of_the_source"
TWO_WAY = "integration/test_two_way.py::test_two_databases_that_replicate_to_each_other_do_not_echo"
DDL = "integration/test_schema_changes.py::test_a_policy_keeps_a_change_from_the_target_until_it_is_another_one"
NO_IMAGE = "unit/schemas/test_dms_json.py::test_without_settings_all_that_the_log_held_is_there"
RETRY = "unit/runtime/test_retry.py::test_a_series_can_be_bounded_by_its_attempts_or_by_its_longest_pause"
CONFLICTS = "unit/apply/test_conflicts.py::test_a_contradiction_suspends_its_table_by_policy_or_by_number"
LEFT_OUT = "unit/apply/test_conflicts.py::test_what_is_left_out_is_what_one_change_at_a_time_would_leave_out"
CHARACTERS = "unit/schemas/test_substitution.py::test_characters_become_others_in_all_texts_and_keys"
CHARSETS = "unit/schemas/test_substitution.py::test_characters_that_are_not_of_a_set_are_replaced"
LOAD_EXCEPTIONS = (
    "integration/apply/test_load_exceptions.py"
    "::test_rows_that_a_load_could_not_write_are_apart_from_changes_at_postgresql"
)
JOURNAL = "unit/apply/test_dms_control_tables.py::test_full_loads_have_exceptions_of_their_own_and_slots_their_length"


class Meaning(NamedTuple):
    """What a key's value means beside others."""

    value: Any
    setting: str | Callable[[Settings], Any]
    """A setting of ours, by its path, or what is asked of all of them."""
    expected: Any
    shown_by: str
    """The test that shows it happen, from `tests/`."""
    beside: Mapping[str, Any] = {}


_BATCH = {"TargetMetadata.BatchApplyEnabled": True}
_SINGLE = {"TargetMetadata.BatchApplyEnabled": False}
_LIMITED = {"TargetMetadata.LimitedSizeLobMode": True}
_IMAGES = {"BeforeImageSettings.EnableBeforeImage": True}
_SOURCE = {"CharacterSetSettings.CharacterReplacements.SourceCharacterCodePoint": 62}
_TARGET = {"CharacterSetSettings.CharacterReplacements.TargetCharacterCodePoint": 61}
_ATTEMPTS = {"ErrorBehavior.TableErrorEscalationCount": 2}
_COUNTED = {"ErrorBehavior.ApplyErrorEscalationCount": 3}
_ESCALATES = {
    "ErrorBehavior.ApplyErrorEscalationPolicy": "SUSPEND_TABLE",
    "ErrorBehavior.ApplyErrorEscalationCount": 3,
}


def _schemas(settings: Settings) -> list[str | None]:
    return [rule.value for rule in settings.transformations("copy") if rule.rule_target == "schema"]


HONOURED: dict[str, tuple[Meaning, ...]] = {
    "TargetMetadata.TargetSchema": (
        Meaning("landing", _schemas, ["landing"], END_TO_END),
        Meaning("", _schemas, [], END_TO_END),
    ),
    "TargetMetadata.FullLobMode": (Meaning(True, "apply.values.lob_max_kb", None, WHOLE, _LIMITED),),
    "TargetMetadata.LimitedSizeLobMode": (
        Meaning(True, "apply.values.lob_max_kb", 32, END_TO_END),
        Meaning(False, "apply.values.lob_max_kb", None, WHOLE),
    ),
    "TargetMetadata.LobMaxSize": (Meaning(1, "apply.values.lob_max_kb", 1, END_TO_END, _LIMITED),),
    "TargetMetadata.BatchApplyEnabled": (
        Meaning(True, "apply.ordering", "per-key", END_TO_END),
        Meaning(False, "apply.ordering", "transactional", BY_COMMIT),
    ),
    "TargetMetadata.MaxFullLoadSubTasks": (Meaning(3, "capture.load_processes", 3, PROCESSES),),
    "FullLoadSettings.MaxFullLoadSubTasks": (Meaning(3, "capture.load_processes", 3, PROCESSES),),
    "FullLoadSettings.TargetTablePrepMode": (
        Meaning("DROP_AND_CREATE", "apply.existing_tables", "drop", END_TO_END),
        Meaning(
            "TRUNCATE_BEFORE_LOAD",
            "apply.existing_tables",
            "empty",
            f"{EXISTING}a_table_is_emptied_without_the_rows_of_others",
        ),
        Meaning(
            "DO_NOTHING",
            "apply.existing_tables",
            "keep",
            f"{EXISTING}plan_tells_beforehand_what_an_existing_table_will_do",
        ),
    ),
    "FullLoadSettings.StopTaskCachedChangesApplied": (Meaning(True, "apply.stop_after_load", True, END_TO_END),),
    "FullLoadSettings.StopTaskCachedChangesNotApplied": (
        Meaning(True, "apply.stop_before_changes", True, BEFORE_CHANGES),
    ),
    "FullLoadSettings.CommitRate": (Meaning(700, "apply.batch_rows", 700, BOUNDS),),
    "ChangeProcessingTuning.BatchApplyTimeoutMin": (Meaning(3, "apply.linger_ms", 3000, LINGER, _BATCH),),
    "ChangeProcessingTuning.BatchApplyMemoryLimit": (Meaning(35, "apply.batch_bytes", 5 << 20, BOUNDS, _BATCH),),
    "ChangeProcessingTuning.BatchSplitSize": (Meaning(500, "apply.batch_rows", 500, BOUNDS, _BATCH),),
    "ChangeProcessingTuning.MinTransactionSize": (Meaning(50, "apply.linger_rows", 50, LINGER, _SINGLE),),
    "ChangeProcessingTuning.CommitTimeout": (
        Meaning(2, "apply.linger_ms", 2000, LINGER, _SINGLE),
        Meaning(2, "apply.linger_ms", 0, LINGER, _SINGLE | {"ChangeProcessingTuning.MinTransactionSize": 1}),
    ),
    "ChangeProcessingTuning.MemoryLimitTotal": (
        Meaning(
            100, "capture.commit_bytes", 25 << 20, f"{LOADS}a_transaction_holds_as_many_rows_and_bytes_as_settings_say"
        ),
    ),
    "ChangeProcessingDdlHandlingPolicy.HandleSourceTableDropped": (Meaning(False, "ddl.dropped", "ignore", DDL),),
    "ChangeProcessingDdlHandlingPolicy.HandleSourceTableTruncated": (
        Meaning(False, "ddl.truncated", "ignore", END_TO_END),
    ),
    "ChangeProcessingDdlHandlingPolicy.HandleSourceTableAltered": (Meaning(False, "ddl.altered", "ignore", DDL),),
    "LoopbackPreventionSettings.EnableLoopbackPrevention": (Meaning(True, "loopback_prevention", True, TWO_WAY),),
    "CharacterSetSettings.CharacterReplacements.SourceCharacterCodePoint": (
        Meaning("3E", "apply.values.characters", {"3E": "61"}, END_TO_END, _TARGET),
    ),
    "CharacterSetSettings.CharacterReplacements.TargetCharacterCodePoint": (
        Meaning(0, "apply.values.characters", {"62": "0"}, CHARACTERS, _SOURCE),
    ),
    "CharacterSetSettings.CharacterSetSupport.CharacterSet": (
        Meaning("ISO8859_1", "apply.values.character_set", "ISO8859_1", END_TO_END),
    ),
    "CharacterSetSettings.CharacterSetSupport.ReplaceWithCharacterCodePoint": (
        Meaning("3F", "apply.values.character_replacement", "3F", CHARSETS),
    ),
    "BeforeImageSettings.EnableBeforeImage": (
        Meaning(True, "apply.before_image.field", "before", TO_A_TOPIC),
        Meaning(False, "apply.before_image", None, NO_IMAGE),
    ),
    "BeforeImageSettings.FieldName": (Meaning("old", "apply.before_image.field", "old", TO_A_TOPIC, _IMAGES),),
    "BeforeImageSettings.ColumnFilter": (
        Meaning("non-lob", "apply.before_image.columns", "non-lob", TO_A_TOPIC, _IMAGES),
    ),
    "ErrorBehavior.DataErrorPolicy": (
        Meaning("LOG_ERROR", "apply.errors.row_rejected", "skip", END_TO_END),
        Meaning("IGNORE_RECORD", "apply.errors.row_rejected", "skip", END_TO_END),
        Meaning(
            "SUSPEND_TABLE",
            "apply.errors.row_rejected",
            "suspend",
            f"{APPLIER}a_rejected_row_can_suspend_its_table_while_others_go_on",
        ),
        Meaning(
            "STOP_TASK", "apply.errors.row_rejected", "stop", f"{APPLIER}the_policy_can_be_to_stop_at_a_rejected_row"
        ),
    ),
    "ErrorBehavior.DataErrorEscalationPolicy": (
        Meaning("SUSPEND_TABLE", "apply.errors.escalation", "suspend", END_TO_END),
        Meaning("STOP_TASK", "apply.errors.escalation", "stop", ENDS),
    ),
    "ErrorBehavior.DataErrorEscalationCount": (Meaning(3, "apply.errors.escalation_rows", 3, END_TO_END),),
    "ErrorBehavior.TableErrorPolicy": (
        Meaning(
            "SUSPEND_TABLE",
            "apply.errors.table",
            "suspend",
            f"{APPLIER}a_table_that_the_target_cannot_take_is_suspended_alone",
        ),
        Meaning("STOP_TASK", "apply.errors.table", "stop", STOPS),
        Meaning(
            "SUSPEND_TABLE",
            "capture.table_errors",
            "suspend",
            f"{LOADS}a_table_that_cannot_be_loaded_stands_still_alone",
        ),
        Meaning(
            "STOP_TASK",
            "capture.table_errors",
            "stop",
            f"{LOADS}a_table_that_cannot_be_loaded_stops_capture_where_the_policy_says_so",
        ),
    ),
    "ErrorBehavior.TableErrorEscalationPolicy": (
        Meaning("STOP_TASK", "apply.errors.table_attempts", 2, STOPS, _ATTEMPTS),
    ),
    "ErrorBehavior.TableErrorEscalationCount": (Meaning(2, "apply.errors.table_attempts", 2, STOPS),),
    "ErrorBehavior.RecoverableErrorCount": (
        Meaning(7, "retry.attempts_max", 7, RETRY),
        Meaning(-1, "apply.retry_for_s", 604_800, RETRY),
        Meaning(-1, "capture.retry_for_s", 604_800, RETRY),
    ),
    "ErrorBehavior.RecoverableErrorInterval": (Meaning(5, "retry.interval_s", 5, RETRY),),
    "ErrorBehavior.RecoverableErrorThrottling": (Meaning(False, "retry.grows", False, RETRY),),
    "ErrorBehavior.RecoverableErrorThrottlingMax": (Meaning(60, "retry.interval_max_s", 60, RETRY),),
    "ErrorBehavior.RecoverableErrorStopRetryAfterThrottlingMax": (Meaning(True, "retry.ends_at_longest", True, RETRY),),
    "ErrorBehavior.ApplyErrorInsertPolicy": (
        Meaning("LOG_ERROR", "apply.errors.insert_conflict", "skip", END_TO_END),
        Meaning("IGNORE_RECORD", "apply.errors.insert_conflict", "skip", LEFT_OUT),
        Meaning("INSERT_RECORD", "apply.errors.insert_conflict", "apply", LEFT_OUT),
        Meaning("SUSPEND_TABLE", "apply.errors.insert_conflict", "suspend", CONFLICTS),
        Meaning("STOP_TASK", "apply.errors.insert_conflict", "stop", LEFT_OUT),
    ),
    "ErrorBehavior.ApplyErrorUpdatePolicy": (
        Meaning("LOG_ERROR", "apply.errors.update_conflict", "skip", END_TO_END),
        Meaning("UPDATE_RECORD", "apply.errors.update_conflict", "apply", LEFT_OUT),
    ),
    "ErrorBehavior.ApplyErrorDeletePolicy": (
        Meaning("LOG_ERROR", "apply.errors.delete_conflict", "skip", END_TO_END),
        Meaning("IGNORE_RECORD", "apply.errors.delete_conflict", "apply", LEFT_OUT),
        Meaning("IGNORE_RECORD", "apply.errors.delete_conflict", "skip", LEFT_OUT, _ESCALATES),
    ),
    "ErrorBehavior.ApplyErrorEscalationPolicy": (
        Meaning("SUSPEND_TABLE", "apply.errors.conflict_escalation", "suspend", CONFLICTS),
        Meaning("STOP_TASK", "apply.errors.conflict_escalation", "stop", ENDS),
        Meaning("LOG_ERROR", "apply.errors.conflict_escalation_rows", 0, LEFT_OUT, _COUNTED),
    ),
    "ErrorBehavior.ApplyErrorEscalationCount": (
        Meaning(3, "apply.errors.conflict_escalation_rows", 3, CONFLICTS, _ESCALATES),
    ),
    "ErrorBehavior.ApplyErrorFailOnTruncationDdl": (
        Meaning(
            True, "ddl.truncated", "stop", f"{LOADS}a_table_that_is_emptied_stops_capture_where_the_policy_says_so"
        ),
    ),
    "ControlTablesSettings.ControlSchema": (Meaning("dms", "apply.control_tables.schema_name", "dms", END_TO_END),),
    "ControlTablesSettings.StatusTableEnabled": (Meaning(True, "apply.control_tables.status", True, END_TO_END),),
    "ControlTablesSettings.SuspendedTablesTableEnabled": (
        Meaning(True, "apply.control_tables.suspended", True, END_TO_END),
    ),
    "ControlTablesSettings.HistoryTableEnabled": (Meaning(True, "apply.control_tables.history", True, END_TO_END),),
    "ControlTablesSettings.FullLoadExceptionTableEnabled": (
        Meaning(True, "apply.control_tables.full_load_exceptions", True, LOAD_EXCEPTIONS),
    ),
    "ControlTablesSettings.HistoryTimeslotInMinutes": (Meaning(7, "apply.control_tables.history_minutes", 7, JOURNAL),),
    "ControlTablesSettings.historyTimeslotInMinutes": (
        Meaning(7, "apply.control_tables.history_minutes", 7, JOURNAL),
        Meaning(
            7,
            "apply.control_tables.history_minutes",
            9,
            JOURNAL,
            {"ControlTablesSettings.HistoryTimeslotInMinutes": 9},
        ),
    ),
}
